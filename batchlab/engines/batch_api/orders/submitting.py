"""The next free shard as batches that may be ordered, within the money and the room that there is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from batchlab.dispatch.rate.budget import used_up
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.rate.worst_case import WorstCase
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.means import Means
from batchlab.engines.batch_api.orders.packing import Packing
from batchlab.engines.batch_api.orders.room import Room
from batchlab.engines.batch_api.shards import ShardsLeft
from batchlab.records import Failure, Shard


class Submitting:
    """Packs shards, and says once of a lane what is to be known of it.

    Args:
        model: that the job names.
        room: of each lane.
    """

    def __init__(self, means: Means, model: str, left: ShardsLeft, room: Mapping[str, Room]) -> None:
        self._means = means
        self._model = model
        self._left = left
        self._room = room
        self._say = means.observer.message
        self._worst_case = WorstCase()
        self._priced: set[str] = set()  # lanes whose price has been told of
        self._unfit: set[str] = set()  # those of which it was told that they cannot carry every row

    async def packed(self, lane: BatchLane, out: int) -> tuple[Shard, Packing]:
        """The next free shard, which is free no more, and its batches.

        Args:
            out: batches of the lane that are out.

        Raises what the input raises, and RunStopped (disk).
        """
        self._say_price(lane)
        budget, shard, room = self._means.budget, self._left.next(), self._room[lane.name]
        packing = await self._left.packed(
            shard,
            lane,
            self._worst_case,
            covers=lambda worst: _covers(budget.left, worst),
            most=room.left(out),
            most_lines=room.lines,
            keeps_unfit=self._means.choice.has_calls,
        )
        while packing.packed and not _covers(budget.left, packing.worst):  # others have spent meanwhile
            packing.give_up(1)
            packing.is_short = True
        return shard, packing

    def why_short(self, need: Money) -> str:
        """What to say when the money reaches for no line any more, and none comes back."""
        budget = self._means.budget
        caps, left, spent = budget.caps, budget.left, budget.spent
        if left.usd is not None and need.usd > left.usd:
            return used_up("limits.max_cost", spent.usd, caps.usd, need.usd)
        return used_up("limits.max_tokens_total", spent.tokens, caps.tokens, need.tokens)

    def say_unfit(self, lane: BatchLane, unfit: Sequence[Failure]) -> None:
        """Says once of a lane that rows go by calls which fit into none of its batches."""
        if lane.name not in self._unfit:
            self._unfit.add(lane.name)
            why = f"row {unfit[0].row_id} is {unfit[0].error_message}"
            self._say(f"lanes: rows that no batch of {lane.name} can carry go live: {why}")

    def _say_price(self, lane: BatchLane) -> None:
        """Says once what is counted where nobody states a price of batches."""
        if lane.name not in self._priced:
            self._priced.add(lane.name)
            if note := lane.price_note(self._model, time.time()):
                self._say(note)


def _covers(left: tuple[float | None, float | None], worst: Money) -> bool:
    return all(have is None or need <= have for have, need in zip(left, worst, strict=True))
