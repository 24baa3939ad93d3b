"""What one of several workers may spend of a run's caps. Pure, but for the budget's own waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.money import NOTHING, Money
from batchlab.job.limits import Caps
from batchlab.lending.messages import Demand, LaneDemand


class LeasedBudget:
    """A budget whose caps are an allowance: a request that it does not cover waits for a greater one.

    Args:
        caps: the run's; which of them there are counts here.
        on_short: called when a request begins to wait.

    Attributes:
        budget: what requests are counted in.
    """

    def __init__(self, caps: Caps, *, on_short: Callable[[], None]) -> None:
        nothing = Caps(*(None if cap is None else 0.0 for cap in caps))
        self.budget = Budget(nothing, on_short=on_short)
        self._before = NOTHING  # spent at the last demand

    def keep_to(self, allowance: Caps) -> None:
        """What may be used in all from now on."""
        self.budget.allow(allowance)

    def demand(self, applied: int, lanes: Mapping[str, LaneDemand], *, tight: bool) -> Demand:
        """What to ask for beside what is asked for the lanes. What is not kept is given back at once."""
        budget = self.budget
        spent, reserved, largest, need = budget.spent, budget.set_aside, budget.largest, budget.least_waiting
        least = need or NOTHING
        burnt = spent.plus(self._before, -1)
        self._before = spent
        # twice what was used since the last renewal, and as much again as is in flight
        wanted = Money(
            *(max(least[index], 2 * burnt[index] + max(reserved[index], largest[index])) for index in (0, 1))
        )
        used = spent.plus(reserved)
        kept: list[float | None] = []
        for index, cap in enumerate(budget.caps):
            free = 0.0 if tight else wanted[index]
            kept.append(None if cap is None else max(used[index], min(cap, used[index] + free)))
        budget.restrict(Caps(*kept))
        return Demand(
            applied,
            lanes,
            spent=spent,
            reserved=reserved,
            kept=Money(*(one or 0.0 for one in kept)),
            wanted=wanted,
            need=need,
            largest=largest,
        )
