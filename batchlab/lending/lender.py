"""One budget lent to several workers in leases: the lender. Pure, with an injected clock.

A worker renews its lease about twice a second, never per request. What is lent:

- Permits, requests that may be in flight at an endpoint. In two phases: a lease has at most the cap
  less what every other worker may still use, and what a worker may use falls only once it has said
  that it keeps to the lower lease. So the sum is never over the cap.
- Shares of the rates (requests and tokens a minute). Each worker fills a bucket of its own from its
  share, so what leaves in any 60 s is at most the buckets plus 60 s of all shares: the limit.
- Money and tokens in all: an allowance each. What is spent before plus all allowances never pass
  the cap, which may grow (`allow`): others spend of the same, and leave some.

A lease that is not renewed lapses: the worker stops sending by itself. After that its rate goes to
the others; its permits stay reserved as long as a request may take, because the server may still be
at work on them. Of a worker that is known to be dead (`forget`) nothing is reserved but the money,
until its books have been read; one that turns up again gets no lease.

A lender that takes the place of a lost one does not know what that one had lent. It lends nothing
until it has been told who the workers are (`go_on`) and each of them has kept to one lease of
nothing: what a worker then has in flight and keeps of its allowance is all it may use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from batchlab.dispatch.rate.budget import used_up
from batchlab.dispatch.rate.money import NOTHING, Money
from batchlab.job.limits import Caps
from batchlab.lending.messages import (
    PACE_S,
    TOKEN_PACE_S,
    TTL_S,
    Demand,
    LaneDemand,
    LaneLease,
    Lease,
    LenderTerms,
)
from batchlab.lending.shares import Lent, Rate, fair_whole


@dataclass(slots=True)
class _Lane:
    """What one worker has of one endpoint; `answers` there by anybody that it has been told of."""

    permits: Lent = field(default_factory=Lent)
    requests: Lent = field(default_factory=Lent)
    tokens: Lent = field(default_factory=Lent)
    answers: int = 0

    @property
    def rates(self) -> tuple[Lent, Lent]:
        return self.requests, self.tokens


@dataclass(slots=True, eq=False)
class _Worker:
    seen: float
    number: int  # of its last lease
    lanes: dict[str, _Lane]
    demand: Demand = field(default_factory=lambda: Demand(0, {}))
    allowance: Money = NOTHING
    has_confirmed: bool = False  # it keeps to a lease of this lender, or never had one

    def said(self, lane: str) -> LaneDemand:
        return self.demand.lanes.get(lane, _NO_DEMAND)

    def wanted(self, lane: str) -> int:
        said = self.said(lane)
        return max(said.want, said.in_flight)


_NO_DEMAND = LaneDemand(0, 0)
_NO_LEASE = LaneLease(0, 0.0, 0.0)


class Lender:
    """Lends one budget to workers, each known by a name.

    Args:
        first_number: given when another lender had lent of this budget, and was lost: leases are numbered
            from here on, so that none is taken for one of its.
    """

    def __init__(self, terms: LenderTerms, *, first_number: int | None = None) -> None:
        self._terms = terms
        self._first_number = first_number or 0
        # workers of a lost lender that have yet to say what they have; None while nobody knows who they are
        self._strangers: set[str] | None = set() if first_number is None else None
        self._given_up: set[str] = set()
        self._expected = terms.expected
        self._spent = terms.spent  # by those that are gone, and before
        self._lost: dict[str, Money] = {}  # allowances of the dead whose books were not read yet
        self._last: dict[str, Demand] = {}  # what these had said
        self._workers: dict[str, _Worker] = {}
        self._answers = dict.fromkeys(terms.lanes, 0)

    @property
    def spent(self) -> Money:
        """Settled by all so far; the allowances of the dead count in full until their books are read."""
        total = self._spent
        for worker in self._workers.values():
            total = total.plus(worker.demand.spent)
        for lost in self._lost.values():
            total = total.plus(lost)
        return total

    def expect(self, workers: int) -> None:
        """So many workers there are or will be."""
        self._expected = workers

    def allow(self, caps: Caps) -> None:
        """What there is to lend in all from now on, which is more."""
        self._terms = replace(self._terms, caps=caps)

    def go_on(self, names: Iterable[str], spent: Money, caps: Caps | None = None) -> None:
        """The workers of a lost lender, what all that are gone have spent, and what it had to lend."""
        if caps is not None:
            self.allow(caps)
        if self._strangers is None:
            self._strangers = set(names)
            self._spent = spent
            confirmed = {name for name, worker in self._workers.items() if worker.has_confirmed}
            self._strangers -= confirmed

    @property
    def waits_for_workers(self) -> bool:
        """Whether `go_on` has yet to be called."""
        return self._strangers is None

    def lease(self, name: str, demand: Demand, now: float) -> Lease | None:
        """The worker's next lease; the one before it ends once the worker keeps to this one.

        None for a worker that was forgotten: it is to stop at once.
        """
        if name in self._given_up:
            return None
        worker = self._workers.get(name)
        if worker is None:
            lanes = {lane: _Lane() for lane in self._terms.lanes}
            worker = self._workers[name] = _Worker(now, self._first_number, lanes)
            if self._strangers is None or name in self._strangers:
                worker.allowance = demand.kept
        lapsed = now - worker.seen >= TTL_S
        self._hear(worker, demand, now, lapsed=lapsed)
        self._drop_silent(now)
        if demand.applied in {0, worker.number} and not lapsed:
            worker.has_confirmed = True
            if self._strangers:
                self._strangers.discard(name)
        worker.number += 1
        if self._strangers is None or self._strangers:
            nothing = dict.fromkeys(self._terms.lanes, _NO_LEASE)
            return Lease(worker.number, nothing, self._allowance(worker))
        leases = {lane: self._lane_lease(worker, lane, now) for lane in self._terms.lanes}
        tight = self._lend_money(worker)
        return Lease(worker.number, leases, self._allowance(worker), tight=tight, stop=self._exhausted())

    def _allowance(self, worker: _Worker) -> Caps:
        pairs = zip(self._terms.caps, worker.allowance, strict=True)
        return Caps(*(None if cap is None else amount for cap, amount in pairs))

    def release(self, name: str, spent: Money) -> None:
        """The worker is done; it spent so much in all."""
        if self._known(name, spent):
            return
        if self._workers.pop(name, None) is not None:
            self._spent = self._spent.plus(spent)

    def give_up(self, name: str) -> None:
        """The worker is out of reach, and may be at work: it gets no lease any more. Until `forget` its
        share of the rates and its permits lapse like those of one that is silent."""
        self._given_up.add(name)

    def forget(self, name: str) -> Money:
        """The worker is dead. All that it could have spent counts as spent until `settle`.

        Returns the most that one request of its may have used.
        """
        self._given_up.add(name)
        if self._strangers is None or name in self._strangers:
            return NOTHING  # nothing is lent before its books have been read
        worker = self._workers.pop(name, None)
        if worker is None:
            return NOTHING
        self._lost[name] = worker.allowance
        self._last[name] = worker.demand
        return worker.demand.largest

    def settle(self, name: str, spent: Money) -> None:
        """The books of a dead worker say what it spent; what it had told itself is the least."""
        if self._known(name, spent) or self._lost.pop(name, None) is None:
            return
        told = self._last.pop(name).spent
        self._spent = self._spent.plus(Money(max(spent.usd, told.usd), max(spent.tokens, told.tokens)))

    def _known(self, name: str, spent: Money) -> bool:
        """Settles the account of a worker of a lost lender; False when it is none."""
        if self._strangers is None:
            return True  # `go_on` will say what it spent
        if name not in self._strangers:
            return False
        self._strangers.discard(name)
        self._workers.pop(name, None)
        self._spent = self._spent.plus(spent)
        return True

    def permits_out(self, lane: str) -> float:
        """The most requests that all workers together may have in flight there now."""
        return sum(worker.lanes[lane].permits.bound for worker in self._workers.values())

    def allowances_out(self) -> Money:
        """What is spent and what all may still spend, together."""
        total = self._spent
        for amount in (*(worker.allowance for worker in self._workers.values()), *self._lost.values()):
            total = total.plus(amount)
        return total

    def _hear(self, worker: _Worker, demand: Demand, now: float, *, lapsed: bool) -> None:
        worker.seen = now
        # a lease that never arrived may arrive still; one that lapsed may have been used to its end
        kept_to = demand.applied == worker.number and not lapsed
        for lane, said in demand.lanes.items():
            has = worker.lanes[lane]
            has.permits.confirm(kept_to=kept_to)
            has.permits.used = said.in_flight
            for lent in has.rates:
                if lapsed:
                    lent.take_back()
                else:
                    lent.confirm(kept_to=kept_to)
            self._answers[lane] += said.answers - worker.said(lane).answers
        worker.demand = demand
        low = worker.allowance
        worker.allowance = Money(min(low.usd, demand.kept.usd), min(low.tokens, demand.kept.tokens))

    def _drop_silent(self, now: float) -> None:
        for worker in self._workers.values():
            silent = now - worker.seen
            if silent < TTL_S:
                continue
            for has in worker.lanes.values():
                for lent in has.rates:
                    lent.take_back()
                if silent >= TTL_S + self._terms.request_s:
                    has.permits.take_back()

    def _lane_lease(self, worker: _Worker, lane: str, now: float) -> LaneLease:
        limits, has = self._terms.lanes[lane], worker.lanes[lane]
        live = [worker for worker in self._workers.values() if now - worker.seen < TTL_S]
        missing = max(0, self._expected - len(self._workers))
        askers = [worker for worker in live if worker.wanted(lane)]
        requests = Rate.of(limits.rpm, 1.0, PACE_S, missing + len(askers))
        largest = max((one.said(lane).largest_tokens for one in live), default=0.0)
        tokens = Rate.of(limits.tpm, largest, TOKEN_PACE_S, missing + len(askers))
        fitting = min((rate.sharers for rate in (requests, tokens) if rate is not None), default=len(askers))
        sharers = askers[: max(1, fitting)]
        place = sharers.index(worker) if worker in sharers else None
        # who has no share of a rate can send nothing, and needs no permit
        cap = limits.concurrency if self._answers[lane] else min(limits.start, limits.concurrency)
        sharing = set(sharers)
        wants = [one.wanted(lane) if one in sharing else 0 for one in live]
        target = fair_whole([cap] * missing + wants, cap)[missing + live.index(worker)]
        others = [other.lanes[lane] for other in self._workers.values() if other is not worker]
        free = cap - sum(other.permits.bound for other in others)
        has.permits.granted = float(max(0, min(target, math.floor(free))))
        answered = self._answers[lane] > has.answers
        has.answers = self._answers[lane]
        requests_per_s = tokens_per_s = None
        if requests is not None:
            used = [one.said(lane).requests_per_s for one in sharers]
            share = requests.share(used, place, missing)
            requests_per_s = requests.lend(has.requests, share, (other.requests for other in others))
        if tokens is not None:
            used = [one.said(lane).tokens_per_s for one in sharers]
            share = tokens.share(used, place, missing)
            tokens_per_s = tokens.lend(has.tokens, share, (other.tokens for other in others))
        return LaneLease(
            permits=int(has.permits.granted),
            requests_per_s=requests_per_s,
            tokens_per_s=tokens_per_s,
            share=1.0 / max(1, missing + len(askers)),
            answered=answered,
        )

    def _lend_money(self, worker: _Worker) -> bool:
        """Raises the worker's allowance as far as the caps and the others' needs let it."""
        out, demand = self.allowances_out(), worker.demand
        grants = [0.0, 0.0]
        tight = False
        for index, cap in enumerate(self._terms.caps):
            if cap is None:
                continue
            left = cap - out[index]
            wanted = [worker.demand.wanted[index] for worker in self._workers.values()]
            tight = tight or left < sum(wanted)
            need = demand.need[index] if demand.need is not None else 0.0
            kept = worker.allowance[index] - demand.spent[index] - demand.reserved[index]
            missing = need - kept if demand.need is not None else 0.0
            if missing > left:
                return True  # both or none: one alone lets no request out
            share = left / (2 * len(self._workers))
            grants[index] = max(0.0, missing, min(demand.wanted[index] - kept, share))
        worker.allowance = worker.allowance.plus(Money(*grants))
        return tight

    def _exhausted(self) -> str:
        """What to tell when no request that waits is covered and nothing can come back; "" if not so."""
        demands = [worker.demand for worker in self._workers.values()]
        needs = [demand.need for demand in demands if demand.need is not None]
        if not needs or self._lost:
            return ""
        out = self.allowances_out()
        options = ("limits.max_cost", "limits.max_tokens_total")
        for index, (cap, option) in enumerate(zip(self._terms.caps, options, strict=True)):
            if cap is None:
                continue
            busy = any(demand.reserved[index] > 1e-12 for demand in demands)
            idle_money = any(
                worker.allowance[index] - worker.demand.spent[index] > 1e-9 * cap
                for worker in self._workers.values()
            )
            need = min(one[index] for one in needs)
            if not busy and not idle_money and need > cap - out[index]:
                return used_up(option, out[index], cap, need)
        return ""
