"""What a worker does from its first message to its last.

The parent tells it when to stop, and it drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from functools import partial
from typing import assert_never

from batchlab.dispatch.rate.money import NOTHING, Money
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.local import LocalEngine
from batchlab.engines.loop import first_of
from batchlab.engines.messages import (
    Asked,
    BadInput,
    Begin,
    Damaged,
    Granted,
    LaneOut,
    Left,
    Paused,
    Renew,
    Resumed,
    Said,
    Stop,
    ToWorker,
    stop_message,
)
from batchlab.engines.share import Share
from batchlab.engines.work import Work
from batchlab.engines.worker.opening import opened_work
from batchlab.engines.worker.parent import Parent
from batchlab.engines.worker.terms import LeasedTerms
from batchlab.errors import BatchlabError, UsageError
from batchlab.lending.messages import HASTE_S, PERIOD_S, Lease
from batchlab.observe.facts import EndpointAddress
from batchlab.observe.watchers import Watchers, worker_watch
from batchlab.records import Shard
from batchlab.run_end import RunStopped
from batchlab.run_state import RunState
from batchlab.store.working import WorkingRun

_HURRY_S = 0.01  # between two renewals at the least


async def work_for(parent: Parent) -> None:
    """Does its part of the run, and tells the parent how it ended."""
    begin = await parent.begin()
    stop = StopSignal()
    session: _Session | None = None
    error: Stop | BadInput | Damaged | None = None
    try:
        with opened_work(begin, stop) as work:
            session = _Session(parent, begin, work, stop)
            await session.run()
    except* BatchlabError as failed:
        error = _told(first_of(failed))
    state, spent = (None, NOTHING) if session is None else (session.state(), session.spent)
    parent.tell(Left(state, spent, error))
    await parent.told()


class _Session:
    """The worker's conversation with its parent, and the engine that it runs."""

    def __init__(self, parent: Parent, begin: Begin, work: Work[WorkingRun], stop: StopSignal) -> None:
        self._parent = parent
        self._begin = begin
        self._work = work
        self._stop = stop
        self._hurried = asyncio.Event()
        self._leases: asyncio.Queue[Lease] = asyncio.Queue()
        self._told_out: set[str] = set()
        self._terms = LeasedTerms(begin, parent.tell, self._hurried.set)
        self._share = Share(work.before, work.run)

    async def run(self) -> None:
        """Works on the shards that the parent hands out, as long as it has one."""
        watch = self._watch()
        engine = LocalEngine(self, self._terms, self._share, watch=watch)
        try:
            async with asyncio.TaskGroup() as group:
                beside = [
                    group.create_task(self._listen()),
                    group.create_task(self._renew()),
                    group.create_task(self._tell_stop()),
                ]
                await engine.first_pass(
                    self._work, self._stop, retry=self._begin.retry, shards=self._shards()
                )
                for task in beside:
                    task.cancel()
        finally:
            if watch is not None:
                await asyncio.to_thread(watch.close)

    def state(self) -> RunState:
        """How far it is."""
        return self._share.state()

    @property
    def spent(self) -> Money:
        """What it has used of the caps."""
        return self._terms.budget().spent

    def update(self, state: RunState) -> None:
        """Nothing is told at once: the next renewal says how far it is."""

    def message(self, text: str) -> None:
        """Tells the parent a line for a person, and first of the lanes that are out."""
        for lane in self._terms.lanes:
            if lane.out is not None and lane.key not in self._told_out:
                self._told_out.add(lane.key)
                self._parent.tell(LaneOut(lane.key, lane.out))
        self._parent.tell(Said(text))

    def _watch(self) -> Watchers | None:
        job, begin, loop = self._work.job, self._begin, asyncio.get_running_loop()

        def say(text: str) -> None:  # also from a thread that sends spans
            loop.call_soon_threadsafe(partial(self._parent.tell, Said(text)))

        addresses = [EndpointAddress.of(at.job, at.base_url) for at in self._work.endpoints]
        secrets = tuple(one for endpoint in self._work.endpoints for one in endpoint.secrets)
        return worker_watch(job, begin.span, addresses, secrets, say)

    def _shards(self) -> Iterator[Shard]:
        while not self._stop.is_set and (number := self._parent.next_shard()) is not None:
            yield self._work.plan.shards[number]

    async def _listen(self) -> None:
        async for message in self._parent.messages():
            self._heard(message)

    def _heard(self, message: ToWorker) -> None:
        terms, now = self._terms, time.monotonic()
        match message:
            case Granted(lease):
                self._leases.put_nowait(lease)
            case Stop(reason, text):
                self._stop(reason, text)
            case Renew():
                self._hurried.set()
            case Paused(lane, pause):
                terms.controllers[lane].pause(now, pause)
            case Resumed(lane):
                terms.controllers[lane].resume(now)
                terms.pool.wake()
            case LaneOut(lane, outcome):
                self._told_out.add(lane)
                terms.pool.lane_is_out(lane, outcome)
            case Begin():
                raise AssertionError("a worker begins once")
            case _:
                assert_never(message)

    async def _renew(self) -> None:
        borrower, run = await self._terms.borrower(), self._work.run
        while True:
            self._hurried.clear()
            asked_at = time.monotonic()
            self._parent.tell(Asked(borrower.demand(asked_at), self.state()))
            lease = await self._leases.get()
            fewer = borrower.keep_to(lease, asked_at, time.monotonic())
            run.fence.renew(asked_at)
            for lane in self._terms.lanes:
                if lease.lanes[lane.key].answered:
                    lane.health.succeeded_elsewhere()
            self._terms.pool.wake()
            haste = HASTE_S if borrower.tight else _HURRY_S
            await asyncio.sleep(haste)
            if not fewer and not borrower.tight:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD_S - haste):
                        await self._hurried.wait()

    async def _tell_stop(self) -> None:
        await self._stop.wait()
        self._parent.tell(stop_message(self._stop))


def _told(error: BaseException) -> Stop | BadInput | Damaged:
    match error:
        case RunStopped():
            return Stop(error.reason, str(error))
        case UsageError():
            return BadInput(str(error))
    return Damaged(str(error))
