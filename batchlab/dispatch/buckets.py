"""A token bucket whose level may also be corrected from outside: refunds and response headers."""

from __future__ import annotations

import math

BURST_S = 1.0  # what may leave at once: a second's worth; providers check windows of 1-10 s


class Bucket:
    """`per_minute` units a minute. Never gives out more than that in any 60 s.

    The bucket holds `burst` units and refills at a rate such that burst + 60 s of refill is
    the limit: a full minute's worth at once, then refilling, would pass it twofold.
    """

    def __init__(self, per_minute: float, *, now: float) -> None:
        self.per_minute = per_minute
        self.burst = max(1.0, per_minute * BURST_S / 60)
        # below 1 unit of burst a minute nothing would ever refill
        self._rate = max(per_minute - self.burst, per_minute / 2) / 60
        if per_minute < 2:
            self._rate = per_minute / 60
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

    def lower_to(self, units: float, now: float) -> None:
        """The server says that no more than `units` are left."""
        self._level = min(self.level(now), units)
