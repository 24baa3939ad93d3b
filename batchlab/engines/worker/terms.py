"""On what terms one of several processes of a run may send: within its lease."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable
from functools import partial

from batchlab.dispatch.lanes import Lanes
from batchlab.dispatch.pool import Pool
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.pace import Controller
from batchlab.dispatch.trouble.health import RunHealth
from batchlab.engines.messages import Answered, Begin, FromWorker, Paused, Sealed
from batchlab.job import EndpointLimits
from batchlab.job.lane import lane_key
from batchlab.lending.borrower import Borrower
from batchlab.lending.budget import LeasedBudget
from batchlab.lending.controller import LeasedController
from batchlab.lending.messages import Pause
from batchlab.records import Shard
from batchlab.totals import Totals


class LeasedTerms:
    """Those of one of the workers of a run; see `engines.terms.Terms`.

    Args:
        tell: tells the parent.
        hurry: called when the lease is to be renewed soon.
    """

    def __init__(self, begin: Begin, tell: Callable[[FromWorker], None], hurry: Callable[[], None]) -> None:
        self._begin = begin
        self._tell = tell
        self._hurry = hurry
        self._budget = LeasedBudget(begin.run.job.limits.caps, on_short=hurry)
        self._begun = asyncio.Event()
        self.controllers: dict[str, LeasedController] = {}
        self.lanes: Lanes
        self.pool: Pool

    def budget(self) -> Budget:
        """A budget whose caps are an allowance."""
        return self._budget.budget

    def controller(self, endpoint: str, limits: EndpointLimits) -> Controller:
        """One that sends nothing beyond the lease; it begins with this worker's part of the first window."""
        begin, lane = self._begin, lane_key(endpoint, limits.lane)
        if limits.start < limits.concurrency:
            part = limits.start // begin.workers + (begin.index < limits.start % begin.workers)
            limits = dataclasses.replace(limits, start=max(1, part))
        controller = LeasedController(
            limits,
            now=time.monotonic(),
            rng=random.Random(),
            on_pause=partial(self._paused, lane),
            on_answer=partial(self._answered, lane),
        )
        self.controllers[lane] = controller
        return controller

    def health(self) -> RunHealth:
        """What knows that others send too."""
        return RunHealth(processes=self._begin.workers, answered=self._begin.answered)

    def begins(self, lanes: Lanes, pool: Pool) -> None:
        """There is something to lend to now."""
        self.lanes, self.pool = lanes, pool
        self._begun.set()

    def sealed(self, shard: Shard, totals: Totals) -> None:
        """Tells the parent, which gives all that failed by the provider's trouble one more try."""
        rows = range(shard.first_row, shard.first_row + shard.rows)
        odd = sorted(row for row in self.pool.odd if row in rows) if totals.retryable_failed else []
        self._tell(Sealed(shard.index, totals.retryable_failed, tuple(odd)))

    async def borrower(self) -> Borrower:
        """What asks for a lease, once there is something to lend it to."""
        await self._begun.wait()
        return Borrower(self.controllers, self._budget, rows=lambda: self.pool.rows.to_send)

    def _paused(self, lane: str, pause: Pause) -> None:
        self._tell(Paused(lane, pause))

    def _answered(self, lane: str, was_out: bool) -> None:
        self._tell(Answered(lane, was_out))
        self._hurry()
