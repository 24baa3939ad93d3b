"""What the policy of lanes means to do, before it does: rows, cost and end of each lane, with ranges.

The policy that decides goes through so many imagined nights; what happens in 9 of 10 of them is the range.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from batchlab.costs.forecast import Range
from batchlab.lanes.decisions import Wait
from batchlab.lanes.imagined import LEAST_S, Course, ImaginedNight
from batchlab.lanes.policy import LanePolicy
from batchlab.lanes.queue_times import TONIGHT, Durations
from batchlab.lanes.seen import DAY_S, Lanes, Left

NIGHTS = 40


@dataclass(frozen=True, slots=True)
class LaneOutlook:
    """What one lane is expected to answer."""

    endpoint: str
    lane: str
    rows: Range
    usd: Range


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is meant.

    Attributes:
        lanes: those that may be used, most rows first.
        usd: in all; None when a price is unknown.
        ends_s: seconds from now to the last answer.
        list_usd: what all of it costs live, now; None when that is unknown.
        in_time: share of the nights in which the last row came before the deadline; 1.0 without one.
        why: what the policy says of its first decision.
    """

    lanes: tuple[LaneOutlook, ...]
    usd: Range | None
    ends_s: Range | None
    list_usd: float | None
    in_time: float
    why: str


def outlook(
    now: float, seen: Lanes, left: Left, policy: LanePolicy | None = None, *, nights: int = NIGHTS
) -> Outlook:
    """What is meant to be done with what is pending; the cap is looked at by who asks."""
    policy = policy or LanePolicy()
    first = policy.next(now, seen, left)
    prices = [one.price.at(now) for one in seen.ways if one.lane == "live"]
    known = [one for one in prices if one is not None]
    list_usd = min(known) * left.pending if known else None
    if (prices and not known) or (isinstance(first, Wait) and first.until is None and not seen.out):
        return Outlook((), None, None, list_usd, 0.0, first.why)
    courses = [ImaginedNight(policy, now, seen, left, random.Random(seed)).goes() for seed in range(nights)]
    keys = sorted({key for one in courses for key in one.rows}, key=lambda key: -_rows(courses, key).middle)
    return Outlook(
        tuple(LaneOutlook(*key, _rows(courses, key), _usd(courses, key)) for key in keys),
        _range([sum(one.usd.values()) for one in courses]),
        _range([one.ends_s for one in courses]),
        list_usd,
        sum(not one.left for one in courses) / len(courses),
        first.why,
    )


def queue_end(
    queue: Durations, batches: int, *, at_once: int, window_s: float = DAY_S, nights: int = NIGHTS
) -> Range:
    """Seconds until the last of so many batches has ended, of which so many are out at a time."""
    ends = []
    for seed in range(nights):
        rng = random.Random(seed)
        night = rng.gammavariate(TONIGHT, 1 / TONIGHT)
        free = [0.0] * max(1, min(at_once, batches))
        for _ in range(batches):
            took = max(LEAST_S, queue.drawn(rng.random(), night))
            heapq.heapreplace(free, free[0] + min(took, window_s))
        ends.append(max(free))
    return _range(ends)


def _rows(courses: Sequence[Course], key: tuple[str, str]) -> Range:
    return _range([one.rows.get(key, 0) for one in courses])


def _usd(courses: Sequence[Course], key: tuple[str, str]) -> Range:
    return _range([one.usd.get(key, 0.0) for one in courses])


def _range(values: Sequence[float]) -> Range:
    ordered = sorted(values)
    last = len(ordered) - 1
    return Range(ordered[round(0.05 * last)], ordered[round(0.5 * last)], ordered[round(0.95 * last)])
