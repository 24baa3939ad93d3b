"""Whatever happens to the workers of a run, at whatever await: every row once, within one budget."""

from __future__ import annotations

import pytest

from tests.proofs.workers.every_await import LOSSES, awaits, lose, whole
from tests.proofs.workers.fake_engine import FakeEngine
from tests.proofs.workers.fake_worker import COST


def test_the_same_seed_makes_the_same_run(tmp_path):
    runs = [FakeEngine(tmp_path / str(n), 7, what="worker", at=40) for n in range(2)]
    for run in runs:
        run.run()

    assert runs[0].awaits == runs[1].awaits
    assert runs[0].bills == runs[1].bills
    assert runs[0].said == runs[1].said


@pytest.mark.parametrize("what", LOSSES)
@pytest.mark.parametrize("seed", [1, 2])
def test_at_every_await_a_loss_costs_what_was_in_flight_and_no_row(what, seed, tmp_path):
    """A worker killed, a worker out of reach and at work, the budget's keeper lost, the driver killed.

    Here at every seventh; `python -m tests.proofs.workers.every_await` takes every one.
    """
    for at in range(seed, awaits(tmp_path, seed), 7):
        lose(tmp_path, seed, what, at)


@pytest.mark.parametrize("seed", [1, 2])
def test_two_attempts_of_a_shard_at_once_leave_one_part_each_and_mix_nothing(seed, tmp_path):
    """A worker that was given up and never noticed: it has no grant, and its late part adds nothing."""
    for at in range(seed, awaits(tmp_path, seed), 9):
        engine = FakeEngine(tmp_path / str(at), seed, what="twice", at=at)

        assert engine.run() is None, (seed, at, engine.said)
        whole(engine)


@pytest.mark.parametrize("what", [None, "worker", "lender", "driver"])
def test_the_cap_on_cost_is_never_passed_and_ends_the_run(what, tmp_path):
    """Checked at each await against the bills, over all workers and both drivers."""
    for seed in range(4):
        engine = FakeEngine(tmp_path / str(seed), seed, what=what, at=40, max_cost=0.08)

        assert engine.run() == "budget", engine.said
        assert 3 * COST <= engine.billed <= 0.08
