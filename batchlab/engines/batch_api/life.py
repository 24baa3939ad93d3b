"""One batch from its order to its results. It may be left at any instant, and taken up again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchlab.counts import counted
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.rate.slots import Stopped
from batchlab.dispatch.rate.worst_case import Reservation
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.ordering import Ordering
from batchlab.engines.batch_api.results import write_inline
from batchlab.engines.batch_api.waiting import next_look_s
from batchlab.protocol.batches.dialect import BatchState, Phase, line_of
from batchlab.run_end import RunStopped, StopReason
from batchlab.run_state import BatchStanding
from batchlab.store.batches import Batch, BatchLog, Step

_GONE = frozenset({404, 410})


class NoRoom(Exception):
    """The service has too much queued already: the batch came to nothing, and is accepted later."""


class BadLines(Exception):
    """The service took none of a batch, because of single lines; `problems` has them by line number."""

    def __init__(self, problems: dict[int, str]) -> None:
        super().__init__(f"refused: {counted(len(problems), 'line')}")
        self.problems = problems


@dataclass(slots=True, eq=False)
class Out:
    """A batch that is out, in this process.

    Attributes:
        lines: the file of its lines; None once that is not needed.
        state: as its service said last.
        is_looked_at: whether it was asked for in this process.
        wake: set to look at it now.
    """

    batch: Batch
    lane: BatchLane
    reservation: Reservation
    lines: Path | None = None
    state: BatchState | None = None
    next_look: float = 0.0
    is_looked_at: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def standing(self) -> BatchStanding:
        """As others are told of it."""
        state, batch = self.state, self.batch
        return BatchStanding(
            key=batch.key,
            endpoint=batch.endpoint,
            id=batch.id or "",
            rows=batch.lines,
            word=state.word if state is not None else batch.step.value,
            done=state.done if state is not None else None,
            since=batch.ordered_at or batch.meant_at,
            next_look=self.next_look,
        )


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

    def _ordering(self, lane: BatchLane) -> Ordering:
        return Ordering(lane, self._log, say=self._say, sleep=self.sleep, scratch=self._folder)

    async def ordered(self, out: Out) -> None:
        """Orders the batch, or finds out what became of its order.

        Raises:
            ApiError: it was refused. Stopped: the run stops. RunStopped: see `Ordering`.
        """
        ordering = self._ordering(out.lane)
        if out.lines is not None:
            out.batch = await ordering.place(out.batch, out.lines)
            out.lines.unlink(missing_ok=True)
            out.lines = None
        elif out.batch.step is Step.ORDERING:
            out.batch = await ordering.found(out.batch)
        self._changed()

    async def ended(self, out: Out) -> None:
        """Waits for the batch's end, which is then noted.

        Raises:
            NoRoom, BadLines: it came to nothing. RunStopped: the service does not know it, or will not do it.
        """
        while True:
            state = out.state = await self._state(out)
            out.is_looked_at = True
            if state.phase.has_ended:
                break
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
            path = self._results(out.batch)
            path.unlink(missing_ok=True)
            write_inline(state.inline, path)
        out.batch = self._log.ended(out.batch, state.phase, state.files)
        self._changed()

    async def _state(self, out: Out) -> BatchState:
        assert out.batch.id is not None
        try:
            return await out.lane.service.state(out.batch.id)
        except ApiError as error:
            if error.outcome.code in _GONE:
                raise self._lost(out, "does not know the batch any more") from error
            raise

    def _failed(self, out: Out, state: BatchState) -> None:
        """What a batch that came to nothing means."""
        batch = out.batch
        if state.lacks_room:
            self._log.dropped(batch, "no room")
            raise NoRoom
        bad = {line: one for one in state.problems if (line := line_of(one)) is not None}
        said = "; ".join(state.problems[:3]) or "no reason given"
        self._log.dropped(batch, said[:500])
        if bad and len(bad) < batch.lines:
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
        if not batch.files and path.exists():
            return path  # they came with its state
        if not batch.files:
            if out.state is None and out.lane.dialect.inline is not None:
                state = await self._state(out)
                write_inline(state.inline or (), path)
            path.touch()
            return path
        piece = path.with_suffix(".piece")
        path.unlink(missing_ok=True)
        with path.open("wb") as whole:
            for file in batch.files:
                try:
                    await out.lane.service.fetch(file, piece)
                except ApiError as error:
                    if error.outcome.code in _GONE:
                        raise self._lost(out, f"has deleted its results ({file})") from error
                    raise
                with piece.open("rb") as part:
                    while chunk := part.read(1 << 20):
                        whole.write(chunk)
                    part.seek(max(0, part.seek(0, 2) - 1))
                    if part.read(1) not in (b"\n", b""):
                        whole.write(b"\n")
                piece.unlink()
        return path

    def _results(self, batch: Batch) -> Path:
        return self._folder / f"{batch.key}.results"

    def forget(self, batch: Batch) -> None:
        """All that came of it is in the journal."""
        self._results(batch).unlink(missing_ok=True)

    def _lost(self, out: Out, why: str) -> RunStopped:
        """What was paid, and cannot be had."""
        batch = out.batch
        usd = "an unknown sum" if batch.usd is None else f"up to ${batch.usd:,.6f}".rstrip("0").rstrip(".")
        message = f"{out.lane.name} {why}: batch {batch.id}, {counted(batch.lines, 'row')}, billed {usd}"
        if self._accepts_loss:
            self._log.dropped(batch, "lost")
            return RunStopped(StopReason.BATCH, f"{message}. It is given up: go on to ask its rows again.")
        return RunStopped(
            StopReason.BATCH,
            f"{message}. To ask its rows, and pay for them, again: go on with {{output.accept_lost_parts}}.",
        )

    async def take_back(self, out: Out) -> None:
        """Asks the service to end the batch; what it has answered by then is kept."""
        if out.batch.is_cancelled or out.batch.id is None or out.batch.step is not Step.CREATED:
            return
        there, out.batch = out.batch.id, self._log.cancelling(out.batch)
        await out.lane.service.cancel(there)
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
                with contextlib.suppress(asyncio.CancelledError):
                    await one
        if self._stop.is_set:
            raise Stopped


async def _true_after(wait: Awaitable[object]) -> bool:
    await wait
    return True
