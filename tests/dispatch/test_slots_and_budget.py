"""Slots and money as things to wait for."""

from __future__ import annotations

import asyncio
import random

import pytest

from batchlab.costs.pricing import Price
from batchlab.dispatch.budget import Budget
from batchlab.dispatch.controller import ControllerLimits, RateController
from batchlab.dispatch.slots import Slots, Stopped
from batchlab.errors import RunStopped, UsageError
from batchlab.records import Usage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def slots(concurrency: int = 2) -> tuple[Slots, RateController, Clock]:
    clock = Clock()
    controller = RateController(ControllerLimits(concurrency=concurrency), now=0.0, rng=random.Random(1))
    return Slots(controller, clock=clock), controller, clock


async def test_slots_are_handed_out_in_order_and_retries_go_first():
    queue, controller, _ = slots(1)
    order: list[str] = []
    first = asyncio.Event()

    async def work(name: str, *, front: bool = False, until: asyncio.Event | None = None) -> None:
        async with queue.slot(1, 1, front=front) as permit:
            order.append(name)
            if until is not None:
                await until.wait()
            controller.refused(permit, 0.0)

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

    async with queue.slot(1, 1) as permit:
        controller.refused(permit, 0.0)
    assert controller.in_flight == 0


async def test_a_cancelled_waiter_leaves_the_queue_and_takes_no_slot():
    queue, controller, _ = slots(1)
    async with queue.slot(1, 1) as permit:

        async def wait() -> None:
            async with queue.slot(1, 1):
                raise AssertionError("never granted")

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        controller.refused(permit, 0.0)

    assert controller.in_flight == 0


async def test_stopping_wakes_every_waiter():
    queue, controller, _ = slots(1)
    async with queue.slot(1, 1) as permit:

        async def wait() -> None:
            async with queue.slot(1, 1):
                pass

        waiters = [asyncio.create_task(wait()) for _ in range(5)]
        await asyncio.sleep(0)
        queue.stop()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        controller.refused(permit, 0.0)

    assert all(isinstance(result, Stopped) for result in results)
    with pytest.raises(Stopped):
        async with queue.slot(1, 1):
            pass


PRICE = Price(1_000_000.0, 1_000_000.0)  # a dollar a token: easy sums


async def test_a_budget_is_never_passed_with_requests_in_flight_and_nearly_all_used():
    budget = Budget(1_000.0, PRICE)
    rng = random.Random(3)
    peak = 0.0

    async def work() -> None:
        nonlocal peak
        while True:
            async with budget.reserved(5, 20) as reservation:
                peak = max(peak, budget.spent_usd)
                await asyncio.sleep(0)
                budget.settle(reservation, Usage(prompt_tokens=5, completion_tokens=rng.randint(1, 20)))

    results = await asyncio.gather(*(work() for _ in range(16)), return_exceptions=True)

    assert all(isinstance(result, RunStopped) and result.reason == "budget" for result in results)
    assert 1_000 - (5 * 2 + 16 + 20) <= budget.spent_usd <= 1_000


async def test_an_attempt_that_was_cut_off_counts_as_paid_and_a_refused_one_does_not():
    budget = Budget(1_000.0, PRICE)
    with pytest.raises(ConnectionError):
        async with budget.reserved(5, 20):
            raise ConnectionError
    assert budget.spent_usd == 5 * 2 + 16 + 20

    async with budget.reserved(5, 20) as reservation:
        budget.release(reservation)
    assert budget.spent_usd == 5 * 2 + 16 + 20


async def test_a_cap_on_tokens_is_kept_too():
    budget = Budget(None, None, max_tokens=500.0, spent_tokens=100.0)

    async def spend() -> None:
        while True:
            async with budget.reserved(5, 20) as reservation:
                budget.settle(reservation, Usage(prompt_tokens=5, completion_tokens=20))

    with pytest.raises(RunStopped, match="--max-tokens-total"):
        await spend()
    assert 500 - (5 * 2 + 16 + 20) <= budget.spent_tokens <= 500


async def test_a_cap_without_a_price_refuses_to_start():
    with pytest.raises(UsageError, match="price"):
        Budget(5.0, None)


async def test_without_a_cap_nobody_waits():
    budget = Budget(None, None)
    async with budget.reserved(10**9, None) as reservation:
        budget.settle(reservation, Usage(prompt_tokens=1, completion_tokens=1))

    assert budget.spent_usd == 0.0
