"""Where the budget of a run is kept: in the foreman's process, or in an actor that all nodes reach."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

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


class BudgetActor:
    """The budget in an actor of its own: nodes ask it for leases, and the run's process keeps its books.

    A killed one is made again with what it was made with. What it had lent is not in that: it lends
    nothing until `go_on` has named the holders, and each of them has said what it has.

    Args:
        made_again: tells whether this one takes the place of one that was lost.
    """

    def __init__(self, terms: LenderTerms, made_again: Callable[[], bool]) -> None:
        self._allocator = allocator(terms, after_another=made_again())

    async def lease(self, name: str, demand: dict[str, Any]) -> Grant | None:
        """The next grant; None for a holder that was given up."""
        return self._allocator.lease(name, Demand.from_json(demand), time.monotonic())

    async def lend(self, do: str, values: Sequence[Any]) -> Any:
        """One of the calls of `engines.crew.Lender`, or `go_on`."""
        match do:
            case "release" | "settle":
                name, spent = values
                getattr(self._allocator, do)(name, Money(*spent))
            case "forget" | "give_up" | "expect":
                getattr(self._allocator, do)(*values)
            case "go_on":
                names, spent = values
                self._allocator.go_on(names, Money(*spent))
        return tuple(self._allocator.spent)

    async def is_waiting(self) -> bool:
        """Whether `go_on` has yet to be called."""
        return self._allocator.waits_for_holders
