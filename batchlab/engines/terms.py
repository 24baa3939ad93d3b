"""On what terms a process may send: alone, it has the run's whole limits; of several, a lease."""

from __future__ import annotations

import random
import time
from typing import Protocol

from batchlab.dispatch.lanes import Lanes
from batchlab.dispatch.pool import Pool
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.controller import RateController
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.rate.pace import Controller
from batchlab.dispatch.trouble.health import RunHealth
from batchlab.job import EndpointLimits
from batchlab.records import Shard
from batchlab.totals import Totals


class Terms(Protocol):
    """What decides how fast and how far a process may go, and who is told how far it is."""

    def budget(self) -> Budget:
        """The caps on cost and tokens; the same for every pass."""
        ...

    def controller(self, endpoint: str, limits: EndpointLimits) -> Controller:
        """How fast to send to the endpoint of that name."""
        ...

    def health(self) -> RunHealth:
        """What tells one row's trouble from the run's."""
        ...

    def begins(self, lanes: Lanes, pool: Pool) -> None:
        """A pass begins."""
        ...

    def sealed(self, shard: Shard, totals: Totals) -> None:
        """A shard has its part."""
        ...


class OwnTerms:
    """Those of the only process of a run, within a budget that knows what was spent before."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def budget(self) -> Budget:
        """See `Terms`."""
        return self._budget

    def controller(self, endpoint: str, limits: EndpointLimits) -> Controller:
        """See `Terms`. One that keeps to the whole limits of the endpoint."""
        del endpoint
        return RateController(limits, now=time.monotonic(), rng=random.Random())

    def health(self) -> RunHealth:
        """See `Terms`."""
        return RunHealth()

    def begins(self, lanes: Lanes, pool: Pool) -> None:
        """See `Terms`."""

    def sealed(self, shard: Shard, totals: Totals) -> None:
        """See `Terms`."""


def spent_of(totals: Totals) -> Money:
    """What rows have used of the caps."""
    return Money(totals.spent_usd or 0.0, float(totals.tokens_used))
