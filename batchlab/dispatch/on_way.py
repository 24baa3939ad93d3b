"""Which rows of a run are on their way, and whether others are left to begin."""

from __future__ import annotations

import math
import time

from batchlab.records import ChatRequest


class RowsOnWay:
    """The rows that workers hold; the pool's workers alone change it, without an await inside."""

    def __init__(self) -> None:
        self.none_left = False  # to begin; there may be one again: a part of a request that was taken apart
        self._held = 0
        self._begun: dict[int, tuple[str, float]] = {}  # whose first request is out, oldest first

    def taken(self) -> None:
        """A worker has a row."""
        self._held += 1

    def sent(self, request: ChatRequest) -> None:
        """A request for the row leaves."""
        self._begun.setdefault(request.row_id, (request.custom_id, time.monotonic()))

    def ended(self, row_id: int) -> None:
        """The row has its result, or the run stopped before it had one."""
        self._held -= 1
        self._begun.pop(row_id, None)

    @property
    def left(self) -> int | None:
        """How many rows have no result yet; None while there are more to begin."""
        return self._held if self.none_left else None

    @property
    def to_send(self) -> float:
        """Rows that could be on their way now if all were let; inf while there are more to begin."""
        return self._held if self.none_left else math.inf

    def are_all_sent(self) -> bool:
        """Whether every row that is left has been sent at least once."""
        return self.none_left and self._held == len(self._begun)

    def oldest(self, now: float) -> list[tuple[str, float]]:
        """custom_id and age (s) of each, oldest first, once all others have ended."""
        if not self.are_all_sent():
            return []
        return [(custom_id, now - begun) for custom_id, begun in self._begun.values()]
