"""P1 and P2 on real processes: the short version of `python -m tests.proofs.crash.kill_sweep`."""

from __future__ import annotations

from tests.proofs.crash.kill_sweep import sweep


def test_p1_p2_sigkill_loses_nothing_and_repeats_at_most_what_was_in_flight():
    seed = 20261124
    found = sweep(rows=400, kills=5, seed=seed, shard_rows=100)

    assert found.kills, found
    assert found.lost == 0, found
    assert found.journalled_then_billed == 0, found
    assert found.billed_repeats <= 16 * found.kills, found
    assert found.billed_repeats <= found.cut_off, found
    assert found.announcements, found
    assert not found.announced_too_few, found
    assert not found.leaks, found
    assert found.verified, found
