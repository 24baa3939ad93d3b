"""Durations and what a night makes of them."""

from __future__ import annotations

import math
import random

import pytest

from batchlab.lanes.queue_times import QUEUES, Durations, Tonight


def test_the_prior_says_what_was_published():
    """OpenRouter: half within 7 minutes, nine of ten within an hour."""
    assert QUEUES.survival(420) == pytest.approx(0.5)
    assert QUEUES.survival(3_600) == pytest.approx(0.1)
    assert QUEUES.quantile(0.9) == pytest.approx(3_600, rel=0.01)
    assert 0.001 < QUEUES.survival(86_400) < 0.02


def test_the_tail_is_heavy_what_took_long_is_expected_to_take_long():
    night = Tonight.of(QUEUES, (), ())

    chances = [night.ends_within(900, age) for age in (600, 3_600, 14_400, 43_200)]

    assert chances == sorted(chances, reverse=True)


def test_what_was_seen_outweighs_the_prior_in_the_end():
    rng = random.Random(1)
    seen = [rng.uniform(7_000, 9_000) for _ in range(400)]

    known = QUEUES.with_seen(seen)

    assert known.quantile(0.5) == pytest.approx(8_000, rel=0.05)
    assert 0 < known.survival(20_000) < 0.01


def test_only_the_newest_count():
    known = QUEUES.with_seen([60.0] * 2_000 + [6_000.0] * 500)

    assert known.survival(3_600) > 0.95


def test_what_is_still_out_says_as_much_as_what_has_ended():
    usual = Tonight.of(QUEUES, (), ())
    slow = Tonight.of(QUEUES, (), [7_200.0] * 8)
    fast = Tonight.of(QUEUES, [60.0] * 8, ())

    assert slow.ends_within(3_600, 7_200) < usual.ends_within(3_600, 7_200) / 2
    assert fast.ends_within(300) > usual.ends_within(300) * 1.5


def test_chances_are_chances():
    night = Tonight.of(Durations(420, 3_600, (5.0, 80.0, 5_000.0)), [1.0], [0.0, 1e6])

    for age in (0.0, 1.0, 1e5):
        chances = [night.ends_within(seconds, age) for seconds in (0, 1, 60, 3_600, 1e6)]
        assert chances == sorted(chances)
        assert all(0 <= one <= 1 for one in chances)


def test_remaining_is_the_inverse_of_ends_within():
    night = Tonight.of(QUEUES, (), ())

    for age in (0.0, 1_800.0):
        assert night.ends_within(night.remaining(0.5, age), age) == pytest.approx(0.5, abs=1e-4)
    assert Tonight.of(QUEUES, (), [1e6] * 500).remaining(0.99) == math.inf
