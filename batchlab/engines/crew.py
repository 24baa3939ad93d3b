"""Workers as the foreman of a run sees them, however messages travel to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from batchlab.dispatch.rate.money import Money
from batchlab.engines.messages import Begin, FromWorker, ToWorker
from batchlab.job.limits import Caps
from batchlab.lending.messages import Demand, Lease, LenderTerms
from batchlab.run_state import RunState


@dataclass(slots=True, eq=False)
class Worker:
    """A worker. Its carrier puts what it says into `inbox`, and None once it is gone.

    Attributes:
        name: no two lives of a worker have the same one, so that it stands for the lease's epoch.
        tell: sends it a message; `give` a shard's number, or None when there is no more.
        where: machine or process it is on, for a person.
        assigned: numbers of all shards it was ever given; `open` those it has not sealed.
        state: how far it was when it last said so.
        demand, lease: what it asked for last, and what it got.
        heard_at: when it last said something, as `time.monotonic()`.
        asked: whether it has a lease, and so something to be told about.
        ended: whether it said that it was done.
    """

    name: str
    tell: Callable[[ToWorker], None]
    give: Callable[[int | None], None]
    where: str = ""
    inbox: asyncio.Queue[FromWorker | None] = field(default_factory=asyncio.Queue)
    state: RunState = field(default_factory=RunState)
    demand: Demand = field(default_factory=lambda: Demand(0, {}))
    lease: Lease | None = None
    assigned: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    heard_at: float = 0.0
    asked: bool = False
    ended: bool = False

    async def messages(self) -> AsyncIterator[FromWorker]:
        """What it says, until it is gone."""
        while (message := await self.inbox.get()) is not None:
            yield message


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended.

    Attributes:
        cause: for a person, such as `by SIGKILL`.
        certain: whether it is known to be gone; else it may be at work still, out of our sight.
    """

    cause: str
    certain: bool = True


Known: TypeAlias = tuple[list[str], Money, Caps]  # what `lending.lender.Lender.go_on` is to know


class LenderLink(Protocol):
    """The way to the lender of the run's one budget (`lending.lender.Lender`), wherever it is kept."""

    async def lease(self, name: str, demand: Demand) -> Lease | None:
        """The next lease; None for a worker that was given up."""
        ...

    async def expect(self, workers: int) -> None:
        """So many workers there are or will be."""
        ...

    async def allow(self, caps: Caps) -> None:
        """There is more to lend."""
        ...

    async def release(self, name: str, spent: Money) -> None:
        """A worker is done."""
        ...

    async def give_up(self, name: str) -> None:
        """A worker is out of reach: it gets no lease any more."""
        ...

    async def forget(self, name: str) -> None:
        """A worker is dead."""
        ...

    async def settle(self, name: str, spent: Money) -> None:
        """The books of a worker that was forgotten have been read."""
        ...

    async def spent(self) -> Money:
        """What all have used of the caps."""
        ...


class Crew(Protocol):
    """What starts workers, and carries messages to them and back."""

    who: str  # what a worker is called, for a person
    size: int

    async def open(self, terms: LenderTerms, lost: Callable[[], Known]) -> LenderLink:
        """Gets ready; returns where the budget is kept.

        Args:
            lost: called when a lender takes the place of one that was lost.
        """
        ...

    async def start(self, begin: Begin) -> Worker:
        """A fresh worker, which is told `begin`. Raises RunStopped when there is nowhere to start it."""
        ...

    async def ended(self, worker: Worker) -> Ending:
        """How a worker ended that has said its last word; makes an end of it if need be."""
        ...

    async def gone_for_certain(self, worker: Worker) -> None:
        """Returns once a worker whose ending is not certain can write no more."""
        ...

    async def close(self) -> None:
        """Every worker has ended."""
        ...
