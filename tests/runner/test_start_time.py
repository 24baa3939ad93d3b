"""When a run is to begin, and waiting for it by a clock that is not the real one."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from batchlab.costs.hours import cheap_hour
from batchlab.costs.price import HOUR_S, Price, Tariff
from batchlab.costs.pricing import price_book
from batchlab.dispatch.stop import StopSignal
from batchlab.job.file import job_from
from batchlab.job.values import deadline_s, start_time
from batchlab.run_end import StopReason
from batchlab.runner import start_time as times
from batchlab.runner.start_time import start_of, stop_at, wait_for

NIGHT = datetime(2026, 11, 30, 2, 20, tzinfo=UTC)  # a Monday
NOW = NIGHT.timestamp()


def job(start_at: str | None = None, preset: str = "deepseek", model: str = "deepseek-chat", **limits):
    given = {"start_at": start_at} if start_at else {}
    return job_from(
        {
            "input": {"path": "rows.csv"},
            "request": {"model": model, "prompt": "{text}"},
            "endpoint": {"preset": preset},
            "limits": {**given, **limits},
        }
    )


def start(made, before: str | None = None, now: float = NOW):
    return start_of(made, [(one, price_book(made, one)) for one in made.endpoint], before, now)


def by_hour(*prices: float) -> Tariff:
    """A price for each hour of the day, UTC."""
    return Tariff(
        lambda at: Price(
            prices[int(at // HOUR_S) % len(prices)], 2 * prices[int(at // HOUR_S) % len(prices)]
        ),
        every_s=HOUR_S,
    )


def test_a_deadline_is_kept_by_a_machine_that_has_slept_until_after_it(monkeypatch):
    """The event loop's own clock stands still meanwhile."""
    monkeypatch.setattr(times, "LOOK_S", 0.01)
    looks = iter([NOW, NOW + 1, NOW + 2 * HOUR_S])

    async def run() -> StopSignal:
        stop = StopSignal()
        stop_at(NOW + HOUR_S, stop, StopReason.DEADLINE, "over", clock=lambda: next(looks))
        async with asyncio.timeout(5):
            await stop.wait()
        return stop

    stop = asyncio.run(run())

    assert (stop.reason, stop.message) == (StopReason.DEADLINE, "over")
    assert next(looks, None) is None


def test_the_first_of_the_cheapest_hours_is_found_and_how_long_it_lasts():
    tariff = by_hour(4.0, 4.0, 1.0, 1.0, 2.0, 1.0)

    best = cheap_hour([tariff], lambda price: price.input, 600.0)

    assert best is not None
    assert (best.at, best.until, best.saves) == (2 * HOUR_S, 4 * HOUR_S, 0.75)
    assert (best.then.input, best.now.input) == (1.0, 4.0)


def test_a_price_without_hours_or_with_the_same_at_all_hours_has_no_cheap_one():
    assert cheap_hour([Tariff(lambda _: Price(1.0, 2.0))], lambda price: price.input, 0.0) is None
    assert cheap_hour([by_hour(1.0, 1.0)], lambda price: price.input, 0.0) is None


def test_no_hour_beyond_the_horizon_counts():
    best = cheap_hour([by_hour(4.0, 3.0, 1.0)], lambda price: price.input, 0.0, within_s=1.5 * HOUR_S)

    assert best is not None
    assert best.at == HOUR_S


def test_endpoints_that_share_the_rows_count_alike():
    best = cheap_hour([by_hour(1.0, 3.0), by_hour(9.0, 1.0)], lambda price: price.input, 0.0)

    assert best is not None
    assert (best.at, best.usd, best.now_usd) == (HOUR_S, 2.0, 5.0)


def test_cheap_waits_for_the_hours_that_the_price_list_knows_and_says_what_that_saves():
    found = start(job("cheap"))

    assert found.at is not None
    assert NOW < found.at <= NOW + 24 * HOUR_S
    book = price_book(job("cheap"), job("cheap").endpoint[0])
    tariff, _ = book.find("deepseek-chat")
    assert tariff.at(found.at).input == min(price.input for price in tariff.between(NOW, NOW + 24 * HOUR_S))
    assert "50% less" in found.line
    then = start(job("cheap"), now=found.at + 60)
    assert then.at is None
    assert "at its lowest price now" in then.line


def test_cheap_does_not_wait_past_a_deadline_by_the_clock():
    soon = datetime.fromtimestamp(NOW, UTC) + timedelta(hours=1)
    made = job("cheap")
    by = made.limits.__class__(start_at="cheap", deadline_s=3600.0, deadline_at=soon.timestamp())
    found = start(made.__class__(made.input, made.endpoint, made.request, by))

    assert found.at is None


@pytest.mark.parametrize(("model", "said"), [("gpt-4.1", "does not depend"), ("of-nobody", "is not known")])
def test_where_no_hour_is_known_to_be_cheaper_it_starts_now(model, said):
    found = start(job("cheap", "openai", model))

    assert (found.at, said in found.line) == (None, True)


def test_a_time_is_waited_for_once_in_a_night():
    made = job((NIGHT + timedelta(hours=20)).isoformat())
    at = NOW + 20 * HOUR_S

    assert start(made).at == at
    assert start(made, before=(NIGHT + timedelta(hours=20)).isoformat()).at == at  # nobody waited yet
    assert start(made, before=(NIGHT - timedelta(hours=4)).isoformat()).at is None  # cut off this night
    assert start(made, before=(NIGHT - timedelta(hours=14)).isoformat()).at == at  # the night before
    assert start(made, now=at + 1).at is None
    assert start(job()) == start(job("cheap", "openai", "gpt-4.1")).__class__()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("cheap", "cheap"),
        ("22:00", "2026-11-30T22:00:00+00:00"),
        ("01:00", "2026-12-01T01:00:00+00:00"),
        ("2h", "2026-11-30T04:20:00+00:00"),
        ("2026-12-24T08:00", "2026-12-24T08:00:00+00:00"),
        ("2026-12-24T08:00+02:00", "2026-12-24T08:00:00+02:00"),
    ],
)
def test_a_start_is_written_as_a_deadline_is(written, read):
    assert start_time(written, now=NIGHT) == read
    if written != "cheap" and "h" not in written:
        assert deadline_s(written, now=NIGHT) == (datetime.fromisoformat(read) - NIGHT).total_seconds()


@pytest.fixture
def berlin(monkeypatch):
    """A machine whose clock is put forward and back in the year."""
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of this system cannot be set for a test")
    with monkeypatch.context() as here:
        here.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2036-01-15T07:00", "2036-01-15T06:00+00:00"),
        ("2036-07-15T07:00", "2036-07-15T05:00+00:00"),
        ("2036-03-30T01:30", "2036-03-30T00:30+00:00"),
        ("2036-03-30T02:30", "2036-03-30T01:30+00:00"),  # a clock shows 3:30 then
        ("2036-03-30T03:30", "2036-03-30T01:30+00:00"),
        ("2036-10-26T02:30", "2036-10-26T00:30+00:00"),  # the first of the two
        ("2036-10-26T03:30", "2036-10-26T02:30+00:00"),
    ],
)
def test_a_clock_is_that_of_the_day_it_names_and_not_of_today(berlin, written, read):
    """A run that is started on the eve of summer time, or with a deadline after it, is not an hour off."""
    then = datetime.fromisoformat(read)

    assert datetime.fromisoformat(start_time(written)) == then
    assert job(deadline=written).limits.deadline_at == then.timestamp()
    assert job(deadline=written).limits.deadline_s == pytest.approx(then.timestamp() - time.time(), abs=5)


def test_the_next_seven_o_clock_is_one_on_the_clock(berlin):
    found = datetime.fromisoformat(start_time("07:00"))

    assert (found.astimezone().hour, found.astimezone().minute) == (7, 0)
    assert 0 < found.timestamp() - time.time() <= 25 * HOUR_S


@pytest.mark.parametrize("written", ["tomorrow", "25:00", "2026-13-01T08:00", "-2h"])
def test_what_is_no_time_is_said(written):
    with pytest.raises(ValueError):
        start_time(written, now=NIGHT)


def test_a_deadline_that_is_over_is_refused():
    with pytest.raises(ValueError, match="is over"):
        deadline_s("2026-11-29T08:00", now=NIGHT)


def test_a_deadline_by_the_clock_is_kept_as_a_moment_and_a_duration_is_not():
    assert job(deadline="2036-11-29T22:00+00:00").limits.deadline_at == 2111608800.0
    assert job(deadline="8h").limits.deadline_at is None
    assert job(deadline="8h").limits.deadline_s == 8 * HOUR_S


class FakeTime:
    """A clock that goes on while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept, self.stop_at = NOW, [], None

    async def sleep(self, stop: StopSignal, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if self.stop_at is not None and self.now >= self.stop_at:
            stop(StopReason.INTERRUPTED, "enough")

    def clock(self) -> float:
        return self.now


async def test_it_waits_until_the_time_and_says_so_meanwhile():
    fake, shown, stop = FakeTime(), [], StopSignal()
    found = start(job((NIGHT + timedelta(minutes=2)).isoformat()))

    await wait_for(found, stop, shown.append, clock=fake.clock, sleep=fake.sleep)

    assert fake.now == found.at
    assert max(fake.slept) <= 1.0
    assert len(set(shown)) == 1
    assert shown[0].startswith("waiting until ")


async def test_a_stop_ends_the_wait():
    fake, stop = FakeTime(), StopSignal()
    fake.stop_at = NOW + 5

    await wait_for(
        start(job((NIGHT + timedelta(hours=2)).isoformat())),
        stop,
        lambda _: None,
        clock=fake.clock,
        sleep=fake.sleep,
    )

    assert fake.now == NOW + 5
