"""The short version of `python -m tests.proofs.sim.run`: what must hold for every provider and seed."""

from __future__ import annotations

import pytest

from tests.proofs.sim.run import CONCURRENCY, MODELS, simulate


@pytest.mark.parametrize("name", MODELS)
def test_no_row_is_lost_and_the_rules_hold(name):
    for seed in (2001, 2002):
        run = simulate(name, seed)

        assert run.lost == 0, (name, seed)
        assert run.worst_in_flight <= CONCURRENCY
        assert run.sent_while_closed == 0
        assert run.requests / run.rows <= 1.25, (name, seed)


@pytest.mark.parametrize(
    "name", ["concurrency cap 5, bare 429", "rpm 600, headers", "tpm 120k, headers", "outage of 600 s (503)"]
)
def test_the_run_takes_little_longer_than_the_provider_allows(name):
    run = simulate(name, 2003)

    assert run.makespan_s <= 1.15 * run.ideal_s
