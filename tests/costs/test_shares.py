"""One request's usage and cost, divided: every sum is exact to the token."""

from __future__ import annotations

import json
import math
import random

import pytest

from batchlab.costs.shares import cost_shares, usage_shares, whole_shares
from batchlab.records import Usage


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (10, [1, 1], [5, 5]),
        (10, [1, 1, 1], [4, 3, 3]),  # of equal remainders the first
        (0, [3, 5], [0, 0]),
        (1, [1, 9], [0, 1]),
        (2, [1, 1, 1], [1, 1, 0]),
        (7, [1], [7]),
        (100, [1, 2, 3, 4], [10, 20, 30, 40]),
        (5, [1_000_000_007, 1], [5, 0]),
        (2**53 - 1, [2**40, 2**40], [2**52, 2**52 - 1]),
    ],
)
def test_whole_shares(total, weights, shares):
    assert whole_shares(total, weights) == shares
    assert sum(shares) == total


def test_shares_add_up_and_are_off_by_less_than_one_for_any_weights():
    rng = random.Random(5)
    for _ in range(500):
        weights = [rng.randint(1, 10 ** rng.randint(0, 9)) for _ in range(rng.randint(1, 70))]
        total = rng.randint(0, 10 ** rng.randint(0, 15))
        shares = whole_shares(total, weights)
        assert sum(shares) == total
        exact = [total * one / sum(weights) for one in weights]
        assert all(abs(share - one) < 1 + 1e-6 * one for share, one in zip(shares, exact, strict=True))


def test_a_usage_is_divided_with_all_that_the_provider_says():
    raw = {"prompt_tokens": 7, "total_tokens": 7, "cost": 0.0007, "details": {"cached_tokens": 3, "a": None}}
    usage = Usage(7, 0, 7, cached_tokens=3, raw=json.dumps({**raw, "tier": "default", "free": True}))

    one, two = usage_shares(usage, [3, 1])

    assert (one.prompt_tokens, one.completion_tokens, one.total_tokens, one.cached_tokens) == (5, 0, 5, 2)
    assert (two.prompt_tokens, two.completion_tokens, two.total_tokens, two.cached_tokens) == (2, 0, 2, 1)
    assert one.reasoning_tokens is None
    first, second = json.loads(one.raw), json.loads(two.raw)
    assert first["cost"] + second["cost"] == pytest.approx(0.0007)
    assert first["details"] == {"cached_tokens": 2, "a": None}
    assert (second["tier"], second["free"], second["prompt_tokens"]) == ("default", True, 2)


def test_what_is_unknown_stays_unknown():
    assert usage_shares(Usage(), [1, 2]) == [Usage(), Usage()]
    assert cost_shares(None, usage_shares(Usage(3), [1, 2]), [1, 2]) == [None, None]
    deep = '{"a":' * 3_000 + "1" + "}" * 3_000
    assert [one.raw for one in usage_shares(Usage(3, raw=deep), [1, 2])] == [None, None]


def test_a_cost_follows_the_tokens_of_each_row():
    shares = usage_shares(Usage(7, 0, 7), [3, 1])
    costs = cost_shares(0.00014, shares, [3, 1])

    assert costs == pytest.approx([0.0001, 0.00004])
    assert math.fsum(costs) == pytest.approx(0.00014, abs=1e-18)
    assert cost_shares(0.3, usage_shares(Usage(), [2, 1]), [2, 1]) == pytest.approx([0.2, 0.1])
