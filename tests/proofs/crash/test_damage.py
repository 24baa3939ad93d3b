"""Every 40th kind of damage to a run directory: found, or harmless."""

from __future__ import annotations

import pytest

from tests.proofs.crash.damage import ROOMS, damaged


@pytest.mark.parametrize("room", ROOMS)
def test_damage_is_found_or_harmless_and_nothing_is_paid_twice_in_silence(room):
    ends, problems = damaged(only=room, every=60 if room == "manifest" else 9)

    assert problems == []
    assert ends.total() >= 5
