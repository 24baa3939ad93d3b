"""How fast to send, on a virtual clock."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.dispatch.rate.buckets import Bucket
from batchlab.dispatch.rate.controller import Permit, RateController
from batchlab.job.limits import EndpointLimits
from batchlab.protocol.limits import RateHeaders
from tests.proofs.sim import controller_trace


def controller(concurrency=64, **limits) -> RateController:
    return RateController(EndpointLimits(concurrency=concurrency, **limits), now=0.0, rng=random.Random(7))


def taken(it: RateController, now: float, count: int = 1000) -> list[Permit]:
    """As many permits as there are to be had, at most `count`."""
    permits = []
    while len(permits) < count and isinstance(got := it.try_acquire(now, 10, 10), Permit):
        permits.append(got)
    return permits


def answered(it: RateController, permits: list[Permit], now: float) -> None:
    for permit in permits:
        it.succeeded(permit, now, 20)


def test_a_run_starts_with_four_in_flight_and_never_passes_its_ceiling():
    assert len(taken(controller(), 0.0)) == 4
    assert len(taken(controller(concurrency=2), 0.0)) == 2


def test_the_window_grows_by_two_an_answer_while_it_is_used():
    it = controller(concurrency=8)
    permits = taken(it, 0.0)
    for _ in range(2):
        it.succeeded(permits.pop(), 1.0, 20)
        permits += taken(it, 1.0)

    assert it.window == 8


def test_a_window_that_is_not_used_does_not_grow():
    it = controller()
    for now in range(50):
        answered(it, taken(it, float(now), 1), now + 0.5)

    assert it.window == 4


def grown(window: int = 20) -> RateController:
    it = controller(concurrency=window)
    now = 0.0
    while it.window < window:
        answered(it, taken(it, now), now + 0.1)
        now += 1.0
    return it


def test_one_burst_of_429s_cuts_the_window_once_and_pauses_everybody():
    it = grown()
    permits = taken(it, 100.0)
    for permit in permits:
        it.limited(permit, 101.0)

    assert it.window == int(20 * 0.85)
    assert it.in_flight == 0
    assert 101.0 < it.gate_until <= 102.0
    assert it.try_acquire(101.0, 1, 1) == pytest.approx(it.gate_until - 101.0)


def test_one_refusal_alone_may_be_its_row_s_own_and_costs_nobody_anything():
    it = grown()
    permits = taken(it, 100.0)

    assert it.limited(permits.pop(), 100.05)
    assert (it.window, it.gate_until, it.why(100.05)) == (20, 0.0, "")

    answered(it, [*taken(it, 100.1), *permits], 102.0)
    assert it.limited(taken(it, 102.1, 1)[0], 102.2), "the one before was answered: this is another one alone"


def test_a_second_refusal_at_once_makes_a_limit_of_both_and_of_every_one_from_then_on():
    it = grown()
    permits = taken(it, 100.0)
    it.limited(permits.pop(), 100.05)
    answered(it, permits[:3], 100.06)  # they were sent before it: they say nothing

    assert not it.limited(taken(it, 100.06, 1)[0], 100.11)
    assert it.window == int(20 * 0.85)

    answered(it, permits[3:], 109.0)
    later = taken(it, 110.0, 4)
    answered(it, later[:3], 111.0)
    assert not it.limited(later[3], 111.0)


def test_a_second_refusal_among_many_that_are_taken_in_is_another_row_s():
    it = grown(64)
    permits = taken(it, 100.0, 40)
    it.limited(permits.pop(), 100.05)
    taken(it, 100.1, 10)
    [unlucky] = taken(it, 100.5, 1)

    assert it.limited(unlucky, 100.55)
    assert it.window == 64


def test_a_row_refused_before_shuts_no_gate_while_others_are_answered():
    it = grown()
    permits = taken(it, 100.0)
    it.limited(permits.pop(), 100.05)
    for _ in range(10):
        it.limited(permits.pop(), 100.1, again=True)

    assert (it.window, it.gate_until) == (20, 0.0)


def test_a_second_look_sends_nothing_for_its_time_and_then_one_request_at_a_time():
    it = grown()
    in_flight = taken(it, 100.0, 5)
    it.refused(in_flight.pop(), 100.1)
    it.hold(100.1, 5.0, "Unauthorized")

    assert taken(it, 105.0) == []
    assert "Unauthorized" in it.why(101.0)
    [probe] = taken(it, 105.2)
    assert taken(it, 105.3) == [], "what was in flight before it does not keep the probe back, nor let two go"
    it.refused(probe, 105.4)
    [probe] = taken(it, 105.5)
    answered(it, in_flight, 105.6)
    assert taken(it, 105.7) == [], "an answer to what was sent before the look does not end it"
    answered(it, [probe], 105.8)
    assert len(taken(it, 105.9)) > 10


def test_a_look_that_ends_without_an_answer_is_over():
    it = grown()
    it.hold(100.0, 5.0, "Unauthorized")
    it.release()

    assert len(taken(it, 105.1)) == 20


@pytest.mark.parametrize("end", ["failed", "unreachable"])
def test_an_outage_shows_the_last_answer_s_words(end):
    it = controller()
    for n in range(12):
        it_now = max(n, it.gate_until)
        getattr(it, end)(
            taken(it, it_now, 1)[0], it_now, words=f"answer {n}: <html> Under maintenance {'x' * 500}"
        )

    assert "answer 11: <html> Under maintenance" in it.why(it.gate_until)
    assert len(it.why(it.gate_until)) < 200


def test_an_overload_that_became_an_outage_shows_its_words_too():
    it, now = controller(), 0.0
    for _ in range(6):
        it.limited(taken(it, now, 1)[0], now, status=503, words="The model is loading")
        now = it.gate_until + 1

    assert "The model is loading" in it.why(now)


@pytest.mark.parametrize("seconds", [1.0, 300.0, 86_400.0])
def test_a_retry_after_is_honoured_in_full_by_everybody(seconds):
    it = grown()
    it.limited(taken(it, 100.0, 1)[0], 101.0, seconds)

    assert 101.0 + seconds <= it.gate_until <= 101.0 + seconds * 1.05
    assert it.why(101.0).startswith("waiting ")
    assert it.why(101.0).endswith(" s as asked by the provider (429)")


def test_after_a_cut_the_window_that_failed_is_not_tried_again_at_once():
    it = grown(20)
    first, second, *_ = taken(it, 100.0)
    it.limited(first, 100.0)
    it.limited(second, 100.0)
    now = 103.0
    while now < 114.0:
        answered(it, taken(it, now, it.window - it.in_flight), now + 0.1)
        now += 0.2

    assert it.window <= 19


def test_repeated_429s_without_an_answer_wait_longer_and_longer_up_to_a_minute():
    it = controller()
    now, waits = 0.0, []
    for _ in range(12):
        permit = taken(it, now, 1)[0]
        it.limited(permit, now)
        waits.append(it.gate_until - now)
        now = it.gate_until

    assert waits[-1] <= 60.0
    assert waits[6] > waits[0]
    assert it.silent_s(now) == now


def test_random_server_errors_do_not_open_the_breaker():
    it = controller()
    now = 0.0
    for number in range(400):
        permit = taken(it, now, 1)[0]
        if number % 20 == 19:
            it.failed(permit, now)
        else:
            it.succeeded(permit, now, 20)
        now += 0.1

    assert it.window >= 4


def test_an_endpoint_that_only_fails_is_probed_one_request_at_a_time():
    it = controller()
    now = 0.0
    for _ in range(11):
        it.failed(taken(it, now, 1)[0], now)
    assert it.window == 1
    probes = []
    for _ in range(10):
        now = max(now, it.gate_until)
        permits = taken(it, now)
        assert len(permits) == 1
        probes.append(now)
        it.failed(permits[0], now)

    gaps = [later - earlier for earlier, later in zip(probes, probes[1:], strict=False)]
    assert max(gaps) == 60.0
    assert f"waiting for the provider, {int(now) // 60} min so far" in it.why(now)


def test_the_first_answer_after_an_outage_ends_it():
    it = controller()
    it.unreachable(taken(it, 0.0, 1)[0], 0.0)
    assert it.silent_s(50.0) == 50.0
    it.succeeded(taken(it, 100.0)[0], 100.0, 20)

    assert it.window >= 4
    assert it.silent_s(100.0) == 0.0


@given(rpm=st.floats(1, 6_000), seed=st.integers(0, 1_000))
def test_rpm_is_never_exceeded_in_any_minute(rpm, seed):
    rng = random.Random(seed)
    it = controller(concurrency=10_000, start=10_000, rpm=rpm)
    now, sent = 0.0, []
    for _ in range(400):
        permits = taken(it, now)
        sent += [now] * len(permits)
        answered(it, permits, now)
        got = it.try_acquire(now, 10, 10)
        now += max(
            got if not isinstance(got, Permit) and math.isfinite(got) else 0.0, rng.random() * 60 / rpm
        )

    start = 0
    for end in range(len(sent)):
        while sent[end] - sent[start] >= 60.0:
            start += 1
        assert end - start + 1 <= max(1, rpm) + 1e-6


def test_tokens_reserved_and_not_used_are_given_back():
    it = controller(tpm=60_000.0)
    permit = it.try_acquire(0.0, 500, 500)
    assert isinstance(permit, Permit)
    assert isinstance(it.try_acquire(0.0, 500, 500), float)
    it.succeeded(permit, 0.0, 10)

    assert isinstance(it.try_acquire(0.0, 400, 500), Permit)


def test_a_limit_the_server_states_is_kept_to():
    it = controller(concurrency=100)
    headers = RateHeaders(limit_requests=60, remaining_requests=0, reset_requests_s=60.0, window_s=60.0)
    it.succeeded(taken(it, 0.0, 1)[0], 0.0, 20, headers)

    assert taken(it, 0.0) == []
    assert len(taken(it, 10.0)) <= 10


def test_a_permit_ends_exactly_once():
    it = controller()
    permit = taken(it, 0.0, 1)[0]
    it.refused(permit, 1.0)

    with pytest.raises(AssertionError):
        it.refused(permit, 1.0)


def test_a_bucket_lets_a_request_larger_than_itself_pass_in_debt():
    bucket = Bucket(600.0, now=0.0)

    assert bucket.wait_s(1_000.0, 0.0) == 0.0
    bucket.take(1_000.0, 0.0)
    assert bucket.wait_s(1.0, 0.0) > 60.0


@pytest.mark.parametrize("name", controller_trace.SCRIPTS)
def test_the_controller_does_step_by_step_what_was_measured(name):
    stored = json.loads(controller_trace.STORED.read_text())[name]

    found = controller_trace.digests(name)

    first = next((n for n, (old, new) in enumerate(zip(stored, found, strict=True)) if old != new), None)
    assert first is None, (
        f"behaviour changed within steps {first * controller_trace.CHUNK} to "
        f"{(first + 1) * controller_trace.CHUNK} of {name!r}; measure the change with tests.proofs.sim.run, "
        "then store it: python -m tests.proofs.sim.controller_trace"
    )


def test_a_long_good_time_earns_a_hundred_failures_and_no_more():
    it = controller(concurrency=1)
    for _ in range(3_000):
        answered(it, taken(it, 0.0, 1), 0.0)

    for failures in range(101):
        assert not it.why(1.0), failures
        [permit] = taken(it, 1.0, 1)
        it.failed(permit, 1.0)

    assert "waiting for the provider, 0 s so far" in it.why(1.0)


def test_answers_much_shorter_than_expected_still_reserve_a_tenth():
    it = controller(tpm=1e9)
    for _ in range(500):
        answered_with = taken(it, 0.0, 1)
        it.succeeded(answered_with[0], 0.0, 0)

    [permit] = taken(it, 0.0, 1)

    assert permit.reserved == pytest.approx(0.1 * permit.estimate)


@pytest.mark.parametrize("end", ["unreachable", "refused", "failed"])
def test_a_request_that_was_not_served_gives_back_its_tokens_of_a_limit_learned_from_headers(end):
    it = controller()
    stated = RateHeaders(
        limit_requests=None, remaining_requests=None, limit_tokens=600.0, remaining_tokens=600.0
    )
    [first, second] = taken(it, 0.0, 2)
    it.succeeded(first, 0.0, 20, stated)
    it.refused(second, 0.0)
    permit = it.try_acquire(0.0, 300, 300)
    assert isinstance(permit, Permit)

    getattr(it, end)(permit, 0.0)
    later = max(it.gate_until, 0.0)

    if end == "unreachable":  # one probe at a time: the window has one place
        assert it.window == 1
    assert isinstance(it.try_acquire(later, 300, 300), Permit)
