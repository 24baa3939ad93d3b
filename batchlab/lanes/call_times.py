"""How long a call takes, and how many are under way at once: seen in a run, and expected of the next one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_CALLS, LEAST_BUSY_S = 8, 1.0  # fewer show no pace
LONGEST_GAP_S = 30.0  # between two looks; in a longer one nobody knows what was under way
NEAR = 1.25  # times what was under way: as many more are taken for granted
ALIKE = 0.3  # how far one run is from the next, as a standard deviation of the logarithm
UNTRIED = 4.0  # the doubt of going from so many calls at once to many more: ln(more) ÷ this
ALMOST_ALL = 1.645  # standard deviations, for 5 % at either end


@dataclass(frozen=True, slots=True)
class CallsSeen:
    """What a run saw of calls to one model.

    Attributes:
        seconds: of one call, as long as it held its slot.
        at_once: calls that were under way, on average; `limited` when the service refused more.
    """

    seconds: float
    at_once: float
    limited: bool = False


class CallWatch:
    """Learns from looks at a run that sends calls; by Little's law, so that no call need be timed itself."""

    def __init__(self) -> None:
        self._call_s = self._busy_s = 0.0  # summed over calls under way; while there were any
        self._done = 0
        self._limited = False
        self._last: tuple[float, int, int] | None = None

    def begin(self, done: int) -> None:
        """A phase begins in which so many rows are done already."""
        self._last = (-math.inf, 0, done)

    def see(self, now: float, in_flight: int, done: int, *, limited: bool = False) -> None:
        """How far it is now (monotonic seconds): calls under way, and rows that have their result."""
        before, under_way, had = self._last or (-math.inf, 0, done)
        self._last = now, in_flight, done
        self._done += max(0, done - had)
        self._limited |= limited
        gap = now - before
        if (under_way or in_flight) and gap <= LONGEST_GAP_S:
            self._call_s += gap * (under_way + in_flight) / 2
            self._busy_s += gap

    @property
    def seen(self) -> CallsSeen | None:
        """What it came to; None while that is too little."""
        if self._done < LEAST_CALLS or self._busy_s < LEAST_BUSY_S or self._call_s <= 0:
            return None
        return CallsSeen(self._call_s / self._done, self._call_s / self._busy_s, self._limited)


@dataclass(frozen=True, slots=True)
class ExpectedPace:
    """Calls a second, and the standard deviation of its logarithm."""

    rate: float
    doubt: float

    @property
    def slow(self) -> float:
        """That 19 of 20 are faster than."""
        return self.rate * math.exp(-ALMOST_ALL * self.doubt)

    @property
    def fast(self) -> float:
        """That 19 of 20 are slower than."""
        return self.rate * math.exp(ALMOST_ALL * self.doubt)


def pace_after(seen: Sequence[CallsSeen], most: int) -> ExpectedPace | None:
    """What is expected of so many calls at once, after runs that saw this; None after none."""
    paces = [_pace(one, most) for one in seen]
    if not paces:
        return None
    logs = [math.log(one.rate) for one in paces]
    spread = statistics.stdev(logs) if len(logs) > 1 else 0.0
    doubt = math.hypot(statistics.median(one.doubt for one in paces), spread)
    return ExpectedPace(math.exp(statistics.median(logs)), doubt)


def pace_between(fast_s: float, slow_s: float, most: int) -> ExpectedPace:
    """What is expected of so many calls at once, of which 9 in 10 take between so many seconds."""
    return ExpectedPace(most / math.sqrt(fast_s * slow_s), math.log(slow_s / fast_s) / 2 / ALMOST_ALL)


def _pace(seen: CallsSeen, most: int) -> ExpectedPace:
    if most <= NEAR * seen.at_once or seen.limited:
        return ExpectedPace(min(most, max(1.0, NEAR * seen.at_once)) / seen.seconds, ALIKE)
    # it never had so many under way: perhaps they would only have waited
    more = most / seen.at_once
    return ExpectedPace(
        math.sqrt(seen.at_once * most) / seen.seconds, math.hypot(ALIKE, math.log(more) / UNTRIED)
    )
