"""Which rows are asked again, as data that another process can be told."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.protocol.outcomes.table import TABLE
from batchlab.records import Completion, Result
from batchlab.totals import Totals

ANSWERS = ("truncated", "filtered", "empty", "invalid")  # that were paid for, and are asked again when named
_ERROR_CLASSES = sorted(
    {line.error_class for line in TABLE} | {"bad_input", "client_error", "dimensions", "refusal", "schema"}
)
FAILED = "failed"  # all failures that were sent, as when nothing is named
_STATUSES = range(100, 600)


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A rule over results that are not good answers; one of `RetryRule`.

    Attributes:
        only: kinds of answers, of `ANSWERS`, and failures by error class or HTTP status, or `FAILED`; when
            empty, all failures that were sent. A malformed input line was not: it would fail the same way.
        retryable: failures by the provider's trouble, and no others.
        max_tokens: what these rows are asked with, instead of the run's own.
    """

    only: tuple[str, ...] = ()
    retryable: bool = False
    max_tokens: int | None = None

    def __call__(self, result: Result) -> bool:
        if isinstance(result, Completion):
            return not self.retryable and (result.status in self.only or result.error_class in self.only)
        if self.retryable:
            return result.retryable
        named = {result.error_class, str(result.error_code)}
        if result.error_class == "bad_input":
            return "bad_input" in self.only
        return not self.only or FAILED in self.only or not named.isdisjoint(self.only)

    def may_be_among(self, totals: Totals) -> bool:
        """Whether rows with these totals may have one to ask again."""
        if any(getattr(totals, word) for word in ANSWERS if word in self.only):
            return True
        names_failures = not self.only or any(word not in ANSWERS for word in self.only)
        return names_failures and bool(totals.failed or totals.invalid)


def unknown_word(only: tuple[str, ...]) -> str | None:
    """What is wrong with the words of a retry; None when each may name rows."""
    for word in only:
        known = word in (FAILED, *ANSWERS, *_ERROR_CLASSES) or (word.isdigit() and int(word) in _STATUSES)
        if not known:
            return (
                f"no rows are called {word!r}. The words are {FAILED}, {', '.join(ANSWERS)}, "
                f"HTTP statuses such as 429, and the error classes {', '.join(_ERROR_CLASSES)}."
            )
    return None
