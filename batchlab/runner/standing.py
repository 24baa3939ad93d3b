"""Telling other terminals how a run stands: once a second, and how it ended."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from batchlab.progress.speed import Speed
from batchlab.run_end import RunSummary
from batchlab.run_state import RunState
from batchlab.store.standing import Ended, now, write_standing

EVERY_S = 1.0


class Teller:
    """Keeps the `standing.json` of a run."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._began = time.time()
        self._next = 0.0
        self._speed = Speed()

    def update(self, state: RunState) -> None:
        """Says how far the run is when it is time."""
        at = time.monotonic()
        if at >= self._next:
            self._next = at + EVERY_S
            rates = asdict(self._speed.rates(state))
            write_standing(self._run_dir, now(state, rates, began=self._began))

    def end(self, state: RunState, summary: RunSummary) -> None:
        """Says how the invocation ended."""
        stopped = None if summary.stopped is None else summary.stopped.value
        ended = Ended(stopped, summary.message, summary.exit_code)
        write_standing(self._run_dir, now(state, {}, began=self._began, ended=ended))
