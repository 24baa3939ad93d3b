"""A worker of the fake engine: a coroutine that does what `engines.worker` does, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
from typing import TYPE_CHECKING, Any

from batchlab.costs.price import Ceiling, Price
from batchlab.dispatch.rate.controller import Permit
from batchlab.dispatch.rate.slots import Stopped
from batchlab.engines.crew import Worker
from batchlab.engines.messages import (
    Asked,
    FromWorker,
    Granted,
    Left,
    Sealed,
    ShardWanted,
    Stop,
    ToWorker,
    from_worker,
    line,
)
from batchlab.lending.borrower import Borrower
from batchlab.lending.budget import LeasedBudget
from batchlab.lending.controller import LeasedController
from batchlab.lending.messages import Lease
from batchlab.records import Completion, Reply, Timing, Usage
from batchlab.run_state import RunState
from batchlab.store.disk.fence import Fence
from batchlab.store.manifest import read_manifest
from batchlab.store.working import WorkingRun

if TYPE_CHECKING:
    from tests.proofs.workers.fake_engine import FakeEngine

PRICE = Price(1_000.0, 1_000.0)  # a token of a request costs 0.001 USD
USAGE = Usage(prompt_tokens=5, completion_tokens=5)
COST = 0.01  # of one answer
FENCE_S = 3.0
STEP_S = 0.03  # virtual seconds that an await takes
LANES = 3  # requests that a worker could have on their way

WORKER: contextvars.ContextVar[str] = contextvars.ContextVar("worker", default="")


class Killed(BaseException):
    """What a killed worker's coroutines end by. No `except Exception` of ours may see it."""


class DriverKilled(Killed):
    """All of a run's processes are gone."""


class FakeWorker:
    """A worker as `engines.worker` is one, with a provider that always answers."""

    seen: Worker
    task: asyncio.Task[None]

    def __init__(self, engine: FakeEngine, name: str) -> None:
        self.engine, self.name = engine, name
        self.given: asyncio.Queue[int | None] = asyncio.Queue()
        self._leases: asyncio.Queue[Lease] = asyncio.Queue()
        self._over = asyncio.Event()
        self._open: list[Any] = []
        self._sealed: set[int] = set()

    def tell(self, message: ToWorker) -> None:
        match message:
            case Granted(lease):
                self._leases.put_nowait(lease)
            case Stop():
                self._over.set()
                if hasattr(self, "budget"):
                    self.budget.stop()

    def say(self, message: FromWorker) -> None:
        if not self.engine.crew.is_out_of_reach(self.name):
            self.seen.inbox.put_nowait(from_worker(line(message)))

    async def live(self) -> None:
        engine = self.engine
        WORKER.set(self.name)
        try:
            seconds = math.inf if engine.what == "twice" else FENCE_S
            fence = Fence(seconds, self._leave, now=lambda: engine.now)
            self.store = WorkingRun(engine.path, read_manifest(engine.path), fence=fence)
            limits = engine.job.limits_at(engine.job.endpoint[0])
            self.controller = LeasedController(
                limits, now=engine.now, rng=engine.rng, on_pause=lambda _: None, on_answer=lambda _: None
            )
            leased = LeasedBudget(engine.job.limits.caps, on_short=lambda: None)
            self.budget = leased.budget
            self.borrower = Borrower({engine.lane: self.controller}, leased, rows=lambda: math.inf)
            rows = self._rows()
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                async with asyncio.TaskGroup() as lanes:
                    for _ in range(LANES):
                        lanes.create_task(self._until_stopped(rows))
                renewing.cancel()
            for shard in self._open:
                if shard.shard.index not in self._sealed:
                    shard.close()
            self.store.close()
            self.say(Left(RunState(), self.budget.spent, None))
        except* DriverKilled:
            raise DriverKilled from None
        except* Killed:
            raise Killed from None
        finally:
            self.seen.inbox.put_nowait(None)

    def _leave(self) -> None:
        self.engine.crew.has_died(self.name)
        raise Killed

    async def _renew(self) -> None:
        engine = self.engine
        while True:
            asked_at = engine.now
            demand = self.borrower.demand(asked_at)
            if engine.crew.is_out_of_reach(self.name):
                lease = engine.crew.lender.lease(self.name, demand, asked_at)
                if lease is not None:
                    self._leases.put_nowait(lease)
            self.say(Asked(demand, RunState()))
            while self._leases.empty():
                await engine.step()
                self.store.fence.check()
            self.borrower.keep_to(self._leases.get_nowait(), asked_at, engine.now)
            self.store.fence.renew(asked_at)
            until = engine.now + (0.06 if self.borrower.tight else 0.3)
            while engine.now < until:
                await engine.step()

    async def _rows(self) -> Any:
        while not self._over.is_set():
            self.say(ShardWanted())
            while self.given.empty():
                await self.engine.step()
            if (index := self.given.get_nowait()) is None:
                return
            shard = self.store.open_shard(self.engine.plan.shards[index])
            self._open.append(shard)
            if shard.complete:
                self._seal(shard)
                continue
            for row in range(shard.shard.first_row, shard.shard.first_row + shard.shard.rows):
                if not shard.done(row):
                    yield shard, row

    async def _until_stopped(self, rows: Any) -> None:
        with contextlib.suppress(Stopped):
            await self._lane(rows)

    async def _lane(self, rows: Any) -> None:
        engine, turn = self.engine, self.__dict__.setdefault("_turn", asyncio.Lock())
        while True:
            async with turn:  # one at a time asks for a row
                found = await anext(rows, None)
            if found is None or self._over.is_set():
                return
            shard, row = found
            async with self.budget.reserved(5, 5, Ceiling([PRICE])) as reservation:
                while not isinstance(permit := self.controller.try_acquire(engine.now, 5, 5), Permit):
                    if self._over.is_set():
                        self.budget.release(reservation)
                        return
                    await engine.step()
                engine.be_alive()
                shard.append_sent(row, 1)
                engine.in_flight[self.name, row] = True
                await engine.step()
                engine.bills[row] += 1
                engine.check()
                await engine.step()
                self.store.fence.check()
                self.budget.settle(reservation, USAGE, PRICE.cost_usd(USAGE))
                self.controller.succeeded(permit, engine.now, 10)
            reply = Reply(completion=f"answer to {row}", usage=USAGE)
            shard.append(
                Completion(
                    row_id=row,
                    custom_id=str(row),
                    status="ok",
                    attempts=1,
                    reply=reply,
                    timing=Timing(0.0, 1.0, 1.0),
                    request_hash=bytes(16),
                    cost_usd=COST,
                )
            )
            shard.flush()
            engine.in_flight.pop((self.name, row), None)
            complete = shard.complete
            await engine.step()
            if complete:
                self._seal(shard)

    def _seal(self, shard: Any) -> None:
        if shard.shard.index not in self._sealed:
            self._sealed.add(shard.shard.index)
            totals = shard.seal(self.engine.source.table(shard.shard, self.engine.plan))
            self.say(Sealed(shard.shard.index, totals.retryable_failed))
