"""How many requests may be in flight at one endpoint (AIMD). Pure, with an injected clock."""

from __future__ import annotations

import math

RAMP = 2.0  # per answer in slow start: +1 costs 4 % of a short run, +3 overshoots small caps
BETA = 0.85
THRESHOLD = 0.7  # of the window before a row of cuts: up to there it grows fast again
CEILING_S, CEILING_MAX_S = 15.0, 120.0


class Ceiling:
    """The window that a server refused last, which is not tried again for a time.

    Attributes:
        seen: that window; inf when there was none.
        until: when it may be tried again.
    """

    __slots__ = ("_seconds", "seen", "until")

    def __init__(self, now: float) -> None:
        self.seen = math.inf
        self.until = now
        self._seconds = CEILING_S

    def met(self, window: float, now: float) -> None:
        """A request was refused that was sent with this window: for longer each time that it is confirmed."""
        confirmed = abs(window - self.seen) <= max(1.0, 0.1 * window)
        self._seconds = min(CEILING_MAX_S, 2 * self._seconds) if confirmed else CEILING_S
        self.seen = window
        self.until = now + self._seconds

    def forget(self) -> None:
        """The refusals said nothing of the window."""
        self.seen = math.inf


class Window:
    """The window's size: it grows with answers and is cut by limits.

    Attributes:
        size: requests that may be in flight, in fractions. After `restart` it may be above `most`, until
            the next `restrict`.
        epoch: when it was cut last; answers to requests sent before say nothing about it.
        cuts: since the last answer to a request sent after one.
    """

    __slots__ = ("_most", "_slow_start", "_start", "_threshold", "ceiling", "cuts", "epoch", "size")

    def __init__(self, most: int, start: int, now: float) -> None:
        self._most = max(1, most)
        self._start = float(min(start, self._most))
        self.size = self._start
        self.epoch = now
        self.cuts = 0
        self.ceiling = Ceiling(now)
        self._slow_start = True
        self._threshold = 0.0  # below it the window grows as in slow start: it was good before a row of cuts

    def grow(self, now: float) -> None:
        """An answer came while the window was in use."""
        step = 1.0 / self.size
        if self._slow_start:
            step = RAMP
        elif self.size < self._threshold:
            step = 1.0
        limit = float(self._most)
        if now < self.ceiling.until:
            limit = min(limit, max(1.0, self.ceiling.seen - 1))
        self.size = max(self.size, min(limit, self.size + step))

    def cut(self, sent_with: float, now: float, *, remember: bool) -> None:
        """A request was refused that was sent with the window `sent_with`, which is a ceiling if it is to be
        remembered."""
        self.epoch = now
        self._slow_start = False
        if self.cuts == 0:
            if remember:
                self.ceiling.met(float(math.floor(sent_with)), now)
            self._threshold = THRESHOLD * self.size
        self.size = max(1.0, BETA * self.size)
        self.cuts += 1

    def restart(self) -> None:
        """As at the beginning: what was known of the endpoint may hold no longer."""
        self._slow_start = True
        self.size = self._start

    def forgive(self) -> None:
        """The refusals said nothing about it: it grows fast again, past what was a ceiling."""
        self._slow_start = True
        self.ceiling.forget()

    def restrict(self, most: int, *, ramp: bool) -> None:
        """It grows no further than `most`, so that a cut is one; without `ramp` it is there at once."""
        self._most = max(1, most)
        self.size = min(self.size, float(self._most))
        if not ramp and self._slow_start:
            self.size = float(self._most)
