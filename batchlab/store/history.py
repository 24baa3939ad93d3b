"""How a run went over time: one JSON line every few seconds, for `report`. Losing it loses no result."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from batchlab.store.disk.files import FILE_MODE
from batchlab.store.layout import Layout

EVERY_S = 2.0
LONG_AFTER_LINES, LONG_EVERY_S = 1_800, 15.0  # a night of 12 h is 4,400 lines


@dataclass(frozen=True, slots=True)
class Moment:
    """A run at one moment; `limited` and `errors` count answers since the moment before.

    Attributes:
        at: Unix seconds.
        paused: whether a rate limit or an outage holds everything back.
    """

    at: float
    window: int
    in_flight: int
    limited: int
    errors: int
    paused: bool


class History:
    """Appends to `history.jsonl` of a run. A disk that refuses ends the history, never the run."""

    def __init__(self, run_dir: Path) -> None:
        self._path = Layout(run_dir).history
        self._lines = 0
        self._next = 0.0
        self._limited = self._errors = 0
        self._dead = False

    def update(self, *, window: int, in_flight: int, limited: int, errors: int, paused: bool) -> None:
        """Takes the run's counts so far; writes a line when it is time."""
        now = time.time()
        if self._dead or now < self._next:
            return
        self._next = now + (EVERY_S if self._lines < LONG_AFTER_LINES else LONG_EVERY_S)
        moment = Moment(
            round(now, 3), window, in_flight, limited - self._limited, errors - self._errors, paused
        )
        self._limited, self._errors = limited, errors
        self._lines += 1
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
            with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
                file.write(json.dumps(asdict(moment)).encode() + b"\n")
        except OSError:
            self._dead = True


def read_history(run_dir: Path) -> list[Moment]:
    """The moments of a run, oldest first; lines that a crash cut short are left out."""
    moments: list[Moment] = []
    with contextlib.suppress(OSError):
        for line in Layout(run_dir).history.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError):
                moments.append(Moment(**json.loads(line)))
    return moments
