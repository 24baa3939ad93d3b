"""One invocation of a run: it sends what is not final yet, tells who is to know, and says how it ended."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from batchlab.dispatch.stop import StopSignal
from batchlab.engines.local import Endpoint, LocalEngine
from batchlab.engines.loop import first_of, run_loop
from batchlab.engines.observer import Taker
from batchlab.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_STOPPED, BatchlabError, UsageError
from batchlab.job import SELF_STARTED, Job
from batchlab.job.index import as_key, spelled
from batchlab.looking.phrases import counted
from batchlab.observe.facts import EndpointAddress, RunFacts
from batchlab.observe.watchers import Watchers
from batchlab.progress import Progress
from batchlab.records import Completion, Shard
from batchlab.run_end import RunStopped, RunSummary, StopReason, code_of
from batchlab.run_state import RunState
from batchlab.runner.crews import crew_for
from batchlab.runner.first_rows import EarlyForecast, FirstRows
from batchlab.runner.interrupt import Interrupt
from batchlab.runner.prepare import Prepared
from batchlab.runner.signals import Signals
from batchlab.store.asking import AskAgain
from batchlab.store.history import History
from batchlab.store.locked import LockedRun
from batchlab.totals import RunningTotals

if TYPE_CHECKING:
    from batchlab.engines.crew import Crew
    from batchlab.engines.foreman import Foreman
    from batchlab.runner.duplicates import Duplicates


class Invocation:
    """One invocation: what was final before, what is final now, and who is told."""

    def __init__(
        self,
        job: Job,
        prepared: Prepared,
        watchers: Watchers,
        *,
        retry: AskAgain | None,
        only: frozenset[int] | None,
        interrupt: Interrupt | None = None,
        taker: Taker | None = None,
        reused: int = 0,
    ) -> None:
        self._only = only
        self._reused = reused  # rows that older runs have answered just now
        self._doubled = 0  # rows that get the answer of another row
        self._copied = RunningTotals()  # those that have it
        self._watchers = watchers
        self._interrupt = interrupt or Interrupt()
        self._taker = taker
        self._history = History(prepared.store.path)
        self._job = job
        self._prepared = prepared
        self._retry = retry
        standing = prepared.store.standing(prepared.plan.shards, retry=retry)
        earlier, self._in_flight_before = standing
        self._before = RunState(rows=prepared.plan.rows, earlier=earlier, copies=reused)
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self.forecast: EarlyForecast | None = None
        self._first_rows = FirstRows()

    def facts(self, endpoints: Sequence[Endpoint]) -> RunFacts:
        """What is known of the run before it sends anything."""
        return RunFacts(
            run=str(self._prepared.store.path.absolute()),
            job=self._job,
            before=self._before,
            addresses=tuple(EndpointAddress.of(one.job, one.base_url) for one in endpoints),
            # the word that our own simulator takes for a key is none, and is in its name
            secrets=tuple(
                one.key.reveal()
                for one in endpoints
                if one.key is not None and one.job.host not in SELF_STARTED
            ),
        )

    def opening_lines(self) -> list[str]:
        """What answers have to fit, and where a resumed run goes on."""
        rows, earlier = self._before.rows, self._before.earlier
        schema = self._prepared.builder.schema
        lines = [schema.described()] if schema is not None else []
        if before := earlier.rows - self._reused:
            lines.append(f"resuming: {before:,} of {counted(rows, 'row')} have a final result")
        if self._in_flight_before:
            count = counted(self._in_flight_before, "request")
            lines.append(f"an earlier run was cut off with {count} in flight, which may be billed twice")
        return lines

    def show(self, progress: Progress) -> None:
        """Sends progress to `progress` from now on."""
        self._progress = progress

    def update(self, state: RunState) -> None:
        """Tells those who are to know how far the run is."""
        state = dataclasses.replace(
            state,
            added=state.added + self._copied.totals,
            copies=self._reused + self._doubled,
            elapsed_s=time.monotonic() - self._started,
        )
        self._history.update(state)
        self._watchers.update(state)
        if self.forecast is None:
            self.forecast = self._first_rows.forecast(state)
        if self._progress is not None:
            self._progress.update(state)

    def message(self, text: str) -> None:
        """Says one line to the person who runs it."""
        if self._progress is not None:
            self._progress.message(text)
        self._watchers.heard(text)

    def _engine(self, endpoints: Sequence[Endpoint], crew: Crew | None) -> LocalEngine | Foreman:
        prepared = self._prepared
        what: dict[str, Any] = {
            "job": self._job,
            "endpoints": endpoints,
            "source": prepared.source,
            "plan": prepared.plan,
            "store": prepared.store,
            "builder": prepared.builder,
            "observer": self,
            "before": self._before,
            "watch": self._watchers if self._watchers.of_rows else None,
        }
        if crew is None:
            return LocalEngine(**what, only=self._only, taker=self._taker)
        from batchlab.engines.foreman import Foreman

        spool, watch_link = prepared.store.layout.stdin, self._watchers.link()
        return Foreman(**what, crew=crew, spool=spool, watch_link=watch_link)

    async def _run_once_each(self, engine: LocalEngine, stop: StopSignal, shards: list[Shard]) -> None:
        """Sends identical requests once: a pass for the first of each, copies, and on with what failed."""
        from batchlab.runner.duplicates import Duplicates  # with numpy: other runs start without
        from batchlab.store.answers import Answers

        store, taker = self._prepared.store, self._taker
        duplicates: Duplicates = await asyncio.to_thread(Duplicates, self._prepared)
        self._doubled = duplicates.extra
        if duplicates.extra:
            count, rows = counted(duplicates.extra, "row"), self._prepared.plan.rows
            self.message(f"dedupe: {count} of {rows:,} ask what an earlier row asks; sent once")

        def took(copy: Completion) -> None:
            if taker is not None:
                taker.take_in_turn(copy)

        with Answers(store.path) as answers:
            while shards and not stop.is_set:
                settle = partial(duplicates.settle, answers, stop=stop, totals=self._copied, took=took)
                engine.held = await asyncio.to_thread(settle)
                shards = shards_to_run(store, shards, self._retry)
                if shards:
                    await engine.run(stop, retry=self._retry, shards=shards)
                if engine.held is None:
                    return

    def to_end(self, endpoints: Sequence[Endpoint], *, signals: bool, command: str) -> RunSummary:
        """Runs until every row is final or the run stops."""
        prepared = self._prepared
        shards = shards_to_run(prepared.store, list(prepared.plan.shards), self._retry)
        alone = "a pilot sends few rows" if self._only is not None else ""
        if self._job.output.dedupe and self._only is None:
            alone = "dedupe copies answers in this process"
        if self._taker is not None:
            alone = "results are handed over one by one in this process"
        crew = crew_for(self._job, prepared.store, len(shards), self.message, alone=alone)
        engine: LocalEngine | Foreman | None = None
        stopped: tuple[StopReason, str] | None = None
        exit_code = EXIT_OK

        async def main() -> None:
            nonlocal engine, stopped, exit_code
            stop = StopSignal()
            caught = Signals(stop, self.message, command)
            if signals:
                caught.install()
            deadline = self._job.limits.deadline_s
            if deadline is not None:
                asyncio.get_running_loop().call_later(
                    deadline, stop, StopReason.DEADLINE, f"the deadline of {deadline:g} s is over"
                )
            engine = self._engine(endpoints, crew)
            with self._interrupt.bound(stop):
                if isinstance(engine, LocalEngine) and self._job.output.dedupe and self._only is None:
                    await self._run_once_each(engine, stop, shards)
                else:
                    await engine.run(stop, retry=self._retry, shards=shards)
            if stop.reason is not None:
                stopped = stop.reason, stop.message
            exit_code = caught.exit_code or EXIT_INTERRUPTED

        if shards:
            try:
                run_loop(main)
            except asyncio.CancelledError:  # the second interrupt
                stopped, exit_code = (
                    (StopReason.INTERRUPTED, "interrupted; requests in flight were left"),
                    EXIT_INTERRUPTED,
                )
            except BaseExceptionGroup as group:
                stopped = _stopped_by(first_of(group))
        totals = prepared.store.totals()
        if stopped is None and self._only is not None and totals.rows < prepared.plan.rows:
            stopped, code = (StopReason.PILOT, "only the rows of the pilot were to be sent"), EXIT_OK
        elif stopped is None:
            code = code_of(totals, self._job.output.fail_on)
            if totals.rows < prepared.plan.rows:
                raise BatchlabError(
                    f"{prepared.plan.rows - totals.rows} rows have no result; please report this"
                )
        else:
            code = exit_code if stopped[0] == StopReason.INTERRUPTED else EXIT_STOPPED
        state = engine.state() if engine is not None else self._before
        return RunSummary(
            run_dir=str(prepared.store.path),
            input_rows=prepared.plan.rows,
            totals=totals,
            sent=state.attempts.sent,
            elapsed_s=time.monotonic() - self._started,
            maybe_repaid=self._in_flight_before,
            stopped=stopped[0] if stopped else None,
            message=spelled(stopped[1], as_key) if stopped else "",
            exit_code=code,
            insecure=tuple(one.name for one in self._job.endpoint if one.insecure),
            limited=state.attempts.limited,
            window=state.window,
            fail_on=self._job.output.fail_on,
        )


def shards_to_run(store: LockedRun, shards: list[Shard], retry: AskAgain | None) -> list[Shard]:
    """The shards with something to do. Sealed ones are skipped unread, unless rows are retried."""
    sealed = store.sealed()
    if retry is None:
        return [shard for shard in shards if shard.index not in sealed]
    failed = store.shards_with_failures()
    return [shard for shard in shards if shard.index not in sealed or shard.index in failed]


def _stopped_by(error: BaseException) -> tuple[StopReason, str]:
    """Reason and message of an error that ends a run in order; any other is raised."""
    match error:
        case RunStopped():
            return error.reason, str(error)
        case UsageError():  # the input cannot be read any more: too late for exit code 2
            return StopReason.INPUT, str(error)
    raise error from None
