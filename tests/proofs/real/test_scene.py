"""What the programs of this folder share, before the simulator alone: no pip, no npm."""

from __future__ import annotations

import random
from collections import Counter

from tests.conftest import simulating
from tests.proofs.real.litellm import Ledger
from tests.proofs.real.scene import Books, Trial


def test_a_run_that_is_killed_once_keeps_its_promises_and_the_ledger_says_so(tmp_path):
    bills = tmp_path / "bills.jsonl"
    faults = [{"kind": "context_length", "rows": ["[long]"], "times": 99}]
    texts = [f"remark {row}" for row in range(60)]
    texts[50] += " [long]"
    with simulating(latency_median_s=0.1, ledger_path=str(bills), faults=faults) as simulator:
        ledger = Ledger(simulator, bills)
        found = Trial(
            "the simulator",
            simulator.base_url,
            texts,
            idle=ledger.idle,
            books=ledger.books,
            rng=random.Random(7),
            expected=lambda: {50: "context_length"},
            words=("-c", "4"),
        ).figures()

    assert found.notes == []
    assert found.statuses == {"ok": 59, "failed": 1}
    assert 0 < found.settled < 60
    assert found.announced > 0
    assert found.books.answered == 59 + (found.repaid or 0)


def test_an_answer_that_was_paid_before_the_kill_and_after_it_is_counted_once_for_each():
    before = Books(3, 2, Counter(a=1, b=1))

    assert Books(6, 5, Counter(a=1, b=3, c=1)).again_since(before) == 2
    assert Books(6, 5).again_since(before) is None
