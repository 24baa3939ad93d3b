"""Whether an endpoint has trouble, and whether that is an outage. Pure, on the rate controller's clock."""

from __future__ import annotations

CREDIT_START, CREDIT_MAX, CREDIT_EARN = 10.0, 100.0, 0.1
GATE_CAP_S = 60.0  # longest time between two probes in an outage


class Breaker:
    """Opens when nobody answers, or when errors have used up the credit for retries that answers earn.

    Attributes:
        is_open: an outage: one probe at a time.
        silent_since: when the first trouble after the last answer was met; None when all is well. It is
            never None while the breaker is open.
        credit: failures that may follow before it opens.
    """

    __slots__ = ("_probes", "credit", "is_open", "silent_since")

    def __init__(self) -> None:
        self.is_open = False
        self.silent_since: float | None = None
        self.credit = CREDIT_START
        self._probes = 0

    def trouble(self, now: float) -> None:
        """Something was not answered."""
        if self.silent_since is None:
            self.silent_since = now

    def charge(self) -> bool:
        """A request failed. Returns whether that was one too many."""
        self.credit -= 1
        return self.credit < 0

    def answered(self) -> None:
        """A request was answered. Says nothing new while all is well and the credit is full."""
        self.silent_since = None
        self.is_open = False
        self._probes = 0
        self.credit = min(CREDIT_MAX, self.credit + CREDIT_EARN)

    def trip(self, now: float) -> float:
        """Opens, or stays open after a failed probe. Returns how long to wait for the next, in seconds."""
        self.open(now)
        self.credit = 0.0
        self._probes += 1
        return min(GATE_CAP_S, 2.0 ** min(self._probes, 10))

    def open(self, now: float) -> None:
        """There is an outage."""
        self.trouble(now)
        self.is_open = True

    def close(self) -> bool:
        """Somebody else was answered there. Returns whether that ends an outage."""
        was_open = self.is_open
        self.silent_since = None
        self.is_open = False
        if was_open:
            self._probes = 0
        return was_open

    def end_silence(self) -> None:
        """Somebody else was answered of late, which is no news of an outage that may be later."""
        if not self.is_open:
            self.silent_since = None
