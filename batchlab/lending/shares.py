"""How one thing is divided among several that want it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LOSS = 0.05  # of a rate is the most that the workers' buckets may take from it


@dataclass(slots=True)
class Lent:
    """A worker's part of one divisible thing: what it has confirmed, was last granted, and uses."""

    confirmed: float = 0.0
    granted: float = 0.0
    used: float = 0.0

    @property
    def bound(self) -> float:
        """The most that the worker may use now."""
        return max(self.confirmed, self.granted, self.used)

    def confirm(self, *, kept_to: bool) -> None:
        """The worker says whether it keeps to what it was granted last: else that may arrive still."""
        self.confirmed = self.granted if kept_to else self.bound

    def take_back(self) -> None:
        """The worker uses nothing of it any more."""
        self.confirmed = self.granted = self.used = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """One of the rates, as it can be divided.

    Attributes:
        per_s: units a second for all together.
        sharers: among how many workers that may be divided.
    """

    per_s: float
    sharers: int

    @classmethod
    def of(cls, per_minute: float | None, unit: float, pace_s: float, sharers: int) -> Rate | None:
        """For so many sharers whose buckets hold `unit`, or `pace_s` of their share; None for no limit.

        Each one's bucket may be full when a minute begins, so the buckets come off the rate.
        """
        if per_minute is None:
            return None
        whole = math.floor(per_minute) if per_minute >= 1 else per_minute
        fitting = max(1, int(LOSS * whole / unit)) if unit else sharers
        buckets = min(fitting, max(1, sharers)) * unit
        spare = max(whole - buckets, 0.5 * whole)
        return cls(spare / (60 + pace_s) * (1 - 1e-6), fitting)

    def share(self, used: Sequence[float | None], place: int | None, missing: int) -> float:
        """The part of one of those who share it.

        Args:
            used: what each used a second of late; None for who was held back.
            place: whose part, of these; None for somebody who is not among them.
            missing: how many more may come.
        """
        if place is None:
            return 0.0
        # some room to grow: whoever is held back says so and gets its part
        wants = [math.inf if one is None else max(1.5 * one, 0.1 * self.per_s) for one in used]
        missing = min(missing, max(0, self.sharers - len(used)))
        return fair([math.inf] * missing + wants, self.per_s)[missing + place]

    def lend(self, lent: Lent, share: float, others: Iterable[Lent]) -> float:
        """Grants a share, as far as the others have no hold on it yet."""
        lent.granted = max(0.0, min(share, self.per_s - sum(other.bound for other in others)))
        return lent.granted


def fair(wants: Sequence[float], cap: float) -> list[float]:
    """`cap` divided so that nobody gets more than it wants, and nobody less than another without cause."""
    out, left = [0.0] * len(wants), cap
    order = sorted(range(len(wants)), key=lambda index: wants[index])
    for position, index in enumerate(order):
        out[index] = min(wants[index], left / (len(wants) - position))
        left -= out[index]
    return out


def fair_whole(wants: Sequence[int], cap: int) -> list[int]:
    """The same in whole numbers; what does not divide goes to the last."""
    out, left = [0] * len(wants), cap
    order = sorted(range(len(wants)), key=lambda index: wants[index])
    for position, index in enumerate(order):
        out[index] = min(wants[index], left // (len(wants) - position))
        left -= out[index]
    return out
