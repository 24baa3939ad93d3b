"""What the rest of a run will cost, by what its rows so far have come to. Pure.

Rows come in blocks (what ended within some seconds, or a shard), and neighbours are alike: an input is often
sorted. So the doubt is taken from how blocks differ, as for a sample of clusters (Cochran, Sampling
Techniques, 1977, section 9A.1: the ratio of two sums over clusters), and not from rows, which would promise
too much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from batchlab.costs.forecast import Range

FEWEST_BLOCKS = 8  # fewer tell nothing of how they differ
MOST_BLOCKS = 60
_Z90 = 1.6449  # as `forecast.LEVEL` has it: in 9 of 10 cases the truth is inside


def blocks_of(standings: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """(rows, US dollars) of each block, from how many rows were done, and spent on them, time after time.

    A time at which rows are fewer than before, or the cost is not known, is left out. At most `MOST_BLOCKS`
    of about as many rows each: many small ones would count the chance of single rows for a trend.
    """
    known = [(rows, usd) for rows, usd in standings if usd is not None]
    if len(known) < 2:
        return []
    least = max(1, (known[-1][0] - known[0][0]) // MOST_BLOCKS)
    found: list[tuple[int, float]] = []
    at, spent = known[0]
    for rows, usd in known[1:]:
        if rows < at or usd < spent:
            at, spent = rows, usd
        elif rows - at >= least:
            found.append((rows - at, usd - spent))
            at, spent = rows, usd
    return found


def range_of_rest(blocks: Sequence[tuple[int, float]], left: int, usd_a_row: float) -> Range | None:
    """What `left` more rows will cost at `usd_a_row`, give or take what the blocks say; None when these are
    too few to say it."""
    count, rows = len(blocks), sum(one for one, _ in blocks)
    if count < FEWEST_BLOCKS or rows <= 0:
        return None
    rate = sum(usd for _, usd in blocks) / rows
    residuals = sum((usd - rate * own) ** 2 for own, usd in blocks) / (count - 1)
    done = residuals * count / rows**2  # variance of the rate
    # what is left comes in blocks like these: their own chance is on top
    rest = residuals * (left * count / rows)
    error = _Z90 * math.sqrt(left**2 * done + rest)
    middle = left * usd_a_row
    return Range(max(0.0, middle - error), middle, middle + error)
