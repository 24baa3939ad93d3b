"""How long something takes that may take very long: batches in a queue, outages, cancellations.

What is known before anything was seen is a log-logistic distribution: half of all within `median_s`, nine of
ten within `p90_s`, and a tail that falls as a power of time, so that what has taken long is expected to take
long. What was seen in other runs is mixed in, with the prior counting as `WEIGHT` of them.

Tonight may be slower or faster than ever before. All of tonight's hazard is one unknown multiple of the
known, a Gamma variable around 1 (`TONIGHT` batches' worth): what ended and, as much, what is still out say
how large it is, and the answer stays exact for what has not ended (Gamma-exponential conjugacy).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

WEIGHT = 8.0
TONIGHT = 3.0
MOST_KEPT = 500  # of the newest; a service changes


@dataclass(frozen=True, slots=True)
class Durations:
    """The distribution of a duration: a prior, and what was seen.

    Attributes:
        kept: seconds of those that ended, ascending.
    """

    median_s: float
    p90_s: float
    kept: tuple[float, ...] = ()

    def with_seen(self, seconds: Sequence[float]) -> Durations:
        """The same with more that were seen, the newest last."""
        return Durations(self.median_s, self.p90_s, tuple(sorted(seconds[-MOST_KEPT:])))

    def survival(self, seconds: float) -> float:
        """The share that takes longer."""
        if seconds <= 0:
            return 1.0
        steep = math.log(9) / math.log(self.p90_s / self.median_s)
        prior = 1 / (1 + math.pow(seconds / self.median_s, steep))
        kept = len(self.kept)
        if not kept:
            return prior
        longer = kept - bisect.bisect_right(self.kept, seconds)
        return (WEIGHT * prior + longer) / (WEIGHT + kept)

    def quantile(self, share: float) -> float:
        """Seconds within which that share ends."""
        low, high = 0.0, self.median_s
        while self.survival(high) > 1 - share and high < 1e9:
            high *= 2
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.survival(middle) > 1 - share else (low, middle)
        return high

    def drawn(self, uniform: float, night: float) -> float:
        """One of them, in a night of so many times the usual hazard; `uniform` is in [0, 1)."""
        chance = 1 - math.pow(1 - uniform, 1 / night)
        return self.quantile(min(chance, 1 - 1e-6))

    def hazard(self, seconds: float) -> float:
        """The cumulative hazard, -ln of the share that takes longer."""
        return -math.log(max(self.survival(seconds), 1e-12))


@dataclass(frozen=True, slots=True)
class Tonight:
    """A duration as it is tonight: the known hazard times what this night makes of it."""

    known: Durations
    shape: float  # of the Gamma variable
    rate: float

    @classmethod
    def of(cls, known: Durations, ended: Sequence[float], ages: Sequence[float]) -> Tonight:
        """After so many took `ended` seconds, and others are out since `ages` seconds."""
        hazard = sum(map(known.hazard, ended)) + sum(map(known.hazard, ages))
        return cls(known, TONIGHT + len(ended), TONIGHT + hazard)

    def ends_within(self, seconds: float, age: float = 0.0) -> float:
        """The chance that one of this age ends within so many seconds."""
        if seconds <= 0:
            return 0.0
        more = self.known.hazard(age + seconds) - self.known.hazard(age)
        return 1 - math.pow(self.rate / (self.rate + more), self.shape)

    def remaining(self, share: float, age: float = 0.0) -> float:
        """Seconds within which one of this age ends with that chance; inf past a year."""
        low, high = 0.0, self.known.median_s
        while self.ends_within(high, age) < share:
            high *= 2
            if high > 3e7:
                return math.inf
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.ends_within(middle, age) < share else (low, middle)
        return high


# OpenRouter says of 230,000 batches: half within 7 minutes, nine of ten within an hour (lanes.md).
QUEUES = Durations(420.0, 3_600.0)
# Nobody publishes these: status pages of large services tell of about twenty minutes, now and then of hours.
OUTAGES = Durations(1_200.0, 5_400.0)
