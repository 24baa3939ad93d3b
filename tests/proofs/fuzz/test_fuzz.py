"""The short form of `python -m tests.proofs.fuzz.run`."""

from __future__ import annotations

import pytest

from tests.proofs.fuzz.run import TARGETS, in_process

CASES = dict.fromkeys(
    ("jsonl", "delimited", "parquet", "json", "text", "packed", "encoded", "arrow", "sqlite"), 600
)
CASES["sheet"] = 100


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_others_wrote_raises_anything_but_our_own_errors(name):
    problems, _ = in_process(name, 1, CASES.get(name, 5_000))

    assert problems == []
