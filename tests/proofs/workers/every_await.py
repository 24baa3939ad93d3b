"""A worker, a worker out of reach, the budget's keeper or the driver lost at every await of a run.

    python -m tests.proofs.workers.every_await --seeds 4        # a minute a seed

Runs of the fake engine, in virtual time. After each loss every row has one answer, what was asked again was
in flight, and permits and cost stay within their caps at every await.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from batchlab.store.integrity.verify import verify
from batchlab.store.view import RunView
from tests.proofs.arguments import ended, options
from tests.proofs.workers.fake_engine import FakeEngine, answers

LOSSES = ("worker", "lost", "lender", "driver")
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


def awaits(home: Path, seed: int) -> int:
    """How many awaits the workers of a run have that nothing happens to."""
    calm = FakeEngine(home / f"calm-{seed}", seed)
    assert calm.run() is None
    whole(calm)
    assert repeats(calm) == 0
    assert calm.most_in_flight >= 3
    return calm.awaits


def lose(home: Path, seed: int, what: str, at: int) -> None:
    engine = FakeEngine(home / f"{what}-{seed}-{at}", seed, what=what, at=at)

    reason = engine.run()

    assert reason is None, (what, seed, at, engine.said)
    whole(engine)
    assert repeats(engine) <= engine.may_repeat <= engine.cap, (what, seed, at)


def main() -> None:
    """Prints a line a seed; exits with 1 when a promise was broken."""
    given = options(__doc__, seeds=4, first=0)
    broken = []
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            count = awaits(Path(folder), seed)
            for what in LOSSES:
                for at in range(1, count):
                    try:
                        lose(Path(folder), seed, what, at)
                    except AssertionError as error:
                        broken.append(f"seed {seed}, {what} lost at await {at}: {error}")
        print(f"seed {seed}: {len(LOSSES) * (count - 1)} runs; promises broken {len(broken)}", flush=True)
    ended(broken)


if __name__ == "__main__":
    main()
