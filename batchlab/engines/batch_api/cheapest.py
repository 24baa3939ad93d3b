"""What is cheapest within the deadline: tells the policy of lanes how things stand, and does what it says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from batchlab.costs.price import HOUR_S, Price, Processing, Served
from batchlab.costs.pricing import PriceBook
from batchlab.costs.tokens import estimated_prompt_tokens
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.worst_case import PROMPT_SAFETY, UNCAPPED_COMPLETION
from batchlab.engines.batch_api import choice
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.life import Out
from batchlab.engines.work import CallLane, Work
from batchlab.inputs.requests import RowProblem
from batchlab.lanes.decisions import SendLive, Submit, TakeBack, Wait
from batchlab.lanes.policy import LanePolicy
from batchlab.lanes.queue_times import QUEUES, Durations
from batchlab.lanes.seen import DAY_S, BatchOut, BatchWay, Lanes, Left, Pace, RowPrice, Way
from batchlab.protocol.batches.dialect import Phase
from batchlab.records import Usage
from batchlab.store.locked import LockedRun
from batchlab.totals import Totals

SAMPLED = 200  # rows, for how long prompts are
LIKELY_COMPLETION = 200  # tokens of an answer, before there is any and without a cap
ENOUGH_ANSWERS = 20
LIKELY_CALL_S = 8.0  # that a live call takes, before any has been seen
SPAN_S, LEAST_SPAN_S = 300.0, 60.0  # over which a pace is taken
AGAIN_S = 5.0  # between two questions while nothing has changed


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


class Cheapest:
    """A choice that asks `lanes.policy.LanePolicy`.

    Args:
        deadline: Unix seconds.
        queues: of each lane, how long batches took in runs before this one.
        say: told why rows go live, and why a batch is taken back.
        totals: of the run so far, for how long answers are.
    """

    def __init__(
        self,
        work: Work[LockedRun],
        lanes: Mapping[str, BatchLane],
        budget: Budget,
        *,
        deadline: float | None,
        queues: Mapping[str, Durations],
        say: Callable[[str], None],
        totals: Callable[[], Totals],
        policy: LanePolicy | None = None,
    ) -> None:
        self._work = work
        self._lanes = {
            name: lane
            for name, lane in lanes.items()
            if work.job.limits_at(lane.endpoint.job).lane in {"batch", "cheapest"}
        }
        self._budget = budget
        self._deadline = deadline
        self._queues = queues
        self._say = say
        self._totals = totals
        self._policy = policy or LanePolicy()
        self._size = sampled(work)
        self._model = work.job.request.model or next(iter(work.plan.models), "")
        self._paces = _Paces()
        self._running: dict[str, float] = {}
        self._done_at: dict[str, tuple[int, float]] = {}
        self._said: set[str] = set()
        self._asked: tuple[object, float] = ((), 0.0)

    def next(self, scene: choice.Scene) -> choice.Act | None:
        """See `choice.Choice`."""
        now = time.time()
        self._paces.see(now, scene)
        stands = (
            scene.rows_free,
            scene.live_rows,
            tuple((one.batch.key, one.batch.step) for one in scene.out),
        )
        if (stands, True) == (self._asked[0], now < self._asked[1]):
            return None  # nothing has changed since it said to wait
        decision = self._policy.next(now, self.seen(now, scene), self.left(scene))
        match decision:
            case Submit(endpoint):
                return choice.Submit(endpoint)
            case SendLive(_, kind, rows, why):
                if not rows or not scene.rows_free:
                    self._wait(stands, now, None)
                    return None
                self._tell(f"lanes: {'live' if kind == 'live' else 'by flex'} from now on: {why}", why)
                return choice.SendLive(rows, kind)
            case TakeBack(key, why):
                self._tell(f"lanes: a batch is taken back: {why}", key)
                return choice.TakeBack(key)
            case Wait(until, why, short):
                self._wait(stands, now, until)
                if short is None:
                    return None
                need = f"${short:,.6g} more are needed. Go on with a higher {{limits.max_cost}}."
                return choice.GiveUp(f"{why}: {need}")
        assert_never(decision)

    def _wait(self, stands: object, now: float, until: float | None) -> None:
        self._asked = stands, min(now + AGAIN_S, math.inf if until is None else until)

    def _tell(self, line: str, of: str) -> None:
        if of not in self._said:
            self._said.add(of)
            self._say(line)

    def seen(self, now: float, scene: choice.Scene) -> Lanes:
        """All ways to be answered, as they stand."""
        size = self._size_now()
        ways = tuple(
            Way(
                lane.endpoint.job.name,
                "flex" if lane.kind == "flex" else "live",
                self._price(lane.endpoint.prices, size, now, tier=lane.tier),
                Pace(_prior(lane), self._paces.spans),
            )
            for lane in self._call_lanes()
        )
        return Lanes(
            ways,
            tuple(self._batch_way(name, scene, size, now) for name in self._lanes),
            tuple(self._batch_out(one, now) for one in scene.out),
        )

    def left(self, scene: choice.Scene) -> Left:
        """What is still to do."""
        plan = self._work.plan
        return Left(
            total=plan.rows,
            pending=scene.rows_free,
            returned=scene.returned,
            in_flight=scene.live_rows,
            deadline=self._deadline,
            usd=self._budget.left.usd,
            shard_rows=plan.shards[0].rows if plan.shards else 1,
        )

    def _call_lanes(self) -> Sequence[CallLane]:
        return [
            lane for lane in self._work.lanes if self._work.job.limits_at(lane.endpoint.job).lane != "batch"
        ]

    def _batch_way(self, name: str, scene: choice.Scene, size: RowSize, now: float) -> BatchWay:
        lane = self._lanes[name]
        return BatchWay(
            name,
            self._price(lane.endpoint.prices, size, now, processing="batch", share=lane.dialect.price_share),
            lines=lane.dialect.limits.lines,
            room_batches=scene.room.get(name, 0),
            window_s=_seconds(lane.dialect.windows[0]),
            queue=self._queues.get(name, QUEUES),
            ended=tuple(scene.ended.get(name, ())),
        )

    def _batch_out(self, out: Out, now: float) -> BatchOut:
        batch, state = out.batch, out.state
        done = (state.done if state is not None else None) or 0
        if done and batch.key not in self._running:
            self._running[batch.key] = now
        if done > self._done_at.get(batch.key, (0, now))[0]:
            self._done_at[batch.key] = done, now
        return BatchOut(
            batch.key,
            batch.endpoint,
            batch.lines,
            batch.created_at or batch.meant_at,
            done=done,
            phase=state.phase if state is not None else Phase.WAITING,
            running_since=self._running.get(batch.key),
            done_at=self._done_at[batch.key][1] if batch.key in self._done_at else None,
            cancelled_at=batch.cancelled_at or None,
        )

    def _size_now(self) -> RowSize:
        """How long rows are, in the light of the answers so far."""
        totals = self._totals()
        if totals.answered < ENOUGH_ANSWERS:
            return self._size
        return RowSize(
            totals.prompt_tokens / totals.answered,
            totals.completion_tokens / totals.answered,
            self._size.most,
        )

    def _price(
        self,
        prices: PriceBook,
        size: RowSize,
        now: float,
        *,
        tier: str | None = None,
        processing: Processing = "live",
        share: float = 1.0,
    ) -> RowPrice:
        """What a row costs there, by the hour, and what a cap sets aside for it.

        Args:
            share: of the live price, where nobody states another.
        """
        served = Served(self._model, tier, processing=processing)
        stated = processing == "live" or prices.states(served, now)
        usage = Usage(round(size.prompt), round(size.completion))
        day = now - now % DAY_S
        hours = [self._usd(prices.price(served, day + hour * HOUR_S), usage) for hour in range(24)]
        known = [usd for usd in hours if usd is not None]
        if len(known) < len(hours):
            return RowPrice(None)
        worst = [
            price.most_usd(size.prompt * PROMPT_SAFETY, size.most)
            for price in (prices.price(served, day + hour * HOUR_S) for hour in range(24))
            if price is not None
        ]
        expected = [usd if stated else usd * share for usd in known]
        steps = tuple((hour * HOUR_S, usd) for hour, usd in enumerate(expected))
        return RowPrice(expected[0], steps if len(set(expected)) > 1 else (), max(worst))

    @staticmethod
    def _usd(price: Price | None, usage: Usage) -> float | None:
        return None if price is None else price.cost_usd(usage)


class _Paces:
    """How many rows a second calls bring, in spans in which rows wait for them."""

    def __init__(self) -> None:
        self._ended: list[float] = []
        self._since: tuple[float, int] | None = None
        self._now: tuple[float, int] = (0.0, 0)

    def see(self, now: float, scene: choice.Scene) -> None:
        """How far calls are."""
        if not scene.live_rows:
            self._since = None
            return
        self._now = now, scene.live_done
        if self._since is None:
            self._since = self._now
        elif now - self._since[0] >= SPAN_S:
            self._ended.append(self._rate())
            self._since = self._now

    @property
    def spans(self) -> tuple[float, ...]:
        """Rows a second in each, the newest last."""
        running = self._since is not None and self._now[0] - self._since[0] >= LEAST_SPAN_S
        return (*self._ended, self._rate()) if running else tuple(self._ended)

    def _rate(self) -> float:
        assert self._since is not None
        return (self._now[1] - self._since[1]) / max(1.0, self._now[0] - self._since[0])


def sampled(work: Work[LockedRun]) -> RowSize:
    """How long the first rows are."""
    prompts: list[int] = []
    mosts: list[int] = []
    for shard in work.plan.shards[:1]:
        for row in work.source.rows(shard, work.plan):
            if len(prompts) >= SAMPLED:
                break
            try:
                request = work.builder.build(row)
            except RowProblem:
                continue
            prompts.append(estimated_prompt_tokens(request.prompt_bytes))
            if request.max_tokens is not None:
                mosts.append(request.max_tokens)
    most = sum(mosts) / len(mosts) if mosts else float(UNCAPPED_COMPLETION)
    return RowSize(sum(prompts) / max(1, len(prompts)), min(LIKELY_COMPLETION, most), most)


def _prior(lane: CallLane) -> float:
    """Rows a second, before anything was seen."""
    limits = lane.limits
    pace = limits.concurrency / LIKELY_CALL_S
    return pace if limits.rpm is None else min(pace, limits.rpm / 60)


def _seconds(window: str) -> float:
    """`24h` or `7d`."""
    number, unit = window[:-1], window[-1:]
    return float(number) * {"h": HOUR_S, "d": DAY_S}.get(unit, HOUR_S) if number.isdecimal() else DAY_S
