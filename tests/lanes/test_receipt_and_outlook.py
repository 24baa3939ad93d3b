"""What lanes came to, and what they are meant to come to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchlab.lanes.outlook import outlook
from batchlab.lanes.receipt import Answered, receipt
from batchlab.lanes.seen import BatchWay, Lanes, Left, Pace, RowPrice, Way

NOW = 1_800_000_000.0
LIVE = Way("a", "live", RowPrice(0.001), Pace(10.0))
BATCH = BatchWay("a", RowPrice(0.0005))


def test_a_receipt_says_list_price_paid_saved_and_what_the_deadline_cost():
    told = receipt(
        [
            Answered("a", "batch", 900, paid_usd=0.45, list_usd=0.9, least_usd=0.45),
            Answered("a", "live", 60, paid_usd=0.06, list_usd=0.06, least_usd=0.03),
            Answered("a", "live", 40, paid_usd=0.04, list_usd=0.04, least_usd=0.02),
        ],
        had_deadline=True,
    )

    assert [(one.lane, one.rows) for one in told.lines] == [("batch", 900), ("live", 100)]
    assert told.rows == 1_000
    assert told.paid_usd == pytest.approx(0.55)
    assert told.list_usd == pytest.approx(1.0)
    assert told.saved_usd == pytest.approx(0.45)
    assert told.deadline_usd == pytest.approx(0.05)


def test_what_had_another_reason_to_go_live_is_not_what_the_deadline_cost():
    told = receipt(
        [
            Answered("a", "live", 60, paid_usd=0.06, list_usd=0.06, least_usd=0.03),
            Answered("a", "live", 40, paid_usd=0.04, list_usd=0.04, least_usd=0.02, is_hurried=False),
        ],
        had_deadline=True,
    )

    assert told.deadline_usd == pytest.approx(0.03)
    assert told.hurried == 60
    assert [(one.lane, one.rows) for one in told.lines] == [("live", 100)]


def test_without_a_deadline_none_cost_anything():
    told = receipt([Answered("a", "live", 1, 0.2, 0.2, 0.1)], had_deadline=False)

    assert told.deadline_usd == 0.0


def test_what_is_unknown_makes_its_sum_unknown_and_no_other():
    told = receipt(
        [Answered("a", "batch", 1, 0.1, None, 0.1), Answered("b", "live", 1, 0.2, 0.2, 0.2)],
        had_deadline=True,
    )

    assert told.paid_usd == pytest.approx(0.3)
    assert told.list_usd is None
    assert told.saved_usd is None
    assert told.deadline_usd == 0.0


def test_nothing_answered_is_an_empty_receipt():
    told = receipt([], had_deadline=True)

    assert (told.lines, told.rows, told.paid_usd, told.saved_usd) == ((), 0, 0.0, 0.0)


def test_an_outlook_says_lanes_cost_and_end_with_ranges():
    rest = Left(40_000, 40_000, deadline=NOW + 8 * 3_600)

    meant = outlook(NOW, Lanes((LIVE,), (BATCH,)), rest, nights=20)

    assert meant.lanes[0].lane == "batch"
    assert meant.list_usd == pytest.approx(40.0)
    assert 20.0 <= meant.usd.low <= meant.usd.middle <= meant.usd.high <= 40.0
    assert 0 < meant.ends_s.low <= meant.ends_s.high <= 8 * 3_600
    assert meant.in_time > 0.9


def test_an_outlook_is_the_same_each_time():
    seen, rest = Lanes((LIVE,), (BATCH,)), Left(40_000, 40_000, deadline=NOW + 2 * 3_600)

    assert outlook(NOW, seen, rest, nights=5) == outlook(NOW, seen, rest, nights=5)


def test_an_outlook_of_live_calls_alone_is_their_price():
    meant = outlook(NOW, Lanes((LIVE,)), Left(1_000, 1_000, deadline=NOW + 3_600), nights=5)

    assert [one.lane for one in meant.lanes] == ["live"]
    assert meant.usd.low == pytest.approx(1.0)
    assert meant.usd.high == pytest.approx(1.0)


def test_an_outlook_for_a_deadline_that_cannot_be_met_says_so():
    meant = outlook(NOW, Lanes((LIVE,)), Left(100_000, 100_000, deadline=NOW + 600), nights=5)

    assert meant.in_time == 0.0


def test_an_outlook_without_prices_says_what_is_unknown():
    blind = replace(LIVE, price=RowPrice(None))

    meant = outlook(NOW, Lanes((blind,), (BATCH,)), Left(1_000, 1_000))

    assert meant.usd is None
    assert meant.list_usd is None
    assert "unknown" in meant.why


def test_without_a_deadline_an_outlook_ends_with_its_last_batch():
    meant = outlook(NOW, Lanes((LIVE,), (BATCH,)), Left(5_000, 5_000), nights=20)

    assert [one.lane for one in meant.lanes] == ["batch"]
    assert meant.usd.high == pytest.approx(2.5)
