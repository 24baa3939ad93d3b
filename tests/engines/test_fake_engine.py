"""Whatever happens to the workers of a run, at whatever await: every row once, within one budget."""

from __future__ import annotations

import pytest

from batchlab.store.verify import verify
from batchlab.store.view import RunView
from tests.engines.fake_engine import FakeEngine, answers
from tests.engines.fake_worker import COST

ROWS = 12


def whole(engine: FakeEngine) -> None:
    """Each row has one answer, its own; the books are what was billed, but for what was lost in flight."""
    assert list(answers(engine)) == [f"answer to {row}" for row in range(ROWS)], engine.said
    store = RunView.open(engine.path)
    report = verify(store, list(store.manifest.plan.shards))
    assert not report.problems
    assert not list((engine.path / "journal").glob("*.log"))
    assert set(engine.bills) == set(range(ROWS))


def repeats(engine: FakeEngine) -> int:
    return engine.bills.total() - len(engine.bills)


def awaits(tmp_path, seed: int) -> int:
    """How many awaits the workers of a run have that nothing happens to."""
    calm = FakeEngine(tmp_path / f"calm-{seed}", seed)
    assert calm.run() is None
    whole(calm)
    assert repeats(calm) == 0
    assert calm.most_in_flight >= 3
    return calm.awaits


def lose(tmp_path, seed: int, what: str, at: int) -> None:
    engine = FakeEngine(tmp_path / f"{what}-{seed}-{at}", seed, what=what, at=at)

    reason = engine.run()

    assert reason is None, (what, seed, at, engine.said)
    whole(engine)
    assert repeats(engine) <= engine.may_repeat <= engine.cap, (what, seed, at)


def test_the_same_seed_makes_the_same_run(tmp_path):
    runs = [FakeEngine(tmp_path / str(n), 7, what="worker", at=40) for n in range(2)]
    for run in runs:
        run.run()

    assert runs[0].awaits == runs[1].awaits
    assert runs[0].bills == runs[1].bills
    assert runs[0].said == runs[1].said


@pytest.mark.parametrize("what", ["worker", "lost", "lender", "driver"])
@pytest.mark.parametrize("seed", [1, 2])
def test_at_every_await_a_loss_costs_what_was_in_flight_and_no_row(what, seed, tmp_path):
    """A worker killed, a worker out of reach and at work, the budget's keeper lost, the driver killed.

    Here at every seventh; `python -m tests.engines.test_fake_engine SEEDS` takes every one.
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


if __name__ == "__main__":
    import sys
    import tempfile
    from pathlib import Path

    for seed in range(int(sys.argv[1])):
        with tempfile.TemporaryDirectory() as folder:
            count = awaits(Path(folder), seed)
            for what in ("worker", "lost", "lender", "driver"):
                for at in range(1, count):
                    lose(Path(folder), seed, what, at)
            print(f"seed {seed}: {4 * (count - 1)} runs, every row once, repeats at most what was in flight")
