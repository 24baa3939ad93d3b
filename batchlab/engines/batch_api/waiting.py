"""Waiting for a batch to end: when to look next, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

FIRST_LOOK_S, LONGEST_S = 1.0, 60.0
SHARE_OF_AGE = 0.1  # of how long it has been out: the end is seen at most that much too late


def next_look_s(age_s: float, ended_after_s: Sequence[float] = ()) -> float:
    """Seconds until a batch of that age is looked at again.

    Args:
        ended_after_s: how long batches at this service took, as far as is known.
    """
    by_age = SHARE_OF_AGE * age_s
    if len(ended_after_s) >= 3:
        # before any has ever ended there is little to see
        soonest = min(ended_after_s)
        if age_s < soonest:
            by_age = max(by_age, min(soonest - age_s, statistics.median(ended_after_s) * SHARE_OF_AGE))
    return min(max(by_age, FIRST_LOOK_S), LONGEST_S)
