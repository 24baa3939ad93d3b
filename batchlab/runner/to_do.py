"""What an invocation has to do with its run: the shards to bring to their parts, and the batches."""

from __future__ import annotations

from collections.abc import Sequence

from batchlab.job import Job
from batchlab.records import Shard
from batchlab.store.asking import AskAgain
from batchlab.store.locked import LockedRun


def asks_only_by_batch(job: Job) -> bool:
    """Whether an endpoint is to be asked by batches and by nothing else."""
    return any(job.limits_at(endpoint).lane == "batch" for endpoint in job.endpoint)


def batches_of(job: Job, run: LockedRun) -> tuple[bool, set[int]]:
    """Whether a run has to do with batches, and the shards that wait for some.

    It loads nothing for a run that has none.
    """
    asked = {job.limits_at(endpoint).lane for endpoint in job.endpoint}
    if asked <= {"live", "flex"} and not run.layout.batches.exists():
        return False, set()
    from batchlab.runner.batches.engine import batches_out, orders_are_late

    awaited = {batch.shard for batch in batches_out(run)}
    return bool(awaited) or orders_are_late(run) or not asked <= {"live", "flex"}, awaited


def shards_to_run(store: LockedRun, shards: Sequence[Shard], retry: AskAgain | None) -> list[Shard]:
    """The shards with something to do. Sealed ones are skipped unread, unless rows are retried."""
    sealed = store.sealed()
    if retry is None:
        return [shard for shard in shards if shard.index not in sealed]
    wanted = store.shards_to_ask(retry)
    return [
        shard
        for shard in shards
        if shard.index not in sealed
        or (shard.index in wanted and retry.touches(shard.first_row, shard.first_row + shard.rows - 1))
    ]
