"""How much a lane's service takes at once: found out by being refused, as no service tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

AT_ONCE = 16  # batches that are out at a lane, unless its service has room for fewer
NO_ROOM_WAIT_S = 30.0  # before a service whose queue was full is given more


@dataclass(slots=True)
class Room:
    """A lane's room for batches.

    Attributes:
        clock: seconds that only go on.
        batches: that may be out at once.
        lines: that one may have; None for as many as the service allows.
    """

    clock: Callable[[], float]
    batches: int = AT_ONCE
    lines: int | None = None
    _full_until: float = field(default=0.0)
    _since_full: int = field(default=0)  # batches that have ended well

    def left(self, out: int) -> int:
        """How many more may be ordered now, beside those that are out."""
        return 0 if self.clock() < self._full_until else max(0, self.batches - out)

    def was_full(self, lines: int, others: int) -> str:
        """A batch of so many lines found no room beside `others`. Returns what is done about it."""
        self._full_until, self._since_full = self.clock() + NO_ROOM_WAIT_S, 0
        if others:
            self.batches = others
            return f"at most {others} at a time from now on"
        self.batches, self.lines = 1, max(1, lines // 2)
        return f"smaller batches from now on, of {self.lines:,} at most"

    def ended_well(self) -> None:
        """A batch has found room, and ended: there is some again."""
        self._full_until = 0.0
        self._since_full += 1
        if self._since_full > self.batches and self.batches < AT_ONCE:
            self.batches, self._since_full = self.batches + 1, 0
