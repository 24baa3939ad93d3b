"""A lender that takes the place of a lost one, and workers that were given up."""

from __future__ import annotations

from batchlab.dispatch.rate.money import Money
from batchlab.job.limits import Caps, EndpointLimits
from batchlab.lending.lender import Lender
from batchlab.lending.messages import TTL_S, Demand, LaneDemand, LenderTerms

CAP = 16


def terms(cap_usd: float | None = None) -> LenderTerms:
    lanes = {"one": EndpointLimits(CAP, start=CAP)}
    return LenderTerms(lanes, expected=2, caps=Caps(cap_usd), request_s=5.0)


def next_lender() -> Lender:
    return Lender(terms(cap_usd=1.0), first_number=1_000)


def demand(applied: int, in_flight: int, *, kept: float = 0.0, spent: float = 0.0) -> Demand:
    return Demand(
        applied,
        {"one": LaneDemand(want=CAP, in_flight=in_flight, answers=9)},
        spent=Money(spent, 0.0),
        kept=Money(kept, 0.0),
        wanted=Money(0.5, 0.0),
    )


def permits(lease) -> int:
    return lease.lanes["one"].permits


def test_nothing_is_lent_before_every_worker_has_kept_to_a_lease_of_nothing():
    lender = next_lender()

    assert lender.waits_for_workers
    first = lender.lease("a", demand(57, 6, kept=0.3), 0.0)
    assert permits(first) == 0
    assert first.number > 1_000  # it is not taken for one that the lost lender gave
    lender.go_on(["a", "b"], Money(0.1, 0.0))
    assert permits(lender.lease("a", demand(first.number, 6, kept=0.3), 0.1)) == 0, "b may hold anything"
    b = lender.lease("b", demand(12, 9, kept=0.2), 0.2)
    assert permits(b) == 0
    last = lender.lease("b", demand(b.number, 9, kept=0.2), 0.3)

    assert not lender.waits_for_workers
    assert permits(last) <= CAP - 6
    assert lender.permits_out("one") <= CAP
    assert lender.allowances_out().usd <= 1.0
    assert lender.allowances_out().usd >= 0.1 + 0.3 + 0.2


def test_a_worker_that_died_with_the_lender_keeps_all_waiting_until_its_books_are_read():
    lender = next_lender()
    lender.go_on(["a", "b"], Money())
    a = lender.lease("a", demand(57, 2), 0.0)
    a = lender.lease("a", demand(a.number, 2), 0.1)
    assert permits(a) == 0

    lender.forget("b")
    a = lender.lease("a", demand(a.number, 2), 0.2)
    assert permits(a) == 0
    lender.settle("b", Money(0.4, 0.0))
    a = lender.lease("a", demand(a.number, 2), 0.3)

    assert permits(a) > 0
    assert lender.spent.usd == 0.4
    assert lender.lease("b", demand(3, 0), 0.4) is None


def test_a_worker_that_was_given_up_gets_no_lease_and_keeps_its_permits_as_long_as_it_may_use_them():
    lender = Lender(terms())
    zombie = lender.lease("z", demand(0, 0), 0.0)
    lender.give_up("z")

    assert lender.lease("z", demand(zombie.number, permits(zombie)), 0.3) is None
    other = lender.lease("a", demand(0, 0), 0.4)
    assert permits(other) <= CAP - permits(zombie)
    now = 0.4
    while now < TTL_S + 5.1:
        now += 0.5
        other = lender.lease("a", demand(other.number, 0), now)
        assert lender.permits_out("one") <= CAP
    lender.expect(1)
    assert permits(lender.lease("a", demand(other.number, 0), now)) == CAP
