"""What a job would do: rows, problems, tokens, cost and time. Sends nothing, writes nothing."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from batchlab.costs.estimate import Estimate, estimate
from batchlab.costs.price import Processing
from batchlab.costs.pricing import PriceBook, price_book
from batchlab.costs.tokens import Tokenizer
from batchlab.counts import agreeing, counted
from batchlab.errors import UsageError
from batchlab.inputs.plan import Planned, plan_input
from batchlab.inputs.sources.batch_lines import asked_texts, media_count
from batchlab.inputs.sources.opening import source_of, spool_stdin
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.job import Job
from batchlab.job.params import misspelt_notes
from batchlab.planning.refusals import refusals
from batchlab.runner.preparing.planned_input import (
    SHOWN_PROBLEMS,
    malformed_lines,
    problem_lines,
    refuse_undedupable,
)
from batchlab.runner.start_time import start_of
from batchlab.store.layout import Layout, is_run
from batchlab.store.view import RunView
from batchlab.totals import Totals

if TYPE_CHECKING:
    from batchlab.planning.batch_plan import BatchPlan
    from batchlab.planning.savings import Saved

# what is to be said of lines that are about calls
_OF_CALLS: dict[str, tuple[tuple[str, ...], str]] = {
    "cheapest": (("cost: ", "time: "), ", if all were asked live"),
    "flex": (("time: ",), "; longer while the tier has no room"),
}
COUNTED_ROWS = 1_000  # whose tokens a tokenizer counts


@dataclass(frozen=True, slots=True)
class Preview:
    """Lines for a person, every problem (first 20 and a count), and the estimate when there is no problem."""

    rows: int
    lines: list[str]
    problems: list[str]
    estimate: Estimate | None
    done: int = 0
    content_hash: str = ""

    def __repr__(self) -> str:
        return "\n".join([*self.lines, *(f"problem: {problem}" for problem in self.problems)])


def preview(job: Job, *, tokenizer: str | None = None) -> Preview:
    """Checks the input and estimates the run.

    Args:
        tokenizer: a tokenizer.json to count prompt tokens with, over the first thousand rows.

    Raises:
        UsageError: the input cannot be read at all.
    """
    return preview_and_plan(job, tokenizer=tokenizer)[0]


def preview_and_plan(job: Job, *, tokenizer: str | None = None) -> tuple[Preview, Planned, Source]:
    """A preview with what it was made of; the source is no longer there when the rows were piped."""
    with tempfile.TemporaryDirectory(prefix="batchlab-") as scratch:
        spool = Layout(Path(scratch)).stdin
        if job.input.path == "-":
            spool_stdin(spool)
        source = source_of(job.input, spool)
        planned = plan_input(job, source, details=True)
        ratio = None
        if tokenizer is not None:
            ratio = _tokens_per_byte(Tokenizer(tokenizer), source, planned, job.request.tokens_per_image)
        if planned.builder is not None:
            refuse_undedupable(job, planned.builder)
        saved = _savings(job, planned, source)
        plan, now, before = planned.plan, time.time(), _done(job, planned)
        start = start_of(job, [(one, price_book(job, one)) for one in job.endpoint], None, now)
        requests, done = plan.rows - plan.malformed_count, before.rows
        left_requests = max(0, requests - (done - before.bad_input))
        to_send = left_requests - sum(one.rows for one in saved)
        batches = _batches(job, planned, source, to_send, start.at or now, before.spent_usd)
    prices, tier = price_book(job, job.endpoint[0]), job.tier_at(job.endpoint[0])
    model = _priced_model(job, plan, prices)
    by_batch = job.limits_at(job.endpoint[0]).lane == "batch"
    processing: Processing = "batch" if by_batch else "live"
    tariff = prices.find(model, tier, processing)[0] if model is not None else None
    problems = problem_lines(planned.problems, planned.problem_count) + batches.problems
    notes = list(planned.notes)
    if not problems:
        try:
            notes += malformed_lines(job, source, plan)
        except UsageError as error:
            problems = str(error).splitlines()
    lines = [f"input: {source.path}: {counted(plan.rows, 'row')}, columns {', '.join(plan.columns)}"]
    if done:
        have = f"{counted(done, 'row')} {agreeing(done, 'has', 'have')}"
        lines.append(f"run {job.output.run_dir}: {have} a final result already")
    lines += notes
    doubled = planned.repeated
    if doubled and not job.output.dedupe:
        ask = f"{counted(doubled, 'row')} {agreeing(doubled, 'asks', 'ask')}"
        lines.append(f"duplicates: {ask} exactly what an earlier row asks; each is sent and paid")
    if problems:
        count = planned.problem_count or len(batches.problems) or plan.malformed_count
        lines.append(f"{counted(count, 'problem')}; nothing would be sent")
        return Preview(plan.rows, lines, problems[: 2 * SHOWN_PROBLEMS], None), planned, source
    together = _together(job, planned)
    estimated = partial(
        estimate,
        max_tokens=planned.max_tokens,
        tariff=tariff,
        at=now,
        concurrency=job.limits.concurrency,
        rpm=job.limits.rpm,
        tpm=job.limits.tpm,
        tokens_per_byte=ratio,
        batch_rows=together.get("batch_rows", 1),
        batch_tokens=together.get("batch_tokens", 0),
    )
    left_bytes = planned.prompt_bytes * left_requests // max(requests, 1)
    left = Counter(planned.lengths)
    for one in saved:
        worth = estimated(rows=one.rows, prompt_bytes=one.prompt_bytes, lengths=one.lengths)
        lines.append(_saved_line(one, worth))
        left_bytes = max(0, left_bytes - one.prompt_bytes)
        left.subtract(one.lengths)
    forecast = estimated(rows=to_send, prompt_bytes=left_bytes, lengths=+left)
    if planned.builder is not None and planned.builder.schema is not None:
        lines.append(planned.builder.schema.described())
    told = forecast.lines()
    of, note = _OF_CALLS.get(job.limits_at(job.endpoint[0]).lane, ((), ""))
    told = [f"{one}{note}" if one.startswith(of) else one for one in told]
    if by_batch:
        told = [one for one in told if not one.startswith("time: ")]
        told.append(f"time: {batches.time}")
    lines += told
    known = f"unknown (the lines name {len(plan.models)} models)"
    if model is not None:
        known = prices.described(model, now, tier)
    hint = "; pass {price.input} and {price.output} to know the cost" if tariff is None else ""
    lines.append(f"price: {known}{hint}")
    lines += batches.lines
    lines += [start.line] if start.line else []
    lines += misspelt_notes(job.request.params)
    lines += [f"run would be refused: {problem}" for problem in refusals(job, planned)]
    return Preview(plan.rows, lines, [], forecast, done, plan.content_hash), planned, source


def _batches(
    job: Job, planned: Planned, source: Source, rows: int, begins: float, spent_usd: float | None
) -> BatchPlan:
    """What would be ordered of batch APIs for so many rows, from a Unix time on."""
    from batchlab.planning.batch_plan import BatchPlan, batch_plan
    from batchlab.planning.lane_plan import Rest
    from batchlab.runner.batches.engine import refuse_lanes

    try:
        refuse_lanes(job)
        return batch_plan(job, planned, source, Rest(rows, begins, spent_usd))
    except UsageError as error:
        return BatchPlan([], [str(error)])


def _savings(job: Job, planned: Planned, source: Source) -> list[Saved]:
    """What the run would not have to send, if the job says so.

    Raises UsageError: a run to take answers from is none.
    """
    if not job.output.reuse and not job.output.dedupe:
        return []
    from batchlab.planning.savings import savings
    from batchlab.runner.rows.reusing import old_runs

    runs = old_runs(job)
    if planned.problems:
        return []
    done: frozenset[int] = frozenset()
    if _done(job, planned).rows:
        results = RunView.open(Path(job.output.run_dir)).all_results()
        done = frozenset(result.row_id for result in results)
    return savings(planned, source, runs=runs, dedupe=job.output.dedupe, done=done)


def _saved_line(saved: Saved, worth: Estimate) -> str:
    low, high = worth.completion_tokens
    cost = f", ${worth.cost_usd[0]:,.4f} to ${worth.cost_usd[1]:,.4f}" if worth.cost_usd is not None else ""
    need = f"{counted(saved.rows, 'row')} {agreeing(saved.rows, 'needs', 'need')}"
    return (
        f"{saved.why}: {need} no request, which saves about "
        f"{worth.prompt_tokens:,} prompt and {low:,} to {high:,} completion tokens{cost}"
    )


def _priced_model(job: Job, plan: InputPlan, prices: PriceBook) -> str | None:
    """The job's model, or one that has the price of all that the lines of a batch file name; None when
    they differ."""
    if job.request.model or not plan.models:
        return job.request.model
    found = {prices.described(model, 0.0) for model in plan.models}
    return plan.models[0] if len(found) == 1 else None


def _tokens_per_byte(
    tokenizer: Tokenizer, source: Source, planned: Planned, media_tokens: int
) -> float | None:
    """Tokens of a byte of the prompts, over the first rows; None when there are none to count."""
    if planned.builder is None:
        return None
    tokens = size = 0
    for row in islice(source.rows(planned.plan.shards[0], planned.plan), COUNTED_ROWS):
        if row.problem is None:
            request = planned.builder.build(row)
            texts = asked_texts(request.task, request.body)
            tokens += sum(map(tokenizer.count, texts))
            tokens += media_tokens * media_count(request.task, request.body)
            size += request.prompt_bytes
    return tokens / size if tokens and size else None


def _together(job: Job, planned: Planned) -> dict[str, int]:
    """How many rows share a request, as `estimate` takes it."""
    if job.request.task != "embeddings" or planned.ready_builder.batch:
        return {}
    return {"batch_rows": job.request.batch_rows, "batch_tokens": job.request.batch_tokens}


def _done(job: Job, planned: Planned) -> Totals:
    """Sums over the rows that a resume would not send, if the run directory holds this very job."""
    path = Path(job.output.run_dir)
    if not is_run(path):
        return Totals()
    run = RunView.open(path)
    same = run.manifest.plan.content_hash == planned.plan.content_hash
    return run.totals() if same and run.manifest.settings == job.request_settings() else Totals()
