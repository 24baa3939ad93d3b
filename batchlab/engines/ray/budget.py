"""The budget of a run on a cluster, in an actor that all nodes reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import assert_never

from batchlab.dispatch.rate.money import Money
from batchlab.engines.lender import next_lender
from batchlab.engines.ray.messages import (
    Allow,
    AskSpent,
    Expect,
    Forget,
    GiveUp,
    GoOn,
    LenderCall,
    Release,
    Settle,
)
from batchlab.lending.lender import Lender
from batchlab.lending.messages import Demand, Lease, LenderTerms


class BudgetActor:
    """The lender in an actor of its own: nodes ask it for leases, and the run's process keeps its books.

    A killed one is made again with what it was made with. What it had lent is not in that: it lends
    nothing until `GoOn` has named the workers, and each of them has said what it has.

    Args:
        made_again: tells whether this one takes the place of one that was lost.
    """

    def __init__(self, terms: LenderTerms, made_again: Callable[[], bool]) -> None:
        self._lender = next_lender(terms) if made_again() else Lender(terms)

    async def lease(self, name: str, demand: Demand) -> Lease | None:
        """The next lease; None for a worker that was given up."""
        return self._lender.lease(name, demand, time.monotonic())

    async def lend(self, call: LenderCall) -> Money:
        """One of the calls of `engines.crew.LenderLink`, or `go_on`. Returns what all have spent."""
        lender = self._lender
        match call:
            case Expect(workers):
                lender.expect(workers)
            case Allow(caps):
                lender.allow(caps)
            case Release(name, spent):
                lender.release(name, spent)
            case GiveUp(name):
                lender.give_up(name)
            case Forget(name):
                lender.forget(name)
            case Settle(name, spent):
                lender.settle(name, spent)
            case GoOn(names, spent, caps):
                lender.go_on(names, spent, caps)
            case AskSpent():
                pass
            case _:
                assert_never(call)
        return lender.spent

    async def is_waiting(self) -> bool:
        """Whether `GoOn` has yet to come."""
        return self._lender.waits_for_workers
