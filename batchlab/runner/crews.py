"""Who works on a run beside its own process: nobody, processes of this machine, or nodes of a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from batchlab.counts import counted
from batchlab.engines.sizing import processes_for, workers_each
from batchlab.errors import UsageError
from batchlab.job import Job
from batchlab.remote.mirror import problem_of
from batchlab.remote.urls import scheme_of
from batchlab.run_end import RunStopped
from batchlab.store.locked import LockedRun

if TYPE_CHECKING:
    from batchlab.engines.crew import Crew

Say = Callable[[str], None]


def refuse_cluster(job: Job) -> None:
    """Raises UsageError for what is wrong with a cluster before the input has been read."""
    if job.limits.engine != "ray":
        return
    if job.output.remote is not None and scheme_of(job.output.remote) == "hf":
        raise UsageError(
            f"{{limits.engine=ray}}: workers write to {job.output.remote} every few seconds, and there each "
            "write is a commit. Name a {output.run_dir} at s3://, gs:// or az://, or on a file system that "
            "nodes share."
        )
    from batchlab.engines.ray.link import refuse_absent

    refuse_absent(job.limits.ray_address)


def crew_for(job: Job, store: LockedRun, shards: int, say: Say, *, alone: str = "") -> Crew | None:
    """The workers for so many shards; None when this process is to send the rows itself.

    Args:
        alone: why it is to; "" when it is not.

    Raises:
        UsageError: there is no cluster, or it cannot work on the run. Nothing was sent.
    """
    if job.limits.engine == "ray" and shards and not alone:
        return _cluster(job, store, shards, say)
    if job.limits.engine == "ray":
        if alone:
            say(f"the engine ray is not used: {alone}")
        return None
    processes = processes_for(job, shards, say, alone=alone)
    if processes == 1:
        return None
    from batchlab.engines.processes import ProcessCrew

    return ProcessCrew(processes, store.lock_descriptor)


def _cluster(job: Job, store: LockedRun, shards: int, say: Say) -> Crew:
    from batchlab.engines.ray.crew import RayCrew

    url = store.publisher.url
    if url is not None:
        refuse_cluster(dataclasses.replace(job, output=dataclasses.replace(job.output, remote=url)))
    address = job.limits.ray_address
    crew = RayCrew.joined(store, job, address)
    try:
        store.publisher.share()
    except (OSError, RunStopped) as error:
        crew.end()
        raise UsageError(f"{problem_of(error)}.") from error
    if url is not None:
        flush_s = job.limits.journal_flush_s
        say(
            f"each worker's journal goes to {url} every {flush_s:g} s: with a node that is "
            f"lost, what was in flight and what was answered within {flush_s:g} s there is paid again"
        )
    each = workers_each(job)
    concurrency = min(job.limits_at(endpoint).concurrency for endpoint in job.endpoint)
    crew.size = min(len(crew.nodes) * each, shards, concurrency)
    workers = counted(crew.size, "worker")
    nodes = counted(len(crew.nodes), "node")
    say(f"ray: {workers} on {nodes}: {', '.join(crew.nodes[:5])}{', ...' if len(crew.nodes) > 5 else ''}")
    return crew
