"""What a line of a batch costs: one answer for cap, books, plan and choice of lanes."""

from __future__ import annotations

import pytest

from batchlab.costs.batch_price import batch_price
from batchlab.costs.pricing import price_book
from batchlab.engines.batch_api.choices.ways import RowSize, row_price
from batchlab.job.file import job_from

AT = 1_800_000_000.0
SIZE = RowSize(100, 100, 200)


def book(**price):
    data = {"input": {"path": "x.csv"}, "request": {"model": "m"}, "price": price}
    job = job_from({**data, "endpoint": {"base_url": "https://api.openai.com/v1"}})
    return price_book(job, job.endpoint[0])


def test_where_somebody_states_it_books_and_choice_count_the_same():
    prices = book(input=1.0, output=4.0, batch=0.5)
    found = batch_price(prices, "m", AT, 0.8)

    assert (found.is_stated, found.share, found.unstated) == (True, 1.0, "")
    assert found.booked.input == 0.5


def test_where_nobody_does_books_count_live_and_the_choice_reckons_with_the_service_s_share():
    prices = book(input=1.0, output=4.0)
    found = batch_price(prices, "m", AT, 0.5)
    live = row_price(prices, "m", SIZE, AT)
    line = row_price(prices, "m", SIZE, AT, processing="batch", share=found.share)

    assert found.booked.input == 1.0
    assert line.usd == pytest.approx(live.usd / 2)
    assert line.set_aside() == live.set_aside()  # no cap is passed if it is billed as live
    assert "cap and books count as much as for live calls" in found.unstated
    assert "reckons with 0.5 of it" in found.unstated


def test_an_unknown_price_has_nothing_to_be_said_of_its_share():
    found = batch_price(book(), "m", AT, 0.5)

    assert found.booked is None
    assert found.unstated == ""
