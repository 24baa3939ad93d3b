"""What a run tells while it goes on, and whom: how far it is, each row's result, single rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from batchlab.dispatch.pool import PoolCounters
from batchlab.dispatch.rate.gate import Gate
from batchlab.records import ChatRequest, Result
from batchlab.totals import Tally, Totals


@dataclass(slots=True)
class Counters:
    """What this invocation has done so far; written by the engine's event loop alone.

    `earlier` are the run's totals before this invocation, and `totals` what it has added to them;
    `reopened` rows had failed and are asked again. `oldest` is that of the pool. `out` says of each
    endpoint that is not used any more why.
    """

    earlier: Totals = field(default_factory=Totals)
    totals: Tally = field(default_factory=Tally)
    attempts: PoolCounters = field(default_factory=PoolCounters)
    reopened: int = 0
    window: int = 0
    in_flight: int = 0
    why: str = ""
    paused: bool = False
    oldest: list[tuple[str, float]] = field(default_factory=list)
    out: dict[str, str] = field(default_factory=dict)


class Observer(Protocol):
    """Told about the run a few times a second."""

    def update(self, counters: Counters, saved: int) -> None:
        """`saved` rows have a final result that is synced to disk."""
        ...

    def message(self, text: str) -> None:
        """One line for a person."""
        ...


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
