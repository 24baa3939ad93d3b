"""The lender of a run, and the budget of one that is kept in the foreman's process."""

from __future__ import annotations

import random
import time

from batchlab.engines.crew import LenderTerms
from batchlab.lending.lender import Allocator
from batchlab.lending.messages import Demand, Grant, LaneLimits, Money


def allocator(terms: LenderTerms, *, after_another: bool = False) -> Allocator:
    """The lender itself; `after_another` when one was lost that had lent already."""
    return Allocator(
        {name: LaneLimits(**limits) for name, limits in terms.lanes.items()},
        expected=terms.expected,
        caps=terms.caps,
        spent=Money(*terms.spent),
        request_s=terms.request_s,
        first_number=random.randrange(2**20, 2**40) if after_another else 0,
        after_another=after_another,
    )


class LenderHere:
    """The budget in this process; see `engines.crew.Lender`."""

    def __init__(self, terms: LenderTerms) -> None:
        self.allocator = allocator(terms)

    async def lease(self, name: str, demand: Demand) -> Grant | None:
        """See `Lender`."""
        return self.allocator.lease(name, demand, time.monotonic())

    async def expect(self, holders: int) -> None:
        """See `Lender`."""
        self.allocator.expect(holders)

    async def release(self, name: str, spent: Money) -> None:
        """See `Lender`."""
        self.allocator.release(name, spent)

    async def give_up(self, name: str) -> None:
        """See `Lender`."""
        self.allocator.give_up(name)

    async def forget(self, name: str) -> None:
        """See `Lender`."""
        self.allocator.forget(name)

    async def settle(self, name: str, spent: Money) -> None:
        """See `Lender`."""
        self.allocator.settle(name, spent)

    async def spent(self) -> Money:
        """See `Lender`."""
        return self.allocator.spent
