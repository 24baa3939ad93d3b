"""How a run went over time: one JSON line every few seconds, for `report`. Losing it loses no result.

A line has `at` (Unix seconds), `window`, `in_flight`, `paused` as in `run_state.RunState`, and `limited`
and `errors`: the answers of that kind since the line before.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from batchlab.run_state import RunState
from batchlab.store.disk.files import FILE_MODE
from batchlab.store.layout import Layout

MEMBERS = {"at", "window", "in_flight", "limited", "errors", "paused"}
EVERY_S = 2.0
LONG_AFTER_LINES, LONG_EVERY_S = 1_800, 15.0  # a night of 12 h is 4,400 lines


class History:
    """Appends to `history.jsonl` of a run. A disk that refuses ends the history, never the run."""

    def __init__(self, run_dir: Path) -> None:
        self._path = Layout(run_dir).history
        self._lines = 0
        self._next = 0.0
        self._limited = self._errors = 0
        self._dead = False

    def update(self, state: RunState) -> None:
        """Writes a line when it is time."""
        now = time.time()
        if self._dead or now < self._next:
            return
        self._next = now + (EVERY_S if self._lines < LONG_AFTER_LINES else LONG_EVERY_S)
        limited, errors = state.attempts.limited, state.attempts.errors
        line = {
            "at": round(now, 3),
            "window": state.window,
            "in_flight": state.in_flight,
            "limited": limited - self._limited,
            "errors": errors - self._errors,
            "paused": state.paused,
        }
        self._limited, self._errors = limited, errors
        self._lines += 1
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
            with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
                file.write(json.dumps(line).encode() + b"\n")
        except OSError:
            self._dead = True


def history_lines(run_dir: Path) -> list[dict[str, Any]]:
    """What `History` wrote of a run, oldest first; lines that a crash cut short are left out."""
    lines: list[dict[str, Any]] = []
    with contextlib.suppress(OSError):
        for text in Layout(run_dir).history.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and line.keys() == MEMBERS:
                    lines.append(line)
    return lines
