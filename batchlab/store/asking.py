"""Which rows are asked again, as data that another process can be told."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.records import Completion, Result


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A rule over failed and invalid results; one of `RetryRule`.

    Attributes:
        only: failures with one of these error classes or statuses; when empty, all that were sent.
            A malformed input line was not: it would fail the same way. An answer that does not fit
            the schema was paid for; it is asked again, and then counts as waste, only if `only` has
            `invalid` or its error class.
        retryable: failures by the provider's trouble, and no others.
    """

    only: tuple[str, ...] = ()
    retryable: bool = False

    def __call__(self, result: Result) -> bool:
        if isinstance(result, Completion):
            return not self.retryable and ("invalid" in self.only or result.error_class in self.only)
        if self.retryable:
            return result.retryable
        if self.only:
            return result.error_class in self.only or str(result.error_code) in self.only
        return result.error_class != "bad_input"
