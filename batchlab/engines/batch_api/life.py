"""One batch from its order to its results. It may be left at any instant, and taken up again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from batchlab.counts import counted
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http import batch_calls
from batchlab.dispatch.http.batch_service import BatchService
from batchlab.dispatch.rate.slots import Stopped
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.batch_api.answers.downloads import download, download_all
from batchlab.engines.batch_api.answers.results import write_inline
from batchlab.engines.batch_api.choices.ways import seconds_of_window
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.orders.ordering import NoRoom, Ordering, at_most
from batchlab.engines.batch_api.out import Out
from batchlab.engines.batch_api.waiting import next_look_s
from batchlab.protocol.batches.dialect import BatchState, Phase, line_of
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Batch, Step
from batchlab.store.disk.files import disk_errors

RESULTS = ".results"  # that came with a state, and can be had again only for as long as that is told
DELETION_S = 15.0  # for as long as nobody minds
UNSEEN_S = 2.0  # between two looks for what is not to be seen yet
LATE_S = 3_600.0  # after its end, by the service's clock, nothing of a batch is on its way any more
CALLED_OFF_AT_ONCE = 8  # batches; there may be hundreds, and services count calls
MANY_BAD = 20  # lines that are refused with the same words, from the first on
T = TypeVar("T")


class GivenUp(Exception):
    """What the service had of a batch is lost, and its rows are to be asked again."""


class BadLines(Exception):
    """The service took none of a batch, because of single lines; `problems` has them by line number."""

    def __init__(self, problems: dict[int, str]) -> None:
        super().__init__(f"refused: {counted(len(problems), 'line')}")
        self.problems = problems


class Life:
    """Brings batches from step to step.

    Args:
        folder: where lines and results are on their way.
        changed: called when something of a batch has changed.
        ended_after_s: of each lane, how long batches took, as far as is known.
        accepts_loss: a batch whose results are gone is given up, and its rows asked again.
    """

    def __init__(
        self,
        log: BatchLog,
        stop: StopSignal,
        folder: Path,
        *,
        say: Callable[[str], None],
        changed: Callable[[], None],
        ended_after_s: Mapping[str, Sequence[float]],
        accepts_loss: bool = False,
    ) -> None:
        self._log = log
        self._stop = stop
        self._folder = folder
        self._say = say
        self._changed = changed
        self._ended_after_s = ended_after_s
        self._accepts_loss = accepts_loss
        self._proven: set[str] = set()  # lanes that have taken an order
        self._refused: dict[str, ApiError] = {}  # those that have not taken their first
        self._first: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._calling_off = asyncio.Semaphore(CALLED_OFF_AT_ONCE)

    def _ordering(self, lane: BatchLane) -> Ordering:
        return Ordering(
            lane,
            self._log,
            say=self._say,
            sleep=self.sleep,
            scratch=self._folder,
            accepts_loss=self._accepts_loss,
        )

    async def ordered(self, out: Out) -> None:
        """Orders the batch, or finds out what became of its order.

        Raises:
            ApiError: it was refused. Stopped: the run stops. RunStopped, NoRoom: see `Ordering`.
        """
        name = out.lane.name
        if out.lines is None:
            if out.batch.step is Step.ORDERING:
                out.batch = await self._ordering(out.lane).found(out.batch)
        elif name in self._proven:
            await self._place(out, out.lines)
        else:
            # an account that may order none is told of it once, before more is uploaded
            async with self._first[name]:
                if self._stop.is_set:
                    raise Stopped
                if (refused := self._refused.get(name)) is not None:
                    raise refused
                if name not in self._proven:
                    try:
                        await self._place(out, out.lines)
                    except ApiError as error:
                        self._refused[name] = error
                        raise
                    self._proven.add(name)
            if out.lines is not None:
                await self._place(out, out.lines)
        self._changed()

    async def _place(self, out: Out, lines: Path) -> None:
        with disk_errors(lines):
            out.batch = await self._ordering(out.lane).place(out.batch, lines)
        lines.unlink(missing_ok=True)
        out.lines = None

    async def ended(self, out: Out) -> None:
        """Waits for the batch's end, which is then noted.

        Raises:
            NoRoom, BadLines: it came to nothing. RunStopped: the service does not know it, or will not do it.
        """
        begun, said = time.monotonic(), set[str]()
        while True:
            state = out.state = await self._state(out)
            if not state.phase.has_ended:
                begun = time.monotonic()
            out.is_looked_at = True
            if state.phase.has_ended and not _lacks_results(state):
                break
            if _knows_of_no_end(out.batch, state) and self.begin_to_end(out):
                await self.call_off(out)
                continue
            if state.phase.has_ended and (
                time.monotonic() - begun > out.lane.dialect.visible_s or _ended_long_ago(state)
            ):
                why = f" ({state.problems[0]})" if state.problems else ""
                raise self.lost(out, f"names no results of a completed batch{why}")
            if (what := _odd(out, state)) is not None and what not in said:
                said.add(what)
                self._say(f"{out.lane.name}: batch {out.batch.id} {what}")
            wait_s = next_look_s(
                time.time() - out.batch.created_at, self._ended_after_s.get(out.lane.name, ())
            )
            out.next_look = time.time() + wait_s
            self._changed()
            out.wake.clear()
            await self.sleep(wait_s, out.wake)
        out.next_look = 0.0
        if state.phase is Phase.FAILED and not state.files and not state.inline:
            self._failed(out, state)
        if state.inline is not None:
            write_inline(state.inline, self._results(out.batch))
        out.batch = self._log.ended(out.batch, state.phase, state.files)
        self._changed()

    async def _state(self, out: Out) -> BatchState:
        there = out.batch.id
        assert there is not None
        known = "does not know the batch (any more, or with this key)"
        return await self._unless_gone(
            out, lambda: out.lane.service.state(there), out.batch.created_at, known
        )

    async def _unless_gone(self, out: Out, call: Callable[[], Awaitable[T]], since: float, why: str) -> T:
        """What a call brings of something that is there since a Unix time, and may stay unseen for a while.

        What was seen before is looked for a few times more: a gateway that restarts knows of nothing.

        Raises GivenUp, RunStopped: it is gone.
        """
        looks = list(batch_calls.SECOND_LOOKS_S) if out.state is not None else []
        while True:
            try:
                return await call()
            except ApiError as error:
                if error.outcome.code not in batch_calls.GONE:
                    raise
                left = since + out.lane.dialect.visible_s - time.time()
                if 0 < left <= out.lane.dialect.visible_s:
                    await self.sleep(min(left + 0.1, UNSEEN_S))
                elif looks:
                    await self.sleep(looks.pop(0))
                else:
                    raise self.lost(out, why) from error

    def _failed(self, out: Out, state: BatchState) -> None:
        """What a batch that came to nothing means."""
        batch = out.batch
        if state.lacks_room:
            self._log.dropped(batch, "no room")
            raise NoRoom
        bad = {line: one for one in state.problems if (line := line_of(one)) is not None}
        if not all(1 <= line <= batch.lines for line in bad):
            bad = {}  # by whatever the service counts, it is not by our lines: no row is to blame
        said = "; ".join(state.problems[:3]) or "no reason given"
        self._log.dropped(batch, said[:500])
        if bad and (batch.lines == 1 or not _is_of_all(bad, batch.lines)):
            raise BadLines(bad)
        raise RunStopped(
            StopReason.BATCH,
            f"{out.lane.name} refused batch {batch.id} ({counted(batch.lines, 'line')}): {said}",
        )

    async def fetched(self, out: Out) -> Path:
        """The file of the batch's results, here.

        Raises RunStopped when they are gone.
        """
        batch, path = out.batch, self._results(out.batch)
        if not batch.files:
            if not path.exists():  # else they came with its state
                state = out.state if out.state is not None else await self._state(out)
                write_inline(state.inline or (), path)
            return path
        path = path.with_suffix(".files")

        async def fetch(service: BatchService, file: str, to: Path) -> None:
            once = partial(download, service, file, to)
            await self._unless_gone(out, once, batch.ended_at, f"has deleted its results ({file})")

        with disk_errors(path):
            await download_all(out.lane.service, batch.files, path, fetch)
        return path

    def _results(self, batch: Batch) -> Path:
        return self._folder / f"{batch.key}{RESULTS}"

    def forget(self, batch: Batch) -> None:
        """All that came of it is in the journal."""
        path = self._results(batch)
        for one in (path, path.with_suffix(".files"), path.with_suffix(".piece")):
            one.unlink(missing_ok=True)

    async def give_file_back(self, out: Out) -> None:
        """Has the service delete the lines of a batch that is done with. Its trouble is nobody's.

        Those of an order whose fate nobody knows stay: it may be a batch that reads them.
        """
        batch, state = self._log.all.by_key[out.batch.key], out.state
        has_ended = batch.step is Step.MERGED or (state is not None and state.phase.has_ended)
        if batch.file is not None and has_ended:
            with contextlib.suppress(ApiError, TimeoutError):
                async with asyncio.timeout(DELETION_S):
                    await out.lane.service.delete(batch.file)

    def tidy(self) -> None:
        """Removes what killed processes have left: all but results that came with a state, of batches out."""
        kept = {self._results(batch) for batch in self._log.all.out if batch.step is Step.ENDED}
        for path in self._folder.iterdir():
            if path not in kept:
                path.unlink(missing_ok=True)

    def lost(self, out: Out, why: str) -> GivenUp | RunStopped:
        """What was paid, and cannot be had."""
        batch = out.batch
        rows, usd = counted(batch.lines, "row"), at_most(batch)
        message = f"{out.lane.name} {why}: batch {batch.id}, {rows}, billed {usd}"
        if self._accepts_loss:
            return GivenUp(f"{message}; given up, as you said: its rows are asked again")
        return RunStopped(
            StopReason.BATCH,
            f"{message}. To ask its rows, and pay for them, again: go on with {{output.accept_lost_parts}}.",
        )

    def begin_to_end(self, out: Out) -> bool:
        """Notes that the batch is taken back, which `call_off` has to follow.

        False when there is nothing to ask, see `Out.may_be_taken_back`. Raises RunStopped (disk).
        """
        if not out.may_be_taken_back:
            return False
        out.is_told_to_end = True  # whatever comes of it: once in each process
        if not out.batch.is_cancelled:
            out.batch = self._log.cancelling(out.batch)
        return True

    async def call_off(self, out: Out) -> None:
        """Asks the service to end the batch, for as long as an outage may last. Raises Stopped."""
        there = out.batch.id
        assert there is not None, "it was there when that was noted"
        try:
            async with self._calling_off:
                await out.lane.service.cancel(there)
        except ApiError as error:
            self._say(f"{out.lane.name}: batch {there} could not be cancelled ({error})")
        if not out.lane.dialect.cancels:
            self._say(f"{out.lane.name}: batch {there} cannot be cancelled there; waiting for its end")
        out.wake.set()

    async def sleep(self, seconds: float, wake: asyncio.Event | None = None) -> None:
        """Waits, until `wake` is set if there is one; raises Stopped at once when the run stops."""
        waits = [asyncio.create_task(_true_after(self._stop.wait()))]
        if wake is not None:
            waits.append(asyncio.create_task(_true_after(wake.wait())))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.wait(
                waits
            )  # awaited one by one, a cancellation of this task could be taken for theirs
        if self._stop.is_set:
            raise Stopped


def _knows_of_no_end(batch: Batch, state: BatchState) -> bool:
    """Whether a batch was taken back, and goes on: who noted that may have been killed before saying it."""
    return batch.is_cancelled and state.phase in {Phase.WAITING, Phase.RUNNING}


def _odd(out: Out, state: BatchState) -> str | None:
    """What a person should know of a batch that is waited for; None when all is as it should be."""
    window = out.lane.dialect.windows[0]
    if state.phase.has_ended:
        return f"is {state.word}, and names no results yet"
    if not state.is_known:
        return f"is {state.word or 'nothing'!r}, a word that batchlab does not know: waiting for another one"
    if time.time() - out.batch.created_at > seconds_of_window(window):
        return f"has not ended within its {window}; waiting for it. To end it: `batchlab cancel`"
    return None


def _ended_long_ago(state: BatchState) -> bool:
    return state.ended_at is not None and time.time() - state.ended_at > LATE_S


def _lacks_results(state: BatchState) -> bool:
    """Whether a batch has come to its end, and does not name what came of it, yet or any more."""
    return state.phase is Phase.COMPLETED and not state.files and state.inline is None


def _is_of_all(problems: dict[int, str], lines: int) -> bool:
    """Whether what is wrong with single lines is wrong with every one, such as a model that takes no batch.

    A service tells of the first so many lines only.
    """
    count = len(problems)
    texts = {text.partition(": ")[2] for text in problems.values()}
    are_first = set(problems) == set(range(1, count + 1))
    return count >= lines or (are_first and count >= MANY_BAD and len(texts) == 1)


async def _true_after(wait: Awaitable[object]) -> bool:
    await wait
    return True
