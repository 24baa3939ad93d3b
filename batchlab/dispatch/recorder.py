"""Where the pool hands over what must be on disk."""

from __future__ import annotations

from typing import Protocol

from batchlab.records import Result, Usage


class Recorder(Protocol):
    """Where attempts and results are written before anything else happens with them."""

    def sent(self, row_id: int, attempt: int) -> None:
        """A request for this row is about to leave: the transport has it written before."""
        ...

    def back(self, row_id: int, usage: Usage | None, usd: float | None) -> None:
        """That request came back without a final result; `usage` was paid, for `usd`, and not kept."""
        ...

    def emit(self, result: Result) -> None:
        """The row's final result: written before another request leaves, and at the latest at the end of
        this turn of the event loop."""
        ...
