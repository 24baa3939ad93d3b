"""The short form of `python -m tests.proofs.crash.races`."""

from __future__ import annotations

from tests.proofs.crash.races import races


def test_of_two_processes_on_one_run_exactly_one_works():
    assert races(6) == []
