"""Batches under SIGKILL: the short version of `python -m tests.proofs.crash.batch_kills`."""

from __future__ import annotations

import pytest

from tests.proofs.crash.batch_kills import on_way

SEED = 20261128


@pytest.mark.parametrize(
    ("way", "services", "at_url"),
    [
        ("run", ("openai", "openrouter"), False),
        ("run", ("mistral",), True),
        ("detach", ("anthropic",), False),
        ("cancel", ("together",), False),
        ("two at once", ("openai",), False),
        ("two at once", ("anthropic",), True),
        ("cheapest", ("openai",), False),
        ("workers", ("mistral",), False),
    ],
)
def test_a_batch_that_is_killed_at_any_step_is_ordered_and_billed_once(way, services, at_url):
    kills = 3 if way == "workers" else 6

    found = on_way(way, kills, SEED, services=services, at_url=at_url)

    assert found.kills - kills in {0, 1}  # two at once may both be killed by the last
    assert found.problems == []
