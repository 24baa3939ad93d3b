"""How many prompts have which size, in memory that does not grow with their number."""

from __future__ import annotations

from collections import Counter

EXACT = 65_536  # bytes: sizes below are counted each, larger ones together with those within 0.1 %
_KEPT_BITS = 11
_BLOCK = 1_024
_EMPTY = [0] * _BLOCK


def coarse(size: int) -> int:
    """A size below `EXACT`, or one near it that stands for its like: never larger, and in the same order."""
    if size < EXACT:
        return size
    dropped = size.bit_length() - _KEPT_BITS
    return size >> dropped << dropped


class Lengths:
    """Counts of sizes.

    Attributes:
        exact: for sizes below `EXACT`; whoever counts millions of them adds to it directly.
    """

    __slots__ = ("_larger", "exact")

    def __init__(self) -> None:
        self.exact = [0] * EXACT
        self._larger: Counter[int] = Counter()

    def add(self, size: int) -> None:
        """One more prompt of that size."""
        if size < EXACT:
            self.exact[size] += 1
        else:
            self._larger[coarse(size)] += 1

    def counts(self) -> dict[int, int]:
        """The number of prompts by `coarse` size, smallest first."""
        counts: dict[int, int] = {}
        for start in range(0, EXACT, _BLOCK):
            block = self.exact[start : start + _BLOCK]
            if block != _EMPTY:  # most are; a look at each count took longer than the rest of a small plan
                counts |= {start + at: count for at, count in enumerate(block) if count}
        return counts | dict(sorted(self._larger.items()))
