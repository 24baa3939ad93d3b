"""What is known of each way to be answered before anything was: prices of a row, pace, limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchlab.costs.batch_price import batch_price
from batchlab.costs.estimate import SECONDS_PER_REQUEST, SECONDS_PER_TOKEN
from batchlab.costs.price import HOUR_S, Price, Processing, Served
from batchlab.costs.pricing import PriceBook
from batchlab.costs.tokens import estimated_prompt_tokens
from batchlab.dispatch.rate.worst_case import PROMPT_SAFETY, UNCAPPED_COMPLETION
from batchlab.engines.endpoint import Endpoint
from batchlab.engines.work import CallLane
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.inputs.templates import RowProblem
from batchlab.job import Job
from batchlab.lanes.call_times import ALIKE, CallsSeen, ExpectedPace, pace_after, pace_between
from batchlab.lanes.queue_times import Durations
from batchlab.lanes.seen import DAY_S, BatchWay, Pace, RowPrice, Way
from batchlab.protocol.batches.dialect import Dialect
from batchlab.records import Usage

SAMPLED = 200  # rows, for how long prompts are
LIKELY_COMPLETION = 200  # tokens of an answer, before there is any and without a cap


@dataclass(frozen=True, slots=True)
class RowSize:
    """How long rows are.

    Attributes:
        prompt, completion: tokens, as expected.
        most: completion tokens that a row may have at the most.
    """

    prompt: float
    completion: float
    most: float


def sampled(source: Source, plan: InputPlan, builder: RequestBuilder) -> RowSize:
    """How long the first rows are."""
    prompts: list[int] = []
    mosts: list[int] = []
    for shard in plan.shards[:1]:
        for row in source.rows(shard, plan):
            if len(prompts) >= SAMPLED:
                break
            try:
                request = builder.build(row)
            except RowProblem:
                continue
            prompts.append(estimated_prompt_tokens(request.prompt_bytes))
            if request.max_tokens is not None:
                mosts.append(request.max_tokens)
    most = sum(mosts) / len(mosts) if mosts else float(UNCAPPED_COMPLETION)
    return RowSize(sum(prompts) / max(1, len(prompts)), min(LIKELY_COMPLETION, most), most)


def model_of(job: Job, plan: InputPlan) -> str:
    """The model that stands for all: the job's, or the first that lines name."""
    return job.request.model or next(iter(plan.models), "")


def call_ways(
    job: Job,
    lanes: Sequence[CallLane],
    model: str,
    size: RowSize,
    now: float,
    *,
    calls: Mapping[str, Sequence[CallsSeen]],
    seen: Sequence[float] = (),
) -> tuple[Way, ...]:
    """The lanes of calls, at endpoints that may be asked by some.

    Args:
        calls: by a lane's key, what runs before this one, or this one, saw of its calls.
        seen: rows a second in each span so far.
    """
    return tuple(
        Way(
            lane.endpoint.job.name,
            "flex" if lane.kind == "flex" else "live",
            row_price(lane.endpoint.prices, model, size, now, tier=lane.tier),
            Pace(prior.rate, tuple(seen), prior.doubt),
        )
        for lane in lanes
        for prior in [expected_pace(lane, size, calls.get(lane.key, ()))]
        if job.limits_at(lane.endpoint.job).lane != "batch"
    )


def batch_way(
    endpoint: Endpoint,
    dialect: Dialect,
    model: str,
    size: RowSize,
    now: float,
    *,
    room: int,
    queue: Durations,
    ended: Sequence[float] = (),
) -> BatchWay:
    """An endpoint's batch API.

    Args:
        room: how many more batches it may take.
        queue: how long they took in other runs; `ended`, in this one.
    """
    share = batch_price(endpoint.prices, model, now, dialect.price_share).share
    return BatchWay(
        endpoint.job.name,
        row_price(endpoint.prices, model, size, now, processing="batch", share=share),
        lines=dialect.limits.lines,
        room_batches=room,
        window_s=seconds_of_window(dialect.windows[0]),
        queue=queue,
        ended=tuple(ended),
    )


def row_price(
    prices: PriceBook,
    model: str,
    size: RowSize,
    now: float,
    *,
    tier: str | None = None,
    processing: Processing = "live",
    share: float = 1.0,
) -> RowPrice:
    """What a row costs, by the hour, and what a cap sets aside for it.

    Args:
        share: of that price, which is expected to be billed.
    """
    served = Served(model, tier, processing=processing)
    usage = Usage(round(size.prompt), round(size.completion))
    day = now - now % DAY_S
    hours = [_usd(prices.price(served, day + hour * HOUR_S), usage) for hour in range(24)]
    known = [usd for usd in hours if usd is not None]
    if len(known) < len(hours):
        return RowPrice(None)
    worst = [
        price.most_usd(size.prompt * PROMPT_SAFETY, size.most)
        for price in (prices.price(served, day + hour * HOUR_S) for hour in range(24))
        if price is not None
    ]
    expected = [usd * share for usd in known]
    steps = tuple((hour * HOUR_S, usd) for hour, usd in enumerate(expected))
    return RowPrice(expected[0], steps if len(set(expected)) > 1 else (), max(worst))


def _usd(price: Price | None, usage: Usage) -> float | None:
    return None if price is None else price.cost_usd(usage)


def expected_pace(lane: CallLane, size: RowSize, calls: Sequence[CallsSeen]) -> ExpectedPace:
    """Rows a second of a lane: as others saw it, or else as a plan reckons; within its limits."""
    limits = lane.limits
    pace = pace_after(calls, limits.concurrency)
    if pace is None:
        fast, slow = (
            start + size.completion * per_token
            for start, per_token in zip(SECONDS_PER_REQUEST, SECONDS_PER_TOKEN, strict=True)
        )
        pace = pace_between(fast, slow, limits.concurrency)
    tokens = size.prompt + size.completion
    most = min(
        limits.rpm / 60 if limits.rpm else math.inf,
        limits.tpm / 60 / tokens if limits.tpm and tokens else math.inf,
    )
    return pace if pace.rate <= most else ExpectedPace(most, min(pace.doubt, ALIKE))


def seconds_of_window(window: str) -> float:
    """Of `24h` or `7d`, as `Dialect.windows` has them."""
    number, unit = window[:-1], window[-1:]
    return float(number) * {"h": HOUR_S, "d": DAY_S}.get(unit, HOUR_S) if number.isdecimal() else DAY_S
