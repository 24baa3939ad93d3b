"""The batches of a run: whether it has any, where they may go, and the engine that minds them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from batchlab.costs.pricing import price_book
from batchlab.dispatch.http.batch_service import BatchService
from batchlab.dispatch.http.transport import encoded
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.batch_api.choices.cheapest import Cheapest
from batchlab.engines.batch_api.choices.choice import BatchesOnly, Choice, Live
from batchlab.engines.batch_api.choices.ways import model_of
from batchlab.engines.batch_api.engine import BatchEngine
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.live import LivePhase
from batchlab.engines.batch_api.means import Manner, Means
from batchlab.engines.endpoint import Endpoint, access_to
from batchlab.engines.observer import Observer
from batchlab.engines.work import Work, call_lanes
from batchlab.errors import UsageError
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.inputs.templates import RowProblem
from batchlab.job import SELF_STARTED, TASK_PATHS, EndpointJob, Job
from batchlab.lanes.call_times import CallsSeen, CallWatch
from batchlab.protocol.batches.dialect import Dialect, Unfit
from batchlab.protocol.batches.table import dialect_of
from batchlab.records import Row
from batchlab.runner.batches.queue_history import known_calls, known_queue, remember
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import DOUBT_S, Batch, new_key, read_batches
from batchlab.store.locked import LockedRun

BY_BATCH = frozenset({"batch", "cheapest"})
ASK_OTHERWISE = "Leave {limits.lane=batch} out, or ask otherwise."


def refuse_lanes(job: Job) -> None:
    """Raises UsageError for a batch lane at an endpoint that has none."""
    for endpoint in job.endpoint:
        lane = job.limits_at(endpoint).lane
        if dialect_of(job, endpoint) is None and lane == "batch":
            raise UsageError(
                f"{{limits.lane=batch}}: no batch API of {endpoint.name} is known. Leave {{limits.lane}} "
                "out, or name the service whose API it has: {endpoint.batch_api}."
            )


def refuse_to_detach(job: Job) -> None:
    """Raises UsageError when no batch would be left."""
    if not any(job.limits_at(endpoint).lane in BY_BATCH for endpoint in job.endpoint):
        raise UsageError(
            "{run.detach} leaves batches to their service, and the lane makes none: pass {limits.lane=batch}."
        )


def refuse_to_leave(job: Job) -> None:
    """Raises UsageError for batches that end with their run, at a simulator that it starts."""
    for endpoint in job.endpoint:
        if endpoint.host == "simulator" and job.limits_at(endpoint).lane in BY_BATCH:
            raise UsageError(
                "the simulator of a run ends with it, and its batches with that. To rehearse a night, serve "
                "one beside it (batchlab simulate), and run with {endpoint.base_url=URL} "
                "{endpoint.batch_api=openai}."
            )


def measured_lines(
    job: Job, endpoint: EndpointJob, dialect: Dialect, builder: RequestBuilder, rows: Iterable[Row]
) -> Iterator[tuple[int, int, str]]:
    """Of each row that can be asked at all: its row_id, the bytes of its line, and why no batch can carry it,
    "" if one can."""
    access = access_to(Endpoint(endpoint, endpoint.base_url, None, price_book(job, endpoint)), job)
    most = min(dialect.limits.line or dialect.limits.size, dialect.limits.size)
    for row in rows:
        if row.problem is not None:
            continue
        try:
            request = builder.build(row)
            if request.task not in dialect.limits.tasks:
                raise Unfit(f"{dialect.name} takes no {request.task} in a batch")
            path = f"/v1/{TASK_PATHS[request.task]}"
            size = len(encoded(dict(dialect.line(access.body(request), f"{new_key(0)}-{row.row_id}", path))))
        except RowProblem:
            continue
        except (Unfit, UnicodeError) as problem:
            yield row.row_id, 0, str(problem)
            continue
        long = f"its line of {size:,} bytes is longer than {dialect.name} takes" if size >= most else ""
        yield row.row_id, size, long


def unfit(
    job: Job,
    endpoint: EndpointJob,
    dialect: Dialect,
    *,
    source: Source,
    plan: InputPlan,
    builder: RequestBuilder,
) -> str:
    """Why the first row can be in no batch at an endpoint, "" if it can: then the others are like it."""
    first = islice(source.rows(plan.shards[0], plan), 1) if plan.shards else ()
    for row, _, problem in measured_lines(job, endpoint, dialect, builder, first):
        if problem:
            return f"row {row}: not to be asked in a batch: {problem}"
    return ""


def refuse_unfit(job: Job, source: Source, plan: InputPlan, builder: RequestBuilder) -> None:
    """Raises UsageError when an endpoint is to be asked by batches alone, and none can carry the rows."""
    for endpoint in job.endpoint:
        dialect = dialect_of(job, endpoint)
        if dialect is None or job.limits_at(endpoint).lane != "batch":
            continue
        if problem := unfit(job, endpoint, dialect, source=source, plan=plan, builder=builder):
            raise UsageError(f"{problem}. {ASK_OTHERWISE}")


def batches_out(run: LockedRun) -> list[Batch]:
    """The batches of a run that may be paid, and of which rows wait.

    A shard that is sealed has all its results: what a batch had for it has come, and only the note of that is
    lost, with the directory that had it.
    """
    out = read_batches(run.path).out
    sealed = run.sealed() if out else set()
    come = [one for one in out if one.shard in sealed and not one.is_retry]
    if come:
        log = BatchLog(run.path, run.publisher)
        for batch in come:
            log.merged(batch, answered=0, failed=0, again=0)
    return [one for one in out if one.shard not in sealed or one.is_retry]


def orders_are_late(run: LockedRun) -> bool:
    """Whether batches that a run does not wait for may be at a service, or are, and be billed."""
    known = read_batches(run.path)
    return bool(known.strays_left() or known.doubted(time.time() - DOUBT_S))


@contextlib.asynccontextmanager
async def batch_engine(
    observer: Observer,
    work: Work[LockedRun],
    stop: StopSignal,
    live: LivePhase,
    budget: Budget,
    *,
    manner: Manner,
    deadline: float | None,
    calls: CallWatch,
) -> AsyncIterator[BatchEngine]:
    """The engine of batches, with its services open.

    Args:
        deadline: Unix seconds.
        calls: sees those of the run.
    """
    async with contextlib.AsyncExitStack() as stack:
        lanes: dict[str, BatchLane] = {}
        for endpoint in work.endpoints:
            dialect = dialect_of(work.job, endpoint.job)
            if dialect is not None:
                access = access_to(endpoint, work.job)
                say = partial(_of_lane, observer.message, endpoint.job.name)
                service = BatchService(access, dialect, limits=work.job.limits, stop=stop, say=say)
                lane = BatchLane(endpoint, access, await stack.enter_async_context(service))
                lanes[lane.name] = lane
        ended: dict[str, list[float]] = {name: [] for name in lanes}
        choice = _choice(work, lanes, budget, observer.message, live, deadline, calls)
        yield BatchEngine(Means(observer, lanes, choice, live, budget, manner, ended))
        for name, lane in lanes.items():
            if lane.endpoint.job.host not in SELF_STARTED:
                remember(lane.endpoint.job.host, ended[name])


def _of_lane(say: Callable[[str], None], name: str, text: str) -> None:
    say(f"{name}: {text}")


def calls_known(job: Job, endpoints: Sequence[Endpoint], plan: InputPlan) -> dict[str, list[CallsSeen]]:
    """By a lane's key, what earlier runs saw of calls to the job's model."""
    model = model_of(job, plan)
    return {
        lane.key: known_calls(lane.endpoint.job.host, model, lane.kind) for lane in call_lanes(job, endpoints)
    }


def _choice(
    work: Work[LockedRun],
    lanes: Mapping[str, BatchLane],
    budget: Budget,
    say: Callable[[str], None],
    live: LivePhase,
    deadline: float | None,
    calls: CallWatch,
) -> Choice:
    """What decides where rows go, as the job wants it."""
    asked = {endpoint.job.name: work.job.limits_at(endpoint.job).lane for endpoint in work.endpoints}
    if "cheapest" in asked.values():
        return Cheapest(
            work,
            dict(_fitting(work, lanes, say)),
            budget,
            deadline=deadline,
            known=calls_known(work.job, work.endpoints, work.plan),
            calls=calls,
            probes=live.is_here,
            queues={name: known_queue(lane.endpoint.job.host) for name, lane in lanes.items()},
            say=say,
            totals=live.totals,
        )
    by_batch = [name for name, lane in asked.items() if lane == "batch"]
    return BatchesOnly(by_batch) if by_batch else Live()


def _fitting(
    work: Work[LockedRun], lanes: Mapping[str, BatchLane], say: Callable[[str], None]
) -> Iterator[tuple[str, BatchLane]]:
    """The batch lanes that can carry the rows; says of the others why they cannot."""
    for name, lane in lanes.items():
        endpoint = lane.endpoint.job
        if work.job.limits_at(endpoint).lane not in BY_BATCH:
            continue
        problem = unfit(
            work.job, endpoint, lane.dialect, source=work.source, plan=work.plan, builder=work.builder
        )
        if problem:
            say(f"lanes: no batches at {name}: {problem}")
        else:
            yield name, lane
