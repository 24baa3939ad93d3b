"""Why rows of a run by lanes were answered by calls, read from its batches.log: what the deadline cost."""

from __future__ import annotations

import math
from collections import defaultdict

from batchlab.store.batches import Batch, WentLive, read_batches
from batchlab.store.view import RunView

DEADLINE = "deadline"


class WhyLive:
    """Answers for one row at a time.

    A row went live for the deadline when its shard was sent for that, and no batch that ended by itself had
    given it back before: what a service fails at, or lets expire, is not the deadline's cost. Of a run of an
    earlier version nobody noted it, and every row counts.
    """

    def __init__(self, run: RunView) -> None:
        known, generation = read_batches(run.path), run.manifest.generation
        shards = run.manifest.plan.shards
        self._shard_rows = shards[0].rows if shards else 1
        self._is_noted = bool(known.live)
        self._live: dict[int, list[WentLive]] = defaultdict(list)
        self._batches: dict[int, list[Batch]] = defaultdict(list)
        for went in known.live:
            for shard in went.shards if went.generation == generation else ():
                self._live[shard].append(went)
        for batch in known.by_key.values():
            if batch.generation == generation and batch.ended_at:
                self._batches[batch.shard].append(batch)

    def is_hurried(self, row_id: int, asked_at: float | None) -> bool:
        """Whether a row that was asked by a call then (Unix seconds) was sent so for the deadline."""
        if not self._is_noted:
            return True
        at, shard = math.inf if asked_at is None else asked_at, row_id // self._shard_rows
        went = [one for one in self._live.get(shard, ()) if one.at <= at]
        if not went or went[-1].why != DEADLINE:
            return False
        were = [one for one in self._batches.get(shard, ()) if one.ended_at <= at and one.holds(row_id)]
        return not were or were[-1].is_cancelled
