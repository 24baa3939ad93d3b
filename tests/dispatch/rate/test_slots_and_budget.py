"""Slots and money as things to wait for."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from batchlab.costs.price import Ceiling, Price
from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.lanes import Grant, Lane, Lanes, NoLane
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.controller import RateController
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.rate.slots import Slots, Stopped
from batchlab.job import EndpointJob, PriceJob
from batchlab.job.limits import Caps, EndpointLimits
from batchlab.records import Outcome, OutcomeClass, Usage
from batchlab.run_end import RunStopped


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class NoTransport:
    async def send(self, request):
        raise NotImplementedError


def lane(name: str, controller: RateController, weight: float | None = None) -> Lane:
    prices = PriceBook(EndpointJob(), PriceJob(), "m")
    return Lane(name, NoTransport(), controller, prices, weight)


def slots(concurrency: int = 2) -> tuple[Slots, RateController, Clock]:
    clock = Clock()
    controller = RateController(EndpointLimits(concurrency=concurrency), now=0.0, rng=random.Random(1))
    return Slots(Lanes([lane("one", controller)]), clock=clock), controller, clock


async def test_slots_are_handed_out_in_order_and_retries_go_first():
    queue, controller, _ = slots(1)
    order: list[str] = []
    first = asyncio.Event()

    async def work(name: str, *, front: bool = False, until: asyncio.Event | None = None) -> None:
        async with queue.slot(1, 1, front=front) as grant:
            order.append(name)
            if until is not None:
                await until.wait()
            controller.refused(grant.permit, 0.0)

    async with asyncio.TaskGroup() as group:
        group.create_task(work("a", until=first))
        await asyncio.sleep(0)
        group.create_task(work("b"))
        await asyncio.sleep(0)
        group.create_task(work("retry", front=True))
        await asyncio.sleep(0)
        first.set()

    assert order == ["a", "retry", "b"]
    assert controller.in_flight == 0


async def test_a_body_that_fails_gives_its_slot_back():
    queue, controller, _ = slots(1)
    with pytest.raises(ValueError):
        async with queue.slot(1, 1):
            raise ValueError

    async with queue.slot(1, 1) as grant:
        controller.refused(grant.permit, 0.0)
    assert controller.in_flight == 0


async def test_a_cancelled_waiter_leaves_the_queue_and_takes_no_slot():
    queue, controller, _ = slots(1)
    async with queue.slot(1, 1) as grant:

        async def wait() -> None:
            async with queue.slot(1, 1):
                raise AssertionError("never granted")

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        controller.refused(grant.permit, 0.0)

    assert controller.in_flight == 0


async def test_stopping_wakes_every_waiter():
    queue, controller, _ = slots(1)
    async with queue.slot(1, 1) as grant:

        async def wait() -> None:
            async with queue.slot(1, 1):
                pass

        waiters = [asyncio.create_task(wait()) for _ in range(5)]
        await asyncio.sleep(0)
        queue.stop()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        controller.refused(grant.permit, 0.0)

    assert all(isinstance(result, Stopped) for result in results)
    with pytest.raises(Stopped):
        async with queue.slot(1, 1):
            pass


PRICE = Price(1_000_000.0, 1_000_000.0)  # a dollar a token: easy sums
MOST = Ceiling([PRICE])


async def test_a_budget_is_never_passed_with_requests_in_flight_and_nearly_all_used():
    budget = Budget(Caps(1_000.0))
    rng = random.Random(3)
    peak = 0.0

    async def work() -> None:
        nonlocal peak
        while True:
            async with budget.reserved(5, 20, MOST) as reservation:
                peak = max(peak, budget.spent.usd)
                await asyncio.sleep(0)
                used = Usage(prompt_tokens=5, completion_tokens=rng.randint(1, 20))
                budget.settle(reservation, used, PRICE.cost_usd(used))

    results = await asyncio.gather(*(work() for _ in range(16)), return_exceptions=True)

    assert all(isinstance(result, RunStopped) and result.reason == "budget" for result in results)
    assert 1_000 - (5 * 2 + 16 + 20) <= budget.spent.usd <= 1_000


async def test_an_attempt_that_was_cut_off_counts_as_paid_and_a_refused_one_does_not():
    budget = Budget(Caps(1_000.0))
    with pytest.raises(ConnectionError):
        async with budget.reserved(5, 20, MOST):
            raise ConnectionError
    assert budget.spent.usd == 5 * 2 + 16 + 20

    async with budget.reserved(5, 20, MOST) as reservation:
        budget.release(reservation)
    assert budget.spent.usd == 5 * 2 + 16 + 20


async def test_a_cap_on_tokens_is_kept_too():
    budget = Budget(Caps(tokens=500.0), spent=Money(tokens=100.0))

    async def spend() -> None:
        while True:
            async with budget.reserved(5, 20, MOST) as reservation:
                budget.settle(reservation, Usage(prompt_tokens=5, completion_tokens=20), 25.0)

    with pytest.raises(RunStopped, match="max_tokens_total"):
        await spend()
    assert 500 - (5 * 2 + 16 + 20) <= budget.spent.tokens <= 500


async def test_a_prompt_that_the_service_puts_before_ours_is_set_aside_once_an_answer_has_told_of_it():
    budget = Budget(Caps(1_000.0))
    used = Usage(prompt_tokens=300, completion_tokens=20)

    async def spend() -> None:
        while True:
            async with budget.reserved(5, 20, MOST) as reservation:
                budget.settle(reservation, used, PRICE.cost_usd(used))

    with pytest.raises(RunStopped, match="may use 320"):
        await spend()
    assert budget.spent.usd == 3 * 320


async def test_a_cap_on_cost_sends_nothing_whose_price_is_unknown():
    with pytest.raises(RunStopped, match="price"):
        async with Budget(Caps(5.0)).reserved(5, 20, None):
            raise AssertionError("never reserved")


async def test_without_a_cap_nobody_waits():
    budget = Budget()
    async with budget.reserved(10**9, None, None) as reservation:
        budget.settle(reservation, Usage(prompt_tokens=1, completion_tokens=1), None)

    assert budget.spent.usd == 0.0


def three_lanes(*weights: float | None, concurrency: int = 1_000) -> tuple[Lanes, list[Lane]]:
    lanes = [
        lane(
            f"lane{number}",
            RateController(EndpointLimits(concurrency=concurrency), now=0.0, rng=random.Random(1)),
            weight,
        )
        for number, weight in enumerate(weights)
    ]
    return Lanes(lanes), lanes


def sent(lanes: Lanes, count: int) -> Counter[str]:
    """Sends `count` requests one after another, each answered at once."""
    found: Counter[str] = Counter()
    for _ in range(count):
        grant = lanes.acquire(0.0, 1, 1)
        assert isinstance(grant, Grant)
        found[grant.lane.name] += 1
        grant.lane.controller.refused(grant.permit, 0.0)
    return found


def test_requests_are_shared_by_weight():
    lanes, _ = three_lanes(1.0, 2.0, 5.0)

    assert sent(lanes, 800) == {"lane0": 100, "lane1": 200, "lane2": 500}


def test_shares_are_kept_when_a_lane_is_full_and_the_other_could_send():
    lanes, (big, _) = three_lanes(3.0, 1.0, concurrency=4)
    found: Counter[str] = Counter()
    in_flight: list[Grant] = []
    for _ in range(400):
        grant = lanes.acquire(0.0, 1, 1)
        if isinstance(grant, Grant):
            found[grant.lane.name] += 1
            in_flight.append(grant)
        else:  # the oldest request of the slow, big lane is answered
            done = next(held for held in in_flight if held.lane is big)
            in_flight.remove(done)
            big.controller.refused(done.permit, 0.0)
            small = [held for held in in_flight if held.lane is not big]
            for held in small:
                in_flight.remove(held)
                held.lane.controller.refused(held.permit, 0.0)

    assert 2.9 < found["lane0"] / found["lane1"] < 3.1


def test_lanes_without_a_weight_take_all_they_can():
    lanes, _ = three_lanes(None, None, concurrency=2)
    grants = [lanes.acquire(0.0, 1, 1) for _ in range(5)]

    assert sum(isinstance(grant, Grant) for grant in grants) == 4


def test_a_lane_that_was_held_back_does_not_catch_up():
    lanes, (first, _, _) = three_lanes(1.0, 1.0, 1.0)
    grant = lanes.acquire(0.0, 1, 1)
    assert isinstance(grant, Grant)
    assert grant.lane is first
    first.controller.limited(grant.permit, 0.0, 10.0)

    assert sent(lanes, 300) == {"lane1": 150, "lane2": 150}
    found: Counter[str] = Counter()
    for _ in range(300):
        grant = lanes.acquire(60.0, 1, 1)
        assert isinstance(grant, Grant)
        found[grant.lane.name] += 1
        grant.lane.controller.refused(grant.permit, 60.0)
    assert all(98 <= count <= 102 for count in found.values())


def test_a_row_whose_attempt_failed_goes_elsewhere_if_it_can():
    lanes, (first, second) = three_lanes(100.0, 1.0)

    grant = lanes.acquire(0.0, 1, 1, avoid=first)
    assert isinstance(grant, Grant)
    assert grant.lane is second
    second.out = Outcome(OutcomeClass.STOP, "quota", 402, "out of credit")
    grant = lanes.acquire(0.0, 1, 1, avoid=first)
    assert isinstance(grant, Grant)
    assert grant.lane is first


async def test_a_lane_that_goes_out_frees_who_waits_for_it():
    lanes, (first, second) = three_lanes(1.0, 1.0, concurrency=1)
    queue = Slots(lanes, clock=Clock())
    async with queue.slot(1, 1, only="lane0"):

        async def wait() -> None:
            async with queue.slot(1, 1, only="lane0"):
                pass

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        async with queue.slot(1, 1):  # the queue of the bound rows holds nobody else back
            assert second.controller.in_flight == 1
        first.out = Outcome(OutcomeClass.STOP, "auth", 401, "no such key")
        queue.wake()
        with pytest.raises(NoLane, match="no such key"):
            await waiting
