"""Telling how far a run is: who runs it, who watches it, and who looks later."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable

from batchlab.observe.watchers import Watchers
from batchlab.progress import Progress
from batchlab.run_end import RunSummary
from batchlab.run_state import RunState
from batchlab.runner.rows.first_rows import EarlyForecast, FirstRows
from batchlab.runner.standing import Teller
from batchlab.store.history import History
from batchlab.store.locked import LockedRun
from batchlab.totals import RunningTotals


class Telling:
    """Tells how far a run is; an `engines.observer.Observer`.

    Args:
        state: how far the run is before anything is sent; its `copies` are what older runs have answered.
        spell: a message in the words of who began the run.
        command: what to type to go on, for who looks later; "" to keep none.
        secrets: what no file may have.

    Attributes:
        state: how far the run is now.
        doubled: rows that get the answer of another row, and `copied` the sums of those that have it.
        forecast: what all looked like coming to by the first rows; None before that can be said.
    """

    def __init__(
        self,
        run: LockedRun,
        watchers: Watchers,
        state: RunState,
        *,
        spell: Callable[[str], str],
        command: str,
        secrets: Iterable[str],
    ) -> None:
        self.state = state
        self.doubled = 0
        self.copied = RunningTotals()
        self.forecast: EarlyForecast | None = None
        self._watchers = watchers
        self._spell = spell
        self._reused = state.copies
        self._history = History(run.path)
        self._teller = Teller(run.path, command, secrets)
        self._progress: Progress | None = None
        self._first_rows = FirstRows()
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the invocation began, or began to send if it was to wait for a time."""
        return time.monotonic() - self._started

    def begin_now(self) -> None:
        """The wait for the time to begin at is over, and is no time of the run's."""
        self._started = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Sends progress to `progress` from now on."""
        self._progress = progress

    def update(self, state: RunState) -> None:
        """Tells those who are to know how far the run is."""
        self.state = dataclasses.replace(
            state,
            added=state.added + self.copied.totals,
            copies=self._reused + self.doubled,
            elapsed_s=self.elapsed_s,
        )
        self._history.update(self.state)
        self._teller.update(self.state)
        self._watchers.update(self.state)
        if self.forecast is None:
            self.forecast = self._first_rows.forecast(self.state)
        if self._progress is not None:
            self._progress.update(self.state)

    def ended(self, summary: RunSummary) -> None:
        """Leaves word of how it ended, for who looks later."""
        self._teller.end(self.state, summary)

    def message(self, text: str) -> None:
        """Says one line to the person who runs it."""
        text = self._spell(text)
        if self._progress is not None:
            self._progress.message(text)
        self._watchers.heard(text)

    def end_history(self, summary: RunSummary) -> None:
        """Writes the last line of the invocation's history."""
        self._history.end(self.state, None if summary.stopped is None else summary.stopped.value)
