"""What lanes are meant to do, and when a run by them ends: lines of a plan."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.costs.estimate import about_time
from batchlab.costs.forecast import Range
from batchlab.costs.pricing import price_book
from batchlab.counts import counted
from batchlab.engines.batch_api.choices.ways import batch_way, call_ways, model_of, sampled
from batchlab.engines.batch_api.orders.room import AT_ONCE
from batchlab.engines.endpoint import Endpoint
from batchlab.engines.sizing import rows_to_cut
from batchlab.engines.work import call_lanes
from batchlab.inputs.plan import Planned
from batchlab.inputs.sources.source import Source
from batchlab.job import EndpointJob, Job
from batchlab.job.lane import lane_key
from batchlab.lanes.outlook import NIGHTS, Outlook, outlook, queue_end
from batchlab.lanes.seen import Lanes, Left
from batchlab.looking.phrases import money
from batchlab.protocol.batches.table import dialect_of
from batchlab.runner.batches.engine import BY_BATCH, calls_known, unfit
from batchlab.runner.batches.queue_history import known_queue

MOST_DRAWN = 400  # batches whose queue times are drawn; more of them go round in the same way


@dataclass(frozen=True, slots=True)
class Rest:
    """What a run would still send.

    Attributes:
        begins: Unix seconds.
        spent_usd: so far; None when that is not known.
    """

    rows: int
    begins: float
    spent_usd: float | None = None


def lane_lines(job: Job, planned: Planned, source: Source, rest: Rest) -> list[str]:
    """What the choice of lanes means to do; nothing for a job that leaves it none."""
    if not rest.rows or all(job.limits_at(one).lane != "cheapest" for one in job.endpoint):
        return []
    left, lanes = _left(job, planned, rest), _lanes(job, planned, source, rest.begins)
    told = _told(outlook(rest.begins, lanes, left), left.deadline)
    is_guess = not any(calls_known(job, [_endpoint(job, one) for one in job.endpoint], planned.plan).values())
    has_workers = job.limits.workers != 1 or job.limits.engine == "ray"
    if left.deadline is not None and lanes.batches and is_guess and has_workers:
        told.append(
            "  nobody knows yet how long calls take, and workers try none first: too many may go live"
        )
    return told


def batches_time(endpoint: EndpointJob, batches: int, window_s: float) -> Range:
    """Seconds until the last of so many batches has ended, which nobody waits for with calls."""
    drawn = min(batches, MOST_DRAWN)
    found = queue_end(known_queue(endpoint.host), drawn, at_once=AT_ONCE, window_s=window_s)
    rounds = max(1.0, batches / max(1, drawn))
    return Range(found.low * rounds, found.middle * rounds, found.high * rounds)


def span_text(seconds: Range) -> str:
    """`9 min to 1.4 h`."""
    return _between(about_time(seconds.low), about_time(seconds.high))


def queue_source(endpoint: EndpointJob) -> str:
    """Where it is known from how long batches take."""
    if count := len(known_queue(endpoint.host).kept):
        return f"as {counted(count, 'earlier batch', 'earlier batches')} of yours took there"
    return "as a large service says of its own; none of yours was seen yet"


def _lanes(job: Job, planned: Planned, source: Source, now: float) -> Lanes:
    at = [_endpoint(job, one) for one in job.endpoint]
    size = sampled(source, planned.plan, planned.ready_builder)
    model = model_of(job, planned.plan)
    batches = [
        batch_way(one, dialect, model, size, now, room=AT_ONCE, queue=known_queue(one.job.host))
        for one in at
        if job.limits_at(one.job).lane in BY_BATCH
        and (dialect := dialect_of(job, one.job)) is not None
        and not unfit(job, one.job, dialect, source=source, plan=planned.plan, builder=planned.ready_builder)
    ]
    calls = calls_known(job, at, planned.plan)
    return Lanes(call_ways(job, call_lanes(job, at), model, size, now, calls=calls), tuple(batches))


def _endpoint(job: Job, endpoint: EndpointJob) -> Endpoint:
    return Endpoint(endpoint, endpoint.base_url, None, price_book(job, endpoint))


def _left(job: Job, planned: Planned, rest: Rest) -> Left:
    cap = job.limits.max_cost
    return Left(
        total=planned.plan.rows,
        pending=rest.rows,
        deadline=_deadline(job, rest.begins),
        usd=None if cap is None else max(0.0, cap - (rest.spent_usd or 0.0)),
        shard_rows=rows_to_cut(job, planned.plan),
    )


def _deadline(job: Job, begins: float) -> float | None:
    limits = job.limits
    if limits.deadline_at is not None or limits.deadline_s is None:
        return limits.deadline_at
    return begins + limits.deadline_s


def _told(meant: Outlook, deadline: float | None) -> list[str]:
    lines = [f"lanes: {meant.why}"]
    for one in (one for one in meant.lanes if one.rows.high):
        rows = _between(f"{one.rows.low:,.0f}", f"{one.rows.high:,.0f}")
        usd = _between(money(one.usd.low), money(one.usd.high))
        noun = "row" if rows == "1" else "rows"
        lines.append(f"  {lane_key(one.endpoint, one.lane)}: {rows} {noun}, {usd}")
    if meant.usd is not None and meant.ends_s is not None and meant.lanes:
        usd = _between(money(meant.usd.low), money(meant.usd.high))
        against = "" if meant.list_usd is None else f", against {money(meant.list_usd)} live"
        lines.append(f"  in all about {usd}{against}; the last row after {span_text(meant.ends_s)}")
    if meant.lanes and deadline is not None:
        lines.append(f"  in time for the deadline in {_nights(meant.in_time)}, outages left out")
    return lines


def _nights(share: float) -> str:
    return f"{round(share * NIGHTS)} of {NIGHTS} imagined nights"


def _between(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
