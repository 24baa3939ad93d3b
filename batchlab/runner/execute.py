"""Running a job from its first row to the summary."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from batchlab.costs.pricing import Price, price_book
from batchlab.dispatch.budget import NO_PRICE
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.local import Endpoint, LocalEngine
from batchlab.engines.loop import first_of, run_loop
from batchlab.engines.observer import Counters, Taker
from batchlab.engines.sizing import processes_for
from batchlab.errors import (
    EXIT_FAILED_ROWS,
    EXIT_OK,
    EXIT_STOPPED,
    BatchlabError,
    RunStopped,
    UsageError,
)
from batchlab.export import Target, check_target
from batchlab.job import SELF_STARTED, Job, output_format
from batchlab.observe.facts import Place, RunFacts
from batchlab.observe.watchers import Watchers, watching
from batchlab.progress import Progress, ProgressState, conversation, open_progress
from batchlab.protocol.redact import printable
from batchlab.records import Completion, Shard
from batchlab.run_summary import RunSummary
from batchlab.runner.descriptors import within_descriptors
from batchlab.runner.endpoint import started_endpoints
from batchlab.runner.forecasts import EarlyForecast, early_forecast, outcome_lines, saved_forecast
from batchlab.runner.history import History
from batchlab.runner.interrupt import Interrupt
from batchlab.runner.mirroring import brought_up_to_date
from batchlab.runner.prepare import Prepared, prepare, stdin_spool
from batchlab.runner.reading import write_output
from batchlab.runner.signals import Signals
from batchlab.runner.summary import counted, summary_lines
from batchlab.store.asking import AskAgain
from batchlab.store.run_dir import RunDir
from batchlab.terminal import with_trouble_in_red
from batchlab.totals import Totals

if TYPE_CHECKING:
    from batchlab.engines.processes import ProcessesEngine
    from batchlab.runner.duplicates import Duplicates

EXIT_INTERRUPTED = 130
TAIL_ROWS = 3  # of the last rows, the oldest are named on the progress line
FREE = Price(0.0, 0.0)


def execute(
    job: Job,
    *,
    fresh: bool = False,
    retry: AskAgain | None = None,
    progress: str = "auto",
    quiet: bool = False,
    command: str = "",
    signals: bool = False,
    only: frozenset[int] | None = None,
    on_start: Callable[[RunDir], None] | None = None,
    interrupt: Interrupt | None = None,
    taker: Taker | None = None,
    closing_lines: bool = True,
) -> RunSummary:
    """Runs the job, or goes on with it, and returns how it ended.

    Args:
        only: send these rows and no others; the run then stops with the reason `pilot`.
        on_start: called with the locked run directory before anything is sent.
        retry: which failed rows of sealed shards to ask again; None for none.
        command: what to type to go on, printed when the run stops early.
        signals: handle SIGINT, SIGTERM and SIGHUP (main thread only).
        interrupt: ends the run from another thread.
        taker: gets each result as it arrives, and may hold the run back.
        closing_lines: whether the summary is said at the end.

    Raises:
        UsageError: nothing was sent.
        RunStopped: results could not be written any more and the run has no summary.
    """
    with watching(job, _speaker(quiet)) as watchers:
        summary = _execute(
            job,
            watchers,
            fresh=fresh,
            retry=retry,
            progress=progress,
            command=command,
            signals=signals,
            only=only,
            on_start=on_start,
            interrupt=interrupt,
            taker=taker,
            closing_lines=closing_lines,
        )
        watchers.ended(summary)
    return summary


def _execute(
    job: Job,
    watchers: Watchers,
    *,
    fresh: bool,
    retry: AskAgain | None,
    progress: str,
    command: str,
    signals: bool,
    only: frozenset[int] | None,
    on_start: Callable[[RunDir], None] | None,
    interrupt: Interrupt | None,
    taker: Taker | None,
    closing_lines: bool,
) -> RunSummary:
    say = watchers.message  # shown, and logged
    _check_before(job, say)
    taken_over: Callable[[Prepared], int] = _nothing_taken_over
    if job.output.reuse:
        from batchlab.runner.reusing import old_runs, take_over  # with numpy: other runs start without

        taken_over = partial(take_over, runs=old_runs(job), say=say)
    with started_endpoints(job) as endpoints:
        job = within_descriptors(job, say)
        for started in endpoints:
            if started.note:
                say(f"endpoint: {started.note}")
        prepared = prepare(job, fresh=fresh, say=say)
        with contextlib.closing(prepared.store), contextlib.closing(prepared.source):
            reused = taken_over(prepared)
            if on_start is not None:
                on_start(prepared.store)
            if not job.request.model:
                _say_unpriced(job, prepared.plan.models, say)
            run = _Run(
                job,
                prepared,
                watchers,
                retry=retry,
                only=only,
                interrupt=interrupt,
                taker=taker,
                reused=reused,
            )
            watchers.started(run.facts(endpoints))
            for line in run.opening_lines():
                say(line)
            with (
                open_progress(progress, prepared.plan.rows, sys.stderr) as shown,
                watchers.speaking_by(None if progress == "none" else shown.message),
            ):
                run.show(shown)
                if prepared.store.mirror is not None:
                    prepared.store.mirror.say = run.message
                summary = run.to_end(endpoints, signals=signals, command=command)
            summary = brought_up_to_date(prepared.store, summary, say)
            if only is not None and summary.stopped in {None, "pilot"}:
                return summary  # a pilot speaks for itself
            summary = write_output(job, prepared, summary)
    if not closing_lines:
        return summary
    for line in summary_lines(summary, command or f"batchlab run (run directory {summary.run_dir})"):
        say(line)
    if summary.stopped is None:
        made = saved_forecast(prepared.store.path, prepared.plan.content_hash)
        compared = outcome_lines(made, summary.totals, summary.input_rows)
        if not compared and run.forecast is not None:
            compared = run.forecast.lines(summary.totals, summary.elapsed_s)
        for line in compared:
            say(line)
    return summary


def _nothing_taken_over(_: Prepared) -> int:
    return 0


def _check_before(job: Job, say: Callable[[str], None]) -> None:
    """Says what is known of prices; raises UsageError for what can be refused without the input."""
    output, asked = job.output, job.request.model
    if output.file is not None and (to := output_format(output.file, output.to, batch=False)):
        check_target(Target(output.file, to))
    for endpoint in job.endpoint:
        price, price_source = price_book(job, endpoint).find(asked)
        if price is None and job.limits.max_cost is not None and asked:
            raise UsageError(NO_PRICE)
        if job.limits.hedge and price != FREE and endpoint.host not in SELF_STARTED:
            raise UsageError(
                f"--hedge asks some rows twice, and {endpoint.name} may bill each call. Leave it out, "
                "or state that a call costs nothing: [price] input = 0, output = 0."
            )
        if price is None and asked:
            at = f" at {endpoint.name}" if len(job.endpoint) > 1 else ""
            say(f"price of {asked}{at}: unknown ({price_source}); the cost columns will be null")


def _say_unpriced(job: Job, models: Sequence[str], say: Callable[[str], None]) -> None:
    """Says which of the models that lines name have no known price."""
    unknown = [
        model
        for model in models
        if any(price_book(job, endpoint).price(model) is None for endpoint in job.endpoint)
    ]
    if unknown:
        more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
        say(f"price of {', '.join(unknown[:3])}{more}: unknown; the cost columns will be null")


def _speaker(quiet: bool) -> Callable[[str], None]:
    def say(text: str) -> None:
        if not quiet:
            stream = conversation()
            print(with_trouble_in_red(text, stream), file=stream, flush=True)

    return say


class _Run:
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
        self._synced_before = prepared.store.synced_results
        self._watchers = watchers
        self._interrupt = interrupt or Interrupt()
        self._taker = taker
        self._history = History(prepared.store.path)
        self._job = job
        self._prepared = prepared
        self._retry = retry
        standing = prepared.store.standing(prepared.plan.shards, retry=retry)
        self._earlier, self._in_flight_before = standing
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self.forecast: EarlyForecast | None = None

    def facts(self, endpoints: Sequence[Endpoint]) -> RunFacts:
        """What is known of the run before it sends anything."""
        return RunFacts(
            run=str(self._prepared.store.path.absolute()),
            job=self._job,
            rows=self._prepared.plan.rows,
            earlier=self._earlier,
            places=tuple(Place.of(one.job, one.base_url) for one in endpoints),
            # the word that our own simulator takes for a key is none, and is in its name
            secrets=tuple(
                one.key.reveal()
                for one in endpoints
                if one.key is not None and one.job.host not in SELF_STARTED
            ),
        )

    def opening_lines(self) -> list[str]:
        """What answers have to fit, and where a resumed run goes on."""
        totals, rows = self._earlier, self._prepared.plan.rows
        schema = self._prepared.builder.schema
        lines = [schema.described()] if schema is not None else []
        if before := totals.rows - self._reused:
            lines.append(f"resuming: {before:,} of {counted(rows, 'row')} have a final result")
        if self._in_flight_before:
            count = counted(self._in_flight_before, "request")
            lines.append(f"an earlier run was cut off with {count} in flight, which may be billed twice")
        return lines

    def show(self, progress: Progress) -> None:
        """Sends progress to `progress` from now on."""
        self._progress = progress

    def update(self, counters: Counters, saved: int) -> None:
        """See `engines.observer.Observer`."""
        self._history.update(
            window=counters.window,
            in_flight=counters.in_flight,
            limited=counters.attempts.limited,
            errors=counters.attempts.errors,
            paused=counters.paused,
        )
        self._watchers.update(counters)
        state = self._state(counters, saved)
        if self.forecast is None:
            self.forecast = early_forecast(state, self._earlier.rows - self._earlier.reused)
        if self._progress is not None:
            self._progress.update(state)

    def _state(self, counters: Counters, saved: int) -> ProgressState:
        now = counters.totals.totals()
        return ProgressState(
            saved=self._earlier.rows - counters.reopened + saved - self._synced_before,
            total=self._prepared.plan.rows,
            ok=self._earlier.answered + now.answered,
            failed=self._earlier.failed + now.failed,
            retried=counters.attempts.retried,
            prompt_tokens=self._earlier.prompt_tokens + now.prompt_tokens,
            completion_tokens=self._earlier.completion_tokens + now.completion_tokens,
            cost_usd=_known_cost(self._earlier + now),
            window=counters.window,
            in_flight=counters.in_flight,
            why=counters.why,
            oldest=tuple((printable(name, 40), age) for name, age in counters.oldest[:TAIL_ROWS]),
            elapsed_s=time.monotonic() - self._started,
            copied=self._earlier.reused + now.reused,
            copies=self._reused + self._doubled,
        )

    def message(self, text: str) -> None:
        """See `engines.observer.Observer`."""
        if self._progress is not None:
            self._progress.message(text)
        self._watchers.heard(text)

    def _engine(self, endpoints: Sequence[Endpoint], processes: int) -> LocalEngine | ProcessesEngine:
        prepared = self._prepared
        what: dict[str, Any] = {
            "job": self._job,
            "endpoints": endpoints,
            "source": prepared.source,
            "plan": prepared.plan,
            "store": prepared.store,
            "builder": prepared.builder,
            "observer": self,
            "earlier": self._earlier,
            "watch": self._watchers if self._watchers.of_rows else None,
        }
        if processes == 1:
            return LocalEngine(**what, only=self._only, taker=self._taker)
        from batchlab.engines.processes import ProcessesEngine

        spool, watch_link = stdin_spool(prepared.store.path), self._watchers.link()
        return ProcessesEngine(**what, processes=processes, spool=spool, watch_link=watch_link)

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
                settle = partial(
                    duplicates.settle, answers, stop=stop, totals=engine.counters.totals, took=took
                )
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
            alone = "--dedupe copies answers in this process"
        if self._taker is not None:
            alone = "results are handed over one by one in this process"
        processes = processes_for(self._job, len(shards), self.message, alone=alone)
        engine: LocalEngine | ProcessesEngine | None = None
        stopped: tuple[str, str] | None = None
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
                    deadline, stop, "deadline", f"the deadline of {deadline:g} s is over"
                )
            engine = self._engine(endpoints, processes)
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
                    ("interrupted", "interrupted; requests in flight were left"),
                    EXIT_INTERRUPTED,
                )
            except BaseExceptionGroup as group:
                stopped = _stopped_by(first_of(group))
        totals = prepared.store.totals()
        if stopped is None and self._only is not None and totals.rows < prepared.plan.rows:
            stopped, code = ("pilot", "only the rows of the pilot were to be sent"), EXIT_OK
        elif stopped is None:
            code = EXIT_FAILED_ROWS if totals.failed or totals.invalid else EXIT_OK
            if totals.rows < prepared.plan.rows:
                raise BatchlabError(
                    f"{prepared.plan.rows - totals.rows} rows have no result; please report this"
                )
        else:
            code = exit_code if stopped[0] == "interrupted" else EXIT_STOPPED
        counters = engine.counters if engine is not None else Counters()
        return RunSummary(
            run_dir=str(prepared.store.path),
            input_rows=prepared.plan.rows,
            totals=totals,
            sent=counters.attempts.sent,
            elapsed_s=time.monotonic() - self._started,
            maybe_repaid=self._in_flight_before,
            stopped=stopped[0] if stopped else None,
            message=stopped[1] if stopped else "",
            exit_code=code,
            insecure=tuple(one.name for one in self._job.endpoint if one.insecure),
            limited=counters.attempts.limited,
            window=counters.window,
        )


def shards_to_run(store: RunDir, shards: list[Shard], retry: AskAgain | None) -> list[Shard]:
    """The shards with something to do. Sealed ones are skipped unread, unless rows are retried."""
    sealed = store.sealed()
    if retry is None:
        return [shard for shard in shards if shard.index not in sealed]
    failed = store.shards_with_failures()
    return [shard for shard in shards if shard.index not in sealed or shard.index in failed]


def _stopped_by(error: BaseException) -> tuple[str, str]:
    """Reason and message of an error that ends a run in order; any other is raised."""
    match error:
        case RunStopped():
            return error.reason, str(error)
        case UsageError():  # the input cannot be read any more: too late for exit code 2
            return "input", str(error)
    raise error from None


def _known_cost(totals: Totals) -> float | None:
    if totals.cost_unknown:
        return None
    return totals.cost_usd + totals.cost_wasted_usd
