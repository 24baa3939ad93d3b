"""Whose a run at a URL is, and who says that it is at work there."""

from __future__ import annotations

import json

import pytest

from batchlab.remote.presence import Presence
from batchlab.run_end import RunStopped
from tests.remote.test_looking import URL, made

__all__ = ["made"]  # the fixture


def test_only_the_machine_that_the_run_belongs_to_says_that_it_is_at_work(made, memory):
    """One that has slept while another took the run over, and ended, finds no sign of that one any more."""
    assert made().code == 0
    owner = json.loads(memory.cat_file("/data/runs/x/run.json"))["owner"]
    name = owner["id"] if isinstance(owner, dict) else owner

    awake, slept = Presence(URL, name, "runs/x"), Presence(URL, "who slept", "runs/x")
    slept.beat()

    assert not memory.exists("/data/runs/x/lease.json")
    with pytest.raises(RunStopped, match="another machine has taken the run over"):
        slept.check()
    awake.beat()
    assert memory.exists("/data/runs/x/lease.json")
    awake.check()
