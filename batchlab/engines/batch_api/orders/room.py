"""How much a lane's service takes at once: found out by being refused, as no service tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

AT_ONCE = 16  # batches that are out at a lane, unless its service has room for fewer
NO_ROOM_WAIT_S = 30.0  # before a service whose queue was full is given more; doubled while it stays full,
MOST_WAIT_S = 600.0  # up to this: each try is an upload
GROWTH = 4  # by which batches that were cut are larger again


@dataclass(slots=True)
class Room:
    """A lane's room for batches.

    Attributes:
        clock: seconds that only go on.
        batches: that may be out at once.
        lines: that one may have; None for as many as the service allows.
        is_closed: it takes none of ours any more.
    """

    clock: Callable[[], float]
    batches: int = AT_ONCE
    lines: int | None = None
    is_closed: bool = False
    _full_until: float = field(default=0.0)
    _full_times: int = field(default=0)  # one after the other
    _since_full: int = field(default=0)  # batches that have ended well
    _cut_times: int = field(default=0)  # how often what was larger again was cut again
    _since_cut: int = field(default=0)
    _largest: int = field(default=0)  # lines of what was refused alone at first

    def left(self, out: int) -> int:
        """How many more may be ordered now, beside those that are out."""
        return 0 if self.is_closed or self.clock() < self._full_until else max(0, self.batches - out)

    def was_full(self, lines: int, others: int) -> str:
        """A batch of so many lines found no room beside `others`. Returns what is done about it."""
        wait_s = min(NO_ROOM_WAIT_S * 2 ** min(self._full_times, 10), MOST_WAIT_S)
        self._full_until, self._since_full = self.clock() + wait_s, 0
        self._full_times += 1
        if others:
            self.batches = others
            return f"at most {others} at a time from now on"
        if self._since_cut:  # it was larger again, and too large
            self._cut_times, self._since_cut = self._cut_times + 1, 0
        self._largest = max(self._largest, lines)
        self.batches, self.lines = 1, max(1, lines // 2)
        return f"smaller batches from now on, of {self.lines:,} at most"

    def ended_well(self) -> None:
        """A batch has found room, and ended: there is some again.

        The queue may have been full of what others have ordered. So batches grow again: after each that has
        ended well, or more seldom where that was wrong before.
        """
        self._full_until, self._full_times = 0.0, 0
        self._since_full += 1
        if self._since_full > self.batches and self.batches < AT_ONCE:
            self.batches, self._since_full = self.batches + 1, 0
        if self.lines is not None:
            self._since_cut += 1
            if self._since_cut >= 2 ** min(self._cut_times, 10):
                grown = self.lines * GROWTH
                self.lines = None if grown >= self._largest and not self._cut_times else grown
                self._since_cut = 1
