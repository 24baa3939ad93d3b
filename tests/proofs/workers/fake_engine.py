"""An engine for tests that treats a run as badly as any cluster may, the same way for each seed.

The foreman, the lender, leases, journals, parts and fences are the real ones. The workers are
coroutines of this process, in virtual time: at each await of theirs another one may go on, and at
the one that a test names, something happens: `worker` (one is killed), `lost` (one is out of reach
and at work all the same), `twice` (the same, and nobody waits for its fence), `lender` (the budget's
keeper is lost), `driver` (all are killed, and the run is resumed). Shards go out of order.

What must hold at each await is checked there: permits and money lent, requests in flight, the bill.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.crew import Ending, Known, Worker
from batchlab.engines.endpoint import Endpoint
from batchlab.engines.foreman.engine import Foreman
from batchlab.engines.lender import next_lender
from batchlab.engines.messages import Begin
from batchlab.engines.terms import spent_of
from batchlab.engines.work import Work
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from batchlab.job.limits import Caps
from batchlab.lending.lender import Lender
from batchlab.lending.messages import Demand, Lease, LenderTerms
from batchlab.records import Completion
from batchlab.run_state import RunState
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest
from batchlab.store.view import RunView
from tests.proofs.workers.fake_worker import (
    COST,
    FENCE_S,
    PRICE,
    STEP_S,
    WORKER,
    DriverKilled,
    FakeWorker,
    Killed,
)


class FakeEngine:
    """One run of `rows` rows by so many workers; see the module's docstring.

    Args:
        what, at: what happens, and at which await, counted over all workers; None for nothing.
    """

    def __init__(
        self,
        home: Path,
        seed: int,
        *,
        what: str | None = None,
        at: int = 0,
        rows: int = 12,
        shard_rows: int = 3,
        workers: int = 2,
        cap: int = 4,
        max_cost: float = 1.0,
    ) -> None:
        self.rng = random.Random(seed)
        self.what, self.at, self.workers, self.cap, self.max_cost = what, at, workers, cap, max_cost
        self.now, self.awaits = 0.0, 0
        self.bills: Counter[int] = Counter()
        self.in_flight: dict[tuple[str, int], bool] = {}
        self.may_repeat = 0  # requests whose answers something that happened has lost
        self.most_in_flight = 0
        self.said: list[str] = []
        home.mkdir(exist_ok=True)
        (home / "rows.jsonl").write_text("".join(json.dumps({"text": str(n)}) + "\n" for n in range(rows)))
        self.job = job_from(
            {
                "input": {"path": str(home / "rows.jsonl")},
                "request": {"model": "m", "prompt": "{text}", "max_tokens": 5},
                "limits": {"concurrency": cap, "max_cost": max_cost},
                "price": {"input": PRICE.input, "output": PRICE.output},
            }
        )
        self.lane = self.job.endpoint[0].name
        self.source = open_source(self.job.input.path)
        self.plan = self.source.scan(shard_rows)
        self.path = home / "run"
        LockedRun.create(self.path, Manifest.of(self.job, self.plan)).close()
        self.crew: FakeCrew
        self.stop: StopSignal

    def run(self) -> str | None:
        """Runs to the end, with a second driver if the first was killed. Returns why it stopped."""
        with contextlib.closing(self.source), asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(_Inline())
            while True:
                with contextlib.suppress(Killed):
                    return runner.run(self._drive())

    async def _drive(self) -> str | None:
        store = LockedRun.open(self.path)
        try:
            self.stop = StopSignal()
            shards = [shard for shard in self.plan.shards if shard.index not in store.sealed()]
            self.rng.shuffle(shards)
            earlier, _ = store.standing(shards)
            self.crew = FakeCrew(self)
            before = RunState(rows=self.plan.rows, earlier=earlier)
            endpoint, builder = (
                Endpoint(self.job.endpoint[0], "", None, None),
                RequestBuilder(self.job, self.plan.columns),
            )
            work = Work(self.job, (endpoint,), self.source, self.plan, store, builder, before)
            budget = Budget(self.job.limits.caps, spent=spent_of(earlier))
            foreman = Foreman(self, self.crew, budget)
            try:
                await foreman.run(work, self.stop, retry=None, shards=shards)
            except* Killed:
                raise Killed from None
            return self.stop.reason
        finally:
            store.close()

    def update(self, state: RunState) -> None:
        """See `engines.observer.Observer`."""

    def message(self, text: str) -> None:
        """See `engines.observer.Observer`."""
        self.said.append(text)

    async def step(self) -> None:
        """An await of a worker: others may go on, time passes, and what is to happen may happen."""
        self.awaits += 1
        self.now += STEP_S / self.workers
        self.check()
        if self.awaits == self.at and self.what is not None:
            self.happen(WORKER.get())
        self.be_alive()
        for _ in range(self.rng.randrange(3)):
            await asyncio.sleep(0)
        self.be_alive()

    def be_alive(self) -> None:
        """Ends the coroutine of a worker that was killed while it waited."""
        if self.crew.is_dead(WORKER.get()):
            raise Killed

    def check(self) -> None:
        """What holds at every moment."""
        lent = self.crew.lender
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        assert lent.permits_out(self.lane) <= self.cap + 1e-9, (lent.permits_out(self.lane), self.cap)
        assert len(self.in_flight) <= self.cap, self.in_flight
        assert lent.allowances_out().usd <= self.max_cost + 1e-9, lent.allowances_out()
        assert self.billed <= self.max_cost + 1e-9, self.billed

    @property
    def billed(self) -> float:
        """USD."""
        return COST * self.bills.total()

    def happen(self, name: str) -> None:
        """See the module's docstring."""
        match self.what:
            case "worker":
                self.crew.kill(name)
            case "lost" | "twice":
                self.crew.lose(name)
            case "lender":
                self.crew.lose_lender()
            case "driver":
                self.crew.kill_all()

    def cut_off(self, name: str) -> None:
        """A worker is gone: what it had in flight may have been billed, and is asked again."""
        lost = [key for key in self.in_flight if key[0] == name]
        self.may_repeat += len(lost)
        for key in lost:
            del self.in_flight[key]


class FakeCrew:
    """See `engines.crew.Crew`."""

    who = "a worker"

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.size = engine.workers
        self.lender: Lender
        self._terms: LenderTerms
        self._lost: Callable[[], Known]
        self._workers: dict[str, FakeWorker] = {}
        self._dead: set[str] = set()
        self._out_of_reach: dict[str, float] = {}

    async def open(self, terms: LenderTerms, lost: Callable[[], Known]) -> FakeLender:
        self._terms, self._lost = terms, lost
        self.lender = Lender(terms)
        return FakeLender(self)

    async def start(self, begin: Begin) -> Worker:
        fake = self._workers[begin.name] = FakeWorker(self.engine, begin.name)
        fake.seen = Worker(begin.name, fake.tell, fake.given.put_nowait)
        fake.task = asyncio.create_task(fake.live())
        return fake.seen

    async def ended(self, worker: Worker) -> Ending:
        if worker.name in self._out_of_reach:
            return Ending("out of reach", certain=False)
        with contextlib.suppress(Killed, asyncio.CancelledError):
            await self._workers[worker.name].task
        return Ending("killed")

    async def gone_for_certain(self, worker: Worker) -> None:
        fake = self._workers[worker.name]
        if self.engine.what == "lost":
            while self.engine.now < self._out_of_reach[worker.name] + FENCE_S and not fake.task.done():
                self.engine.now += STEP_S  # somebody has to, when all the others wait
                await asyncio.sleep(0)
            self.kill(worker.name)
        else:
            self.engine.cut_off(worker.name)  # it goes on: what it sends may be billed twice

    async def close(self) -> None:
        for name, worker in self._workers.items():
            if name in self._out_of_reach:
                worker.task.cancel()  # with its driver
            with contextlib.suppress(Killed, asyncio.CancelledError):
                await worker.task

    def has_died(self, name: str) -> None:
        self._dead.add(name)

    def is_dead(self, name: str) -> bool:
        return name in self._dead

    def is_out_of_reach(self, name: str) -> bool:
        return name in self._out_of_reach

    def kill(self, name: str) -> None:
        self._dead.add(name)
        self.engine.cut_off(name)
        self._workers[name].task.cancel()

    def lose(self, name: str) -> None:
        self._out_of_reach[name] = self.engine.now
        self._workers[name].seen.inbox.put_nowait(None)

    def lose_lender(self) -> None:
        self.lender = next_lender(self._terms)
        self.lender.go_on(*self._lost())

    def kill_all(self) -> None:
        for name in self._workers:
            self.engine.cut_off(name)
            self._dead.add(name)
        raise DriverKilled


class FakeLender:
    """See `engines.crew.LenderLink`."""

    def __init__(self, crew: FakeCrew) -> None:
        self._crew = crew

    async def lease(self, name: str, demand: Demand) -> Lease | None:
        return self._crew.lender.lease(name, demand, self._crew.engine.now)

    async def expect(self, workers: int) -> None:
        self._crew.lender.expect(workers)

    async def allow(self, caps: Caps) -> None:
        self._crew.lender.allow(caps)

    async def release(self, name: str, spent: Money) -> None:
        self._crew.lender.release(name, spent)

    async def give_up(self, name: str) -> None:
        self._crew.lender.give_up(name)

    async def forget(self, name: str) -> None:
        self._crew.lender.forget(name)

    async def settle(self, name: str, spent: Money) -> None:
        self._crew.lender.settle(name, spent)

    async def spent(self) -> Money:
        return self._crew.lender.spent


class _Inline(concurrent.futures.ThreadPoolExecutor):
    """Runs what is to run in a thread at once, so that a seed means one order."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is handed on to whoever waits
            done.set_exception(error)
        return done


def answers(engine: FakeEngine) -> Iterator[str]:
    """The completions of all rows, as the parts have them."""
    for result in RunView.open(engine.path).all_results():
        assert isinstance(result, Completion)
        yield result.reply.completion
