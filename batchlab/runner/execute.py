"""Running a job from its first row to the summary."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from batchlab.costs.pricing import price_book
from batchlab.dispatch.rate.budget import NO_PRICE
from batchlab.engines.observer import Taker
from batchlab.errors import UsageError
from batchlab.job import SELF_STARTED, Job, output_format
from batchlab.looking.export import Target, check_target
from batchlab.looking.last_lines import last_lines
from batchlab.looking.output import write_output
from batchlab.observe.watchers import Watchers, watching
from batchlab.progress import conversation, open_progress
from batchlab.progress.terminal import with_trouble_in_red
from batchlab.run_end import RunSummary, StopReason
from batchlab.runner.crews import refuse_cluster
from batchlab.runner.descriptors import within_descriptors
from batchlab.runner.endpoints import started_endpoints
from batchlab.runner.interrupt import Interrupt
from batchlab.runner.invocation import Invocation
from batchlab.runner.mirroring import brought_up_to_date
from batchlab.runner.pilot_forecast import outcome_lines, saved_forecast
from batchlab.runner.prepare import Prepared, prepare
from batchlab.store.asking import AskAgain
from batchlab.store.locked import LockedRun


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
    on_start: Callable[[LockedRun], None] | None = None,
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
    on_start: Callable[[LockedRun], None] | None,
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
            run = Invocation(
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
                prepared.store.publisher.speak_by(run.message)
                summary = run.to_end(endpoints, signals=signals, command=command)
            prepared.store.note_left()
            summary = brought_up_to_date(prepared.store, summary, say)
            if only is not None and summary.stopped in {None, StopReason.PILOT}:
                return summary  # a pilot speaks for itself
            summary = write_output(job, prepared.store, prepared.source, summary)
    if not closing_lines:
        return summary
    for line in last_lines(summary, command or f"batchlab run (run directory {summary.run_dir})"):
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
    refuse_cluster(job)
    output, asked = job.output, job.request.model
    if output.file is not None and (to := output_format(output.file, output.to, batch=False)):
        check_target(Target(output.file, to))
    for endpoint in job.endpoint:
        tariff, price_source = price_book(job, endpoint).find(asked)
        price = tariff.at(time.time()) if tariff is not None else None
        if price is None and job.limits.max_cost is not None and asked:
            raise UsageError(NO_PRICE)
        free = endpoint.host in SELF_STARTED or (price is not None and price.is_free)
        if job.limits.hedge and not free:
            raise UsageError(
                f"{{limits.hedge}} asks some rows twice, and {endpoint.name} may bill each call. "
                "Leave it out, or state that a call costs nothing: [price] input = 0, output = 0."
            )
        if price is None and asked:
            at = f" at {endpoint.name}" if len(job.endpoint) > 1 else ""
            say(f"price of {asked}{at}: unknown ({price_source}); the cost columns will be null")


def _say_unpriced(job: Job, models: Sequence[str], say: Callable[[str], None]) -> None:
    """Says which of the models that lines name have no known price."""
    unknown = [
        model
        for model in models
        if any(price_book(job, endpoint).find(model)[0] is None for endpoint in job.endpoint)
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
