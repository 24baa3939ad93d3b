"""Trouble that nobody thought of: the row's that it came up with, and said once."""

from __future__ import annotations

from collections.abc import Callable

from batchlab.protocol.redact import printable
from batchlab.records import ChatRequest, Completion, Failure, Outcome, OutcomeClass, Result


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

    def instead_of(self, result: Result, request: ChatRequest, error: Exception) -> Failure:
        """What is recorded of a row whose result cannot be: what it has cost is not forgotten."""
        outcome = self.outcome(request, error)
        tokens, usd = (result.wasted_prompt_tokens, result.wasted_completion_tokens), result.cost_wasted_usd
        if isinstance(result, Completion):
            usage = result.reply.usage
            tokens = _sum(tokens[0], usage.prompt_tokens), _sum(tokens[1], usage.completion_tokens)
            usd = (usd or 0.0) + result.cost_usd if result.cost_usd is not None else None
        return Failure(
            row_id=result.row_id,
            custom_id=result.custom_id,
            error_class=outcome.error_class,
            error_message=outcome.message,
            request_hash=result.request_hash,
            attempts=result.attempts,
            wasted_prompt_tokens=tokens[0],
            wasted_completion_tokens=tokens[1],
            cost_wasted_usd=usd,
            endpoint=result.endpoint,
            lane=result.lane,
        )

    def tell(self) -> None:
        """Says how many there were, if any."""
        if self._count:
            rows = "1 row" if self._count == 1 else f"{self._count} rows"
            self._say(f"{rows} failed because batchlab could not handle them ({self._first})")
            self._count = 0


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)
