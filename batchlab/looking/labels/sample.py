"""A random sample of rows to review: the same for the same seed, and hardly another when rows are added."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
_STEP, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def sample(rows: npt.NDArray[Any], count: int, seed: int) -> list[int]:
    """At most `count` of some row_ids, in order.

    Each row has a random number by the seed, and those with the lowest ones are taken: a run that goes on, or
    a few rows that are asked again, leave a review that was begun nearly as it is.
    """
    ids = np.asarray(rows, np.int64)
    if len(ids) > count:
        ids = ids[np.argpartition(_numbers(ids, seed), count)[:count]] if count > 0 else ids[:0]
    return sorted(ids.tolist())


def _numbers(rows: Rows, seed: int) -> npt.NDArray[np.uint64]:
    """A random number for each row: SplitMix64 (Steele, Lea and Flood, 2014), in any order."""
    with np.errstate(over="ignore"):
        begun = np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64) * np.uint64(_MIX2)
        mixed = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(_STEP) + begun
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX1)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX2)
        made: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return made
