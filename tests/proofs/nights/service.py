"""A night, gone through: a service and an engine on a virtual clock, and whoever decides."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from batchlab.lanes.decisions import Decision, SendLive, Submit, TakeBack, Wait
from batchlab.lanes.pieces import piece_rows
from batchlab.lanes.seen import DAY_S, BatchOut, BatchWay, Lanes, Left, Pace, Way
from batchlab.protocol.batches.dialect import Phase
from tests.proofs.nights.clairvoyant import batch_share
from tests.proofs.nights.nights import EVENING, SHARD_ROWS, SPAN_S, Night

Chooser = Callable[[float, Lanes, Left], Decision]
AT = "service"
POLL_S = 300.0
MOST_DECISIONS = 400  # at one moment; more is a policy that turns in circles
MOST_BATCHES = 16
LEAST_SPAN_S = 60.0  # after which a pace is told that is being measured


@dataclass
class Order:
    """A batch at the service: parts of shards, and when it was ordered and cancelled."""

    number: int
    parts: list[tuple[int, int]]
    at: float
    cancelled_at: float | None = None
    ends_at: float = math.inf
    running_since: float | None = None
    done_at: float | None = None
    seen_done: int = 0

    @property
    def rows(self) -> int:
        return sum(count for _, count in self.parts)


@dataclass
class Lane:
    """A live lane: what it may send, and what it did in the span."""

    given: int = 0
    part: float = 0.0  # of a row, that the last step left over
    span: int = -1
    sent: float = 0.0
    busy_s: float = 0.0
    paces: list[float] = field(default_factory=list)


@dataclass
class Gone:
    """How a night went."""

    done: int
    met: bool
    cost: float
    ended_s: float
    by_lane: dict[str, int]
    batches: int
    taken_back: int
    overspent: bool


class Service:
    """One night under one chooser.

    With `whole_shards` it is as the engine does: a batch is of one shard, and what goes live goes by shards
    and cannot be had back. The luck of batches belongs to `SHARD_ROWS` rows all the same, however small the
    shards are that the run is cut into.
    """

    def __init__(self, night: Night, choose: Chooser, *, whole_shards: bool) -> None:
        self.night, self.choose, self.whole_shards = night, choose, whole_shards
        self.second = 0.0
        self.cut = piece_rows(night.rows, SHARD_ROWS)
        self.pool: list[tuple[int, int]] = list(enumerate(night.shards()))
        self.back: list[tuple[int, int]] = []  # what batches gave back unanswered
        self.orders: list[Order] = []
        self.lanes = {"live": Lane(), "flex": Lane()}
        self.by_lane = {"live": 0, "flex": 0, "batch": 0}
        self.cost = 0.0
        self.ended: list[float] = []
        self.number = self.taken_back = 0
        self.overspent = False
        self.rng = random.Random(f"cancel/{night.kind}/{night.seed}")
        self.tick = min(60.0, max(2.0, night.deadline_s / 400))

    @property
    def returned(self) -> int:
        return sum(count for _, count in self.back)

    @property
    def pending(self) -> int:
        return self.returned + sum(count for _, count in self.pool)

    @property
    def bound(self) -> int:
        """Rows that only a live lane may answer any more."""
        return sum(lane.given for lane in self.lanes.values()) if self.whole_shards else 0

    def go(self) -> Gone:
        """Through the night, to its deadline or its last row."""
        night, until = self.night, 0.0
        while self.second < night.deadline_s:
            changed = self._ends()
            if not self.pending and not self.orders and not self.bound:
                break
            if changed or self.second >= until or self._dry():
                until = self._decided()
            busy = (self.pending or self.bound) and any(lane.given for lane in self.lanes.values())
            step = self.tick if busy else min(POLL_S, max(self.tick, until - self.second), self._next_end())
            step = min(step, night.deadline_s - self.second)
            self._sends(step)
            self.second += step
        self._ends()
        done = sum(self.by_lane.values())
        met = done == night.rows
        return Gone(
            done, met, self.cost, self.second, self.by_lane, self.number, self.taken_back, self.overspent
        )

    def _dry(self) -> bool:
        return bool(self.pending) and any(lane.given == 0 and lane.busy_s > 0 for lane in self.lanes.values())

    def _next_end(self) -> float:
        ends = [one.ends_at - self.second for one in self.orders]
        return max(self.tick, min(ends, default=math.inf))

    # the service

    def _done(self, order: Order, second: float) -> list[int]:
        """Lines of each part that are done then."""
        return [
            math.floor(
                count * batch_share(second - order.at, self.night.queue_s[shard], self.night.begins) + 1e-9
            )
            for shard, count in order.parts
        ]

    def _ends(self) -> bool:
        """Takes in what ended; nothing is heard of it during an outage."""
        if self.night.is_out(self.second):
            return False
        changed = False
        for order in [one for one in self.orders if one.ends_at <= self.second]:
            self.orders.remove(order)
            done = self._done(order, order.ends_at)
            self.by_lane["batch"] += sum(done)
            self._pays(sum(done) * (self.night.batch.usd or 0.0))
            back = [
                (shard, count - one)
                for (shard, count), one in zip(order.parts, done, strict=True)
                if one < count
            ]
            self.back += back
            if not back:
                self.ended.append(order.ends_at - order.at)
            changed = True
        for order in self.orders:
            done = sum(self._done(order, self.second))
            if done > order.seen_done and self.night.counts:
                order.running_since = order.running_since or EVENING + self.second
                order.seen_done, order.done_at = done, EVENING + self.second
        return changed

    def _pays(self, usd: float) -> None:
        self.cost += usd
        cap = self.night.cap
        self.overspent |= cap is not None and self.cost > cap + 1e-9

    def _sends(self, step: float) -> None:
        night = self.night
        for name, lane in self.lanes.items():
            price = night.live if name == "live" else night.flex
            if price is None or not lane.given or not (self.pending or self.bound):
                lane.busy_s = 0.0 if not lane.given else lane.busy_s
                continue
            lane.part += step * night.pace(self.second, flex=name == "flex")
            most = lane.given if self.whole_shards else min(lane.given, self.pending)
            rows = min(int(lane.part), most)
            lane.part = min(1.0, lane.part - rows) if rows == most else lane.part - rows
            lane.given -= rows
            usd = price.at(EVENING + self.second)
            if not self.whole_shards:
                self._takes(rows, self.back, self.pool)
            self.by_lane[name] += rows
            self._pays(rows * usd)
            span = int(self.second // SPAN_S)
            if span != lane.span:
                if lane.busy_s >= SPAN_S / 2:
                    lane.paces.append(lane.sent / lane.busy_s)
                lane.span, lane.sent, lane.busy_s = span, 0.0, 0.0
            if not night.is_out(self.second):
                lane.sent += rows
                lane.busy_s += step

    def _takes(self, rows: int, *pools: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Rows out of pools, in that order."""
        taken = []
        while rows:
            pool = next(one for one in pools if one)
            shard, count = pool.pop()
            part = min(rows, count)
            taken.append((shard, part))
            rows -= part
            if part < count:
                pool.append((shard, count - part))
        return taken

    # the engine

    def _decided(self) -> float:
        """Does what is decided until it is to wait; until when."""
        for _ in range(MOST_DECISIONS):
            left = self._left()
            match self.choose(EVENING + self.second, self._seen(), left):
                case Wait(until):
                    return math.inf if until is None else until - EVENING
                case Submit(_, rows):
                    self._orders(rows)
                case SendLive(_, lane, rows):
                    self._gives(self.lanes[lane], rows)
                case TakeBack(batch):
                    self._cancels(int(batch))
        raise AssertionError(f"{self.night.kind} {self.night.seed}: turns in circles")

    def _gives(self, lane: Lane, rows: int) -> None:
        if not self.whole_shards:
            lane.given = rows
            return
        shards = min(self.pending, math.ceil(rows / self.cut) * self.cut)
        self._takes(shards, self.back, self.pool)
        lane.given += shards

    def _orders(self, rows: int) -> None:
        self.number += 1
        rows = min(rows, self.pending, self.cut if self.whole_shards else rows)
        order = Order(self.number, self._takes(rows, self.pool, self.back), self.second)
        took = max(self.night.queue_s[shard] for shard, _ in order.parts)
        order.ends_at = self.second + min(took, DAY_S)
        self.orders.append(order)

    def _cancels(self, number: int) -> None:
        """Told now, or when the service can hear it again; it takes up to ten minutes."""
        order = next(one for one in self.orders if one.number == number)
        heard = max(
            (end for begin, end in self.night.outages if begin <= self.second < end), default=self.second
        )
        order.cancelled_at = self.second
        order.ends_at = min(order.ends_at, heard + self.rng.uniform(5, 600))
        self.taken_back += 1

    def _seen(self) -> Lanes:
        night = self.night
        out_since = None
        for begin, end in night.outages:
            if begin <= self.second < end:
                out_since = EVENING + begin
        ways = []
        for name, price in (("live", night.live), ("flex", night.flex)):
            if price is not None:
                lane = self.lanes[name]
                prior = night.prior * (1.0 if name == "live" else 0.7)
                running = (lane.sent / lane.busy_s,) if lane.busy_s >= LEAST_SPAN_S else ()
                pace = Pace(prior, (*lane.paces, *running)[-24:])
                ways.append(
                    Way(
                        AT,
                        name,
                        price,
                        pace,
                        given=0 if self.whole_shards else min(lane.given, self.pending),
                        out_since=out_since,
                    )
                )
        batches = ()
        if night.batch is not None:
            room = 0 if out_since is not None else MOST_BATCHES - len(self.orders)
            queued = sum(one.rows for one in self.orders)
            rows = None if night.room_rows is None else max(0, night.room_rows - queued)
            batches = (
                BatchWay(
                    AT,
                    night.batch,
                    lines=night.lines,
                    room_rows=rows,
                    room_batches=room,
                    ended=tuple(self.ended),
                ),
            )
        past = [end - begin for begin, end in night.outages if end <= self.second]
        return Lanes(
            tuple(ways),
            batches,
            tuple(self._out(one) for one in self.orders),
            outages_seen=len(past) + (out_since is not None),
            watched_s=self.second,
        )

    def _out(self, order: Order) -> BatchOut:
        cancelled = order.cancelled_at is not None
        running = Phase.RUNNING if order.seen_done else Phase.WAITING
        return BatchOut(
            str(order.number),
            AT,
            order.rows,
            EVENING + order.at,
            done=order.seen_done,
            phase=Phase.CANCELLING if cancelled else running,
            running_since=order.running_since,
            done_at=order.done_at,
            cancelled_at=EVENING + order.cancelled_at if cancelled else None,
        )

    def _left(self) -> Left:
        night = self.night
        usd = None
        if night.cap is not None:
            worst = night.batch.worst_usd if night.batch else 0.0
            usd = night.cap - self.cost - sum(one.rows for one in self.orders) * worst
            usd -= self.bound * night.live.worst_usd
        return Left(
            night.rows, self.pending, self.returned, self.bound, EVENING + night.deadline_s, usd, self.cut
        )


def gone_by(night: Night, choose: Chooser, *, whole_shards: bool = False) -> Gone:
    """How the night goes under a chooser."""
    return Service(replace(night), choose, whole_shards=whole_shards).go()
