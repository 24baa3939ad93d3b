"""What a cap sets aside for a request."""

from __future__ import annotations

import pytest

from batchlab.costs.price import Ceiling, Dearest, Price
from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.worst_case import ENOUGH_ANSWERS, UNCAPPED_REASONING
from batchlab.job import EndpointJob, PriceJob
from batchlab.job.limits import Caps
from batchlab.records import ChatRequest, Usage

A_DOLLAR = Price(0.0, 1e6)  # for each completion token


async def worst(budget: Budget, most: Ceiling | None, completion: int = 5) -> float:
    """What is set aside for a request with max_tokens = 10, which comes to `completion` tokens."""
    async with budget.reserved(1, 10, most) as reservation:
        budget.settle(reservation, Usage(1, completion), 0.0)
        return reservation.worst_usd


async def test_reasoning_beyond_max_tokens_is_set_aside_where_a_service_bills_it():
    budget, most = Budget(Caps(1e9)), Ceiling([A_DOLLAR], reasons_on=True)

    assert [await worst(budget, most) for _ in range(ENOUGH_ANSWERS)] == [10 + UNCAPPED_REASONING] * 20
    assert await worst(budget, most) == 10  # none of 20 answers had any


async def test_reasoning_beyond_max_tokens_is_learned_anywhere():
    budget, most = Budget(Caps(1e9)), Ceiling([A_DOLLAR])

    assert await worst(budget, most, completion=40) == 10
    assert await worst(budget, most) == 10 + 2 * 30


async def test_without_a_cap_nothing_is_set_aside():
    assert await worst(Budget(), Ceiling([A_DOLLAR])) == 0.0


@pytest.mark.parametrize(
    ("url", "reasons"), [("https://api.x.ai/v1", True), ("https://api.openai.com/v1", False)]
)
def test_a_service_that_bills_reasoning_beyond_the_cap_is_known(url, reasons):
    book = PriceBook(EndpointJob(base_url=url), PriceJob(1.0, 1.0), "m")

    assert book.ceiling(request([]), 0.0, 600.0, tier=None).reasons_on is reasons


def request(content: object) -> ChatRequest:
    return ChatRequest(0, "r", {"model": "m", "messages": [{"role": "user", "content": content}]}, b"", 4)


def test_the_dearest_length_and_kind_of_token_counts():
    long = Price(2.0, 3.0, dearest=Dearest(2.5, 3.0), dearest_media=Dearest(40.0, 80.0))
    most = Ceiling([Price(1.0, 9.0, longer=((1_000_000, long),))])

    assert most.most_usd(1_000_000, 0) == 1.0
    assert most.most_usd(2_000_000, 0) == 5.0
    assert most.most_usd(1_000_001, 1_000_000) == pytest.approx(10.0)  # the short one has dearer answers
    assert most.with_media.most_usd(2_000_000, 0) == 80.0


def test_sound_and_pictures_are_set_aside_at_their_own_price():
    book = PriceBook(EndpointJob(base_url="https://api.openai.com/v1"), PriceJob(), "gpt-audio")

    def most(content: object) -> float:
        asked = ChatRequest(0, "r", {**request(content).body, "model": "gpt-audio"}, b"", 4)
        return book.ceiling(asked, 1_764_000_000.0, 600.0, tier=None).most_usd(1_000_000, 0)

    assert most("text") < most([{"type": "input_audio"}])
