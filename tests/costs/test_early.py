"""The forecast that a run keeps from its first rows."""

from __future__ import annotations

import numpy as np
import pytest

from batchlab.runner.rows.first_rows import FirstRows
from tests.proofs.costs.early import error, ratios, states


def made_by(latencies: np.ndarray, concurrency: int, *, before: int = 0):
    watching = FirstRows()
    told = states(latencies, concurrency, before=before)
    return next((made for state in told if (made := watching.forecast(state))), None)


@pytest.mark.parametrize(("rows", "concurrency"), [(100, 4), (500, 16), (2_000, 64)])
def test_a_window_that_still_grows_makes_no_run_look_longer_than_it_is(rows, concurrency):
    """The short form of `python -m tests.proofs.costs.early`; fixed seeds."""
    found = [ratios(rows, concurrency, 0.5, seed) for seed in range(20)]

    ours, pace = (error(list(one)) for one in zip(*found, strict=True))
    assert ours < 1.15, found
    assert ours <= pace, found


def test_there_is_no_forecast_once_all_that_is_left_is_in_flight():
    """README's first command: 24 rows in 4 places, the last of them with a prompt 20 times as long."""
    assert made_by(np.array([2.0] * 23 + [13.0]), 4) is None
    made = made_by(np.full(40, 2.0), 4)
    assert made is not None
    assert made.share == 0.5


def test_rows_of_earlier_invocations_count_for_nothing():
    """40 rows, 20 of them final before: the others have 20 rows behind them only when all are done."""
    assert made_by(np.full(20, 2.0), 4, before=20) is None
