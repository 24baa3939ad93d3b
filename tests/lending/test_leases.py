"""One budget, lent: whatever workers do or leave undone, the caps hold at every instant."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from dataclasses import dataclass, field

import msgspec
import pytest

from batchlab.costs.price import Ceiling, Price
from batchlab.dispatch.rate.controller import Permit
from batchlab.dispatch.rate.money import Money
from batchlab.job.limits import Caps, EndpointLimits
from batchlab.lending.borrower import Borrower
from batchlab.lending.budget import LeasedBudget
from batchlab.lending.controller import LeasedController
from batchlab.lending.lender import Lender
from batchlab.lending.messages import TTL_S, Demand, LaneDemand, Lease, LenderTerms, Pause
from batchlab.lending.pauses import Pauses
from batchlab.protocol.limits import RateHeaders
from batchlab.records import Usage

REQUEST_S = 5.0


@dataclass
class Process:
    """A worker in simulated time: real controller and borrower, answers after a while, messages delayed.

    `silent_until`: stopped as by SIGSTOP, nothing of it runs before; `idle`: it has nothing to send now.
    """

    name: str
    controller: LeasedController
    borrower: Borrower
    budget: LeasedBudget
    next_ask: float
    in_flight: deque[tuple[float, Permit]] = field(default_factory=deque)
    to_lender: deque[tuple[float, Demand, float]] = field(default_factory=deque)
    from_lender: deque[tuple[float, Lease, float]] = field(default_factory=deque)
    silent_until: float = 0.0
    idle: bool = False
    waits: bool = False
    dead: bool = False


def process(name: str, limits: EndpointLimits, now: float, rng: random.Random) -> Process:
    controller = LeasedController(limits, now=now, rng=rng, on_pause=lambda _: None, on_answer=lambda _: None)
    budget = LeasedBudget(Caps(), on_short=lambda: None)
    borrower = Borrower({"one": controller}, budget, rows=lambda: math.inf)
    return Process(name, controller, borrower, budget, now)


@pytest.mark.parametrize("seed", range(4))
def test_permits_and_rates_hold_over_silent_dying_and_returning_workers(seed):
    """130 s of virtual time in steps of 5 ms; what really leaves is counted, not what is booked."""
    rng = random.Random(seed)
    cap, rpm, tpm = rng.choice([3, 8, 40]), rng.choice([None, 240.0, 3_000.0]), rng.choice([None, 60_000.0])
    count, idles = rng.choice([2, 3, 5]), seed % 2 == 1
    limits = EndpointLimits(concurrency=cap, rpm=rpm, tpm=tpm, start=1)
    lender = Lender(LenderTerms({"one": EndpointLimits(cap, rpm, tpm)}, expected=count, request_s=REQUEST_S))
    live = [process(f"{n}.0", limits, rng.random(), rng) for n in range(count)]
    left: deque[tuple[float, float]] = deque()  # when a request left, and its tokens
    most_in_minute, most_in_flight, sent, step, generation = 0, 0, 0, 0.005, 0
    now = 0.0
    while now < 130.0:
        now += step
        for one in list(live):
            if now < one.silent_until:
                continue
            while one.from_lender and one.from_lender[0][0] <= now:
                _, lease, asked_at = one.from_lender.popleft()
                fewer = one.borrower.keep_to(lease, asked_at, now)
                one.waits, one.next_ask = False, now + (0.01 if fewer else 0.5)
            while one.in_flight and one.in_flight[0][0] <= now:
                one.controller.succeeded(one.in_flight.popleft()[1], now, 400)
            if now >= one.next_ask and not one.waits:
                one.waits = True
                one.to_lender.append((now + rng.uniform(0, 0.1), one.borrower.demand(now), now))
            one.idle ^= idles and rng.random() < step  # every second or so
            while not one.idle and isinstance(permit := one.controller.try_acquire(now, 100, 300), Permit):
                one.in_flight.append((now + 0.3, permit))
                left.append((now, permit.reserved))
                sent += 1
        for one in live:
            while one.to_lender and one.to_lender[0][0] <= now:
                _, demand, asked_at = one.to_lender.popleft()
                lease = lender.lease(one.name, demand, now)
                one.from_lender.append((now + rng.uniform(0, 0.1), lease, asked_at))
        if rng.random() < step / 8:  # something happens every 8 s
            one = rng.choice(live)
            if rng.random() < 0.5:
                one.silent_until = now + rng.choice([0.7, 1.5, 4.0])
            elif now >= one.silent_until:
                generation += 1
                lender.forget(one.name)
                live.remove(one)
                live.append(process(f"x.{generation}", limits, now + 0.5, rng))
        keeping = [one.controller.lent for one in live if now < one.controller.lent_until]
        for name, limit in (("requests_per_s", rpm), ("tokens_per_s", tpm)):
            rates = [60 * (getattr(one, name) or 0.0) for one in keeping]
            assert not limit or sum(rates) <= limit * (1 + 1e-9), (seed, now, rates)
        in_flight = sum(len(one.in_flight) for one in live)
        most_in_flight = max(most_in_flight, in_flight)
        assert in_flight <= cap, (seed, now)
        assert lender.permits_out("one") <= cap + 1e-9, (seed, now)
        while left and left[0][0] <= now - 60.0:
            left.popleft()
        most_in_minute = max(most_in_minute, len(left))
        assert rpm is None or len(left) <= rpm, (seed, now)
        assert tpm is None or sum(tokens for _, tokens in left) <= tpm, (seed, now)
    assert most_in_flight >= 0.8 * cap or rpm or tpm or idles, (seed, most_in_flight)
    if rpm and not tpm and cap > 8 and not idles:
        assert most_in_minute >= 0.85 * rpm, (seed, most_in_minute)
    assert sent > 100


def test_buckets_that_are_full_when_a_minute_begins_come_off_its_rate():
    """All idle, then all at once: the burst and the minute after it are within the limit."""
    limits = EndpointLimits(concurrency=500, rpm=240.0, start=500)
    lender = Lender(LenderTerms({"one": EndpointLimits(500, 240.0, start=500)}, expected=3))
    rng = random.Random(1)
    workers = [process(name, limits, 0.0, rng) for name in "abc"]
    now, sent = 0.0, 0
    while now < 65.0:
        for one in workers:
            if now >= one.next_ask:
                one.borrower.keep_to(lender.lease(one.name, one.borrower.demand(now), now), now, now)
                one.next_ask = now + 0.5
            while now >= 5.0 and isinstance(one.controller.try_acquire(now, 1, 1), Permit):
                sent += 1
        now += 0.01

    assert 0.93 * 240 <= sent <= 240


def ask(want=8, in_flight=0, applied=0, **more) -> Demand:
    return Demand(applied, {"one": LaneDemand(want, in_flight, answers=1)}, **more)


def test_a_newcomer_gets_only_what_the_others_have_confirmed_to_do_without():
    lender = Lender(LenderTerms({"one": EndpointLimits(10)}, expected=1))
    first = lender.lease("a", ask(), 0.0)
    assert first.lanes["one"].permits == 8
    assert lender.lease("b", ask(), 0.1).lanes["one"].permits == 2

    lower = lender.lease("a", ask(in_flight=8, applied=first.number), 0.5)
    assert lower.lanes["one"].permits == 5
    assert lender.lease("b", ask(in_flight=2, applied=1), 0.6).lanes["one"].permits == 2

    lender.lease("a", ask(in_flight=7, applied=lower.number), 0.7)  # two more must end first
    assert lender.lease("b", ask(in_flight=2, applied=2), 0.8).lanes["one"].permits == 3


def test_before_any_answer_all_together_have_the_first_window_of_one_process():
    lender = Lender(LenderTerms({"one": EndpointLimits(64)}, expected=6))
    unanswered = Demand(0, {"one": LaneDemand(64, 0)})

    leases = [lender.lease(name, unanswered, 0.0) for name in "abcdef"]

    assert sum(lease.lanes["one"].permits for lease in leases) == 4


def test_the_rate_of_a_silent_worker_is_lent_again_but_its_permits_stay_reserved():
    lender = Lender(LenderTerms({"one": EndpointLimits(10, rpm=6_000)}, expected=2, request_s=30.0))
    lender.lease("a", ask(), 0.0)
    first = lender.lease("b", ask(), 0.0)
    assert first.lanes["one"].requests_per_s < 51

    later = lender.lease("b", ask(applied=1, in_flight=5), TTL_S + 0.01)
    assert later.lanes["one"].requests_per_s > 98
    assert later.lanes["one"].permits == 5

    lender.lease("b", ask(applied=2, in_flight=5), 30.0)
    assert lender.lease("b", ask(applied=3, in_flight=5), 30.9).lanes["one"].permits == 5
    assert lender.lease("b", ask(applied=4, in_flight=5), TTL_S + 30.1).lanes["one"].permits == 8


def test_of_a_worker_known_to_be_dead_nothing_is_reserved():
    lender = Lender(LenderTerms({"one": EndpointLimits(10)}, expected=2))
    lender.lease("a", ask(), 0.0)
    lender.lease("b", ask(), 0.0)
    lender.forget("a")
    lender.expect(1)

    assert lender.lease("b", ask(10, applied=1), 0.1).lanes["one"].permits == 10


def test_the_allowance_of_a_dead_worker_counts_as_spent_until_its_books_are_read():
    lender = Lender(LenderTerms({"one": EndpointLimits(4)}, expected=2, caps=Caps(1.0)))
    money = {"wanted": Money(0.4, 0), "need": Money(0.1, 0), "largest": Money(0.1, 0)}
    first = lender.lease("a", ask(**money), 0.0)
    assert first.allowance[0] == pytest.approx(0.4)
    lender.forget("a")
    assert lender.spent.usd == pytest.approx(0.4)

    lender.settle("a", Money(0.25, 0))

    assert lender.spent.usd == pytest.approx(0.25)


def test_what_others_give_back_of_the_caps_is_lent_to_who_is_short():
    """Until then it is told that nothing covers it, which is for the lender's keeper to decide upon."""
    lender = Lender(LenderTerms({"one": EndpointLimits(4)}, expected=2, caps=Caps(0.15)))
    money = {"wanted": Money(0.1, 0), "need": Money(0.1, 0), "largest": Money(0.1, 0)}
    spent = {"spent": Money(0.1, 0), "kept": Money(0.1, 0)}
    assert lender.lease("a", ask(**money), 0.0).allowance.usd == pytest.approx(0.1)
    short = lender.lease("a", ask(applied=1, **spent, **money), 0.1)
    assert "0.15} is used" in short.stop

    lender.allow(Caps(0.35))

    grown = lender.lease("a", ask(applied=2, **spent, **money), 0.2)
    assert (grown.stop, grown.allowance.usd) == ("", pytest.approx(0.2))
    assert lender.allowances_out().usd <= 0.35


@pytest.mark.parametrize("seed", range(4))
async def test_money_is_never_passed_nearly_all_used_and_the_end_said_once(seed):
    """Real budgets; requests of random cost; one worker dies on the way and its books are read."""
    rng = random.Random(seed)
    cap, price = 0.02, Ceiling([Price(input=0.0, output=1.0)])
    worst = 64
    lender = Lender(LenderTerms({"one": EndpointLimits(32)}, expected=3, caps=Caps(cap)))
    truth = {"usd": 0.0, "in_flight": 0.0, "most": 0.0}
    ended: list[str] = []
    now = [0.0]

    class Worker:
        def __init__(self, name: str) -> None:
            self.name = name
            self.short = asyncio.Event()
            leased = LeasedBudget(Caps(usd=cap), on_short=self.short.set)
            self.budget = leased.budget
            self.borrower = Borrower({}, leased, rows=lambda: math.inf)
            self.spent = 0.0
            self.dead = False

        async def row(self) -> None:
            while not ended and not self.dead:
                async with self.budget.reserved(0, worst, price) as reservation:
                    if ended or self.dead:
                        self.budget.release(reservation)
                        return
                    truth["in_flight"] += reservation.worst_usd
                    truth["most"] = max(truth["most"], truth["usd"] + truth["in_flight"])
                    for _ in range(rng.randrange(4)):
                        await asyncio.sleep(0)
                    used = Usage(prompt_tokens=0, completion_tokens=rng.randrange(1, worst + 1))
                    truth["in_flight"] -= reservation.worst_usd
                    truth["usd"] += used.completion_tokens / 1e6
                    self.spent += used.completion_tokens / 1e6
                    self.budget.settle(reservation, used, used.completion_tokens / 1e6)

        async def renew(self) -> None:
            while not ended and not self.dead:
                now[0] += 0.001
                lease = lender.lease(self.name, self.borrower.demand(now[0]), now[0])
                self.borrower.keep_to(lease, now[0], now[0])
                assert lender.allowances_out().usd <= cap * (1 + 1e-9)
                if lease.stop:
                    ended.append(lease.stop)
                for _ in range(rng.randrange(1, 6)):
                    await asyncio.sleep(0)

    workers = [Worker(name) for name in "abc"]

    async def death() -> None:
        while truth["usd"] < 0.4 * cap:
            await asyncio.sleep(0)
        workers[0].dead = True
        lender.forget("a")
        for _ in range(50):
            await asyncio.sleep(0)
        while workers[0].budget.in_flight:
            workers[0].budget.stop()
            await asyncio.sleep(0)
        lender.settle("a", Money(workers[0].spent, 0.0))
        lender.expect(2)

    async def stop() -> None:
        while not ended:
            await asyncio.sleep(0)
        for one in workers:
            one.budget.stop()

    tasks = [asyncio.create_task(one.row()) for one in workers for _ in range(8)]
    tasks += [asyncio.create_task(one.renew()) for one in workers]
    tasks += [asyncio.create_task(death()), asyncio.create_task(stop())]
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)

    assert truth["most"] <= cap * (1 + 1e-9), truth
    assert truth["usd"] >= cap - worst / 1e6 * 1.01, truth  # less is left than one request may use
    assert "of {limits.max_cost=0.02} is used" in ended[0]


def test_in_an_outage_one_worker_probes_and_the_others_wait_longer():
    pauses = Pauses()

    assert pauses.met("one", "a", ["b", "c"], 0.0, 2.0, outage=True) == {"b": 4.0, "c": 4.0}
    assert pauses.met("one", "b", ["a", "c"], 0.5, 2.0, outage=True) == {"b": 3.5}
    assert pauses.met("one", "a", ["b", "c"], 2.1, 4.0, outage=True) == {"b": 8.0, "c": 8.0}
    pauses.gone("a")
    assert pauses.met("one", "b", ["c"], 10.0, 2.0, outage=True) == {"c": 4.0}
    assert pauses.met("one", "b", ["c"], 20.0, 3.0, outage=False) == {"c": 3.0}


def test_a_pause_that_one_meets_closes_the_gate_of_the_others_and_an_answer_ends_an_outage():
    told: list[Pause] = []
    up: list[bool] = []
    limits = EndpointLimits(concurrency=4)
    mine, other = (
        LeasedController(limits, now=0.0, rng=random.Random(1), on_pause=told.append, on_answer=up.append)
        for _ in range(2)
    )
    lease = Lender(LenderTerms({"one": EndpointLimits(4)}, expected=1)).lease("a", ask(), 0.0).lanes["one"]
    for controller in (mine, other):
        controller.keep_to(lease, 100.0, 0.0)
    permit = mine.try_acquire(0.0, 1, 1)
    assert isinstance(permit, Permit)
    mine.limited(permit, 0.1, 10.0)

    other.pause(0.1, told[-1])
    assert told[-1].seconds == pytest.approx(10.0, rel=0.06)
    assert isinstance(other.try_acquire(9.9, 1, 1), float)
    assert isinstance(other.try_acquire(11.0, 1, 1), Permit)

    probe = mine.try_acquire(20.0, 1, 1)
    mine.unreachable(probe, 20.1)
    other.pause(20.1, told[-1])
    assert "waiting for the provider" in other.why(20.2)
    assert other.is_out
    mine.succeeded(mine.try_acquire(30.0, 1, 1), 30.1, 2)
    assert up[-1] is True
    other.resume(30.1)
    assert other.why(30.2) == ""


def test_nothing_leaves_after_a_lease_has_lapsed():
    controller = LeasedController(
        EndpointLimits(concurrency=4), now=0.0, rng=random.Random(1), on_pause=print, on_answer=print
    )
    assert controller.try_acquire(0.0, 1, 1) == math.inf
    lease = Lender(LenderTerms({"one": EndpointLimits(4)}, expected=1)).lease("a", ask(), 0.0)
    controller.keep_to(lease.lanes["one"], TTL_S, 0.0)

    assert isinstance(controller.try_acquire(0.9, 1, 1), Permit)
    assert controller.try_acquire(1.0, 1, 1) == math.inf


def test_a_limit_that_the_server_states_is_shared_too():
    controller = LeasedController(
        EndpointLimits(concurrency=400, start=400), now=0.0, rng=random.Random(1), on_pause=print, on_answer=lambda _: None
    )  # fmt: skip
    lender = Lender(LenderTerms({"one": EndpointLimits(400)}, expected=2))
    lender.lease("b", ask(400), 0.0)
    controller.keep_to(lender.lease("a", ask(400), 0.0).lanes["one"], 100.0, 0.0)

    stated = RateHeaders(limit_requests=60.0, remaining_requests=30.0, window_s=60.0)
    controller.succeeded(controller.try_acquire(0.0, 1, 1), 0.1, 2, stated)
    sent = 0
    while isinstance(controller.try_acquire(0.1, 1, 1), Permit):
        sent += 1

    assert sent == 15


def test_what_is_said_survives_the_wire():
    terms = LenderTerms({"one": EndpointLimits(8, rpm=60)}, expected=1, caps=Caps(1.0))
    demand = ask(need=Money(0.1, 2.0), spent=Money(1.0, 3.0))
    lease = Lender(terms).lease("a", ask(), 0.0)

    for said in (terms, demand, lease):
        line = msgspec.json.encode(said)
        assert msgspec.json.decode(line, type=type(said)) == said
