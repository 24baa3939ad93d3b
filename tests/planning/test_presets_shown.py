"""`check --list`: the table of services, and what becomes of it where the terminal is narrower."""

from __future__ import annotations

import pytest

from batchlab.job.presets import PRESETS
from batchlab.planning.check import preset_lines


@pytest.mark.parametrize("room", [60, 80, 120])
def test_a_table_that_is_too_wide_is_told_service_by_service_and_nothing_is_left_out(room):
    lines = preset_lines(room)

    assert max(map(len, lines)) <= room
    said = " ".join(" ".join(lines).split())
    for preset in PRESETS.values():
        assert preset.name in lines
        for fact in (preset.key_env, preset.base_url or "your own", preset.limits):
            assert fact in said


def test_in_a_pipe_or_a_wide_terminal_it_is_one_line_each():
    whole = preset_lines()

    assert len(whole) == len(PRESETS) + 1
    assert preset_lines(500) == whole
