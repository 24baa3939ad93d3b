"""Which rows are asked again, as data that another process can be told."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from batchlab.protocol.outcomes.table import TABLE
from batchlab.records import Completion, Result
from batchlab.totals import Totals

ANSWERS = ("truncated", "filtered", "empty", "invalid")  # that were paid for, and are asked again when named
_ERROR_CLASSES = sorted(
    {line.error_class for line in TABLE} | {"bad_input", "client_error", "dimensions", "refusal", "schema"}
)
RetryRule: TypeAlias = Callable[[Result], bool]  # asked about results that `is_wanting` only
FAILED = "failed"  # all failures that were sent, as when nothing is named
_STATUSES = range(100, 600)
_RANGE = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A rule over results that are not good answers; one of `RetryRule`.

    Attributes:
        only: kinds of answers, of `ANSWERS`, and failures by error class or HTTP status, or `FAILED`; when
            empty, all failures that were sent. A malformed input line was not: it would fail the same way.
        retryable: failures by the provider's trouble, and no others.
        max_tokens: what these rows are asked with, instead of the run's own.
        rows: first and last row_id of each range that is meant, in order; all rows when empty.
    """

    only: tuple[str, ...] = ()
    retryable: bool = False
    max_tokens: int | None = None
    rows: tuple[tuple[int, int], ...] = ()

    def __call__(self, result: Result) -> bool:
        return self.touches(result.row_id, result.row_id) and self._is_asked(result)

    def touches(self, first: int, last: int) -> bool:
        """Whether rows from one to another have one that is meant."""
        if not self.rows:
            return True
        at = bisect_right(self.rows, (last, math.inf)) - 1  # the last range that begins no later
        return at >= 0 and self.rows[at][1] >= first

    def _is_asked(self, result: Result) -> bool:
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


def row_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """The ranges that `17,20-39` names, in order, each apart from the next. Raises ValueError."""
    found: list[tuple[int, int]] = []
    for word in filter(None, (one.strip() for one in text.split(","))):
        numbers = _RANGE.fullmatch(word)
        if numbers is None:
            raise ValueError(f"{word!r} is no row: a number from 0 on, or a range such as 20-39")
        first = int(numbers[1])
        last = first if numbers[2] is None else int(numbers[2])
        if last < first:
            raise ValueError(f"{word}: a range goes upwards: {last}-{first}")
        found.append((first, last))
    if text and not found:
        raise ValueError(f"{text!r} names no row")
    return joined_ranges(found)


def joined_ranges(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same rows in as few ranges as there can be, in order."""
    made: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if made and first <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], last))
        else:
            made.append((first, last))
    return tuple(made)


def ranges_without(
    ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """What is left of ranges in order, each apart from the next, without the rows of others."""
    left: list[tuple[int, int]] = []
    taken = deque(joined_ranges(others))
    for first, last in ranges:
        while taken and taken[0][0] <= last:
            low, high = taken[0]
            if first < low:
                left.append((first, low - 1))
            first = max(first, high + 1)
            if high > last:
                break  # it reaches into the next one
            taken.popleft()
        if first <= last:
            left.append((first, last))
    return tuple(left)


def ranges_text(ranges: Iterable[tuple[int, int]]) -> str:
    """And back: `17,20-39`."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


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
