"""What a job would order of batch APIs: how many batches, at what price, and what these cannot carry."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from batchlab.costs.forecast import Range
from batchlab.costs.pricing import price_book
from batchlab.counts import agreeing, counted
from batchlab.engines.batch_api.choices.ways import seconds_of_window
from batchlab.engines.sizing import rows_to_cut
from batchlab.inputs.plan import Planned
from batchlab.inputs.sources.source import Source
from batchlab.job import EndpointJob, Job
from batchlab.planning.batch_check import limits_text, price_text
from batchlab.planning.lane_plan import Rest, batches_time, lane_lines, queue_source, span_text
from batchlab.protocol.batches.dialect import Dialect
from batchlab.protocol.batches.table import dialect_of
from batchlab.runner.batches.engine import ASK_OTHERWISE, BY_BATCH, measured_lines

MEASURED_ROWS = 1_000  # whose lines are made


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Lines for a person, and why the run would be refused.

    Attributes:
        time: how long batches take that nothing else stands in for, for a person.
    """

    lines: list[str]
    problems: list[str]
    time: str = ""


def batch_plan(job: Job, planned: Planned, source: Source, rest: Rest) -> BatchPlan:
    """What a job's batch lanes would do; nothing for a job without one."""
    lines: list[str] = []
    problems: list[str] = []
    times: list[tuple[Range, str]] = []
    for endpoint in job.endpoint:
        lane = job.limits_at(endpoint).lane
        lines += [unused] if (unused := _unused(job, endpoint)) else []
        if lane in BY_BATCH and planned.builder is not None and (found := dialect_of(job, endpoint)):
            told, refused, batches = _at(job, endpoint, found, planned, source)
            lines += told
            if lane == "batch":
                problems += refused
                window_s = seconds_of_window(found.windows[0])
                times.append((batches_time(endpoint, batches, window_s), queue_source(endpoint)))
    if planned.builder is not None and not problems:
        lines += lane_lines(job, planned, source, rest)
    longest, known = max(times, key=lambda one: one[0].high, default=(None, ""))
    return BatchPlan(lines, problems, "" if longest is None else f"{span_text(longest)}, {known}")


def _unused(job: Job, endpoint: EndpointJob) -> str:
    """What is to be said of an endpoint that gets no rows, as others are asked by batches alone; else ""."""
    lanes = {job.limits_at(one).lane for one in job.endpoint}
    if "batch" not in lanes or "cheapest" in lanes or job.limits_at(endpoint).lane == "batch":
        return ""
    return (
        f"{endpoint.name}: no rows, as all go by batch elsewhere; with {{limits.lane=cheapest}} it gets some"
    )


def _at(
    job: Job, endpoint: EndpointJob, dialect: Dialect, planned: Planned, source: Source
) -> tuple[list[str], list[str], int]:
    """Lines, problems, and how many batches it would be."""
    plan, limits = planned.plan, dialect.limits
    first = islice(source.rows(plan.shards[0], plan), MEASURED_ROWS) if plan.shards else ()
    sizes, unfit = [], []
    for row, size, problem in measured_lines(job, endpoint, dialect, planned.ready_builder, first):
        if problem:
            unfit.append((row, problem))
        else:
            sizes.append(size)
    problems = [
        f"row {row}: not to be asked in a batch: {why}. {ASK_OTHERWISE}" for row, why in unfit if row == 0
    ]
    lines: list[str] = []
    batches, has_calls = 0, job.limits_at(endpoint).lane == "cheapest"
    if problems and has_calls:
        return [f"batches at {endpoint.name}: none: row 0 is not to be asked in one: {unfit[0][1]}"], [], 0
    if sizes:
        mean = sum(sizes) / len(sizes)
        each = rows_to_cut(job, plan)
        full, rest = divmod(plan.rows, each)
        batches = full * _batches(each, mean, limits.lines, limits.size)
        batches += _batches(rest, mean, limits.lines, limits.size)
        batches *= max(1, len(plan.models))
        about = counted(batches, "batch", "batches")
        lines.append(f"batches at {endpoint.name}: about {about} ({limits_text(dialect)})")
    if unfit and not problems:
        rows = counted(len(unfit), "row")
        are = agreeing(len(unfit), "is", "are")
        then = agreeing(len(unfit), "goes live", "go live") if has_calls else "would fail"
        lines.append(
            f"batches at {endpoint.name}: {rows} of the first {len(sizes) + len(unfit):,} {are} not to be "
            f"asked in one, and {then}: row {unfit[0][0]}: {unfit[0][1]}"
        )
    lines += _known(job, endpoint, dialect)
    return lines, problems, batches


def _known(job: Job, endpoint: EndpointJob, dialect: Dialect) -> Iterator[str]:
    prices = price_book(job, endpoint)
    if job.request.model:
        yield f"price of a batch: {price_text(prices, job.request.model, dialect, time.time())}"
    for remark in dialect.remarks:
        yield f"  {remark}"


def _batches(rows: int, mean: float, most: int, size: int) -> int:
    return max(math.ceil(rows / most), math.ceil(rows * mean / size))
