"""One budget lent to several processes in leases: the lender. Pure, with an injected clock.

A holder renews its lease about twice a second, never per request. What is lent:

- Permits, requests that may be in flight at an endpoint. In two phases: a grant is at most the cap
  less what every other holder may still use, and what a holder may use falls only once it has said
  that it keeps to the lower grant. So the sum is never over the cap.
- Shares of the rates (requests and tokens a minute). Each holder fills a bucket of its own from its
  share, so what leaves in any 60 s is at most the buckets plus 60 s of all shares: the limit.
- Money and tokens in all: an allowance each. What is spent before plus all allowances never pass
  the cap.

A lease that is not renewed lapses: the holder stops sending by itself. After that its rate goes to
the others; its permits stay reserved as long as a request may take, because the server may still be
at work on them. Of a holder that is known to be dead (`forget`) nothing is reserved but the money,
until its books have been read; one that turns up again gets no grant.

A lender that takes the place of a lost one (`after_another`) does not know what that one had lent.
It grants nothing until it has been told who the holders are (`go_on`) and each of them has kept to
one grant of nothing: what a holder then has in flight and keeps of its allowance is all it may use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from batchlab.lending.messages import (
    NOTHING,
    PACE_S,
    TOKEN_PACE_S,
    TTL_S,
    Demand,
    Grant,
    LaneDemand,
    LaneGrant,
    LaneLimits,
    Money,
)

LOSS = 0.05  # of a rate is the most that the holders' buckets may take from it
GRACE_S = 2.0  # how much longer than the holder that probes the others wait in an outage


@dataclass(slots=True)
class _Lent:
    """A part of one divisible thing: what its holder has confirmed, was last granted, and uses."""

    confirmed: float = 0.0
    granted: float = 0.0
    used: float = 0.0

    @property
    def bound(self) -> float:
        """The most that its holder may use now."""
        return max(self.confirmed, self.granted, self.used)


@dataclass(slots=True)
class _Holder:
    seen: float
    number: int = 0
    demand: Demand = field(default_factory=lambda: Demand(0, {}))
    permits: dict[str, _Lent] = field(default_factory=dict)
    requests: dict[str, _Lent] = field(default_factory=dict)
    tokens: dict[str, _Lent] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    allowance: Money = NOTHING
    has_confirmed: bool = False  # it keeps to a grant of this lender, or never had one


_NO_GRANT = LaneGrant(0, 0.0, 0.0)


class Allocator:
    """Lends one budget to holders, each known by a name.

    Args:
        expected: how many holders there will be: those that have not come yet keep their part.
        caps: on cost (USD) and on tokens; None for no cap.
        spent: by earlier invocations of the run.
        request_s: the longest that a request may take.
        first_number: grants are numbered from here on.
        after_another: another lender had lent of this budget, and was lost.
    """

    def __init__(
        self,
        lanes: Mapping[str, LaneLimits],
        *,
        expected: int,
        caps: tuple[float | None, float | None] = (None, None),
        spent: Money = NOTHING,
        request_s: float = 600.0,
        first_number: int = 0,
        after_another: bool = False,
    ) -> None:
        self._lanes = dict(lanes)
        self._first_number = first_number
        # holders of a lost lender that have yet to say what they have; None while nobody knows who they are
        self._strangers: set[str] | None = None if after_another else set()
        self._given_up: set[str] = set()
        self._expected = expected
        self._caps = caps
        self._spent = spent  # by those that are gone, and before
        self._lost: dict[str, Money] = {}  # allowances of the dead whose books were not read yet
        self._last: dict[str, Demand] = {}  # what these had said
        self._request_s = request_s
        self._holders: dict[str, _Holder] = {}
        self._answers = dict.fromkeys(lanes, 0)

    @property
    def spent(self) -> Money:
        """Settled by all so far; the allowances of the dead count in full until their books are read."""
        total = self._spent
        for holder in self._holders.values():
            total = total.plus(holder.demand.spent)
        for lost in self._lost.values():
            total = total.plus(lost)
        return total

    def expect(self, holders: int) -> None:
        """So many holders there are or will be."""
        self._expected = holders

    def go_on(self, names: Iterable[str], spent: Money) -> None:
        """The holders of a lost lender, and what all that are gone have spent."""
        if self._strangers is None:
            self._strangers = set(names)
            self._spent = spent
            confirmed = {name for name, holder in self._holders.items() if holder.has_confirmed}
            self._strangers -= confirmed

    @property
    def waits_for_holders(self) -> bool:
        """Whether `go_on` has yet to be called."""
        return self._strangers is None

    def lease(self, name: str, demand: Demand, now: float) -> Grant | None:
        """The holder's next grant; the one before it ends once the holder keeps to this one.

        None for a holder that was forgotten: it is to stop at once.
        """
        if name in self._given_up:
            return None
        holder = self._holders.get(name)
        if holder is None:
            holder = self._holders[name] = _Holder(now, self._first_number)
            if self._strangers is None or name in self._strangers:
                holder.allowance = demand.kept
            for lane in self._lanes:
                holder.permits[lane], holder.requests[lane], holder.tokens[lane] = _Lent(), _Lent(), _Lent()
        lapsed = now - holder.seen >= TTL_S
        self._hear(holder, demand, now, lapsed=lapsed)
        self._drop_silent(now)
        if demand.applied in {0, holder.number} and not lapsed:
            holder.has_confirmed = True
            if self._strangers:
                self._strangers.discard(name)
        holder.number += 1
        if self._strangers is None or self._strangers:
            return Grant(holder.number, dict.fromkeys(self._lanes, _NO_GRANT), self._allowance(holder))
        lanes = {lane: self._lane_grant(name, holder, lane, now) for lane in self._lanes}
        tight = self._lend_money(holder)
        return Grant(
            holder.number,
            lanes,
            self._allowance(holder),
            tight=tight,
            stop=self._exhausted(),
        )

    def _allowance(self, holder: _Holder) -> tuple[float | None, float | None]:
        return (
            None if self._caps[0] is None else holder.allowance.usd,
            None if self._caps[1] is None else holder.allowance.tokens,
        )

    def release(self, name: str, spent: Money) -> None:
        """The holder is done; it spent so much in all."""
        if self._known(name, spent):
            return
        if self._holders.pop(name, None) is not None:
            self._spent = self._spent.plus(spent)

    def give_up(self, name: str) -> None:
        """The holder is out of reach, and may be at work: it gets no grant any more. Until `forget` its
        share of the rates and its permits lapse like those of one that is silent."""
        self._given_up.add(name)

    def forget(self, name: str) -> Money:
        """The holder is dead. All that it could have spent counts as spent until `settle`.

        Returns the most that one request of its may have used.
        """
        self._given_up.add(name)
        if self._strangers is None or name in self._strangers:
            return NOTHING  # nothing is lent before its books have been read
        holder = self._holders.pop(name, None)
        if holder is None:
            return NOTHING
        self._lost[name] = holder.allowance
        self._last[name] = holder.demand
        return holder.demand.largest

    def settle(self, name: str, spent: Money) -> None:
        """The books of a dead holder say what it spent; what it had told itself is the least."""
        if self._known(name, spent) or self._lost.pop(name, None) is None:
            return
        told = self._last.pop(name).spent
        self._spent = self._spent.plus(Money(max(spent.usd, told.usd), max(spent.tokens, told.tokens)))

    def _known(self, name: str, spent: Money) -> bool:
        """Settles the account of a holder of a lost lender; False when it is none."""
        if self._strangers is None:
            return True  # `go_on` will say what it spent
        if name not in self._strangers:
            return False
        self._strangers.discard(name)
        self._holders.pop(name, None)
        self._spent = self._spent.plus(spent)
        return True

    def permits_out(self, lane: str) -> float:
        """The most requests that all holders together may have in flight there now."""
        return sum(holder.permits[lane].bound for holder in self._holders.values())

    def allowances_out(self) -> Money:
        """What is spent and what all may still spend, together."""
        total = self._spent
        for amount in (*(holder.allowance for holder in self._holders.values()), *self._lost.values()):
            total = total.plus(amount)
        return total

    def _hear(self, holder: _Holder, demand: Demand, now: float, *, lapsed: bool) -> None:
        holder.seen = now
        for lane, said in demand.lanes.items():
            kept_to = demand.applied == holder.number and not lapsed
            permits = holder.permits[lane]
            # a grant that never arrived may arrive still; a lease that lapsed may have been used to its end
            permits.confirmed = permits.granted if kept_to else permits.bound
            permits.used = said.in_flight
            for lent in (holder.requests[lane], holder.tokens[lane]):
                if lapsed:
                    lent.confirmed = lent.granted = 0.0
                else:
                    lent.confirmed = lent.granted if kept_to else lent.bound
            earlier = holder.demand.lanes.get(lane)
            self._answers[lane] += said.answers - (earlier.answers if earlier is not None else 0)
        holder.demand = demand
        low = holder.allowance
        holder.allowance = Money(min(low.usd, demand.kept.usd), min(low.tokens, demand.kept.tokens))

    def _drop_silent(self, now: float) -> None:
        for holder in self._holders.values():
            silent = now - holder.seen
            if silent >= TTL_S:
                for lent in (*holder.requests.values(), *holder.tokens.values()):
                    lent.confirmed = lent.granted = 0.0
            if silent >= TTL_S + self._request_s:
                for lent in holder.permits.values():
                    lent.confirmed = lent.granted = lent.used = 0.0

    def _live(self, now: float) -> list[str]:
        return [name for name, holder in self._holders.items() if now - holder.seen < TTL_S]

    def _lane_grant(self, name: str, holder: _Holder, lane: str, now: float) -> LaneGrant:
        limits, live = self._lanes[lane], self._live(now)
        missing = max(0, self._expected - len(self._holders))
        wants = {one: self._wanted(one, lane) for one in live}
        askers = [one for one in live if wants[one]]
        requests = self._rate(limits.rpm, 1.0, PACE_S, missing + len(askers))
        largest = max((self._said(one, lane).largest_tokens for one in live), default=0.0)
        tokens = self._rate(limits.tpm, largest, TOKEN_PACE_S, missing + len(askers))
        fitting = min((rate[1] for rate in (requests, tokens) if rate is not None), default=len(askers))
        sharers = askers[: max(1, fitting)]
        # who has no share of a rate can send nothing, and needs no permit
        cap = limits.concurrency if self._answers[lane] else min(limits.start, limits.concurrency)
        fair = _fair_whole([cap] * missing + [wants[one] if one in sharers else 0 for one in live], cap)
        target = fair[missing + live.index(name)]
        others = [other for other in self._holders.values() if other is not holder]
        free = cap - sum(other.permits[lane].bound for other in others)
        permits = holder.permits[lane]
        permits.granted = float(max(0, min(target, math.floor(free))))
        answered = self._answers[lane] > holder.answers.get(lane, 0)
        holder.answers[lane] = self._answers[lane]
        return LaneGrant(
            permits=int(permits.granted),
            requests_per_s=self._lend_rate(name, holder, lane, "requests", requests, sharers, missing),
            tokens_per_s=self._lend_rate(name, holder, lane, "tokens", tokens, sharers, missing),
            share=1.0 / max(1, missing + len(askers)),
            answered=answered,
        )

    def _said(self, name: str, lane: str) -> LaneDemand:
        return self._holders[name].demand.lanes.get(lane, LaneDemand(0, 0))

    def _wanted(self, name: str, lane: str) -> int:
        said = self._said(name, lane)
        return max(said.want, said.in_flight)

    @staticmethod
    def _rate(per_minute: float | None, unit: float, pace_s: float, sharers: int) -> tuple[float, int] | None:
        """Units a second for all together, and among how many holders that may be divided.

        Each holder's bucket may be full when a minute begins, so the buckets come off the rate.
        """
        if per_minute is None:
            return None
        whole = math.floor(per_minute) if per_minute >= 1 else per_minute
        fitting = max(1, int(LOSS * whole / unit)) if unit else sharers
        buckets = min(fitting, max(1, sharers)) * unit
        spare = max(whole - buckets, 0.5 * whole)
        return spare / (60 + pace_s) * (1 - 1e-6), fitting

    def _lend_rate(
        self,
        name: str,
        holder: _Holder,
        lane: str,
        kind: str,
        rate: tuple[float, int] | None,
        sharers: list[str],
        missing: int,
    ) -> float | None:
        if rate is None:
            return None
        used = [getattr(self._said(one, lane), f"{kind}_per_s") for one in sharers]
        # some room to grow: whoever is held back says so and gets its part
        wants = [math.inf if one is None else max(1.5 * one, 0.1 * rate[0]) for one in used]
        missing = min(missing, max(0, rate[1] - len(sharers)))
        fair = _fair([math.inf] * missing + wants, rate[0])
        target = fair[missing + sharers.index(name)] if name in sharers else 0.0
        lent: _Lent = getattr(holder, kind)[lane]
        others = [getattr(other, kind)[lane].bound for other in self._holders.values() if other is not holder]
        lent.granted = max(0.0, min(target, rate[0] - sum(others)))
        return lent.granted

    def _lend_money(self, holder: _Holder) -> bool:
        """Raises the holder's allowance as far as the caps and the others' needs let it."""
        out, demand = self.allowances_out(), holder.demand
        grants = [0.0, 0.0]
        tight = False
        for index, cap in enumerate(self._caps):
            if cap is None:
                continue
            left = cap - out[index]
            wanted = [one.demand.wanted[index] for one in self._holders.values()]
            tight = tight or left < sum(wanted)
            need = demand.need[index] if demand.need is not None else 0.0
            kept = holder.allowance[index] - demand.spent[index] - demand.reserved[index]
            missing = need - kept if demand.need is not None else 0.0
            if missing > left:
                return True  # both or none: one alone lets no request out
            share = left / (2 * len(self._holders))
            grants[index] = max(0.0, missing, min(demand.wanted[index] - kept, share))
        holder.allowance = holder.allowance.plus(Money(*grants))
        return tight

    def _exhausted(self) -> str:
        """What to tell when no request that waits is covered and nothing can come back; "" if not so."""
        demands = [holder.demand for holder in self._holders.values()]
        needs = [demand.need for demand in demands if demand.need is not None]
        if not needs or self._lost:
            return ""
        out = self.allowances_out()
        for index, (cap, option) in enumerate(zip(self._caps, ("max_cost", "max_tokens_total"), strict=True)):
            if cap is None:
                continue
            busy = any(demand.reserved[index] > 1e-12 for demand in demands)
            idle_money = any(
                holder.allowance[index] - holder.demand.spent[index] > 1e-9 * cap
                for holder in self._holders.values()
            )
            need = min(one[index] for one in needs)
            if not busy and not idle_money and need > cap - out[index]:
                return (
                    f"{out[index]:g} of {option} {cap:g} is used, and the next request may use {need:g}. "
                    f"Go on with a higher {option}."
                )
        return ""


class Pauses:
    """Who is told of a pause that one holder met, and how long the others are to wait. Pure.

    After a rate limit all wait equally long. In an outage the first to notice probes, and the
    others wait a little longer: one probe at a time, as with one process.
    """

    def __init__(self) -> None:
        self._probing: dict[str, tuple[str, float]] = {}  # lane → who probes, and until when the others wait

    def met(
        self, lane: str, name: str, others: Sequence[str], now: float, seconds: float, *, outage: bool
    ) -> dict[str, float]:
        """Seconds that each is to pause, by name; those that are not in it need not be told."""
        if not outage:
            return dict.fromkeys(others, seconds)
        prober, until = self._probing.get(lane, (name, now))
        if prober != name and now < until:
            return {name: until - now}
        until = now + seconds + max(GRACE_S, seconds)
        self._probing[lane] = (name, until)
        return dict.fromkeys(others, until - now)

    def over(self, lane: str) -> None:
        """Somebody was answered there."""
        self._probing.pop(lane, None)

    def gone(self, name: str) -> None:
        """A holder has ended: it probes no more."""
        for lane in [lane for lane, (prober, _) in self._probing.items() if prober == name]:
            del self._probing[lane]


def _fair(wants: Sequence[float], cap: float) -> list[float]:
    """`cap` divided so that nobody gets more than it wants, and nobody less than another without cause."""
    out, left = [0.0] * len(wants), cap
    order = sorted(range(len(wants)), key=lambda index: wants[index])
    for position, index in enumerate(order):
        out[index] = min(wants[index], left / (len(wants) - position))
        left -= out[index]
    return out


def _fair_whole(wants: Sequence[int], cap: int) -> list[int]:
    """The same in whole numbers; what does not divide goes to the last."""
    out, left = [0] * len(wants), cap
    order = sorted(range(len(wants)), key=lambda index: wants[index])
    for position, index in enumerate(order):
        out[index] = min(wants[index], left // (len(wants) - position))
        left -= out[index]
    return out
