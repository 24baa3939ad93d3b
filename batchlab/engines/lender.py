"""The lender of a run in the foreman's process, and one that takes the place of a lost one."""

from __future__ import annotations

import random
import time

from batchlab.dispatch.rate.money import Money
from batchlab.job.limits import Caps
from batchlab.lending.lender import Lender
from batchlab.lending.messages import Demand, Lease, LenderTerms


def next_lender(terms: LenderTerms) -> Lender:
    """One that takes the place of a lender that was lost."""
    return Lender(terms, first_number=random.randrange(2**20, 2**40))


class LenderHere:
    """The lender in this process; see `engines.crew.LenderLink`."""

    def __init__(self, terms: LenderTerms) -> None:
        self._lender = Lender(terms)

    async def lease(self, name: str, demand: Demand) -> Lease | None:
        return self._lender.lease(name, demand, time.monotonic())

    async def expect(self, workers: int) -> None:
        self._lender.expect(workers)

    async def allow(self, caps: Caps) -> None:
        self._lender.allow(caps)

    async def release(self, name: str, spent: Money) -> None:
        self._lender.release(name, spent)

    async def give_up(self, name: str) -> None:
        self._lender.give_up(name)

    async def forget(self, name: str) -> None:
        self._lender.forget(name)

    async def settle(self, name: str, spent: Money) -> None:
        self._lender.settle(name, spent)

    async def spent(self) -> Money:
        return self._lender.spent
