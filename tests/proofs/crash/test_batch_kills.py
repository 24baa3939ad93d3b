"""Batches under SIGKILL: the short version of `python -m tests.proofs.crash.batch_kills`."""

from __future__ import annotations

import pytest

from tests.proofs.crash.batch_kills import at_service

SEED = 20261128


@pytest.mark.parametrize(
    ("service", "at_url"), [("openai", False), ("anthropic", False), ("mistral", True), ("openrouter", False)]
)
def test_a_batch_that_is_killed_at_any_step_is_ordered_and_billed_once(service, at_url):
    found = at_service(service, 8, SEED, at_url=at_url)

    assert found.kills == 8
    assert found.problems == []
