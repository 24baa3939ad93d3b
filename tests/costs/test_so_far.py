"""What the rest of a run will cost, by its rows so far: as often right as it says."""

from __future__ import annotations

import random

import pytest

from batchlab.costs.so_far import FEWEST_BLOCKS, MOST_BLOCKS, blocks_of, range_of_rest


def test_few_blocks_say_nothing():
    assert range_of_rest([(10, 1.0)] * (FEWEST_BLOCKS - 1), 100, 0.1) is None
    assert range_of_rest([], 100, 0.1) is None


def test_equal_rows_leave_no_doubt():
    found = range_of_rest([(10, 1.0)] * 20, 100, 0.1)

    assert found is not None
    assert (found.low, found.middle, found.high) == pytest.approx((10.0, 10.0, 10.0))


def test_blocks_are_what_came_between_two_times():
    standings = [(0, 0.0), (10, 1.0), (10, 1.0), (25, None), (30, 3.0), (20, 3.0), (30, 4.5)]

    assert blocks_of(standings) == [(10, 1.0), (20, 2.0), (10, 1.5)]
    assert blocks_of([(5, 1.0)]) == []
    assert len(blocks_of((n, n * 0.1) for n in range(5_000))) <= MOST_BLOCKS + 1


@pytest.mark.parametrize("correlated", [False, True])
def test_nine_of_ten_forecasts_hold_what_the_run_comes_to(correlated):
    """Of skewed answers in any order, and of blocks that differ as the topics of an input do."""
    rng = random.Random(5)
    inside = 0
    for _ in range(300):
        costs = []
        for _block in range(40):
            level = rng.lognormvariate(0, 0.5) if correlated else 1.0
            costs.append([level * rng.lognormvariate(0, 1) for _ in range(50)])
        rng.shuffle(costs)
        seen, rest = costs[:20], costs[20:]
        blocks = [(len(block), sum(block)) for block in seen]
        usd_a_row = sum(usd for _, usd in blocks) / 1_000
        found = range_of_rest(blocks, 1_000, usd_a_row)
        assert found is not None
        inside += found.low <= sum(map(sum, rest)) <= found.high

    assert 0.84 <= inside / 300 <= 0.96
