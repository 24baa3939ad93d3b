"""Trouble that nobody thought of: the row's that it came up with, and said once."""

from __future__ import annotations

from collections.abc import Callable

from batchlab.protocol.redact import printable
from batchlab.records import ChatRequest, Outcome, OutcomeClass


class Unforeseen:
    """Counts rows that batchlab itself could not handle.

    Args:
        say: told how many there were, and of what kind the first was.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._count = 0
        self._first = ""

    def outcome(self, request: ChatRequest, error: Exception) -> Outcome:
        """What the row has failed by. An exception's text may quote the row, so its type must do."""
        name = type(error).__name__
        if not self._count:
            self._first = f"row {printable(request.custom_id)[:60]}, {name}"
        self._count += 1
        message = f"batchlab could not handle this row ({name})"
        return Outcome(OutcomeClass.FAIL, "client_error", None, message)

    def tell(self) -> None:
        """Says how many there were, if any."""
        if self._count:
            rows = "1 row" if self._count == 1 else f"{self._count} rows"
            self._say(f"{rows} failed because batchlab could not handle them ({self._first})")
            self._count = 0
