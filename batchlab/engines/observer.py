"""What a run tells while it goes on, and whom: how far it is, each row's result, single rows."""

from __future__ import annotations

import time
from typing import Protocol

from batchlab.dispatch.rate.gate import Gate
from batchlab.lanes.call_times import CallWatch
from batchlab.records import ChatRequest, Result
from batchlab.run_state import RunState
from batchlab.store.batches import Batch


class Observer(Protocol):
    """Told about the run a few times a second."""

    def update(self, state: RunState) -> None:
        """How far the run is."""
        ...

    def message(self, text: str) -> None:
        """One line for a person."""
        ...


class CallCounter:
    """Lets a watch see how calls go, between their engine and who is told.

    Args:
        before: rows with a result when the engine begins.
    """

    def __init__(self, observer: Observer, watch: CallWatch, before: int) -> None:
        self._observer = observer
        self._watch = watch
        watch.begin(before)

    def update(self, state: RunState) -> None:
        """See `Observer`."""
        attempts = state.attempts
        self._watch.see(time.monotonic(), state.in_flight, state.added.rows, limited=attempts.limited > 0)
        self._observer.update(state)

    def message(self, text: str) -> None:
        """See `Observer`."""
        self._observer.message(text)


class Taker(Protocol):
    """Who takes the results one by one, as they arrive."""

    def take(self, result: Result) -> None:
        """A row's last word, once it is in the journal. Called from the engine's event loop."""
        ...

    def take_in_turn(self, result: Result) -> bool:
        """Waits until there is room for the result. Called from a thread without an event loop."""
        ...

    def gate(self) -> Gate:
        """Holds rows back while the taker is behind. Called from the engine's event loop."""
        ...


class RowWatch(Protocol):
    """Told about single rows. May not raise."""

    def begun(self, request: ChatRequest) -> None:
        """The row is about to be sent."""
        ...

    def sent(self, row_id: int) -> None:
        """A request for the row is about to leave."""
        ...

    def result(self, result: Result) -> None:
        """The row's final result, once it is in the journal."""
        ...

    def batch(self, step: str, batch: Batch) -> None:
        """A step of a batch, one of those of `store.batches`, once it is in the log."""
        ...
