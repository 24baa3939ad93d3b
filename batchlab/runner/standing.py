"""Telling other terminals how a run stands: once a second, how it ended, and by what command it goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batchlab.progress.speed import Speed
from batchlab.protocol.redact import redact
from batchlab.run_end import RunSummary
from batchlab.run_state import RunState
from batchlab.store.standing import Ended, Standing, write_standing

EVERY_S = 1.0


class Teller:
    """Keeps the `standing.json` of a run.

    Args:
        command: what was typed to begin or go on; kept from the first moment, as a crash says nothing.
        secrets: a command that has one of these, or what looks like a key, is not kept.
    """

    def __init__(self, run_dir: Path, command: str = "", secrets: Iterable[str] = ()) -> None:
        self._run_dir = run_dir
        self._command = command if redact(command, secrets) == command else ""
        self._folder = str(Path.cwd()) if self._command else ""
        self._began = time.time()
        self._next = 0.0
        self._speed = Speed()

    def update(self, state: RunState) -> None:
        """Says how far the run is when it is time."""
        at = time.monotonic()
        if at >= self._next:
            self._next = at + EVERY_S
            self._write(state, asdict(self._speed.rates(state)))

    def end(self, state: RunState, summary: RunSummary) -> None:
        """Says how the invocation ended."""
        stopped = None if summary.stopped is None else summary.stopped.value
        self._write(state, {}, Ended(stopped, summary.message, summary.exit_code))

    def _write(self, state: RunState, rates: Mapping[str, Any], ended: Ended | None = None) -> None:
        at, pid = time.time(), os.getpid()
        standing = Standing(at, self._began, pid, state, rates, ended, self._command, self._folder)
        write_standing(self._run_dir, standing)
