"""The two things that a run may have a cap on."""

from __future__ import annotations

from typing import NamedTuple


class Money(NamedTuple):
    """An amount of both."""

    usd: float = 0.0
    tokens: float = 0.0

    def plus(self, other: Money, sign: int = 1) -> Money:
        """The sum, or with `sign=-1` the difference."""
        return Money(self.usd + sign * other.usd, self.tokens + sign * other.tokens)


NOTHING = Money()
