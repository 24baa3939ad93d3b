"""How long calls take, as a run sees it, and what that lets the next one expect."""

from __future__ import annotations

import pytest

from batchlab.lanes.call_times import ALIKE, CallsSeen, CallWatch, pace_after, pace_between


def watched(*, calls=40, at_once=4, seconds=2.0, limited=False):
    """A run of calls that take equally long, looked at five times a second."""
    watch, lasts = CallWatch(), calls / at_once * seconds
    watch.begin(0)
    for look in range(round(lasts * 5) + 2):
        now = look / 5
        done = min(calls, int(now / seconds) * at_once)
        watch.see(now, min(at_once, calls - done), done, limited=limited)
    return watch.seen


def test_seconds_of_a_call_and_calls_at_once_are_found_by_looking_at_both_alone():
    seen = watched()

    assert seen.seconds == pytest.approx(2.0, rel=0.05)
    assert seen.at_once == pytest.approx(4.0, rel=0.05)
    assert not seen.limited


def test_time_in_which_nothing_was_under_way_counts_for_nothing():
    watch = CallWatch()
    for phase in range(2):
        watch.begin(phase * 20)
        for look in range(51):
            now = phase * 1_000 + look / 5
            watch.see(now, 4 if look < 50 else 0, phase * 20 + look * 20 // 50)

    assert watch.seen.seconds == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("calls", [0, 4])
def test_too_few_calls_tell_nothing(calls):
    assert watched(calls=calls) is None


def test_a_run_with_as_many_calls_at_once_goes_as_fast():
    found = pace_after([CallsSeen(2.0, 60.0)], 64)

    assert found.rate == pytest.approx(32.0)
    assert found.doubt == ALIKE


def test_many_more_calls_at_once_than_were_tried_are_doubted():
    few, limited = pace_after([CallsSeen(2.0, 4.0)], 64), pace_after([CallsSeen(2.0, 4.0, limited=True)], 64)

    assert limited.rate < few.rate < 32.0
    assert few.doubt > limited.doubt


def test_runs_that_differ_make_the_next_one_doubtful():
    alike = pace_after([CallsSeen(2.0, 60.0)] * 4, 64)
    apart = pace_after([CallsSeen(seconds, 60.0) for seconds in (1.0, 2.0, 4.0, 8.0)], 64)

    assert apart.doubt > 2 * alike.doubt


def test_nine_in_ten_are_between_what_a_plan_reckons():
    found = pace_between(1.0, 16.0, 64)

    assert (found.slow, found.rate, found.fast) == pytest.approx((4.0, 16.0, 64.0))
