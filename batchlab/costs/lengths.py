"""How many prompts have which size, in memory that does not grow with their number."""

from __future__ import annotations

from collections import Counter
from itertools import compress

EXACT = 65_536  # bytes: sizes below are counted each, larger ones together with those within 0.1 %
_KEPT_BITS = 11


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
        small = {size: self.exact[size] for size in compress(range(EXACT), self.exact)}
        return small | dict(sorted(self._larger.items()))
