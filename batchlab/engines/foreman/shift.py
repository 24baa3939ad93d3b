"""The time in which workers bring the shards of a run to their parts: they are started, heard, replaced."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import assert_never

import msgspec

from batchlab.counts import counted
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.crew import Crew, Ending, Known, Worker
from batchlab.engines.foreman.accounts import Accounts, Loss
from batchlab.engines.foreman.allowance import Allowance
from batchlab.engines.foreman.relay import Relay
from batchlab.engines.foreman.roll import Roll
from batchlab.engines.foreman.shard_books import ShardBooks
from batchlab.engines.local import TICK_S
from batchlab.engines.messages import (
    Answered,
    Asked,
    BadInput,
    Begin,
    Damaged,
    FromWorker,
    Granted,
    LaneOut,
    Left,
    Paused,
    Said,
    Sealed,
    ShardWanted,
    Stop,
    stop_message,
)
from batchlab.engines.observer import Observer
from batchlab.engines.terms import spent_of
from batchlab.engines.work import Work
from batchlab.errors import BatchlabError, CorruptRun, UsageError
from batchlab.lending.messages import LenderTerms
from batchlab.records import Shard
from batchlab.run_end import RunStopped, StopReason
from batchlab.run_state import RunState
from batchlab.store.locked import LockedRun

MOST_DEATHS = 4  # in a row in which no row got a result: the next worker would die too


class Shift:
    """The workers of a crew on their shards.

    Args:
        begin: what a worker is told; its name and number are each one's own.
        budget: of the run; what is left of it is lent to the workers.
    """

    def __init__(
        self,
        work: Work[LockedRun],
        stop: StopSignal,
        crew: Crew,
        observer: Observer,
        begin: Begin,
        shards: Sequence[Shard],
        budget: Budget,
    ) -> None:
        self._work = work
        self._stop = stop
        self._crew = crew
        self._observer = observer
        self._begin = begin
        self.books = ShardBooks(work.run, shards)
        self._roll = Roll(work.run, len(work.plan.shards), work.before)
        self._relay = Relay(self._roll.workers)
        self._accounts = Accounts(spent_of(work.before.totals))
        self._allowance = Allowance(budget, self._accounts.spent)
        self._out: dict[str, str] = {}  # lanes that cannot go on, and why
        self._started = 0
        self._active = crew.size
        self._said: set[str] = set()
        self._error: BatchlabError | None = None

    async def run(self) -> None:
        """Returns when every shard is sealed or the run is to stop.

        Raises what a worker met: the input, or a damaged journal.
        """
        run = self._work.run
        run.let_go()
        await asyncio.to_thread(self.books.read_begun)
        try:
            terms = self._lender_terms()
            self._accounts.lender = await self._crew.open(terms, self._lender_lost)
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._tick()), group.create_task(self._pass_on_stop())]
                async with asyncio.TaskGroup() as workers:
                    for index in range(self._crew.size):
                        workers.create_task(self._keep_working(index))
                for task in beside:
                    task.cancel()
            spent = await self._accounts.lender.spent()
            self._accounts.spent = spent
            if run.is_away:
                try:
                    await asyncio.to_thread(run.gather)
                except RunStopped as error:  # the first reason counts: a worker's says where its journal is
                    self._stop(error.reason, str(error))
        finally:
            self._allowance.end(self._accounts.spent)
            self._roll.close()
            await self._crew.close()
        self._observer.update(self.state())
        if self._error is not None:
            raise self._error

    def state(self) -> RunState:
        """How far the run is."""
        limits = {lane.endpoint.job.name: lane.limits for lane in self._work.lanes}
        concurrency = sum(one.concurrency for one in limits.values())
        return self._roll.state(self._out, waiting=self.books.waiting, concurrency=concurrency)

    def _lender_terms(self) -> LenderTerms:
        work = self._work
        return LenderTerms(
            {lane.key: lane.limits.part(2 if lane.shares else 1) for lane in work.lanes},
            expected=self._crew.size,
            caps=self._allowance.caps,
            spent=self._accounts.spent,
            request_s=max(lane.patience.timeout_s for lane in work.lanes),
        )

    def _lender_lost(self) -> Known:
        """What the next lender must know after one was lost: who may hold something, and what is spent."""
        self._observer.message("the budget's keeper was lost; a new one asks every worker what it has")
        working = [worker.name for worker in self._roll.workers if not worker.ended]
        return self._accounts.may_hold(working), self._accounts.spent, self._allowance.caps

    async def _keep_working(self, index: int) -> None:
        """Has worker number `index` work until nothing is left to do, with as many lives as it takes."""
        deaths = 0
        while True:
            try:
                worker = await self._start(index)
            except RunStopped as error:  # there is nowhere left to start it
                self._stop(error.reason, str(error))
                break
            try:
                async for message in worker.messages():
                    await self._heard(worker, message)
            finally:
                ending = await self._ending_of(worker)
            if worker.ended:
                break
            try:
                progressed = await self._mourn(worker, ending)
            except RunStopped as error:  # its journals are out of reach
                self._stop(error.reason, str(error))
                break
            deaths = 0 if progressed else deaths + 1
            if deaths >= MOST_DEATHS:
                self._stop(
                    StopReason.WORKERS,
                    f"{self._crew.who} ended {counted(deaths, 'time')} without finishing a row, "
                    f"the last time {ending.cause}.",
                )
            if self._stop.is_set or not self.books.waiting:
                break
        self._active -= 1
        await self._accounts.lender.expect(self._active)
        self._relay.renew()

    async def _start(self, index: int) -> Worker:
        self._started += 1
        name = f"{index}.{self._started}"
        worker = await self._crew.start(msgspec.structs.replace(self._begin, name=name, index=index))
        self._roll.workers.append(worker)
        if self._stop.is_set:
            worker.tell(stop_message(self._stop))
        return worker

    async def _heard(self, worker: Worker, message: FromWorker) -> None:
        worker.heard_at = time.monotonic()
        match message:
            case Asked():
                await self._asked(worker, message)
            case ShardWanted():
                worker.give(None if self._stop.is_set else self.books.next_for(worker))
            case Sealed():
                self.books.sealed(worker, message)
            case Paused():
                self._relay.paused(worker, message, worker.heard_at)
            case Answered():
                self._relay.answered(worker, message)
            case LaneOut(lane, outcome):
                self._out.setdefault(lane, outcome.message)
                self._relay.out(worker, message)
            case Stop(reason, text):
                self._stop(reason, text)
            case Said(text):
                if text not in self._said:  # each of them finds it out
                    self._said.add(text)
                    self._observer.message(text)
            case Left(state, spent, error):
                worker.ended = True
                if state is not None:
                    worker.state = state
                await self._accounts.release(worker, spent)
                self._failed(error)
            case _:
                assert_never(message)

    async def _asked(self, worker: Worker, asked: Asked) -> None:
        worker.asked = True
        worker.state, worker.demand = asked.state, asked.demand
        worker.lease = asked.lease
        if asked.lease is None:  # else the lender has answered already
            worker.lease = await self._accounts.lender.lease(worker.name, asked.demand)
            if worker.lease is not None:
                worker.tell(Granted(worker.lease))
        if worker.lease is not None and worker.lease.stop:
            if self._allowance.grows():
                await self._accounts.lender.allow(self._allowance.caps)
            elif not self._allowance.may_grow:
                self._stop(StopReason.BUDGET, worker.lease.stop)

    def _failed(self, error: Stop | BadInput | Damaged | None) -> None:
        """A worker met what ends the run."""
        match error:
            case None:
                return
            case Stop(reason, text):
                if self._stop.is_set and text != self._stop.message:
                    self._observer.message(text)
                self._stop(reason, text)
            case BadInput(text):
                self._error = self._error or UsageError(text)
                self._stop(StopReason.INPUT, text)
            case Damaged(text):
                self._error = self._error or CorruptRun(text)
                self._stop(StopReason.INPUT, text)
            case _:
                assert_never(error)

    async def _ending_of(self, worker: Worker) -> Ending:
        """How a worker ended, once it has."""
        ending = await self._crew.ended(worker)
        self._relay.gone(worker)
        self._roll.left(worker, worker.state if worker.ended else None)
        return ending

    async def _mourn(self, worker: Worker, ending: Ending) -> bool:
        """Settles the books of a worker that died, and puts its shards back. Returns whether it got on."""
        self._accounts.died(worker)
        lender, who = self._accounts.lender, self._crew.who
        if not ending.certain:
            await lender.give_up(worker.name)
            self._observer.message(
                f"{who} is out of reach {ending.cause}; its rows wait until it can write no more"
            )
            await self._crew.gone_for_certain(worker)
        await lender.forget(worker.name)
        done, in_flight = await asyncio.to_thread(self.books.done_by, worker)
        loss = Loss.of(worker, done, in_flight, is_away=self._work.run.is_away)
        await self._accounts.settle(worker, loss.spent)
        told = worker.state
        attempts = dataclasses.replace(told.attempts, sent=done.attempts)
        synced = done.rows + told.reopened
        self._roll.left(worker, dataclasses.replace(told, added=done, attempts=attempts, synced=synced))
        self.books.take_back(worker)
        cost = loss.told(self._work.job.limits.journal_flush_s)
        self._observer.message(f"{who} ended {ending.cause}{cost}; its rows go on")
        return done.rows > 0 or done.answered > 0  # a row that had failed was counted before

    async def _pass_on_stop(self) -> None:
        await self._stop.wait()
        self._relay.stop(self._stop)

    async def _tick(self) -> None:
        while True:
            self._observer.update(self.state())
            self._roll.write(self.books.waiting)
            try:
                self._work.run.check_disk()
            except RunStopped as error:  # another machine has taken the run over at its URL
                self._stop(error.reason, str(error))
            await asyncio.sleep(TICK_S)
