"""Which failed rows are asked again, as data that another process can be told."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.records import Failure


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A rule over failures; one of `RetryRule`.

    Attributes:
        only: those with one of these error classes or statuses; when empty, all that were sent.
            A malformed input line was not: it would fail the same way.
        retryable: those that failed by the provider's trouble, and no others.
    """

    only: tuple[str, ...] = ()
    retryable: bool = False

    def __call__(self, failure: Failure) -> bool:
        if self.retryable:
            return failure.retryable
        if self.only:
            return failure.error_class in self.only or str(failure.error_code) in self.only
        return failure.error_class != "bad_input"
