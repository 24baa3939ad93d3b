"""The short form of `python -m tests.proofs.costs.capped_runs`: many prices under a cap, held against the ledger."""

from __future__ import annotations

import pytest

from tests.proofs.costs.capped_runs import problems, run


@pytest.mark.parametrize(
    ("night", "stream"), [("tiers", True), ("echoes", False), ("lengths", False), ("hours", True)]
)
def test_a_cap_is_never_passed_and_the_books_are_the_ledger_s(night, stream):
    """Of so few rows one request's worst case is more than 3 % of the cap: 90 % is asked for here."""
    found = run(night, 250, stream=stream)

    assert problems(found, least_used=0.8 if night == "lengths" else 0.9) == [], found
