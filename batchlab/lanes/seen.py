"""What the policy of lanes is told: prices, paces, limits, what is out and left. Times are Unix seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from batchlab.lanes.queue_times import OUTAGES, QUEUES, Durations
from batchlab.protocol.batches.dialect import Phase

DAY_S = 86_400.0
LAST_SPANS = 24
FADES = 0.85  # what a span counts of the one after it: one of half an hour ago a third
SPAN_DOUBT = 0.22  # how far one span is from the next ones, as a standard deviation of the logarithm
UNEVEN = 0.25  # the same of what is ahead, however much was seen: slumps of an hour are usual
SAME_S = 0.001  # Unix seconds of today have fewer digits than those of a day
CANCEL_S = 600.0  # services say: up to ten minutes

LiveLane: TypeAlias = Literal["live", "flex"]


@dataclass(frozen=True, slots=True)
class RowPrice:
    """What a row costs, as it is expected.

    Attributes:
        usd: None when the price is unknown.
        steps: (second of the UTC day, USD from then on), ascending, for a price that changes with the hour;
            `usd` is then not looked at.
        worst_usd: what the cap sets aside for a row; `usd` at its dearest hour when None.
    """

    usd: float | None
    steps: tuple[tuple[float, float], ...] = ()
    worst_usd: float | None = None

    def at(self, moment: float) -> float | None:
        """The price then."""
        if not self.steps:
            return self.usd
        second = moment % DAY_S + SAME_S
        found = self.steps[-1][1]  # before the day's first step it is still yesterday's last
        for begins, usd in self.steps:
            if begins > second:
                break
            found = usd
        return found

    def changes_after(self, moment: float) -> float:
        """When it changes next; inf when it never does."""
        if len({usd for _, usd in self.steps}) < 2:
            return math.inf
        day = moment - moment % DAY_S
        now = self.at(moment)
        ahead = sorted((day + more + begins, usd) for begins, usd in self.steps for more in (0.0, DAY_S))
        return next(begins for begins, usd in ahead if begins > moment + SAME_S and usd != now)

    def least_until(self, now: float, until: float) -> float | None:
        """The least that it is at any time from now to then."""
        found = [self.at(now)]
        if until - now >= DAY_S:
            found += [usd for _, usd in self.steps]
        else:
            while (now := self.changes_after(now)) < until:
                found.append(self.at(now + 1))
        return None if found[0] is None else min(one for one in found if one is not None)

    def set_aside(self) -> float | None:
        """What a cap sets aside for a row; None when the price is unknown."""
        if self.worst_usd is not None:
            return self.worst_usd
        return max((usd for _, usd in self.steps), default=self.usd)


@dataclass(frozen=True, slots=True)
class Pace:
    """Rows per second of a live lane.

    Attributes:
        prior: what is expected before anything was seen: requests in flight ÷ seconds of one, or what runs
            before this one saw.
        seen: the pace in each of the last spans of about five minutes in which rows were waiting and the lane
            was not out, the newest last; the last may be of the minute or more that it lasts so far. A flex
            lane's is what was answered, shortage and all.
        prior_doubt: standard deviation of the prior's logarithm; what is seen counts the more, the more
            doubtful it is.
    """

    prior: float
    seen: tuple[float, ...] = ()
    prior_doubt: float = 0.4

    @property
    def expected(self) -> float:
        """What it will be: the newest counts most, the prior as a part of a span."""
        seen, weights, prior = self.seen[-LAST_SPANS:], self._weights, self._prior_weight
        total = sum(weight * pace for weight, pace in zip(weights, seen, strict=True))
        return (prior * self.prior + total) / (prior + sum(weights))

    @property
    def doubt(self) -> float:
        """Standard deviation of its logarithm: a prior may be off by a factor, and no night is even."""
        prior = self._prior_weight
        return math.hypot(self.prior_doubt * math.sqrt(prior / (prior + sum(self._weights))), UNEVEN)

    @property
    def _prior_weight(self) -> float:
        return math.pow(SPAN_DOUBT / self.prior_doubt, 2)

    @property
    def _weights(self) -> list[float]:
        """Of each span, the newest 1: a pace wanders."""
        count = len(self.seen[-LAST_SPANS:])
        return [math.pow(FADES, count - 1 - index) for index in range(count)]


@dataclass(frozen=True, slots=True)
class Way:
    """A lane in which rows are asked one by one.

    Attributes:
        given: rows of its last SendLive that it has not sent yet.
        shortage: share of its last calls that were refused for lack of capacity; 0.0 when none was made.
        out_since: since when nothing gets through; None while all is well.
    """

    endpoint: str
    lane: LiveLane
    price: RowPrice
    pace: Pace
    given: int = 0
    shortage: float = 0.0
    out_since: float | None = None


@dataclass(frozen=True, slots=True)
class BatchWay:
    """The batch API of an endpoint, and what may be ordered there now.

    Attributes:
        lines: most rows of one batch.
        room_rows: rows that may be queued beside those that are; None when nobody says.
        room_batches: batches that may be ordered beside those that are out.
        window_s: the time the service has for a batch.
        queue: how long batches took in runs before this one.
        ended: seconds that each batch of this run took which ended by itself.
        cancel_s: how long a cancelled batch may take to end.
    """

    endpoint: str
    price: RowPrice
    lines: int = 50_000
    room_rows: int | None = None
    room_batches: int = 16
    window_s: float = DAY_S
    queue: Durations = QUEUES
    ended: tuple[float, ...] = ()
    cancel_s: float = CANCEL_S


@dataclass(frozen=True, slots=True)
class BatchOut:
    """A batch that was ordered and has not ended.

    Attributes:
        done: lines that have a result, as the service counts them; 0 while it does not say.
        running_since: when it was first seen to have done anything.
        done_at: when `done` was last seen to rise.
        cancelled_at: when it was told to end.
        can_be_called_off: not while its order is on its way, and not any more once it has ended.
    """

    id: str
    endpoint: str
    rows: int
    submitted_at: float
    done: int = 0
    phase: Phase = Phase.WAITING
    running_since: float | None = None
    done_at: float | None = None
    cancelled_at: float | None = None
    can_be_called_off: bool = True

    @property
    def undone(self) -> int:
        """Its lines without a result."""
        return max(0, self.rows - self.done)

    @property
    def is_cancelled(self) -> bool:
        """Whether it is about to end because somebody said so."""
        return self.phase is Phase.CANCELLING or self.cancelled_at is not None


@dataclass(frozen=True, slots=True)
class Lanes:
    """All ways to be answered, and how each is doing.

    Attributes:
        outages: how long outages took, before this run and in it.
        outages_seen: how many, in the `watched_s` seconds that somebody looked.
    """

    ways: tuple[Way, ...]
    batches: tuple[BatchWay, ...] = ()
    out: tuple[BatchOut, ...] = ()
    outages: Durations = OUTAGES
    outages_seen: int = 0
    watched_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Left:
    """What is still to do, and what may be used for it.

    Attributes:
        total: rows of the run.
        pending: rows without a final result that are neither in flight nor in a batch.
        returned: those of them that a batch has given back unanswered, because it was taken back or has
            expired. With a deadline they are not put into a batch again: the next may be as slow.
        in_flight: rows asked one by one whose answers are awaited. An engine that sends whole shards, and
            does not stop in one, counts all of those here and none as given to a way.
        deadline: None for none.
        usd: what the cap leaves beside what is spent and set aside; None without a cap.
        shard_rows: what batches are cut by.
    """

    total: int
    pending: int
    returned: int = 0
    in_flight: int = 0
    deadline: float | None = None
    usd: float | None = None
    shard_rows: int = 10_000
