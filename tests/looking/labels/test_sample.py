"""A random sample: the same again by its seed, even when rows are added, and fair."""

from __future__ import annotations

import numpy as np

from batchlab.looking.labels.sample import sample


def test_a_seed_draws_the_same_rows_again_and_another_others():
    rows = np.arange(10_000)
    first = sample(rows, 200, 1)

    assert len(set(first)) == 200
    assert first == sorted(first) == sample(rows[::-1].copy(), 200, 1)
    assert len(set(first) & set(sample(rows, 200, 2))) < 30


def test_a_few_rows_more_or_less_leave_a_review_nearly_as_it_is():
    rows = np.arange(10_000)
    first = set(sample(rows, 200, 5))

    assert len(first & set(sample(np.arange(10_500), 200, 5))) > 170
    without = np.setdiff1d(rows, sorted(first)[:3])
    assert first - set(sorted(first)[:3]) <= set(sample(without, 200, 5))


def test_fewer_rows_than_wanted_are_all_taken():
    assert sample(np.array([7, 3, 5]), 200, 0) == [3, 5, 7]
    assert sample(np.array([7, 3]), 0, 0) == []
    assert sample(np.zeros(0), 5, 0) == []


def test_every_row_is_as_likely_as_any_other():
    counts = np.zeros(1_000)
    for seed in range(2_000):
        counts[sample(np.arange(1_000), 100, seed)] += 1
    # each is Binomial(2000, 0.1): a standard deviation of 13.4; and no trend along the input
    assert abs(counts.mean() - 200) < 1e-9
    assert np.abs(counts - 200).max() < 5 * 13.4
    assert abs(np.corrcoef(np.arange(1_000), counts)[0, 1]) < 0.12
