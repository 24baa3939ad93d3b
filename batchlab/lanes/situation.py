"""What a moment of the night means: how much is left, how long it takes at worst, and what waiting is worth.

All of it is arithmetic on what the policy was told; nothing is kept from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from batchlab.lanes.queue_times import Tonight
from batchlab.lanes.seen import DAY_S, BatchOut, BatchWay, Lanes, Left, Way

AHEAD_S = (300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)


@dataclass(frozen=True, slots=True)
class Tuning:
    """The policy's own numbers, chosen on the nights of seeds 1 to 200 (`tests/proofs/nights`).

    Attributes:
        z: standard deviations by which live may turn out slower than it seems.
        miss: what a missed deadline is worth, in list prices of the whole run.
        between_outages_s: one outage is expected in so long, before any was seen.
        look_s: how often it looks again while something may have to be taken back soon.
        batches: into how many a run is cut, so that parts of it come, and can be taken back.
        fair: least chance to end in time with which a batch is ordered.
    """

    z: float = 2.0
    miss: float = 4.0
    between_outages_s: float = DAY_S
    look_s: float = 120.0
    batches: int = 12
    fair: float = 0.1


TUNED = Tuning()


@dataclass(frozen=True)
class Situation:
    """One moment.

    Attributes:
        live, flex: with a known price, the cheapest first.
        usable: batch APIs that are cheaper than the cheapest of `live`, the cheapest first.
    """

    now: float
    seen: Lanes
    left: Left
    tuning: Tuning
    live: tuple[Way, ...]
    flex: tuple[Way, ...]
    usable: tuple[BatchWay, ...]

    @cached_property
    def out(self) -> tuple[BatchOut, ...]:
        """Batches that are out and were not told to end."""
        return tuple(one for one in self.seen.out if not one.is_cancelled)

    @cached_property
    def coming(self) -> int:
        """Rows of batches that were told to end: pending soon."""
        return sum(one.undone for one in self.seen.out if one.is_cancelled)

    @cached_property
    def rest(self) -> int:
        """Rows that have no answer yet, wherever they are."""
        out = sum(one.undone for one in self.seen.out)
        return self.left.pending + self.left.in_flight + out

    @cached_property
    def time_s(self) -> float:
        """Seconds to the deadline; inf without one."""
        return math.inf if self.left.deadline is None else self.left.deadline - self.now

    @cached_property
    def cancel_s(self) -> float:
        """How long rows that are taken back may take to come; 0.0 when none are in a batch or go there."""
        ways = [one.cancel_s for one in self.seen.batches]
        return max(ways, default=0.0) if self.seen.out or self.usable else 0.0

    @cached_property
    def nights(self) -> dict[str, Tonight]:
        """How long batches take tonight, by endpoint."""
        seen = self.seen
        alone = len(seen.batches) == 1
        return {
            way.endpoint: Tonight.of(
                way.queue,
                seen.queue_ended if alone else (),
                [self.now - one.submitted_at for one in self.out if one.endpoint == way.endpoint],
            )
            for way in seen.batches
        }

    @cached_property
    def fewest(self) -> tuple[Way, ...]:
        """The cheapest live lanes that are enough for the deadline; all of them when none are."""
        up = [one for one in self.live if one.out_since is None] or [*self.live]
        for count in range(1, len(up)):
            if self.slack_s(up[:count]) > self.tuning.look_s:
                return tuple(up[:count])
        return tuple(up)

    def work_s(self, ways: Sequence[Way]) -> float:
        """Seconds that these lanes surely need for all that is left."""
        pace = sum(one.pace.sure(self.tuning.z) for one in ways)
        return self.rest / pace if pace > 0 else math.inf

    def slack_s(self, ways: Sequence[Way]) -> float:
        """Seconds that nothing need be done live, if then all of it is, by these lanes."""
        down = 0.0
        if ways and all(one.out_since is not None for one in ways):
            ages = [self.now - one.out_since for one in ways if one.out_since is not None]
            down = Tonight.of(self.seen.outages, (), ()).remaining(0.5, max(0.0, min(ages)))
        return self.time_s - self.work_s(ways) - self.cancel_s - down

    def miss(self, slack_s: float, work_s: float) -> float:
        """The chance that an outage until the end of the work takes longer than the slack."""
        if slack_s <= 0:
            return 1.0
        mean = self.tuning.between_outages_s
        rate = (1 + self.seen.outages_seen) / (mean + self.seen.watched_s)
        hit = 1 - math.exp(-rate * (work_s + slack_s))
        return hit * self.seen.outages.survival(slack_s)

    def ends(self, batch: BatchOut, seconds: float) -> float:
        """The share of a batch's undone rows that is expected to be done within so long."""
        undone = batch.undone
        night = self.nights.get(batch.endpoint)
        share = night.ends_within(seconds, self.now - batch.submitted_at) if night else 0.0
        if not undone or batch.running_since is None or batch.done_at is None:
            return share
        ran = max(1.0, batch.done_at - batch.running_since)
        if batch.done and self.now - batch.done_at < max(300.0, ran / 4):
            share = max(share, 0.9 * min(1.0, batch.done / ran * seconds / undone))
        return share

    def _fresh(self, seconds: float) -> float:
        """The share of the pending rows that flex or a new batch is expected to answer within so long."""
        share = 0.0
        if self.flex and self.rest:
            pace = sum(one.pace.sure(1.0) for one in self.flex if one.out_since is None)
            share = min(1.0, pace * seconds / self.rest)
        for way in self.usable[:1]:
            share = max(share, self.nights[way.endpoint].ends_within(seconds))
        return share

    def must_begin(self, ways: Sequence[Way]) -> bool:
        """Whether these lanes have to work now: waiting for any of the times ahead gains less than it risks.

        To wait gains what batches, flex or a cheaper hour save of the rows that the lanes would answer
        meanwhile, those first that are least likely to be answered otherwise. It costs slack, and that is
        worth what it lowers the chance of a missed deadline.
        """
        slack, work = self.slack_s(ways), self.work_s(ways)
        if slack <= 0 or not ways:
            return bool(ways)
        price = ways[0].price
        now_usd = price.at(self.now) or 0.0
        pace = sum(one.pace.sure(0.0) for one in ways)
        stake = self.tuning.miss * self.left.total * max(now_usd, 1e-12)
        risk = 0.0 if math.isinf(slack) else self.miss(slack, work)
        for ahead in self._moments(price.changes_after(self.now) - self.now, slack):
            loss = 0.0 if math.isinf(slack) else (self.miss(slack - ahead, work) - risk) * stake
            later = price.at(self.now + ahead) or 0.0
            if self._gain(ahead, now_usd, later, pace) > loss + 1e-9 * stake:
                return False
        return True

    def _moments(self, change_s: float, slack: float) -> list[float]:
        """Seconds ahead that are worth a look: fixed ones, and just after the price has changed."""
        most = min(slack, DAY_S)
        ahead = [one for one in (*AHEAD_S, change_s + 1) if one < most]
        return ahead or [most / 2]

    def _gain(self, ahead: float, now_usd: float, later_usd: float, pace: float) -> float:
        batch_usd = {one.endpoint: one.price.at(self.now) for one in self.seen.batches}
        cheaper = [one.price.at(self.now) for one in self.usable[:1]]
        cheaper += [one.price.at(self.now) for one in self.flex]
        fresh_usd = min((one for one in cheaper if one is not None), default=now_usd)
        parts = [
            (self.ends(one, ahead), one.undone, batch_usd.get(one.endpoint) or now_usd)
            for one in self.out
            if one.undone
        ]
        parts.append((self._fresh(ahead), self.left.pending, fresh_usd))
        rows = pace * ahead
        gain = 0.0
        for share, count, usd in sorted(parts):
            taken = min(rows, count)
            gain += taken * (now_usd - share * usd - (1 - share) * later_usd)
            rows -= taken
            if rows <= 0:
                break
        return gain
