"""The short version of `python -m tests.proofs.sim.refused_rows`."""

from __future__ import annotations

import pytest

from tests.proofs.sim.refused_rows import HONEST, PLACES, eight_of_400, honest


@pytest.mark.parametrize("name", [name for name in HONEST if "stale" not in name])
def test_no_row_fails_where_anybody_may_be_refused(name):
    for seed in (3001, 3002):
        run = honest(name, seed)

        assert run.failed == {}, (name, seed)
        assert run.answered == HONEST[name][1], (name, seed)


def test_a_replica_with_a_stale_key_ends_no_night():
    for seed in range(3001, 3006):
        run = honest("10 % of requests meet a stale key", seed)

        assert (run.stopped, run.failed) == ("", {}), seed


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("concurrency", [4, 16, 64])
def test_rows_that_are_always_refused_fail_and_all_others_are_answered(place, status, concurrency):
    for seed in (3001, 3002):
        run = eight_of_400(place, seed, concurrency=concurrency, status=status)

        assert run.answered == 392, seed
        assert len(run.failed) == 8, seed
        assert max(run.failed.values()) <= 9, seed


@pytest.mark.parametrize("place", ["every 50th", "every 50th, the last row too", "together"])
@pytest.mark.parametrize("concurrency", [4, 16, 64])
def test_the_others_take_hardly_longer_for_them(place, concurrency):
    for seed in (3001, 3002):
        run = eight_of_400(place, seed, concurrency=concurrency)
        alone = eight_of_400(place, seed, concurrency=concurrency, refused=False)

        assert run.others_s <= 1.3 * alone.others_s, seed
