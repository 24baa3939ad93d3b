"""How many processes a run gets, and shards small enough for them, and for batches that are taken back."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

from batchlab.counts import agreeing, counted
from batchlab.inputs.sources.source import InputPlan
from batchlab.job import SHARD_ROWS, Job
from batchlab.lanes.pieces import UNIT_ROWS, piece_rows
from batchlab.records import Shard

NODES = 10  # of a cluster: how many there are shows when the plan is made
SHARDS_EACH = 4  # so that nobody is idle for long while another sends the last one


def available_cpus() -> int:
    """CPUs that this process may use, by its affinity and its control group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS and Windows have none
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota = _cgroup_cpus()
    return max(1, cpus if quota is None else min(cpus, int(quota)))


def _cgroup_cpus(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The quota in CPUs, of cgroup v2 or v1; None without one."""
    try:
        quota, _, period = (root / "cpu.max").read_text().partition(" ")
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        microseconds = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu/cpu.cfs_period_us").read_text())
        return microseconds / period_us if microseconds > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def workers_each(job: Job) -> int:
    """Processes that a machine is to have for the run, if there is work for them."""
    asked = job.limits.workers
    return available_cpus() if isinstance(asked, str) else asked


def processes_for(job: Job, shards: int, say: Callable[[str], None], *, alone: str = "") -> int:
    """How many processes bring so many shards to their end; says so when it is fewer than asked.

    Args:
        alone: why it is to be one process; "" when it is not.
    """
    if sys.platform == "win32":
        alone = "workers need descriptors and signals that Windows lacks"
    asked, wanted = job.limits.workers, workers_each(job)
    concurrency = min(job.limits_at(endpoint).concurrency for endpoint in job.endpoint)
    count, why = min(
        (wanted, ""),
        (shards, f"only {counted(shards, 'shard')} {agreeing(shards, 'has', 'have')} rows to send"),
        (concurrency, f"each needs a request in flight, and there are {concurrency}"),
        (1 if alone else wanted, alone),
        key=lambda limit: limit[0],
    )
    if shards and count < wanted and not isinstance(asked, str):
        say(f"{count} process{'es' if count != 1 else ''}, not {wanted}: {why}")
    return max(1, count)


def planned_shard_rows(job: Job) -> Job:
    """The job with small shards, if it wants several and names no size; see `merged`."""
    wants = (_wants_processes(job) or may_be_taken_back(job)) and job.output.shard_rows is None
    return _with_rows(job, UNIT_ROWS) if wants else job


def may_be_taken_back(job: Job) -> bool:
    """Whether batches of the job may be ended for its deadline: each is of one shard, and ends whole."""
    limits = job.limits
    has_deadline = limits.deadline_s is not None or limits.deadline_at is not None
    return has_deadline and any(job.limits_at(one).lane == "cheapest" for one in job.endpoint)


def rows_to_cut(job: Job, plan: InputPlan) -> int:
    """Rows of a shard in one process, of a plan that is not cut for its lanes yet."""
    rows = plan.shards[0].rows if plan.shards else 1
    return piece_rows(plan.rows, rows) if may_be_taken_back(job) and job.output.shard_rows is None else rows


def _wants_processes(job: Job) -> bool:
    return job.limits.workers != 1 or job.limits.engine == "ray"


def merged(job: Job, planned: Job, plan: InputPlan) -> tuple[InputPlan, int]:
    """The plan with shards as large as processes and batches allow, and how many rows they have.

    A shard begins where its first small one did, so that neighbours are one shard by counting alone.

    Args:
        planned: the job whose shards the plan has.
    """
    rows = planned.output.shard_rows or SHARD_ROWS
    if planned is job:
        return plan, rows
    most = SHARD_ROWS
    if _wants_processes(job):
        processes = workers_each(job) * (NODES if job.limits.engine == "ray" else 1)
        most = min(most, plan.rows // (SHARDS_EACH * processes))
    if may_be_taken_back(job):
        most = min(most, piece_rows(plan.rows, SHARD_ROWS))
    times = max(1, most // rows)
    shards = [
        Shard(number, group[0].first_row, sum(shard.rows for shard in group), group[0].position)
        for number, group in enumerate(
            plan.shards[start : start + times] for start in range(0, len(plan.shards), times)
        )
    ]
    return dataclasses.replace(plan, shards=tuple(shards)), rows * times


def _with_rows(job: Job, rows: int) -> Job:
    return dataclasses.replace(job, output=dataclasses.replace(job.output, shard_rows=rows))
