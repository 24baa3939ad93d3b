"""The policy of lanes at its edges; how good it is on whole nights is `tests.proofs.nights`."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from batchlab.lanes.decisions import SendLive, Submit, TakeBack, Wait
from batchlab.lanes.policy import STUCK_S, LanePolicy
from batchlab.lanes.seen import DAY_S, BatchOut, BatchWay, Lanes, Left, Pace, RowPrice, Way
from batchlab.protocol.batches.dialect import Phase

NOW = 1_800_000_000.0
HOUR = 3_600.0
ROWS = 40_000
LIVE = Way("a", "live", RowPrice(0.001), Pace(10.0))
FLEX = Way("a", "flex", RowPrice(0.0005), Pace(7.0))
BATCH = BatchWay("a", RowPrice(0.0005))
OUT = BatchOut("b1", "a", 10_000, NOW)
POLICY = LanePolicy()


def lanes(*ways, batches=(BATCH,), out=()):
    return Lanes(ways or (LIVE,), batches, tuple(out))


def left(pending=ROWS, *, hours=None, usd=None, returned=0, total=ROWS, in_flight=0):
    deadline = None if hours is None else NOW + hours * HOUR
    return Left(total, pending, returned, in_flight, deadline, usd)


def decided(seen, rest, now=NOW):
    """All decisions until the Wait, which is the last, as an engine carries them out."""
    found = []
    for number in range(100):
        one = POLICY.next(now, seen, rest)
        found.append(one)
        match one:
            case Wait():
                return found
            case Submit(endpoint, rows):
                rest = replace(
                    rest, pending=rest.pending - rows, returned=min(rest.returned, rest.pending - rows)
                )
                if rest.usd is not None:
                    price = next(way.price for way in seen.batches if way.endpoint == endpoint)
                    rest = replace(rest, usd=rest.usd - rows * price.set_aside())
                seen = replace(
                    seen,
                    out=(*seen.out, BatchOut(f"new {number}", endpoint, rows, now)),
                    batches=tuple(
                        replace(way, room_batches=way.room_batches - 1) if way.endpoint == endpoint else way
                        for way in seen.batches
                    ),
                )
            case SendLive(endpoint, lane, rows):
                ways = [
                    replace(way, given=rows) if (way.endpoint, way.lane) == (endpoint, lane) else way
                    for way in seen.ways
                ]
                seen = replace(seen, ways=tuple(ways))
            case TakeBack(batch):
                out = [replace(one, cancelled_at=now) if one.id == batch else one for one in seen.out]
                seen = replace(seen, out=tuple(out))
    raise AssertionError(found)


def kinds(found):
    return [type(one) for one in found]


def test_a_batch_that_nothing_can_be_told_of_yet_is_no_reason_to_leave_the_others():
    """One whose order is on its way, or was not answered: the same decision again would do nothing."""
    ordered = replace(OUT, id="b2", can_be_called_off=False)

    found = decided(lanes(out=[ordered, OUT]), left(0, hours=0.5))

    assert [one.batch for one in found if isinstance(one, TakeBack)] == ["b1"]


def test_without_a_deadline_everything_goes_to_batches_and_nothing_is_taken_back():
    *orders, wait = decided(lanes(), left())

    assert {type(one) for one in orders} == {Submit}
    assert sum(one.rows for one in orders) == ROWS
    assert wait.until == NOW + DAY_S + STUCK_S + 1


def test_a_run_is_cut_into_several_batches_of_whole_shards():
    orders = [
        one.rows
        for one in decided(lanes(), left(500_000, total=500_000, hours=12))
        if isinstance(one, Submit)
    ]

    assert len(orders) > 8
    assert all(rows % 10_000 == 0 and rows <= BATCH.lines for rows in orders[:-1])


@pytest.mark.parametrize("hours", [None, 8, 0.5])
def test_without_a_batch_api_everything_is_sent_live_at_once(hours):
    (send, wait) = decided(lanes(batches=()), left(hours=hours))

    assert send == SendLive("a", "live", ROWS, "live is the cheapest way to be answered")
    assert isinstance(wait, Wait)


def test_nothing_left_is_nothing_to_do():
    assert POLICY.next(NOW, lanes(), left(0, total=0)) == Wait(None, "every row has its answer")


def test_a_batch_of_unknown_price_is_never_the_cheapest():
    unknown = replace(BATCH, price=RowPrice(None))

    send, wait = decided(lanes(batches=(unknown,)), left(hours=8))

    assert send == SendLive("a", "live", ROWS, "the price of batches at a is unknown")
    assert isinstance(wait, Wait)


def test_when_live_has_no_price_nothing_can_be_called_cheaper():
    blind = replace(LIVE, price=RowPrice(None))

    send, wait = decided(lanes(blind), left(hours=8))

    assert isinstance(send, SendLive)
    assert send.rows == ROWS
    assert "unknown" in send.why
    assert "unknown" in wait.why


def test_a_cap_and_no_price_is_no_start():
    blind = replace(LIVE, price=RowPrice(None))

    (wait,) = decided(lanes(blind), left(usd=5.0))

    assert "cap" in wait.why


def test_a_batch_that_is_dearer_than_live_is_not_ordered():
    dear = replace(BATCH, price=RowPrice(0.0011))

    assert kinds(decided(lanes(batches=(dear,)), left(hours=8))) == [SendLive, Wait]


def test_a_batch_that_costs_as_much_as_live_is_not_waited_for():
    assert kinds(decided(lanes(batches=(replace(BATCH, price=LIVE.price),)), left(hours=8))) == [
        SendLive,
        Wait,
    ]


def test_what_the_cap_does_not_cover_is_not_decided():
    (wait,) = decided(lanes(), left(usd=0.0))

    assert wait.until is None
    assert wait.short_usd == pytest.approx(ROWS * 0.0005)


def test_a_cap_covers_as_many_rows_as_their_worst_case_says():
    way = replace(BATCH, price=RowPrice(0.0005, worst_usd=0.001))

    *orders, wait = decided(lanes(batches=(way,)), left(usd=15.0))

    assert sum(one.rows for one in orders) == 15_000
    assert wait.short_usd == pytest.approx(25.0)


def test_nothing_is_taken_back_whose_rows_the_cap_does_not_cover_live():
    late = [replace(OUT, submitted_at=NOW - 8 * HOUR)]

    covered = decided(lanes(out=late), left(0, hours=0.7, usd=5.0))
    short = decided(lanes(out=late), left(0, hours=0.7, usd=4.9))

    assert TakeBack in kinds(covered)
    assert kinds(short) == [Wait]


def test_what_the_cap_covers_in_part_is_taken_back_at_the_last_moment_if_it_is_most_of_it():
    """Some of its rows may be done by then; what is not can be sent live up to the cap."""
    late = [replace(OUT, submitted_at=NOW - 8 * HOUR)]

    assert TakeBack in kinds(decided(lanes(out=late), left(0, hours=0.5, usd=4.9)))
    assert kinds(decided(lanes(out=late), left(0, hours=0.2, usd=-1.0))) == [Wait]


def test_a_batch_is_taken_back_when_its_rows_are_covered_as_they_are_expected_to_cost():
    """Each call sets aside the most that it may cost, and gives back the rest before the next."""
    late = [replace(OUT, submitted_at=NOW - 8 * HOUR)]
    dear_at_worst = replace(LIVE, price=RowPrice(0.001, worst_usd=0.004))

    assert TakeBack in kinds(decided(lanes(dear_at_worst, out=late), left(0, hours=0.7, usd=5.1)))


def test_a_lane_that_turns_out_slow_is_given_less_and_the_rest_goes_to_batches():
    slow = replace(LIVE, pace=Pace(10.0, seen=(1.0, 1.0, 1.0)), given=20_000)

    found = decided(lanes(slow), left(20_000, hours=1, total=ROWS))

    assert next(one.rows for one in found if isinstance(one, SendLive)) < 5_000
    assert sum(one.rows for one in found if isinstance(one, Submit)) > 10_000


def test_what_is_seen_counts_the_more_the_more_doubtful_the_prior_was():
    guessed, known = Pace(10.0, (2.0,), prior_doubt=1.0), Pace(10.0, (2.0,), prior_doubt=0.2)

    assert guessed.expected < 2.5 < known.expected
    assert Pace(10.0, prior_doubt=1.0).doubt > guessed.doubt
    assert Pace(10.0, (10.0,) * 6 + (2.0,) * 6).expected < 5.0  # the newest count most


@pytest.mark.parametrize("out", [[], [OUT]])
def test_past_its_deadline_nothing_is_begun(out):
    assert decided(lanes(out=out), left(hours=-0.1)) == [Wait(None, "the deadline is over")]


def test_a_batch_that_is_stuck_beyond_its_window_is_taken_back_without_a_deadline():
    young = replace(OUT, submitted_at=NOW - DAY_S)
    stuck = replace(OUT, submitted_at=NOW - DAY_S - STUCK_S - 60)

    assert kinds(decided(lanes(out=[young]), left(0))) == [Wait]
    assert kinds(decided(lanes(out=[stuck]), left(0))) == [TakeBack, Wait]


def test_the_rest_is_taken_back_when_live_lanes_would_just_be_in_time():
    """10 rows/s: 10,000 rows need 17 minutes, a cancellation ten, and who knows what else."""
    late = [replace(OUT, submitted_at=NOW - 6 * HOUR)]

    assert TakeBack not in kinds(decided(lanes(out=late), left(0, hours=8)))
    assert TakeBack in kinds(decided(lanes(out=late), left(0, hours=0.5)))


def test_with_no_time_to_lose_live_lanes_and_batches_work_side_by_side():
    found = decided(lanes(), left(hours=1.25))

    assert {SendLive, Submit} <= set(kinds(found))


def test_batches_are_taken_back_one_by_one_while_live_lanes_are_busy():
    out = [replace(OUT, id=f"b{number}", submitted_at=NOW - 6 * HOUR) for number in range(4)]

    found = decided(lanes(out=out), left(0, hours=1.3))

    assert kinds(found).count(TakeBack) == 1  # 10 rows/s for 15 minutes


def test_a_batch_that_is_nearly_done_is_not_the_one_that_is_taken_back():
    since = NOW - HOUR
    done = replace(OUT, id="soon", submitted_at=since, done=9_000, running_since=since, done_at=NOW)
    slow = replace(OUT, id="slow", submitted_at=since)

    backs = [
        one.batch for one in decided(lanes(out=[done, slow]), left(0, hours=0.7)) if isinstance(one, TakeBack)
    ]

    assert backs[0] == "slow"


def test_what_came_back_goes_live_and_into_no_batch_again():
    found = decided(lanes(), left(5_000, returned=5_000, hours=8))

    assert kinds(found) == [SendLive, Wait]
    assert found[0].rows == 5_000


def test_what_came_back_goes_into_a_batch_again_when_nobody_waits_for_it():
    assert kinds(decided(lanes(), left(5_000, returned=5_000))) == [Submit, Wait]


def test_live_lanes_are_closed_when_batches_have_time_again():
    found = decided(lanes(replace(LIVE, given=9_000)), left(10_000, hours=12))

    assert found[0] == SendLive("a", "live", 0, "cheaper lanes have time again")
    assert isinstance(found[1], Submit)


def test_a_cancellation_that_never_ends_is_told_and_holds_up_nothing_else():
    hung = replace(OUT, submitted_at=NOW - 8 * HOUR, cancelled_at=NOW - HOUR, phase=Phase.CANCELLING)
    other = replace(OUT, id="b2", submitted_at=NOW - 8 * HOUR)

    alone = decided(lanes(out=[hung]), left(0, hours=0.5))
    both = decided(lanes(out=[hung, other]), left(0, hours=0.5))

    assert alone == [Wait(alone[0].until, "1 batches are being cancelled, for 60 min")]
    assert [one.batch for one in both if isinstance(one, TakeBack)] == ["b2"]


def test_a_batch_is_never_told_to_end_twice():
    cancelled = replace(OUT, submitted_at=NOW - 3 * DAY_S, cancelled_at=NOW)

    assert kinds(decided(lanes(out=[cancelled]), left(0, hours=0.2))) == [Wait]


def test_flex_at_the_price_of_a_batch_works_beside_batches():
    found = decided(lanes(LIVE, FLEX), left(hours=8))

    assert SendLive("a", "flex", found[0].rows, found[0].why) == found[0]
    assert Submit in kinds(found)


def test_flex_without_a_batch_api_gets_rows_bit_by_bit_as_live_may_have_to_help():
    (give, _) = decided(lanes(LIVE, FLEX, batches=()), left(hours=8))
    (alone, _) = decided(lanes(FLEX, batches=()), left(hours=8))

    assert give.lane == "flex"
    assert 0 < give.rows < ROWS
    assert alone.rows == ROWS


def test_when_flex_is_too_slow_for_the_deadline_live_calls_help():
    short = replace(FLEX, shortage=1.0, pace=Pace(7.0, (0.0,) * 24))

    found = decided(lanes(LIVE, short, batches=()), left(hours=1.3))

    assert {one.lane for one in found if isinstance(one, SendLive)} == {"flex", "live"}


def test_live_calls_wait_for_the_cheaper_hour_when_there_is_time():
    begins = NOW % DAY_S + 2 * HOUR
    hours = replace(LIVE, price=RowPrice(None, steps=((0.0, 0.001), (begins, 0.0005))))

    (wait,) = decided(lanes(hours, batches=()), left(hours=8))

    assert wait.until <= NOW + 2 * HOUR
    assert "cheaper hour" in wait.why
    assert kinds(decided(lanes(hours, batches=()), left(hours=8), NOW + 2 * HOUR)) == [SendLive, Wait]
    assert kinds(decided(lanes(hours, batches=()), left(hours=2.5))) == [SendLive, Wait]


def test_the_cheaper_of_two_endpoints_gets_the_batches_until_it_has_no_room():
    ways = LIVE, replace(LIVE, endpoint="b")
    batches = (
        replace(BATCH, room_batches=2, lines=10_000),
        replace(BATCH, endpoint="b", price=RowPrice(0.0006)),
    )

    orders = [
        one.endpoint for one in decided(lanes(*ways, batches=batches), left()) if isinstance(one, Submit)
    ]

    assert orders == ["a", "a", "b", "b"]


def test_the_dearer_of_two_live_endpoints_helps_only_when_the_cheaper_is_not_enough():
    ways = LIVE, replace(LIVE, endpoint="b", price=RowPrice(0.002))

    early = decided(lanes(*ways, batches=()), left(hours=8))
    late = decided(lanes(*ways, batches=()), left(hours=0.8))

    assert [one.endpoint for one in early if isinstance(one, SendLive)] == ["a"]
    assert {one.endpoint for one in late if isinstance(one, SendLive)} == {"a", "b"}


def test_an_endpoint_that_is_out_does_not_stand_for_one_that_works():
    ways = replace(LIVE, out_since=NOW - 60), replace(LIVE, endpoint="b", price=RowPrice(0.002))

    found = decided(lanes(*ways, batches=()), left(hours=2))

    assert [one.endpoint for one in found if isinstance(one, SendLive)] == ["b"]


def test_it_is_asked_again_before_the_deadline_however_long_that_is():
    for hours in (0.01, 1, 10, 300):
        rest = left(0, hours=hours)
        *_, wait = decided(lanes(out=[OUT]), rest)
        assert NOW < wait.until <= NOW + min(hours * HOUR, 900)


def test_only_batches_and_nothing_live_is_a_way_too():
    assert kinds(decided(Lanes((), (BATCH,)), left(hours=2)))[0] is Submit
    assert decided(Lanes((), (replace(BATCH, price=RowPrice(None)),)), left(hours=2))[0].why == (
        "no way to be answered has a known price"
    )


@pytest.mark.parametrize("pace", [0.0, 1e-9, 1e9])
def test_a_pace_beyond_sense_is_no_error(pace):
    assert isinstance(decided(lanes(replace(LIVE, pace=Pace(pace))), left(hours=2))[-1], Wait)


def test_prices_change_at_their_second_of_the_day_and_at_midnight():
    price = RowPrice(None, steps=((HOUR, 1.0), (20 * HOUR, 2.0)))
    midnight = NOW - NOW % DAY_S

    assert price.at(midnight) == 2.0
    assert price.at(midnight + HOUR) == 1.0
    assert price.at(midnight + 20 * HOUR) == 2.0
    assert price.changes_after(midnight + HOUR) == midnight + 20 * HOUR
    assert price.changes_after(midnight + 20 * HOUR) == midnight + 25 * HOUR
    assert RowPrice(1.0).changes_after(NOW) == math.inf
    assert price.least_until(midnight + 21 * HOUR, midnight + 24 * HOUR) == 2.0
    assert price.least_until(midnight + 21 * HOUR, midnight + 26 * HOUR) == 1.0
    assert price.set_aside() == 2.0


def test_what_is_bound_to_go_live_already_is_not_given_again():
    """An engine that sends whole shards counts them as in flight."""
    late = [replace(OUT, submitted_at=NOW - 8 * HOUR)]

    assert kinds(decided(lanes(out=late), left(0, hours=0.7, in_flight=10_000))) == [Wait]
    assert TakeBack in kinds(decided(lanes(out=late), left(0, hours=0.7, in_flight=1_000)))
