"""One of several processes of a run; started by `engines.processes` by way of `engines.start`.

The parent tells it when to stop, and it drains. When the parent is gone it exits at once, as if it
had been killed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import orjson

from batchlab.costs.pricing import price_book
from batchlab.dispatch.lanes import Lanes
from batchlab.dispatch.pool import Pool
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.controller import START_WINDOW, RateController
from batchlab.dispatch.stop import StopSignal
from batchlab.dispatch.trouble.health import RunHealth
from batchlab.engines.local import Endpoint, LocalEngine
from batchlab.engines.loop import first_of, run_loop
from batchlab.engines.messages import MAX_LINE, Report, line
from batchlab.engines.observer import Counters
from batchlab.engines.terms import controller_limits
from batchlab.errors import EXIT_STOPPED, BatchlabError, InputError, RunStopped, UsageError
from batchlab.inputs.plan import InputPlan
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import Source, open_source
from batchlab.job import SELF_STARTED, EndpointJob, Job
from batchlab.job.key import Secret
from batchlab.lending.borrower import Borrower, LeasedBudget, LeasedController, Pause
from batchlab.lending.messages import (
    HASTE_S,
    PERIOD_S,
    Grant,
)
from batchlab.observe.facts import Place
from batchlab.observe.watchers import Watchers, worker_watch
from batchlab.records import Outcome, OutcomeClass, Shard
from batchlab.remote.depot import Depot, manifest_at
from batchlab.remote.segments import Segments, own_directory
from batchlab.store.asking import AskAgain
from batchlab.store.disk.fence import Fence, hold
from batchlab.store.run_dir import RunDir
from batchlab.totals import Totals

_HURRY_S = 0.01  # between two renewals at the least

Tell = Callable[..., None]


class LeasedTerms:
    """Those of one of `processes`, number `index` of them; see `engines.terms.Terms`.

    Args:
        answered: whether rows were, by an earlier invocation.
    """

    def __init__(
        self,
        job: Job,
        index: int,
        processes: int,
        tell: Tell,
        hurry: Callable[[], None],
        *,
        answered: bool = False,
    ) -> None:
        self._job = job
        self._answered_before = answered
        self._index, self._processes = index, processes
        self._tell = tell
        self._hurry = hurry
        limits = job.limits
        capped = limits.max_cost is not None, limits.max_tokens_total is not None
        self._budget = LeasedBudget(capped, on_short=hurry)
        self._begun = asyncio.Event()
        self.controllers: dict[str, tuple[LeasedController, int]] = {}
        self.lanes: Lanes
        self.pool: Pool

    def budget(self) -> Budget:
        """See `Terms`."""
        return self._budget

    def controller(self, endpoint: EndpointJob, concurrency: int) -> RateController:
        """See `Terms`."""
        limits = controller_limits(endpoint, self._job, concurrency)
        if limits.start < concurrency:
            part = START_WINDOW // self._processes + (self._index < START_WINDOW % self._processes)
            limits = dataclasses.replace(limits, start=max(1, part))
        controller = LeasedController(
            limits,
            now=time.monotonic(),
            rng=random.Random(),
            on_pause=partial(self._paused, endpoint.name),
            on_answer=partial(self._answered, endpoint.name),
        )
        self.controllers[endpoint.name] = controller, concurrency
        return controller

    def health(self) -> RunHealth:
        """See `Terms`."""
        return RunHealth(processes=self._processes, answered=self._answered_before)

    def begins(self, lanes: Lanes, pool: Pool) -> None:
        """See `Terms`."""
        self.lanes, self.pool = lanes, pool
        self._begun.set()

    def sealed(self, shard: Shard, totals: Totals) -> None:
        """See `Terms`."""
        rows = range(shard.first_row, shard.first_row + shard.rows)
        odd = sorted(row for row in self.pool.odd if row in rows) if totals.retryable_failed else []
        self._tell("sealed", shard=shard.index, retryable=totals.retryable_failed, odd=odd)

    async def borrower(self) -> Borrower:
        """What asks for a lease, once there is something to lend it to."""
        await self._begun.wait()
        return Borrower(self.controllers, self._budget, rows=lambda: self.pool.rows_to_send)

    def _paused(self, lane: str, pause: Pause) -> None:
        self._tell("pause", lane=lane, **dataclasses.asdict(pause))

    def _answered(self, lane: str, was_out: bool) -> None:
        self._tell("answered", lane=lane, was_out=was_out)
        self._hurry()


class _Worker:
    """The worker's conversation with its parent, and the engine that it runs."""

    def __init__(self, control: socket.socket, work: socket.socket) -> None:
        self._control = control
        self._work = work
        self._answers = work.makefile("rb")
        self._stop = StopSignal()
        self._hurried = asyncio.Event()
        self._grants: asyncio.Queue[Grant] = asyncio.Queue()
        self._told_out: set[str] = set()
        self._writer: asyncio.StreamWriter
        self._terms: LeasedTerms
        self._engine: LocalEngine
        self._store: RunDir

    async def run(self) -> None:
        """Does its part of the run, and tells how it ended."""
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=MAX_LINE)
        begin = orjson.loads(await reader.readline() or _leave())
        error: dict[str, str] | None = None
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen(reader))
            try:
                await self._shards_of(begin)
            except* BatchlabError as failed:
                error = _plain(first_of(failed))
            listening.cancel()
        if hasattr(self, "_engine"):
            budget = self._terms.budget()
            self._tell(
                "end", report=self._report(), spent=(budget.spent_usd, budget.spent_tokens), error=error
            )
        else:
            self._tell("end", report=None, spent=(0.0, 0.0), error=error)
        await self._writer.drain()

    async def _shards_of(self, begin: dict[str, Any]) -> None:
        job = Job.from_dict(begin["job"])
        self._store = self._opened(job, begin)
        plan = InputPlan.from_json(self._store.manifest["plan"])
        source = _source(job, plan, self._store, begin["spool"])
        watch = self._watch(job, begin)
        self._terms = LeasedTerms(
            job,
            begin["index"],
            begin["processes"],
            self._tell,
            self._hurried.set,
            answered=begin["answered"],
        )
        self._engine = LocalEngine(
            job=job,
            endpoints=[
                Endpoint(
                    one,
                    url,
                    None if key is None else Secret(key),
                    price_book(job, one),
                )
                for one, (url, key) in zip(job.endpoint, begin["endpoints"], strict=True)
            ],
            source=source,
            plan=plan,
            store=self._store,
            builder=RequestBuilder(job, plan.columns),
            observer=self,
            earlier=Totals(),
            terms=self._terms,
            watch=watch,
        )
        retry = None if begin["retry"] is None else AskAgain(tuple(begin["retry"]["only"]))
        with contextlib.closing(source), contextlib.closing(self._store):
            try:
                async with asyncio.TaskGroup() as group:
                    beside = [group.create_task(self._renew()), group.create_task(self._tell_stop())]
                    await self._engine.first_pass(self._stop, self._shards(plan), retry=retry)
                    for task in beside:
                        task.cancel()
            finally:
                if watch is not None:
                    await asyncio.to_thread(watch.close)

    def _opened(self, job: Job, begin: dict[str, Any]) -> RunDir:
        """The run's directory; one of its own where the run's is at a URL."""
        if begin["hold"] is None:
            return RunDir.open(Path(begin["run_dir"]))
        fence = Fence(begin["fence_s"], _leave)
        fence.watch()
        if begin.get("url") is None:
            store = RunDir.open(Path(begin["run_dir"]))
            hold(store.path, begin["hold"])
        else:
            store = RunDir(own_directory(Path(begin["home"])), _manifest(begin["url"]))
            loop = asyncio.get_running_loop()

            def trouble(text: str) -> None:  # from the thread that writes to the store
                loop.call_soon_threadsafe(self._stop, "storage", text)

            store.away = Segments(
                store.path,
                Depot(store.path, begin["url"]),
                begin["hold"],
                flush_s=job.limits.journal_flush_s,
                check=fence.check,
                trouble=trouble,
            )
        store.fence = fence
        return store

    def _watch(self, job: Job, begin: dict[str, Any]) -> Watchers | None:
        loop = asyncio.get_running_loop()

        def say(text: str) -> None:  # also from a thread that sends spans
            loop.call_soon_threadsafe(partial(self._tell, "say", text=text))

        places = [Place.of(one, url) for one, (url, _) in zip(job.endpoint, begin["endpoints"], strict=True)]
        secrets = tuple(
            key
            for one, (_, key) in zip(job.endpoint, begin["endpoints"], strict=True)
            if key and one.host not in SELF_STARTED
        )
        return worker_watch(job, begin["watch"], places, secrets, say)

    def update(self, counters: Counters, saved: int) -> None:
        """See `engines.observer.Observer`: reported with the next renewal."""

    def message(self, text: str) -> None:
        """See `engines.observer.Observer`."""
        for lane in self._terms.lanes:
            if lane.out is not None and lane.name not in self._told_out:
                self._told_out.add(lane.name)
                self._tell("out", lane=lane.name, outcome=dataclasses.asdict(lane.out))
        self._tell("say", text=text)

    def _tell(self, kind: str, **values: Any) -> None:
        self._writer.write(line(kind, **values))

    def _shards(self, plan: InputPlan) -> Iterator[Shard]:
        """The shards the parent hands out, as long as it has one.

        Asking blocks this process for the parent's answer, once a shard: a shard asked for ahead
        would lie here while another worker has nothing to do.
        """
        while not self._stop.is_set:
            try:
                self._work.sendall(b"\n")
                answer = self._answers.readline()
            except OSError:
                answer = b""
            if not answer:
                _leave()
            if not answer.strip():
                return
            yield plan.shards[int(answer)]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.readline():
            message = orjson.loads(data)
            now = time.monotonic()
            match message["t"]:
                case "grant":
                    self._grants.put_nowait(Grant.from_json(message["grant"]))
                case "stop":
                    self._stop(message["reason"], message["message"])
                case "renew":
                    self._hurried.set()
                case "pause":
                    pause = Pause(message["seconds"], message["reason"], message["outage"])
                    self._terms.controllers[message["lane"]][0].pause(now, pause)
                case "up":
                    self._terms.controllers[message["lane"]][0].resume(now)
                    self._terms.pool.wake()
                case "out":
                    outcome = message["outcome"]
                    self._told_out.add(message["lane"])
                    self._terms.pool.lane_is_out(
                        message["lane"], Outcome(**{**outcome, "kind": OutcomeClass(outcome["kind"])})
                    )
        _leave()

    async def _renew(self) -> None:
        borrower = await self._terms.borrower()
        while True:
            self._hurried.clear()
            asked_at = time.monotonic()
            self._tell("ask", demand=borrower.demand(asked_at).to_json(), report=self._report())
            grant = await self._grants.get()
            fewer = borrower.keep_to(grant, asked_at, time.monotonic())
            if self._store.fence is not None:
                self._store.fence.renew(asked_at)
            for lane in self._terms.lanes:
                if grant.lanes[lane.name].answered:
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
        self._tell("stop", reason=self._stop.reason, message=self._stop.message)

    def _report(self) -> Report:
        counters = self._engine.counters
        return Report(
            totals=counters.totals.totals(),
            attempts=counters.attempts,
            reopened=counters.reopened,
            saved=self._store.synced_results,
            window=counters.window,
            in_flight=counters.in_flight,
            why=counters.why,
            paused=counters.paused,
            oldest=counters.oldest,
        )


def _source(job: Job, plan: InputPlan, store: RunDir, spool: str) -> Source:
    """The input, which must be what it was when the run began: this worker may be a later one.

    Raises:
        UsageError: it is not, or the prompt file is not.
    """
    if job.request.prompt_file is not None and job.request_settings() != store.manifest["settings"]:
        raise UsageError(f"{job.request.prompt_file}: changed while the run was going on. Run it again.")
    own = job.input
    source = open_source(
        own.path, delimiter=own.delimiter, quotes=own.quotes, encoding=own.encoding, spool=Path(spool)
    )
    if not source.unchanged(plan, racy_ok=True):
        raise InputError(job.input.path, "changed while the run was going on", "Run it again.")
    return source


def problem_with(begin: Mapping[str, Any]) -> str:
    """What keeps a worker of this machine from a run, in a line; "" when nothing does."""
    try:
        job = Job.from_dict(begin["job"])
        url, path = begin.get("url"), Path(begin["run_dir"])
        store = RunDir.open(path) if url is None else RunDir(path, _manifest(url))
        with contextlib.closing(
            _source(job, InputPlan.from_json(store.manifest["plan"]), store, begin["spool"])
        ):
            return ""
    except BatchlabError as error:
        return str(error)


def _manifest(url: str) -> dict[str, Any]:
    manifest = manifest_at(url)
    if manifest is None:
        raise UsageError(f"{url}: not a run directory (no run.json).")
    return manifest


def _plain(error: BaseException) -> dict[str, str]:
    if isinstance(error, RunStopped):
        return {"kind": "stop", "reason": error.reason, "text": str(error)}
    return {"kind": "usage" if isinstance(error, UsageError) else "corrupt", "text": str(error)}


def _leave() -> NoReturn:
    """The parent is gone. Nothing more is sent, and what was written is written."""
    os._exit(EXIT_STOPPED)


def work_for(control: socket.socket, work: socket.socket) -> None:
    """Works for the parent at the other end of two sockets, until there is nothing left to do."""

    async def run() -> None:
        await _Worker(control, work).run()

    run_loop(run)
