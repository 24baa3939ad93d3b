"""A token bucket whose level may also be corrected from outside: refunds and response headers."""

from __future__ import annotations

import math

BURST_S = 1.0  # what may leave at once: a second's worth; providers check windows of 1-10 s


class Bucket:
    """`per_minute` units a minute. Never gives out more than that in any 60 s.

    A full minute's worth at once, then refilling, would pass the limit twofold. This bucket
    holds `burst` units, and refills so that what leaves in any [t, t + 60 s), at most
    burst − 1 + 60 · rate, is the limit.
    """

    def __init__(self, per_minute: float, *, now: float, paced: bool = True) -> None:
        """`paced=False`: a server's own limit, whose headers say how much of it may leave at once."""
        self.per_minute = per_minute
        self.burst = per_minute
        self._rate = per_minute / 60
        if paced:
            self.burst = max(1.0, math.floor(per_minute * BURST_S / 60))
            whole = math.floor(per_minute) if per_minute >= 1 else per_minute
            # a hair less, so that rounding never lets a unit out early
            self._rate = (whole - self.burst + 1.0) / 60 * (1 - 1e-6)
        self._level = self.burst
        self._at = now

    def level(self, now: float) -> float:
        """Units that may be taken now; negative after a debt."""
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self._rate)
            self._at = now
        return self._level

    def wait_s(self, units: float, now: float) -> float:
        """Seconds until `units` may be taken; 0.0 when they may now.

        A request larger than the burst leaves once the bucket is full, and runs up a debt.
        """
        missing = min(units, self.burst) - self.level(now)
        return 0.0 if missing <= 1e-9 else missing / self._rate

    def take(self, units: float, now: float) -> None:
        """Takes `units`, into debt if need be."""
        self.level(now)
        self._level -= units

    def give_back(self, units: float, now: float) -> None:
        """Corrects an earlier `take` once the true amount is known; negative when more was used."""
        if math.isfinite(units):
            self._level = min(self.burst, self.level(now) + units)

    def lend(self, per_s: float, burst: float, now: float) -> None:
        """Fills at `per_s` up to `burst` from now on; what it holds beyond that is gone."""
        self.level(now)
        self.per_minute, self._rate, self.burst = per_s * 60, per_s, burst
        self._level = min(self._level, burst)

    def lower_to(self, units: float, now: float) -> None:
        """The server says that no more than `units` are left."""
        self._level = min(self.level(now), units)
