"""What a job would order of batch APIs: how many batches, at what price, and what these cannot carry."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from batchlab.costs.pricing import price_book
from batchlab.counts import agreeing, counted
from batchlab.inputs.plan import Planned
from batchlab.inputs.sources.opening import Source
from batchlab.job import EndpointJob, Job
from batchlab.planning.batch_check import limits_text, price_text
from batchlab.protocol.batches.dialect import Dialect
from batchlab.runner.batches import BY_BATCH, dialect_of, measured_lines

MEASURED_ROWS = 1_000  # whose lines are made


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Lines for a person, and why the run would be refused."""

    lines: list[str]
    problems: list[str]


def batch_plan(job: Job, planned: Planned, source: Source) -> BatchPlan:
    """What a job's batch lanes would do; nothing for a job without one."""
    lines: list[str] = []
    problems: list[str] = []
    for endpoint in job.endpoint:
        lane = job.limits_at(endpoint).lane
        if lane in BY_BATCH and planned.builder is not None and (found := dialect_of(job, endpoint)):
            told, refused = _at(job, endpoint, found, planned, source)
            lines += told
            problems += refused if lane == "batch" else []
    return BatchPlan(lines, problems)


def _at(
    job: Job, endpoint: EndpointJob, dialect: Dialect, planned: Planned, source: Source
) -> tuple[list[str], list[str]]:
    plan, limits = planned.plan, dialect.limits
    first = islice(source.rows(plan.shards[0], plan), MEASURED_ROWS) if plan.shards else ()
    sizes, unfit = [], []
    for row, size, problem in measured_lines(job, endpoint, dialect, planned.ready_builder, first):
        if problem:
            unfit.append((row, problem))
        else:
            sizes.append(size)
    problems = [f"row {row}: not to be asked in a batch: {why}" for row, why in unfit if row == 0]
    lines = []
    if sizes:
        mean = sum(sizes) / len(sizes)
        batches = sum(_batches(shard.rows, mean, limits.lines, limits.size) for shard in plan.shards)
        about = counted(batches * max(1, len(plan.models)), "batch", "batches")
        lines.append(f"batches at {endpoint.name}: about {about} ({limits_text(dialect)})")
    if unfit and not problems:
        rows = counted(len(unfit), "row")
        are = agreeing(len(unfit), "is", "are")
        lines.append(
            f"batches at {endpoint.name}: {rows} of the first {len(sizes) + len(unfit):,} {are} not to be "
            f"asked in one, and would fail: row {unfit[0][0]}: {unfit[0][1]}"
        )
    lines += _known(job, endpoint, dialect)
    return lines, problems


def _known(job: Job, endpoint: EndpointJob, dialect: Dialect) -> Iterator[str]:
    prices = price_book(job, endpoint)
    if job.request.model:
        yield f"price of a batch: {price_text(prices, job.request.model, dialect, time.time())}"
    for remark in dialect.remarks:
        yield f"  {remark}"


def _batches(rows: int, mean: float, most: int, size: int) -> int:
    return max(math.ceil(rows / most), math.ceil(rows * mean / size))
