"""Where the budget of a run is kept: in the foreman's process, or in an actor that all nodes reach."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from batchlab.dispatch.rate.money import Money
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
        """See `LenderLink`."""
        return self._lender.lease(name, demand, time.monotonic())

    async def expect(self, workers: int) -> None:
        """See `LenderLink`."""
        self._lender.expect(workers)

    async def release(self, name: str, spent: Money) -> None:
        """See `LenderLink`."""
        self._lender.release(name, spent)

    async def give_up(self, name: str) -> None:
        """See `LenderLink`."""
        self._lender.give_up(name)

    async def forget(self, name: str) -> None:
        """See `LenderLink`."""
        self._lender.forget(name)

    async def settle(self, name: str, spent: Money) -> None:
        """See `LenderLink`."""
        self._lender.settle(name, spent)

    async def spent(self) -> Money:
        """See `LenderLink`."""
        return self._lender.spent


class BudgetActor:
    """The lender in an actor of its own: nodes ask it for leases, and the run's process keeps its books.

    A killed one is made again with what it was made with. What it had lent is not in that: it lends
    nothing until `go_on` has named the workers, and each of them has said what it has.

    Args:
        made_again: tells whether this one takes the place of one that was lost.
    """

    def __init__(self, terms: LenderTerms, made_again: Callable[[], bool]) -> None:
        self._lender = next_lender(terms) if made_again() else Lender(terms)

    async def lease(self, name: str, demand: Any) -> Any:
        """The next lease, as it travels; None for a worker that was given up."""
        return msgspec.to_builtins(
            self._lender.lease(name, msgspec.convert(demand, Demand), time.monotonic())
        )

    async def lend(self, do: str, values: Sequence[Any]) -> Any:
        """One of the calls of `engines.crew.LenderLink`, or `go_on`."""
        match do:
            case "release" | "settle":
                name, spent = values
                getattr(self._lender, do)(name, Money(*spent))
            case "forget" | "give_up" | "expect":
                getattr(self._lender, do)(*values)
            case "go_on":
                names, spent = values
                self._lender.go_on(names, Money(*spent))
        return tuple(self._lender.spent)

    async def is_waiting(self) -> bool:
        """Whether `go_on` has yet to be called."""
        return self._lender.waits_for_workers
