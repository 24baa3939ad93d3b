"""What all workers of a shift together may spend of the run's one budget."""

from __future__ import annotations

import time

from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.money import Money
from batchlab.job.limits import Caps
from batchlab.lending.messages import TTL_S


class Allowance:
    """All that is left when they begin; and more when they are short, of what others give back.

    Others are the batches of the run: what they may cost is set aside until they have ended.

    Args:
        spent: by earlier invocations, from which the lender counts.
    """

    def __init__(self, budget: Budget, spent: Money) -> None:
        self._budget = budget
        self._before = spent
        self._reservation = budget.set_aside_for(_known(budget.left), priced=True)
        self._grown_at = -TTL_S

    @property
    def caps(self) -> Caps:
        """What all may have spent in all, by now; None for no cap."""
        mine = self._before.plus(self._reservation.worst)
        pairs = zip(self._budget.caps, mine, strict=True)
        return Caps(*(None if cap is None else amount for cap, amount in pairs))

    def grows(self) -> bool:
        """Takes what has come back to the budget. Returns whether there is any."""
        left = _known(self._budget.left)
        more = Money(max(0.0, left.usd), max(0.0, left.tokens))
        if not any(more):
            return False
        self._budget.add_to(self._reservation, more)
        self._grown_at = time.monotonic()
        return True

    @property
    def may_grow(self) -> bool:
        """Whether others may give back some; or who is short has not heard yet of what has come."""
        return self._budget.in_flight > 1 or time.monotonic() - self._grown_at < TTL_S

    def end(self, spent: Money) -> None:
        """Nobody works any more; so much was spent, by earlier invocations as well."""
        used = spent.plus(self._before, -1)
        self._reservation.charged_usd, self._reservation.charged_tokens = used
        self._budget.end(self._reservation)


def _known(left: Caps) -> Money:
    return Money(left.usd or 0.0, left.tokens or 0.0)
