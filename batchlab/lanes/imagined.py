"""A night that may be: the policy goes through it before anything is paid, its luck drawn from what is known.

Batches take what `queue_times` says, all of them faster or slower by what a night makes of it; a live lane
keeps one pace, off by as much as its prior may be. Outages are left out, and so is whatever the cap refuses:
it is the outlook of a night in which nothing else goes wrong.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace

from batchlab.lanes.decisions import SendLive, Submit, TakeBack, Wait
from batchlab.lanes.policy import LanePolicy
from batchlab.lanes.queue_times import TONIGHT
from batchlab.lanes.seen import SAME_S, BatchOut, BatchWay, Lanes, Left, Pace, RowPrice, Way
from batchlab.protocol.batches.dialect import Phase

SPAN_S = 300.0  # a pace is measured over so long
LEAST_S = 30.0  # that a batch takes
BEGINS = 0.5  # share of a batch's time after which its lines begin to be done
MOST_STEPS = 5_000
MOST_S = 30 * 86_400.0  # without a deadline, too


@dataclass
class _Order:
    seen: BatchOut
    ends: float
    took: float

    def done(self, now: float) -> int:
        """Lines that have a result then."""
        if now >= self.seen.submitted_at + self.took - SAME_S:
            return self.seen.rows
        share = ((now - self.seen.submitted_at) / self.took - BEGINS) / (1 - BEGINS)
        return math.floor(self.seen.rows * max(0.0, share))


@dataclass
class _Lane:
    way: Way
    pace: float  # what it really is this night
    given: int = 0
    part: float = 0.0  # of a row
    paces: list[float] = field(default_factory=list)


@dataclass
class Course:
    """How an imagined night went: by endpoint and lane, rows and USD; and when the last row came."""

    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    usd: dict[tuple[str, str], float] = field(default_factory=dict)
    ends_s: float = 0.0
    left: int = 0

    def books(self, endpoint: str, lane: str, rows: int, price: RowPrice, at: float) -> None:
        """Adds rows at their price."""
        key = endpoint, lane
        self.rows[key] = self.rows.get(key, 0) + rows
        self.usd[key] = self.usd.get(key, 0.0) + rows * (price.at(at) or 0.0)


class ImaginedNight:
    """One of them; the same for the same `rng`."""

    def __init__(self, policy: LanePolicy, now: float, seen: Lanes, left: Left, rng: random.Random) -> None:
        self._policy, self._seen, self._left, self._rng = policy, seen, left, rng
        self._began = self._now = now
        self._pending, self._returned = left.pending, left.returned
        self._orders: list[_Order] = []
        self._lanes = [_Lane(one, self._true_pace(one.pace)) for one in seen.ways]
        self._hazard = rng.gammavariate(TONIGHT, 1 / TONIGHT)
        self._numbers = iter(range(1_000_000))
        self._ended: dict[str, list[float]] = {}
        self.course = Course()

    def _true_pace(self, pace: Pace) -> float:
        return pace.expected * math.exp(self._rng.gauss(0, pace.doubt))

    def goes(self) -> Course:
        """Through it, to its last row, its deadline, or a month."""
        last = self._began + MOST_S if self._left.deadline is None else self._left.deadline
        for _ in range(MOST_STEPS):
            self._ends()
            if self._now >= last or not (self._pending or self._orders):
                break
            until = min(self._decides(), last, *(one.ends for one in self._orders))
            busy = [one for one in self._lanes if one.given and self._pending]
            if busy:
                dry = min(one.given / max(one.pace, 1e-9) for one in busy)
                until = min(until, self._now + min(SPAN_S, max(1.0, dry)))
            if math.isinf(until):
                break  # nothing is to come: a cap, or a price that nobody knows
            self._sends(max(until - self._now, 1e-3), busy)
        self.course.ends_s = self._now - self._began
        self.course.left = self._pending + sum(one.seen.rows for one in self._orders)
        return self.course

    def _ends(self) -> None:
        for order in [one for one in self._orders if one.ends <= self._now]:
            self._orders.remove(order)
            done = order.done(order.ends)
            way = self._batch_way(order.seen.endpoint)
            self.course.books(way.endpoint, "batch", done, way.price, order.seen.submitted_at)
            self._pending += order.seen.rows - done
            self._returned += order.seen.rows - done
            if done == order.seen.rows:
                self._ended.setdefault(way.endpoint, []).append(order.took)

    def _sends(self, seconds: float, busy: list[_Lane]) -> None:
        for lane in busy:
            lane.part += lane.pace * seconds
            rows = min(int(lane.part), lane.given, self._pending)
            lane.part = min(1.0, lane.part - rows)
            lane.given -= rows
            self._pending -= rows
            self._returned -= min(self._returned, rows)
            self.course.books(lane.way.endpoint, lane.way.lane, rows, lane.way.price, self._now)
            if seconds >= SPAN_S:
                lane.paces.append(lane.pace)
        self._now += seconds

    def _decides(self) -> float:
        """Until when to wait."""
        while True:
            match self._policy.next(self._now, self._lanes_now(), self._left_now()):
                case Wait(until):
                    return math.inf if until is None else until
                case Submit(endpoint, rows):
                    self._orders.append(self._ordered(endpoint, min(rows, self._pending)))
                case SendLive(endpoint, lane, rows):
                    for one in self._lanes:
                        if (one.way.endpoint, one.way.lane) == (endpoint, lane):
                            one.given = rows
                case TakeBack(batch):
                    for order in self._orders:
                        if order.seen.id == batch:
                            way = self._batch_way(order.seen.endpoint)
                            order.ends = min(order.ends, self._now + self._rng.uniform(0, way.cancel_s))
                            order.seen = replace(order.seen, cancelled_at=self._now)

    def _ordered(self, endpoint: str, rows: int) -> _Order:
        way = self._batch_way(endpoint)
        took = max(LEAST_S, way.queue.drawn(self._rng.random(), self._hazard))
        self._pending -= rows
        self._returned = min(self._returned, self._pending)
        seen = BatchOut(str(next(self._numbers)), endpoint, rows, self._now)
        return _Order(seen, self._now + min(took, way.window_s), took)

    def _batch_way(self, endpoint: str) -> BatchWay:
        return next(one for one in self._seen.batches if one.endpoint == endpoint)

    def _lanes_now(self) -> Lanes:
        ways = tuple(
            replace(
                one.way,
                given=min(one.given, self._pending),
                pace=replace(one.way.pace, seen=(*one.way.pace.seen, *one.paces)),
            )
            for one in self._lanes
        )
        return replace(
            self._seen,
            ways=ways,
            batches=tuple(map(self._room, self._seen.batches)),
            out=tuple(self._out(one) for one in self._orders),
            watched_s=self._seen.watched_s + self._now - self._began,
        )

    def _room(self, way: BatchWay) -> BatchWay:
        mine = [one.seen.rows for one in self._orders if one.seen.endpoint == way.endpoint]
        return replace(
            way,
            room_batches=way.room_batches - len(mine),
            room_rows=None if way.room_rows is None else max(0, way.room_rows - sum(mine)),
            ended=(*way.ended, *self._ended.get(way.endpoint, ())),
        )

    def _out(self, order: _Order) -> BatchOut:
        done = order.done(self._now)
        since = order.seen.submitted_at + BEGINS * order.took
        return replace(
            order.seen,
            done=done,
            phase=Phase.RUNNING if done else Phase.WAITING,
            running_since=since if done else None,
            done_at=self._now if done else None,
        )

    def _left_now(self) -> Left:
        return replace(self._left, pending=self._pending, returned=self._returned, in_flight=0, usd=None)
