"""The engine that spreads the shards of a run over several processes of this machine.

This process holds the lock, hands out shard numbers, and lends its workers one budget
(`dispatch.leases`). A worker that dies is replaced: a fresh one replays the journals of its open
shards and goes on. Correctness rests on the store alone; see `engines.messages` for what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from batchlab.dispatch.lease import (
    Demand,
    LaneLimits,
    Money,
)
from batchlab.dispatch.leases import Allocator, Pauses
from batchlab.dispatch.pool import PoolCounters
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.local import TICK_S, Endpoint, LocalEngine
from batchlab.engines.messages import Report
from batchlab.engines.observer import Counters, Observer, RowWatch
from batchlab.engines.terms import OwnTerms, controller_limits, spent_of
from batchlab.engines.worker_process import WorkerProcess, started_worker
from batchlab.errors import BatchlabError, CorruptRun, RunStopped, UsageError
from batchlab.inputs.plan import InputPlan
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources import Source
from batchlab.job import Job
from batchlab.records import Shard
from batchlab.store.asking import AskAgain
from batchlab.store.run_dir import RunDir
from batchlab.totals import Tally, Totals

MOST_DEATHS = 4  # in a row in which no row got a result: the next worker would die too
EXIT_S = 10.0  # after its sockets have closed, a worker has so long to end by itself


class ProcessesEngine:
    """Brings every shard of a plan to its sealed part, in `processes` processes.

    Args:
        spool: where the run keeps standard input.
        watch_link: what a worker needs to watch its rows, see `observe.watchers`.
        earlier: the run's totals before this invocation.
    """

    def __init__(
        self,
        *,
        job: Job,
        endpoints: Sequence[Endpoint],
        source: Source,
        plan: InputPlan,
        store: RunDir,
        builder: RequestBuilder,
        observer: Observer,
        earlier: Totals,
        processes: int,
        spool: Path,
        watch: RowWatch | None = None,
        watch_link: Mapping[str, Any] | None = None,
    ) -> None:
        self._watch, self._watch_link = watch, watch_link or {}
        self._job = job
        self._endpoints = endpoints
        self._source, self._plan, self._builder = source, plan, builder
        self._store = store
        self._observer = observer
        self._processes = processes
        self._spool = spool
        self.counters = Counters(earlier=earlier)
        self._gone = Report()  # the sum over the workers that have ended
        self._workers: list[WorkerProcess] = []
        self._to_do: deque[int] = deque()
        self._books: dict[int, Totals] = {}  # shard → its totals before its worker began
        self._again: dict[int, int] = {}  # shard → rows that are worth one more try
        self._started = 0
        self._active = processes
        self._said: set[str] = set()
        self._error: BatchlabError | None = None
        self._pauses = Pauses()
        self._retry: AskAgain | None = None
        self._stop: StopSignal
        limits = job.limits
        lanes = {}
        for endpoint in endpoints:
            own = controller_limits(endpoint.job, job, endpoint.job.concurrency or limits.concurrency)
            lanes[endpoint.job.name] = LaneLimits(own.concurrency, own.rpm, own.tpm, own.start)
        self._allocator = Allocator(
            lanes,
            expected=processes,
            caps=(limits.max_cost, limits.max_tokens_total),
            spent=spent_of(earlier),
            request_s=limits.timeout_s,
        )

    async def run(self, stop: StopSignal, *, retry: AskAgain | None = None, shards: list[Shard]) -> None:
        """Runs `shards`, then gives rows that failed by the provider's trouble one more pass.

        Returns when all are sealed or `stop` is set; raises what a worker met (input, journal).
        """
        self._stop, self._retry = stop, retry
        self._to_do = deque(shard.index for shard in shards)
        self._store.let_go()
        begun = self._store.unsealed()
        self._books = await asyncio.to_thread(
            lambda: {index: self._store.shard_books(index)[0] for index in begun & set(self._to_do)}
        )
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._tick()), group.create_task(self._pass_on_stop())]
            async with asyncio.TaskGroup() as workers:
                for index in range(self._processes):
                    workers.create_task(self._keep_working(index))
            for task in beside:
                task.cancel()
        self._report()
        if self._error is not None:
            raise self._error
        if self._again and not stop.is_set:
            await self._last_pass(stop)

    async def _last_pass(self, stop: StopSignal) -> None:
        """In this process: it sends so little at once that one is enough."""
        spent = self._allocator.spent
        engine = LocalEngine(
            job=self._job,
            endpoints=self._endpoints,
            source=self._source,
            plan=self._plan,
            store=self._store,
            builder=self._builder,
            observer=_After(self._observer, self._gone.saved),
            earlier=self.counters.earlier,
            terms=OwnTerms(self._job, spent),
            watch=self._watch,
        )
        engine.counters = self.counters
        again = [
            (self._plan.shards[index], Totals(retryable_failed=rows))
            for index, rows in sorted(self._again.items())
        ]
        await engine.last_pass(stop, again)

    async def _keep_working(self, index: int) -> None:
        """Has worker number `index` work until nothing is left to do, with as many lives as it takes."""
        deaths = 0
        while True:
            worker = await self._start(index)
            try:
                await asyncio.gather(self._hear(worker), self._hand_out(worker))
            finally:
                code = await self._reaped(worker)
            if worker.ended:
                break
            progressed = await self._mourn(worker, code)
            deaths = 0 if progressed else deaths + 1
            if deaths >= MOST_DEATHS:
                self._stop(
                    "workers",
                    f"a worker process ended {deaths} times without finishing a row, "
                    f"the last time {_cause(code)}.",
                )
            if self._stop.is_set or not self._to_do:
                break
        self._active -= 1
        self._allocator.expect(self._active)
        self._renew()

    async def _start(self, index: int) -> WorkerProcess:
        self._started += 1
        worker = await started_worker(f"{index}.{self._started}", self._store.lock_descriptor)
        self._workers.append(worker)
        worker.tell(
            "begin",
            job=self._job.to_dict(),
            run_dir=str(self._store.path),
            spool=str(self._spool),
            index=index,
            processes=self._processes,
            endpoints=[(one.base_url, one.key and one.key.reveal()) for one in self._endpoints],
            retry=None if self._retry is None else dataclasses.asdict(self._retry),
            watch=self._watch_link,
        )
        if self._stop.is_set:
            worker.tell("stop", reason=self._stop.reason, message=self._stop.message)
        return worker

    async def _hand_out(self, worker: WorkerProcess) -> None:
        with contextlib.suppress(ConnectionError):
            while await worker.work_reader.readline():
                answer = b"\n"
                if self._to_do and not self._stop.is_set:
                    index = self._to_do.popleft()
                    if index not in self._books:
                        self._books[index] = self._store.shard_books(index)[0]
                    worker.assigned.add(index)
                    worker.open.add(index)
                    answer = b"%d\n" % index
                worker.work_writer.write(answer)

    async def _hear(self, worker: WorkerProcess) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await worker.reader.readline():
                if data.endswith(b"\n"):  # else its end was cut off
                    self._heard(worker, orjson.loads(data))

    def _heard(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        match message["t"]:
            case "ask":
                self._asked(worker, message)
            case "pause" | "answered" | "out":
                self._pass_on(worker, message)
            case "stop":
                self._stop(message["reason"], message["message"])
            case "say":
                if message["text"] not in self._said:  # each of them finds it out
                    self._said.add(message["text"])
                    self._observer.message(message["text"])
            case "sealed":
                worker.open.discard(message["shard"])
                self._store.sealed_elsewhere()
                if message["retryable"]:
                    self._again[message["shard"]] = message["retryable"]
            case "end":
                worker.ended = True
                if message["report"] is not None:
                    worker.report = Report.from_json(message["report"])
                self._allocator.release(worker.name, Money(*message["spent"]))
                self._failed(message["error"])

    def _asked(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        worker.asked = True
        worker.report = Report.from_json(message["report"])
        demand = Demand.from_json(message["demand"])
        grant = self._allocator.lease(worker.name, demand, time.monotonic())
        worker.tell("grant", grant=grant)
        if grant.stop:
            self._stop("budget", grant.stop)

    def _pass_on(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        """What one has met at an endpoint, all are to know."""
        others = [other for other in self._workers if other is not worker and other.asked]
        lane = message["lane"]
        match message["t"]:
            case "pause":
                names, now = [other.name for other in others], time.monotonic()
                seconds, outage = message["seconds"], message["outage"]
                told = self._pauses.met(lane, worker.name, names, now, seconds, outage=outage)
                for one in (worker, *others):
                    if one.name in told:
                        pause = {"seconds": told[one.name], "reason": message["reason"], "outage": outage}
                        one.tell("pause", lane=lane, **pause)
            case "answered":
                self._pauses.over(lane)
                for other in others:
                    other.tell("up" if message["was_out"] else "renew", lane=lane)
            case "out":
                self.counters.out.setdefault(lane, message["outcome"]["message"])
                for other in others:
                    other.tell("out", lane=lane, outcome=message["outcome"])

    def _failed(self, error: dict[str, str] | None) -> None:
        """A worker met what ends the run."""
        if error is None:
            return
        if error["kind"] == "stop":
            self._stop(error["reason"], error["text"])
            return
        if self._error is None:
            self._error = (UsageError if error["kind"] == "usage" else CorruptRun)(error["text"])
        self._stop("input", error["text"])

    async def _reaped(self, worker: WorkerProcess) -> int:
        """How a worker ended, once it has."""
        worker.writer.close()
        worker.work_writer.close()
        try:
            code = await asyncio.to_thread(worker.process.wait, EXIT_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            code = await asyncio.to_thread(worker.process.wait)
        self._workers.remove(worker)
        self._pauses.gone(worker.name)
        if worker.ended:
            self._gone = _sum([self._gone, dataclasses.replace(worker.report, oldest=[])])
        return code

    async def _mourn(self, worker: WorkerProcess, code: int) -> bool:
        """Settles the books of a worker that died, and puts its shards back. Returns whether it got on."""
        largest = self._allocator.forget(worker.name)
        done, in_flight = await asyncio.to_thread(self._books_of, worker)
        spent = spent_of(done)
        # what was in flight may have been billed, and no journal will ever say how much
        lost = Money(largest.usd * in_flight, largest.tokens * in_flight)
        self._allocator.settle(worker.name, spent.plus(lost))
        attempts = dataclasses.replace(worker.report.attempts, sent=done.attempts)
        report = dataclasses.replace(
            worker.report, totals=done, attempts=attempts, saved=done.rows + worker.report.reopened, oldest=[]
        )
        self._gone = _sum([self._gone, report])
        sealed = self._store.sealed()
        for index in sorted(worker.open, reverse=True):
            now = self._store.shard_books(index)[0] if index in sealed else None
            if now is not None and now.attempts != self._books[index].attempts:
                if now.retryable_failed:  # it was sealed, and its worker could not say so any more
                    self._again[index] = now.retryable_failed
            else:
                self._to_do.appendleft(index)
                self._books[index] = self._store.shard_books(index)[0]
        with_requests = ""
        if in_flight:
            word = "request" if in_flight == 1 else "requests"
            with_requests = f" with {in_flight:,} {word} in flight, which may be billed twice"
        self._observer.message(f"a worker process ended {_cause(code)}{with_requests}; its rows go on")
        return done.rows > 0 or done.answered > 0  # a row that had failed was counted before

    def _books_of(self, worker: WorkerProcess) -> tuple[Totals, int]:
        """What the journals and parts say that a worker has done, and what it had in flight."""
        done, in_flight = Totals(), 0
        for index in worker.assigned:
            books, sent = self._store.shard_books(index)
            done += books - self._books[index]
            in_flight += sent
        return done, in_flight

    def _renew(self) -> None:
        """There is more to lend: nobody is to wait for its next renewal."""
        for worker in self._workers:
            if worker.asked:
                worker.tell("renew")

    async def _pass_on_stop(self) -> None:
        await self._stop.wait()
        for worker in self._workers:
            worker.tell("stop", reason=self._stop.reason, message=self._stop.message)

    async def _tick(self) -> None:
        while True:
            self._report()
            try:
                self._store.check_disk()
            except RunStopped as error:  # another machine has taken the run over at its URL
                self._stop(error.reason, str(error))
            await asyncio.sleep(TICK_S)

    def _report(self) -> None:
        counters = self.counters
        reports = [worker.report for worker in self._workers]
        total = _sum([self._gone, *reports])
        counters.totals, counters.reopened = Tally(total.totals), total.reopened
        for name in PoolCounters.__slots__:
            setattr(counters.attempts, name, getattr(total.attempts, name))
        counters.window = sum(report.window for report in reports) or counters.window
        counters.in_flight = sum(report.in_flight for report in reports)
        counters.why = next((report.why for report in reports if report.why), "")
        counters.paused = bool(reports) and all(report.paused for report in reports)
        in_tail = not self._to_do and all(report.oldest for report in reports if report.in_flight)
        oldest = [one for report in reports for one in report.oldest] if in_tail else []
        counters.oldest = sorted(oldest, key=lambda one: -one[1])
        self._observer.update(counters, total.saved)


class _After:
    """The observer of the last pass: rows that the workers saved stay saved."""

    def __init__(self, observer: Observer, saved: int) -> None:
        self._observer = observer
        self._saved = saved

    def update(self, counters: Counters, saved: int) -> None:
        """See `engines.observer.Observer`."""
        self._observer.update(counters, self._saved + saved)

    def message(self, text: str) -> None:
        """See `engines.observer.Observer`."""
        self._observer.message(text)


def _sum(reports: Sequence[Report]) -> Report:
    """What several workers have done together; how they stand now is left out."""
    totals, reopened, saved, attempts = Totals(), 0, 0, PoolCounters()
    for report in reports:
        totals += report.totals
        reopened += report.reopened
        saved += report.saved
        for name in PoolCounters.__slots__:
            setattr(attempts, name, getattr(attempts, name) + getattr(report.attempts, name))
    return Report(totals=totals, attempts=attempts, reopened=reopened, saved=saved)


def _cause(code: int) -> str:
    """How a process ended, for a person."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with code {code}"
