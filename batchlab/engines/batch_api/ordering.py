"""Ordering a batch once, and finding out what became of an order that was not answered."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.batch_service import UncertainOrder
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.protocol.batches.dialect import BatchState, Order
from batchlab.protocol.values import ReplyProblem, parse_json
from batchlab.records import OutcomeClass
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.batches import Batch, BatchLog, Step

LABEL = "batchlab"  # under which a batch's key is, at a service that keeps labels
CLOCK_MARGIN_S = 6 * 3600.0  # by which a service's clock may differ from ours
AGAIN_S, MOST_AGAIN_S = 2.0, 60.0
_WAITS = frozenset({OutcomeClass.RETRY, OutcomeClass.WAIT, OutcomeClass.PAUSE})


class Ordering:
    """Places the orders of one lane.

    Args:
        sleep: waits, and raises Stopped once the run stops.
        scratch: a folder for what is looked into.
    """

    def __init__(
        self,
        lane: BatchLane,
        log: BatchLog,
        *,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]],
        scratch: Path,
    ) -> None:
        self._lane = lane
        self._service = lane.service
        self._log = log
        self._say = say
        self._sleep = sleep
        self._scratch = scratch

    async def place(self, batch: Batch, lines: Path) -> Batch:
        """The batch, created.

        Raises:
            ApiError: it was refused, and does not exist.
            RunStopped: whether it exists cannot be found out, or not be noted.
        """
        if self._lane.dialect.files is not None and batch.file is None:
            batch = self._log.uploaded(batch, await self._service.upload(lines))
        begun, wait_s = time.time(), AGAIN_S
        while True:
            batch = self._log.ordering(batch)
            try:
                state = await self._service.order(self._asked(batch), lines)
            except UncertainOrder as error:
                self._say(
                    f"{self._lane.name}: an order was not answered ({error}); asking whether it arrived"
                )
                batch = await self.found(batch)
                if batch.step is Step.CREATED:
                    return batch
            except ApiError as error:
                batch = self._log.absent(batch)
                unseen = _names_the_file(error, batch) and time.time() - begun < self._lane.dialect.visible_s
                if not unseen and error.outcome.kind not in _WAITS:
                    raise
                wait_s = max(wait_s, error.outcome.wait_s or 0.0)
            else:
                return self._log.created(batch, state.id)
            await self._sleep(wait_s)
            wait_s = min(2 * wait_s, MOST_AGAIN_S)

    def _asked(self, batch: Batch) -> Order:
        dialect = self._lane.dialect
        return Order(batch.model, batch.path, dialect.windows[0], {LABEL: batch.key}, batch.file)

    async def found(self, batch: Batch) -> Batch:
        """The batch of an order that was not answered: created, or as it was before the order.

        Raises:
            RunStopped: the service's list does not tell.
        """
        while True:
            state = await self._match(batch)
            if state is not None:
                return self._log.created(batch, state.id)
            left = batch.ordered_at + self._lane.dialect.visible_s - time.time()
            if left <= 0:
                return self._log.absent(batch)
            await self._sleep(min(left + 0.1, 5.0))

    async def _match(self, batch: Batch) -> BatchState | None:
        """The batch at the service; None when it certainly does not show one now."""
        listed = await self._service.listed(batch.ordered_at - CLOCK_MARGIN_S)
        if self._lane.dialect.keeps_labels:
            return next((one for one in listed if one.labels.get(LABEL) == batch.key), None)
        known = {one.id for one in self._log.all.by_key.values()}
        for state in listed:
            if state.id not in known and state.total in (None, batch.lines):
                if not state.phase.has_ended:
                    self._say(
                        f"{self._lane.name}: batch {state.id} may be ours; its custom_ids tell when it ends"
                    )
                    return await self._told_apart(batch, state)
                if await self._is_ours(batch, state):
                    return state
        return None

    async def _told_apart(self, batch: Batch, state: BatchState) -> BatchState | None:
        """Waits for the end of a batch that may be ours."""
        while not state.phase.has_ended:
            await self._sleep(MOST_AGAIN_S / 4)
            state = await self._service.state(state.id)
        return state if await self._is_ours(batch, state) else None

    async def _is_ours(self, batch: Batch, state: BatchState) -> bool:
        """Whether a batch that has ended has our custom_ids."""
        for one in state.inline or ():
            return batch.row_of(self._lane.dialect.result(one).custom_id) is not None
        path = self._scratch / f"{batch.key}.look"
        for file in state.files:
            await self._service.fetch(file, path)
            with path.open("rb") as lines:
                first = lines.readline()
            path.unlink()
            with contextlib.suppress(ReplyProblem):
                data = parse_json(first)
                if isinstance(data, dict):
                    return batch.row_of(self._lane.dialect.result(data).custom_id) is not None
        raise RunStopped(
            StopReason.BATCH,
            f"{self._lane.name}: an order was not answered, and batch {state.id} may be it: no results of it "
            f"tell. Look in the service's console for batch {state.id} and custom_ids that begin "
            f"with {batch.key}; nothing is ordered again before that is known.",
        )


def _names_the_file(error: ApiError, batch: Batch) -> bool:
    """Whether an order was refused because its file is not to be seen yet."""
    if error.outcome.code not in {400, 404} or batch.file is None:
        return False
    said = f"{error.outcome.message} {error.outcome.error_raw or ''}".lower()
    return batch.file.lower() in said or "file" in said
