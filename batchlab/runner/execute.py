"""Running a job from its first row to the summary."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from batchlab.costs.pricing import price_book
from batchlab.dispatch.rate.budget import NO_PRICE
from batchlab.errors import BatchlabError, UsageError
from batchlab.job import SELF_STARTED, Job, output_format
from batchlab.job.params import misspelt_notes
from batchlab.lanes.receipt import Receipt
from batchlab.looking import own_files
from batchlab.looking.export import Target, check_target
from batchlab.looking.last_lines import NEXT, last_lines
from batchlab.looking.money.given_up import given_up_lines
from batchlab.looking.money.pilot_forecast import outcome_lines, saved_forecast
from batchlab.looking.money.receipt import receipt_lines, receipt_of
from batchlab.looking.not_ok import causes
from batchlab.looking.output import write_output
from batchlab.looking.rows.cards import answer_line
from batchlab.looking.show import first_answer
from batchlab.observe.watchers import Watchers, watching
from batchlab.progress import conversation, open_progress
from batchlab.progress.terminal import with_trouble_in_red
from batchlab.records import completion_cap
from batchlab.run_end import RunSummary, StopReason
from batchlab.runner.crews import refuse_cluster
from batchlab.runner.descriptors import within_descriptors
from batchlab.runner.endpoints import started_endpoints, unused_proxy
from batchlab.runner.invocation import Invocation
from batchlab.runner.mirroring import brought_up_to_date
from batchlab.runner.on_end import tell
from batchlab.runner.preparing.prepare import Prepared, prepare
from batchlab.runner.run_options import DEFAULT, RunOptions
from batchlab.runner.to_do import asks_only_by_batch
from batchlab.store.view import RunView

_UNPRICED = "; the cost columns will be null, unless {price.input} and {price.output} say it"
_AS_ASKED = frozenset({StopReason.DETACHED, StopReason.INTERRUPTED, StopReason.CANCELLED, StopReason.PILOT})


def execute(job: Job, options: RunOptions = DEFAULT) -> RunSummary:
    """Runs the job, or goes on with it, and returns how it ended.

    Raises:
        UsageError: nothing was sent.
        RunStopped: results could not be written any more and the run has no summary.
    """
    with watching(job, _speaker(options.quiet)) as watchers:
        summary = _execute(job, watchers, options)
        watchers.ended(summary)
        if job.output.on_end and options.only is None:
            tell(job.output.on_end, summary, watchers.message)
    return summary


def _execute(job: Job, watchers: Watchers, options: RunOptions) -> RunSummary:
    say = _in_words_of(options, watchers.message)  # shown, and logged
    _check_before(job, options, say)
    taken_over: Callable[[Prepared], int] = _nothing_taken_over
    if job.output.reuse:
        from batchlab.runner.rows.reusing import old_runs, take_over  # with numpy: other runs start without

        taken_over = partial(take_over, runs=old_runs(job), say=say)
    with started_endpoints(job) as endpoints:
        job = within_descriptors(job, say)
        for started in endpoints:
            if started.note:
                say(f"endpoint: {started.note}")
            if unused := unused_proxy(started.job):
                say(unused)
        prepared = prepare(job, fresh=options.fresh, say=say, is_own=options.is_own)
        with contextlib.closing(prepared.store), contextlib.closing(prepared.source):
            own_files.begin(prepared.store.path)
            reused = taken_over(prepared)
            if options.on_start is not None:
                options.on_start(prepared.store)
            if not job.request.model:
                _say_unpriced(job, prepared.plan.models, say)
            run = Invocation(job, endpoints, prepared, watchers, options, reused=reused)
            opening = run.opening_lines()
            watchers.started(run.facts())
            for line in opening:
                say(line)
            with (
                open_progress(options.progress, prepared.plan.rows, sys.stderr) as shown,
                watchers.speaking_by(None if options.progress == "none" else shown.message),
            ):
                run.telling.show(shown)
                prepared.store.publisher.speak_by(run.telling.message)
                summary = run.to_end()
            prepared.store.note_left()
            summary = brought_up_to_date(prepared.store, summary, say)
            is_pilot = options.only is not None and summary.stopped in {None, StopReason.PILOT}
            if not is_pilot:
                summary = write_output(job, prepared.store, prepared.source, summary)
            summary = dataclasses.replace(summary, message=options.spell(summary.message))
            summary, receipt = _with_receipt(prepared.store, job, summary)
            run.telling.ended(summary)
            if is_pilot:
                return summary  # a pilot speaks for itself
            answer = _answer_of(prepared.store, summary, options)
            failed = options.closing_lines and summary.stopped is None and summary.totals.failed
            why = causes(prepared.store) if failed else []
    if not options.closing_lines:
        return summary
    command = options.command or f"batchlab run (run directory {summary.run_dir})"
    asked = _asked_with(options)
    own = completion_cap(job.request.params) if job.input.row_params is None else None
    told = receipt_lines(receipt) + given_up_lines(prepared.store.layout)
    closing = last_lines(summary, command, why, asked or own, asked_again=asked is not None, receipt=told)
    _say_end(closing, options, answer, say)
    _say_trouble(summary, options)
    if summary.stopped is None and summary.is_news:
        made = saved_forecast(prepared.store.path, prepared.plan.content_hash)
        compared = outcome_lines(made, summary.totals, summary.input_rows)
        if not compared and run.telling.forecast is not None:
            compared = run.telling.forecast.lines(summary.totals, summary.elapsed_s)
        for line in compared:
            say(line)
    return summary


def _asked_with(options: RunOptions) -> int | None:
    """The max_tokens that answers which were cut off are asked again with."""
    retry = options.retry
    return retry.max_tokens if retry is not None and "truncated" in retry.only else None


def _with_receipt(run: RunView, job: Job, summary: RunSummary) -> tuple[RunSummary, Receipt | None]:
    """What lanes came to, once all is answered. That a part cannot be read now ends no run otherwise."""
    receipt = None
    if summary.stopped is None:
        with contextlib.suppress(BatchlabError, OSError):
            receipt = receipt_of(run, job)
    if receipt is None:
        return summary, None
    told = dataclasses.replace(
        summary,
        list_usd=receipt.list_usd,
        saved_usd=receipt.saved_usd,
        deadline_usd=receipt.deadline_usd,
    )
    return told, receipt


def _answer_of(run: RunView, summary: RunSummary, options: RunOptions) -> str:
    """One answer of a run that has finished, for who watches its end; "" if nobody does, or there is none."""
    if not summary.is_news or summary.stopped is not None or options.quiet or not options.closing_lines:
        return ""
    row = first_answer(run)
    return answer_line(row, conversation()) if row is not None else ""


def _say_end(lines: Sequence[str], options: RunOptions, answer: str, say: Callable[[str], None]) -> None:
    """Says the last lines, with an answer before what to type next: it is to be seen, and in no log."""
    for line in lines:
        if answer and line.startswith(NEXT):
            _speaker(options.quiet)(answer)
            answer = ""
        say(line)


def _say_trouble(summary: RunSummary, options: RunOptions) -> None:
    """Says why a quiet run has stopped: its exit code is also that of one whose batches are out."""
    if options.quiet and summary.stopped is not None and summary.stopped not in _AS_ASKED:
        _speaker(quiet=False)(f"batchlab: {summary.remote or summary.run_dir}: {summary.message}")


def _in_words_of(options: RunOptions, say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, with settings in the words of who began the run."""
    return lambda text: say(options.spell(text))


def _nothing_taken_over(_: Prepared) -> int:
    return 0


def _check_before(job: Job, options: RunOptions, say: Callable[[str], None]) -> None:
    """Says what is known of prices; raises UsageError for what can be refused without the input."""
    refuse_cluster(job)
    if asks_only_by_batch(job):
        from batchlab.runner.batches.engine import refuse_lanes

        refuse_lanes(job)
    if not options.waits:
        from batchlab.runner.batches.engine import refuse_to_leave

        refuse_to_leave(job)
    output = job.output
    own_files.refuse_others(Path(output.run_dir), (output.file, output.errors), overwrite=output.overwrite)
    if output.file is not None and (to := output_format(output.file, output.to, batch=False)):
        check_target(Target(output.file, to))
    for note in misspelt_notes(job.request.params):
        say(note)
    for line in refuse_unpayable(job):
        say(line)


def refuse_unpayable(job: Job) -> list[str]:
    """What is to be said of unknown prices; raises UsageError when a cap or a hedge needs one."""
    lines, asked = [], job.request.model
    for endpoint in job.endpoint:
        tariff, price_source = price_book(job, endpoint).find(asked)
        price = tariff.at(time.time()) if tariff is not None else None
        if price is None and job.limits.max_cost is not None and asked:
            raise UsageError(NO_PRICE)
        free = endpoint.host in SELF_STARTED or (price is not None and price.is_free)
        if job.limits.hedge and not free:
            raise UsageError(
                f"{{limits.hedge}} asks some rows twice, and {endpoint.name} may bill each call. "
                "Leave it out, or state that a call costs nothing: {price.input=0} {price.output=0}."
            )
        if price is None and asked:
            at = f" at {endpoint.name}" if len(job.endpoint) > 1 else ""
            lines.append(f"price of {asked}{at}: unknown ({price_source}){_UNPRICED}")
    return lines


def _say_unpriced(job: Job, models: Sequence[str], say: Callable[[str], None]) -> None:
    """Says which of the models that lines name have no known price."""
    unknown = [
        model
        for model in models
        if any(price_book(job, endpoint).find(model)[0] is None for endpoint in job.endpoint)
    ]
    if unknown:
        more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
        say(f"price of {', '.join(unknown[:3])}{more}: unknown{_UNPRICED}")


def _speaker(quiet: bool) -> Callable[[str], None]:
    def say(text: str) -> None:
        if not quiet:
            stream = conversation()
            print(with_trouble_in_red(text, stream), file=stream, flush=True)

    return say
