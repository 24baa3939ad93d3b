"""Ordering a batch once, and finding out what became of an order that was not answered."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from batchlab.counts import counted
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.batch_calls import UncertainOrder
from batchlab.dispatch.http.batch_service import Listed
from batchlab.dispatch.http.order_body import SLEPT_S
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.orders.recognizing import LABEL, Marks, bears
from batchlab.protocol.batches.dialect import BatchState, Order, Phase
from batchlab.protocol.batches.openai import NO_ROOM
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.batch_log import BatchLog, Whose
from batchlab.store.batches import Batch, Step

CLOCK_MARGIN_S = 6 * 3600.0  # by which a service's clock may differ from ours
AGAIN_S, MOST_AGAIN_S = 2.0, 60.0
ON_ITS_WAY_S = 3600.0  # the longest that an order, with all of its lines, may take to arrive
LOOKS_AWAKE = 3
LOOK_S = 5.0  # between two looks at the list, while a batch may stay unseen
_NO_LIST = frozenset({400, 403, 404, 405, 501})  # a gateway, or a key, that tells of no batches but by id


class NoRoom(Exception):
    """The service has too much queued already: the batch came to nothing, and is accepted later."""


class Ordering:
    """Places the orders of one lane.

    Args:
        sleep: waits, and raises Stopped once the run stops.
        scratch: a folder for what is looked into.
        accepts_loss: an order of which nothing certain can be found out is given up.
    """

    def __init__(
        self,
        lane: BatchLane,
        log: BatchLog,
        *,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]],
        scratch: Path,
        accepts_loss: bool = False,
    ) -> None:
        self._lane = lane
        self._service = lane.service
        self._log = log
        self._say = say
        self._sleep = sleep
        self._marks = Marks(lane, log, scratch)
        self._accepts_loss = accepts_loss

    async def place(self, batch: Batch, lines: Path) -> Batch:
        """The batch, created.

        Raises:
            ApiError: it was refused, or no order arrives for as long as an outage may last; the log says
                whether it may exist all the same.
            RunStopped: whether it exists cannot be found out, or not be noted.
            NoRoom: too much is queued there already.
        """
        if self._lane.dialect.files is not None and batch.file is None:
            batch = self._log.uploaded(batch, await self._service.upload(lines))
        begun, wait_s = time.monotonic(), AGAIN_S
        while True:
            batch = self._announced(batch)
            try:
                state = await self._service.order(self._asked(batch), lines)
            except UncertainOrder as error:
                self._say(
                    f"{self._lane.name}: an order was not answered ({error}); asking whether it arrived"
                )
                batch = await self.found(batch)
                if batch.step is not Step.UPLOADED and batch.step is not Step.MEANT:
                    return batch
                trouble: ApiError = error
            except ApiError as error:
                batch = self._log.absent(batch, doubted=False)
                if error.outcome.cause in NO_ROOM:
                    self._log.dropped(batch, "no room")
                    if batch.file is not None:  # each try has one of its own
                        with contextlib.suppress(ApiError):
                            await self._service.delete(batch.file)
                    raise NoRoom from error
                passed_s = time.monotonic() - begun
                if not self._may_pass(error, batch, passed_s):
                    raise
                trouble = error
                wait_s = max(wait_s, error.outcome.wait_s or 0.0)
            else:
                return await self._created(batch, state.id)
            if time.monotonic() - begun > self._service.patience_s:
                raise trouble
            await self._sleep(wait_s)
            wait_s = min(2 * wait_s, MOST_AGAIN_S)

    def _announced(self, batch: Batch) -> Batch:
        """Noted as ordered a moment ago: who has slept since looks once more whose the run is."""
        for _ in range(LOOKS_AWAKE):  # a store may be as slow as that
            batch = self._log.ordering(batch)
            if time.time() - batch.ordered_at < SLEPT_S:
                break
        return batch

    async def _created(self, batch: Batch, found: str) -> Batch:
        """The batch, with the id that its service has given it.

        Raises RunStopped: it cannot be noted. When that is so because another machine has the run, and does
        not know of it, it is called off: its rows may have been ordered anew.
        """
        try:
            return self._log.created(batch, found)
        except RunStopped:
            if self._log.elsewhere(batch, found) is not Whose.NOBODYS:
                raise
            told = "cancelled" if self._lane.dialect.cancels else "which cannot be cancelled there"
            try:
                await self._service.cancel(found)
            except ApiError as error:
                told = f"which could not be cancelled ({error})"
            # said, and not only in why the run stops: it may be stopping for the same already
            self._say(
                f"{self._lane.name}: an order of {counted(batch.lines, 'row')} arrived when another "
                f"machine had taken the run over: batch {found}, {told}; it may be billed {at_most(batch)}"
            )
            raise

    def _may_pass(self, error: ApiError, batch: Batch, passed_s: float) -> bool:
        """Whether what an order was refused for may be over in a while."""
        if error.outcome.kind.may_pass:
            return True
        return names_the_file(error, batch.file) and passed_s < self._lane.dialect.visible_s

    def _asked(self, batch: Batch) -> Order:
        dialect = self._lane.dialect
        return Order(batch.model, batch.path, dialect.windows[0], {LABEL: batch.key}, batch.file)

    async def found(self, batch: Batch) -> Batch:
        """The batch of an order that was not answered: created, or as it was before the order.

        Given up, and dropped, when nothing certain is to be had and that is accepted.

        Raises:
            RunStopped: the service does not tell. ApiError: it cannot be asked.
        """
        visible_s = self._lane.dialect.visible_s
        # it may have arrived only now; or, of a process that was killed, just before this one began
        arrived_at = min(time.time(), batch.ordered_at + ON_ITS_WAY_S)
        while True:
            asked_at = time.time()  # what is found out about others may take hours
            try:
                listed = await self._service.listed(batch.ordered_at - CLOCK_MARGIN_S)
            except ApiError as error:
                if error.outcome.code not in _NO_LIST:
                    raise
                return self._given_up(batch, self._uncertain(batch, f"its batches are not listed ({error})"))
            if (state := next((one for one in listed.batches if bears(batch, one)), None)) is not None:
                return await self._created(batch, state.id)
            try:
                if (state := await self._told_apart(batch, listed)) is not None:
                    return await self._created(batch, state.id)
                if not listed.is_whole:
                    raise self._uncertain(batch, "its list of batches is not told to the end")
            except RunStopped as stopped:
                return self._given_up(batch, stopped)
            left = min(arrived_at + visible_s - asked_at, visible_s)
            if left <= 0:
                return self._log.absent(batch, doubted=True)
            await self._sleep(min(left + 0.1, LOOK_S))

    def _given_up(self, batch: Batch, uncertain: RunStopped) -> Batch:
        """The batch, dropped, where its loss is accepted. Raises `uncertain`."""
        if not self._accepts_loss or uncertain.reason is not StopReason.BATCH:
            raise uncertain
        self._say(f"{uncertain}; given up, as you said: its rows are asked again")
        return self._log.dropped(batch, "uncertain, and given up")

    async def _told_apart(self, batch: Batch, listed: Listed) -> BatchState | None:
        """The batch whose custom_ids are ours, of those that tell no other way; waits for their end.

        Raises RunStopped: of one of them nothing tells.
        """
        riddles: list[BatchState] = []
        for listed_as in (one for one in listed.batches if self._marks.may_be(batch, one)):
            state = await self._service.state(listed_as.id)
            if not state.phase.has_ended:
                self._say(
                    f"{self._lane.name}: batch {state.id} may be ours; its custom_ids tell when it ends"
                )
            while not state.phase.has_ended:
                await self._sleep(min(MOST_AGAIN_S / 4, 10 * AGAIN_S))
                state = await self._service.state(state.id)
            if state.total not in (None, 0, batch.lines):
                continue
            found = await self._marks.has_lines_of(batch, state)
            if found:
                return state
            if found is None and not has_answered_nothing(state):
                riddles.append(state)
        if riddles:
            ids = ", ".join(one.id for one in riddles[:3])
            raise self._uncertain(batch, f"batch {ids} may be it, and has no results that tell")
        return None

    def _uncertain(self, batch: Batch, why: str) -> RunStopped:
        ordered = time.strftime("%Y-%m-%d %H:%M", time.localtime(batch.ordered_at))
        return RunStopped(
            StopReason.BATCH,
            f"{self._lane.name}: an order of {counted(batch.lines, 'row')} ({ordered}) was not answered, "
            f"and {why}. "
            f"Look in the service's console for a batch whose custom_ids begin with {batch.key}. Nothing is "
            "ordered again before that is known; to give it up, and pay for its rows perhaps twice, go on "
            "with {output.accept_lost_parts}",
        )


def at_most(batch: Batch) -> str:
    """What a batch may be billed, in words."""
    return "an unknown sum" if batch.usd is None else f"up to ${batch.usd:,.6f}".rstrip("0").rstrip(".")


def has_answered_nothing(state: BatchState) -> bool:
    """Whether a batch came to nothing, as its service counts: be it ours or not, its lines may be asked."""
    return state.phase is not Phase.COMPLETED and state.done is not None and state.done == (state.failed or 0)


def names_the_file(error: ApiError, file: str | None) -> bool:
    """Whether an order was refused because its file is not to be seen yet."""
    if error.outcome.code not in {400, 404} or file is None:
        return False
    said = f"{error.outcome.message} {error.outcome.error_raw or ''}".lower()
    return file.lower() in said or "file" in said
