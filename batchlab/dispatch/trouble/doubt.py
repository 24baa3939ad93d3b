"""Whether one rate limit, while all is well, is the endpoint's or its row's own. Pure.

One refusal alone counts when another row is refused before one that was sent after it is answered. On a
real limit that comes at once, and from then on each refusal counts; rows that are always refused, one
here and one there, cost nobody else a pause.
"""

from __future__ import annotations

OLD, OLD_S = 2.0, 0.01  # times as long as a refusal took, and a little more
CONFIRMING = 4  # one refusal in so many requests confirms a limit


class Doubt:
    """The refusal that is in doubt, if one is; the rate controller's, and on its clock."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.allowed = True  # until one was a limit after all
        self._sent: list[float] = []  # when requests left since then
        self._refused = 0  # of those
        self._patience_s = 0.0  # what is in flight for longer is not going to be refused

    def begin(self, sent_at: float, now: float) -> None:
        """A request that was sent then has been refused."""
        self.since = now
        self._patience_s = OLD * (now - sent_at) + OLD_S
        self._sent.clear()
        self._refused = 0

    def sent(self, now: float) -> None:
        """A request leaves, while there is a doubt."""
        self._sent.append(now)

    def answered(self, sent_at: float) -> None:
        """A request that was sent then has been answered."""
        if self.since is not None and sent_at >= self.since:
            self.since = None

    def confirmed(self, sent_at: float, now: float) -> bool:
        """Whether one more refusal says that the one in doubt was a limit.

        A refusal comes much sooner than an answer: what was sent since then and is still in flight after
        twice as long has been taken in.
        """
        assert self.since is not None
        if sent_at >= self.since:
            self._refused += 1
            old = sum(1 for moment in self._sent if now - moment >= self._patience_s)
            if self._refused * CONFIRMING < old:
                return False
        self.allowed = False
        return True
