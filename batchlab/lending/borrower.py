"""One budget lent to several workers in leases: a worker's side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from batchlab.lending.budget import LeasedBudget
from batchlab.lending.controller import LeasedController
from batchlab.lending.messages import Demand, Lease


class Borrower:
    """What a worker asks for, and how it keeps to what it gets.

    Args:
        lanes: its controllers by endpoint.
        rows: how many rows could be on their way, if all were allowed; inf while there are more.

    Attributes:
        tight: little is left of the caps: renew often.
    """

    def __init__(
        self,
        lanes: Mapping[str, LeasedController],
        budget: LeasedBudget,
        *,
        rows: Callable[[], float],
    ) -> None:
        self._lanes = lanes
        self._budget = budget
        self._rows = rows
        self._applied = 0
        self._until = -math.inf
        self.tight = False

    def demand(self, now: float) -> Demand:
        """What to say at a renewal."""
        if now >= self._until:
            for controller in self._lanes.values():
                controller.lapse(now)
        want = self._rows()
        lanes = {name: controller.demand(now, want) for name, controller in self._lanes.items()}
        return self._budget.demand(self._applied, lanes, tight=self.tight)

    def keep_to(self, lease: Lease, asked_at: float, now: float) -> bool:
        """Keeps to a lease from now on. Returns whether that is to be confirmed soon: others wait for it."""
        self._applied = lease.number
        self._until = asked_at + lease.ttl_s
        fewer = [
            controller.keep_to(lease.lanes[name], self._until, now)
            for name, controller in self._lanes.items()
        ]
        self._budget.keep_to(lease.allowance)
        self.tight = lease.tight
        return any(fewer)
