"""The batches of a run: whether it has any, where they may go, and the engine that minds them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from batchlab.dispatch.http.batch_service import BatchService
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.batch_api.choice import BatchesOnly, Choice, Live
from batchlab.engines.batch_api.engine import BatchEngine, Manner, Means
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.live import LiveEngine, LivePhase
from batchlab.engines.endpoint import Endpoint, access_to
from batchlab.engines.observer import Observer
from batchlab.engines.work import Work
from batchlab.errors import UsageError
from batchlab.job import EndpointJob, Job
from batchlab.protocol.batches.dialect import Dialect
from batchlab.protocol.batches.table import DIALECTS
from batchlab.run_state import RunState
from batchlab.store.batches import Batch, BatchLog, read_batches
from batchlab.store.locked import LockedRun

BY_BATCH = frozenset({"batch", "cheapest"})


def dialect_of(job: Job, endpoint: EndpointJob) -> Dialect | None:
    """How an endpoint's batch API is spoken; None when nobody knows of one.

    Raises UsageError: {endpoint.batch_api} names no service that has one.
    """
    name = endpoint.batch_api or endpoint.service.name
    if endpoint.host == "simulator":
        name = str(dict(job.simulator.get("batch", {})).get("dialect", "openai"))
    if endpoint.batch_api is not None and name not in DIALECTS:
        raise UsageError(
            f"{{endpoint.batch_api={name}}}: no batch API is called that; there are "
            f"{', '.join(sorted(DIALECTS))}."
        )
    return DIALECTS.get(name)


def refuse_lanes(job: Job) -> None:
    """Raises UsageError for a batch lane at an endpoint that has none."""
    for endpoint in job.endpoint:
        lane = job.limits_at(endpoint).lane
        if dialect_of(job, endpoint) is None and lane == "batch":
            raise UsageError(
                f"{{limits.lane=batch}}: no batch API of {endpoint.name} is known. Leave {{limits.lane}} "
                "out, or name the service whose API it has: {endpoint.batch_api}."
            )


def batches_out(job: Job, run: LockedRun) -> list[Batch]:
    """The batches of a run that may be paid, and of which rows wait.

    Raises UsageError: one is out at an endpoint that the job does not name any more.
    """
    out = _unsealed(run)
    for batch in out:
        endpoint = next((one for one in job.endpoint if one.name == batch.endpoint), None)
        if endpoint is None or dialect_of(job, endpoint) is None:
            raise UsageError(
                f"{run.place}: a batch of {batch.lines:,} rows is out at {batch.endpoint}, which the job "
                f"does not name any more. Take it home first: batchlab collect {run.place}; or give it up: "
                f"batchlab cancel {run.place}."
            )
    return out


def _unsealed(run: LockedRun) -> list[Batch]:
    """The batches that may be paid, but for those of which nothing is to come.

    A shard that is sealed has all its results: what a batch had for it has come, and only the note of that is
    lost, with the directory that had it.
    """
    out = read_batches(run.path).out
    sealed = run.sealed() if out else set()
    come = [one for one in out if one.shard in sealed and not one.is_retry]
    if come:
        log = BatchLog(run.path, run.publisher.keep)
        for batch in come:
            log.merged(batch, answered=0, failed=0, again=0)
    return [one for one in out if one not in come]


@contextlib.asynccontextmanager
async def batch_engine(
    observer: Observer,
    work: Work[LockedRun],
    stop: StopSignal,
    make: Callable[[Observer, RunState], LiveEngine],
    budget: Budget,
    *,
    shares: bool,
    manner: Manner,
) -> AsyncIterator[BatchEngine]:
    """The engine of batches, with its services open.

    Args:
        make, shares: see `LivePhase`.
    """
    async with contextlib.AsyncExitStack() as stack:
        lanes = {}
        for endpoint in work.endpoints:
            dialect = dialect_of(work.job, endpoint.job)
            if dialect is not None:
                access = access_to(endpoint, work.job)
                service = BatchService(access, dialect, limits=work.job.limits, stop=stop)
                lane = BatchLane(endpoint, access, await stack.enter_async_context(service))
                lanes[lane.name] = lane
        yield BatchEngine(
            Means(
                observer,
                lanes,
                _choice(work.job, work.endpoints),
                LivePhase(observer, make, budget, shares=shares),
                budget,
                manner,
                ended_after_s=[],
            )
        )


def _choice(job: Job, endpoints: Sequence[Endpoint]) -> Choice:
    asked = {endpoint.job.name: job.limits_at(endpoint.job).lane for endpoint in endpoints}
    by_batch = [name for name, lane in asked.items() if lane in BY_BATCH]
    return BatchesOnly(by_batch) if by_batch else Live()
