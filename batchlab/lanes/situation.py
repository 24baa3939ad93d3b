"""What a moment of the night means: how much is left, how long it takes at worst, and what waiting is worth.

All of it is arithmetic on what the policy was told; nothing is kept from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from batchlab.lanes.queue_times import Durations, Tonight
from batchlab.lanes.seen import DAY_S, BatchOut, BatchWay, Lanes, Left, Way

BEFORE_S = 3_600.0  # an outage that began before the work did may still last
AHEAD_S = (120.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)


@dataclass(frozen=True, slots=True)
class Tuning:
    """The policy's own numbers, chosen on simulated nights (`tests/proofs/nights`).

    Attributes:
        miss: what a missed deadline is worth, in list prices of the whole run.
        between_outages_s: one outage is expected in so long, before any was seen.
        look_s: how often it looks again while something may have to be taken back soon; more often, the
            nearer the deadline.
        back_early, back_at_risk: shares of the time that a cancellation may take, for which live lanes are
            kept in rows meanwhile: always, and as much more as the deadline is at risk.
        enough: chance of a miss with which the cheapest live lanes are enough.
        batches: into how many a run is cut, so that parts of it come, and can be taken back.
        fair: least chance to end in time with which a batch is ordered.
    """

    miss: float = 12.0
    between_outages_s: float = DAY_S
    look_s: float = 120.0
    back_early: float = 0.1
    back_at_risk: float = 0.5
    enough: float = 0.01
    batches: int = 12
    fair: float = 0.1


TUNED = Tuning()


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that stand alike.

    Attributes:
        usd: what one costs if it is answered otherwise than live; None when it cannot be.
        share: of its rows, that is expected to be answered otherwise within so many seconds.
        batch: the one they are in; None for pending rows.
    """

    rows: int
    usd: float | None
    share: Callable[[float], float]
    batch: BatchOut | None


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely a deadline is missed.

    Attributes:
        time_s: seconds until it, without those that nothing can be done in; inf without one.
        work_s: seconds of work that are left, as expected.
        doubt: standard deviation of its logarithm.
        outages, rate: how long they take; how many there are in a second.
    """

    time_s: float
    work_s: float
    doubt: float
    outages: Durations
    rate: float

    @property
    def slack_s(self) -> float:
        """Seconds that may pass without work; less than 0 when it is too much already."""
        return self.time_s - self.work_s

    def miss(self, waited_s: float) -> float:
        """The chance that it is, when the work begins after so long: an outage, or too slow a pace."""
        time_s = self.time_s - waited_s
        slack = time_s - self.work_s
        if math.isinf(time_s):
            return 0.0
        if slack <= 0:
            return 1.0
        slow = 0.5 * math.erfc(math.log(time_s / max(self.work_s, 1e-9)) / self.doubt / math.sqrt(2))
        hit = 1 - math.exp(-self.rate * (self.work_s + BEFORE_S))
        return min(1.0, slow + hit * self.outages.survival(slack))


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
        """Rows of batches that were told to end, and may be expected to do so soon."""
        late = self.now - 2 * self.cancel_s
        return sum(
            one.undone
            for one in self.seen.out
            if one.is_cancelled and (one.cancelled_at is None or one.cancelled_at > late)
        )

    @cached_property
    def returned(self) -> int:
        """Pending rows that go into no batch again: with a deadline, those that one gave back."""
        return 0 if self.left.deadline is None else self.left.returned

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
        return {
            way.endpoint: Tonight.of(
                way.queue,
                way.ended,
                [self.now - one.submitted_at for one in self.out if one.endpoint == way.endpoint],
            )
            for way in self.seen.batches
        }

    @cached_property
    def fewest(self) -> tuple[Way, ...]:
        """The cheapest live lanes that are enough for the deadline; all of them when none are."""
        up = [one for one in self.live if one.out_since is None] or [*self.live]
        for count in range(1, len(up)):
            if self.odds(up[:count]).miss(0.0) < self.tuning.enough:
                return tuple(up[:count])
        return tuple(up)

    def odds(self, ways: Sequence[Way]) -> Odds:
        """How likely the deadline is missed, if from some time on these lanes do all that is left."""
        pace = sum(one.pace.expected for one in ways)
        # while a cancellation takes its time, lanes are busy with the rows that are here
        here_s = (self.left.pending + self.left.in_flight) / pace if pace > 0 else 0.0
        down = 0.0
        if ways and all(one.out_since is not None for one in ways):
            since = max(one.out_since or 0.0 for one in ways)
            down = Tonight.of(self.seen.outages, (), ()).remaining(0.5, max(0.0, self.now - since))
        rate = (1 + self.seen.outages_seen) / (self.tuning.between_outages_s + self.seen.watched_s)
        return Odds(
            self.time_s - max(0.0, self.cancel_s - here_s) - down,
            self.rest / pace if pace > 0 else math.inf,
            max((one.pace.doubt for one in ways), default=0.0),
            self.seen.outages,
            rate,
        )

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What is left and could be answered by live lanes, by how it may be answered for less."""
        batch_usd = {one.endpoint: one.price.at(self.now) for one in self.seen.batches}
        flex_usd = min((one.price.at(self.now) or 0.0 for one in self.flex), default=None)
        fresh_usd = min((one.price.at(self.now) or 0.0 for one in self.usable), default=flex_usd)
        parts = [
            Part(self.returned, flex_usd, self.flex_share, None),
            Part(self.left.pending - self.returned, fresh_usd, self.fresh_share, None),
        ]
        for one in self.out:
            share = partial(self.batch_share, one)
            parts.append(Part(one.undone, batch_usd.get(one.endpoint), share, one))
        return tuple(one for one in parts if one.rows)

    def batch_share(self, batch: BatchOut, seconds: float) -> float:
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

    def flex_share(self, seconds: float) -> float:
        """The share of all that is left that flex is expected to answer within so long."""
        pace = sum(one.pace.expected for one in self.flex if one.out_since is None)
        return min(1.0, pace * seconds / self.rest) if self.rest else 0.0

    def fresh_share(self, seconds: float) -> float:
        """The share of the rows that were in no batch yet that is expected to be answered within so long."""
        share = self.flex_share(seconds)
        for way in self.usable[:1]:
            share = max(share, self.nights[way.endpoint].ends_within(seconds))
        return share

    def due(self, ways: Sequence[Way]) -> tuple[Part, ...]:
        """The parts that these lanes have to begin with now, the least promising first.

        A part may wait when for some time ahead that gains more than it risks. It gains what is saved if
        the part is answered otherwise by then, or what a cheaper hour saves. It risks that the lanes,
        which could have been done with it, have so much more to do when that time is over.
        """
        if not ways:
            return ()
        odds, price = self.odds(ways), ways[0].price
        now_usd = price.at(self.now) or 0.0
        stake = self.tuning.miss * self.left.total * now_usd
        change_s = price.changes_after(self.now) - self.now
        pace = sum(one.pace.expected for one in ways)
        moments = [one for one in (*AHEAD_S, change_s + 1) if one < min(odds.slack_s, DAY_S)]
        risks = {ahead: odds.miss(ahead) for ahead in moments}

        def may_wait(part: Part) -> bool:
            for ahead in moments:
                share = part.share(ahead)
                usd = now_usd if part.usd is None else part.usd
                later = price.at(self.now + ahead) or 0.0
                gain = part.rows * (now_usd - share * usd - (1 - share) * later)
                spared = min(ahead, part.rows / pace) if pace else 0.0
                if gain > stake * (risks[ahead] - odds.miss(ahead - spared)) + 1e-9 * part.rows * now_usd:
                    return True
            return False

        soon = max(min(odds.slack_s, DAY_S), self.cancel_s, 60.0)
        due = [one for one in self.parts if not may_wait(one)]
        return tuple(sorted(due, key=lambda one: (one.batch is not None, one.share(soon))))
