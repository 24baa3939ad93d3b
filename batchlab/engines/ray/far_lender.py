"""The budget of a run on a cluster, as the foreman sees it: its calls go to the actor by the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from batchlab.dispatch.rate.money import Money
from batchlab.engines.ray.messages import (
    Allow,
    AskSpent,
    Expect,
    Forget,
    GiveUp,
    GoOn,
    Lend,
    LenderCall,
    Lent,
    Release,
    Settle,
)
from batchlab.job.limits import Caps
from batchlab.lending.messages import Demand, Lease
from batchlab.run_end import RunStopped


class FarLender:
    """See `engines.crew.LenderLink`. Raises RunStopped once the cluster is lost.

    Args:
        tell: tells the bridge.
    """

    def __init__(self, tell: Callable[[Lend], None]) -> None:
        self._tell = tell
        self._answers: dict[int, asyncio.Future[Money]] = {}
        self._calls = 0
        self._lost: RunStopped | None = None

    async def lease(self, name: str, demand: Demand) -> Lease | None:
        raise NotImplementedError(f"a lease of {name} ({demand.applied}) is asked for at its node")

    async def expect(self, workers: int) -> None:
        await self._lend(Expect(workers))

    async def allow(self, caps: Caps) -> None:
        await self._lend(Allow(caps))

    async def release(self, name: str, spent: Money) -> None:
        await self._lend(Release(name, spent))

    async def give_up(self, name: str) -> None:
        await self._lend(GiveUp(name))

    async def forget(self, name: str) -> None:
        await self._lend(Forget(name))

    async def settle(self, name: str, spent: Money) -> None:
        await self._lend(Settle(name, spent))

    async def spent(self) -> Money:
        return await self._lend(AskSpent())

    def go_on(self, names: list[str], spent: Money, caps: Caps) -> None:
        """Tells a lender that took the place of a lost one who holds what. Nobody waits for the answer."""
        self._tell(Lend(0, GoOn(tuple(names), spent, caps)))

    def answered(self, lent: Lent) -> None:
        """The bridge has the answer to a call."""
        if lent.number in self._answers:
            self._answers.pop(lent.number).set_result(lent.spent)

    def is_lost(self, why: RunStopped, *, answers: bool) -> None:
        """Nothing can be lent any more; `answers`: nor will what was asked be answered."""
        self._lost = why
        if not answers:
            for future in self._answers.values():
                future.set_exception(why)
            self._answers.clear()

    async def _lend(self, call: LenderCall) -> Money:
        if self._lost is not None:
            raise self._lost
        self._calls += 1
        future = self._answers[self._calls] = asyncio.get_running_loop().create_future()
        self._tell(Lend(self._calls, call))
        spent: Money = await future
        return spent
