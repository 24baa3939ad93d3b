"""The engine that runs the shards in this process.

One pool feeds from the next shard while the last one drains: a pool per shard would lose
10-13 % of the rate. A shard is sealed in a thread as soon as its last row has a result.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from batchlab.costs.pricing import PriceBook
from batchlab.credentials import Secret
from batchlab.dispatch.correction import Correction
from batchlab.dispatch.gate import Gate
from batchlab.dispatch.grouping import Groups
from batchlab.dispatch.lanes import Lane, Lanes
from batchlab.dispatch.pool import WORKERS_PER_SLOT, Pool, PoolCounters
from batchlab.dispatch.stop import StopSignal
from batchlab.dispatch.transport import HttpTransport
from batchlab.engines.terms import OwnTerms, Terms, spent_of
from batchlab.errors import RunStopped, UsageError
from batchlab.inputs.plan import InputPlan
from batchlab.inputs.requests import RequestBuilder, RowProblem
from batchlab.inputs.sources import Source
from batchlab.job import EndpointJob, Job, RequestJob
from batchlab.records import ChatRequest, Failure, Result, Shard, Tally, Totals, Usage
from batchlab.store.asking import AskAgain
from batchlab.store.open_shard import OpenShard, RetryRule
from batchlab.store.run_dir import RunDir

LAST_PASS_CONCURRENCY = 4  # the provider had trouble with these rows: ask gently
TICK_S = 0.2


@dataclass(slots=True)
class Counters:
    """What this invocation has done so far; written by the engine's event loop alone.

    `earlier` are the run's totals before this invocation, and `totals` what it has added to them;
    `reopened` rows had failed and are asked again. `oldest` is that of the pool. `out` says of each
    endpoint that is not used any more why.
    """

    earlier: Totals = field(default_factory=Totals)
    totals: Tally = field(default_factory=Tally)
    attempts: PoolCounters = field(default_factory=PoolCounters)
    reopened: int = 0
    window: int = 0
    in_flight: int = 0
    why: str = ""
    paused: bool = False
    oldest: list[tuple[str, float]] = field(default_factory=list)
    out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go now: a job's endpoint with the address it really has, its key and prices.

    Attributes:
        note: tells a person what was started for it, if anything.
    """

    job: EndpointJob
    base_url: str
    key: Secret | None
    prices: PriceBook
    note: str = ""


class Observer(Protocol):
    """Told about the run a few times a second."""

    def update(self, counters: Counters, saved: int) -> None:
        """`saved` rows have a final result that is synced to disk."""
        ...

    def message(self, text: str) -> None:
        """One line for a person."""
        ...


class Taker(Protocol):
    """Who takes the results one by one, as they arrive."""

    def take(self, result: Result) -> None:
        """A row's last word, once it is in the journal. Called from the engine's event loop."""
        ...

    def take_in_turn(self, result: Result) -> bool:
        """Waits until there is room for the result. Called from a thread without an event loop."""
        ...

    def gate(self) -> Gate:
        """Holds rows back while the taker is behind. Called from the engine's event loop."""
        ...


class RowWatch(Protocol):
    """Told about single rows, after their records are written. May not raise."""

    def begun(self, request: ChatRequest) -> None:
        """The row is about to be sent."""
        ...

    def sent(self, row_id: int) -> None:
        """A request for the row leaves now."""
        ...

    def result(self, result: Result) -> None:
        """The row's final result."""
        ...


class ShardFeed:
    """The requests of all shards, in input order, and the way back from a result to its shard.

    Iterating opens shards one after another; `emit` and the attempt records go to the journal
    of the row's own shard.
    """

    def __init__(
        self,
        *,
        source: Source,
        plan: InputPlan,
        store: RunDir,
        builder: RequestBuilder,
        counters: Counters,
        retry: RetryRule | None,
        only: frozenset[int] | None,
        stop: StopSignal,
        on_complete: Callable[[OpenShard], None],
        hand_out: Callable[[Result], None] | None = None,
        held: bytearray | None = None,
        watch: RowWatch | None = None,
    ) -> None:
        self._hand_out = hand_out
        self._held = held
        self._held_rows: dict[int, int] = {}  # of open shards: rows that this pass leaves pending
        self._watch = watch
        self._written: list[Result] = []
        self._source = source
        self._plan = plan
        self._store = store
        self._builder = builder
        self._counters = counters
        self._retry = retry
        self._only = only
        self._stop = stop
        self._on_complete = on_complete
        self._to_flush: set[OpenShard] = set()
        self._open: dict[int, OpenShard] = {}
        self._shard_rows = plan.shards[0].rows if plan.shards else 1

    def requests(self, shards: Iterator[Shard]) -> Iterator[ChatRequest]:
        """Requests of the rows that have no final result yet."""
        for shard in shards:
            opened = self._store.open_shard(shard, retry=self._retry)
            self._open[shard.index] = opened
            self._counters.reopened += opened.reopened
            if opened.complete:
                self._finish(opened)
                continue
            if self._held is not None and self._left_for_later(opened):
                continue
            for row in self._source.rows(shard, self._plan):
                if opened.done(row.row_id) or (self._only is not None and row.row_id not in self._only):
                    continue
                if self._held is not None and self._held[row.row_id]:
                    continue
                try:
                    if row.problem is not None:
                        raise RowProblem(row.problem)
                    request = self._builder.build(row)
                except RowProblem as problem:
                    self.emit(_bad_input(row.row_id, problem))
                    continue
                if self._watch is not None:
                    self._watch.begun(request)
                yield request

    def sent(self, row_id: int, attempt: int) -> None:
        """See `dispatch.pool.Recorder`."""
        shard = self._shard_of(row_id)
        if self._to_flush and self._to_flush != {shard}:
            # results of the shard before: the requests that their slots send now are on top of them,
            # and a crash may make us pay again for one of both only
            self._flush()
        shard.append_sent(row_id, attempt)
        self._store.check_disk()
        if self._watch is not None:
            self._watch.sent(row_id)

    def back(self, row_id: int, usage: Usage | None, usd: float | None) -> None:
        """See `dispatch.pool.Recorder`."""
        self._shard_of(row_id).append_back(row_id, usage, usd)

    def sent_together(self, row_ids: Sequence[int], attempt: int) -> None:
        """See `dispatch.grouping.GroupRecorder`."""
        shard = self._shard_of(row_ids[0])
        if self._to_flush and self._to_flush != {shard}:
            self._flush()  # as in `sent`
        shard.append_sent_together(row_ids, attempt)
        self._store.check_disk()
        if self._watch is not None:
            for row_id in row_ids:
                self._watch.sent(row_id)

    def back_together(
        self, row_ids: Sequence[int], usages: Sequence[Usage] | None, usds: Sequence[float | None]
    ) -> None:
        """See `dispatch.grouping.GroupRecorder`."""
        self._shard_of(row_ids[0]).append_back_together(row_ids, usages, usds)

    def grouped(self, request: RequestJob) -> Groups:
        """This feed with several rows in a request."""
        return Groups(self, rows=request.batch_rows, tokens=request.batch_tokens, shard_rows=self._shard_rows)

    def emit(self, result: Result) -> None:
        """See `dispatch.pool.Recorder`."""
        shard = self._shard_of(result.row_id)
        final = shard.append(result, self._counters.totals)
        if self._hand_out is not None:
            self._written.append(final)
        if self._watch is not None:
            self._watch.result(result)
        if not self._to_flush:
            asyncio.get_running_loop().call_soon(self._flush)
        self._to_flush.add(shard)
        if shard.complete:
            self._finish(shard)
        elif self._held is not None and shard.pending == self._held_rows.get(shard.shard.index):
            self._put_away(shard)
        self._store.check_disk()

    def _flush(self) -> None:
        """Writes the results of this turn of the event loop that no request's record took along."""
        shards, self._to_flush = self._to_flush, set()
        for shard in shards:
            try:
                shard.flush()
            except RunStopped as error:
                self._stop(error.reason, str(error))
                return  # what is not on disk will be asked again: it is handed out then
        self._hand_written_out()

    def _hand_written_out(self) -> None:
        """Results go to their taker only when they are in the journal."""
        if self._hand_out is not None:
            written, self._written = self._written, []
            for result in written:
                self._hand_out(result)

    def close(self) -> None:
        """Closes the journals of shards that are not complete."""
        for shard in self._open.values():
            shard.close()
        self._open.clear()
        self._hand_written_out()

    def _shard_of(self, row_id: int) -> OpenShard:
        return self._open[row_id // self._shard_rows]

    def _left_for_later(self, opened: OpenShard) -> bool:
        """Counts the shard's rows that are held; closes it if no others are pending."""
        assert self._held is not None
        first, rows = opened.shard.first_row, opened.shard.rows
        held = sum(1 for row in range(first, first + rows) if self._held[row] and not opened.done(row))
        self._held_rows[opened.shard.index] = held
        if opened.pending == held:
            self._put_away(opened)
            return True
        return False

    def _put_away(self, shard: OpenShard) -> None:
        """Closes a shard that waits for copies: each open one has a descriptor and 20 bytes a row."""
        self._to_flush.discard(shard)
        shard.close()
        self._open.pop(shard.shard.index, None)

    def _finish(self, shard: OpenShard) -> None:
        self._to_flush.discard(shard)
        shard.flush()
        del self._open[shard.shard.index]
        self._on_complete(shard)


def _bad_input(row_id: int, problem: RowProblem) -> Failure:
    return Failure(
        row_id=row_id,
        custom_id=str(row_id),
        error_class="bad_input",
        error_message=str(problem),
    )


class LocalEngine:
    """Brings every shard of a plan to its sealed part, in this process."""

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
        only: frozenset[int] | None = None,
        taker: Taker | None = None,
        terms: Terms | None = None,
        watch: RowWatch | None = None,
    ) -> None:
        self._only = only
        self._taker = taker
        self._watch = watch
        self._terms = terms or OwnTerms(job, spent_of(earlier))
        self._job = job
        self._endpoints = endpoints
        self._source = source
        self._plan = plan
        self._store = store
        self._builder = builder
        self._observer = observer
        self.counters = Counters(earlier=earlier)
        self._sealing = asyncio.Semaphore(1)
        self.held: bytearray | None = None  # a byte a row of the input: 1 is not sent in the next pass
        self._together = job.request.task == "embeddings" and not builder.batch

    async def run(self, stop: StopSignal, *, retry: RetryRule | None = None, shards: list[Shard]) -> None:
        """Runs `shards`, then gives rows that failed by the provider's trouble one more pass.

        Returns when all are sealed or `stop` is set; raises what the store raises (disk).
        """
        again = await self.first_pass(stop, shards, retry=retry)
        if again and not stop.is_set:
            await self.last_pass(stop, again)

    async def first_pass(
        self, stop: StopSignal, shards: Iterable[Shard], *, retry: RetryRule | None = None
    ) -> list[tuple[Shard, Totals]]:
        """Brings `shards` to their parts. Returns those with rows that are worth one more try."""
        return await self._pass(stop, shards, None, retry)

    async def last_pass(self, stop: StopSignal, again: Sequence[tuple[Shard, Totals]]) -> None:
        """Asks once more for the rows that failed by the provider's trouble."""
        rows = sum(totals.retryable_failed for _, totals in again)
        self._observer.message(f"one more try for {rows} rows that failed by the provider's trouble")
        await self._pass(stop, [shard for shard, _ in again], LAST_PASS_CONCURRENCY, AskAgain(retryable=True))

    async def _pass(
        self, stop: StopSignal, shards: Iterable[Shard], most: int | None, retry: RetryRule | None
    ) -> list[tuple[Shard, Totals]]:
        """One pass over `shards`, with at most `most` requests in flight at each endpoint.

        Returns the shards with rows worth another try.
        """
        limits = self._job.limits
        again: list[tuple[Shard, Totals]] = []
        seals: set[asyncio.Task[None]] = set()

        async def seal(shard: OpenShard) -> None:
            try:
                async with self._sealing:
                    table = await asyncio.to_thread(self._source.table, shard.shard, self._plan)
                    totals = await asyncio.to_thread(shard.seal, table)
            except (RunStopped, UsageError) as error:
                # the disk, or the input cannot be read: the journal has it all, the next run seals it
                stop(error.reason if isinstance(error, RunStopped) else "input", str(error))
                with contextlib.suppress(RunStopped):
                    shard.close()
                return
            self._terms.sealed(shard.shard, totals)
            if totals.retryable_failed:
                again.append((shard.shard, totals))

        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            lanes = Lanes(
                [
                    self._lane(
                        endpoint, await stack.enter_async_context(transport_to(endpoint, self._job)), most
                    )
                    for endpoint in self._endpoints
                ]
            )

            def complete(shard: OpenShard) -> None:
                seals.add(task := group.create_task(seal(shard)))
                task.add_done_callback(seals.discard)

            feed = ShardFeed(
                source=self._source,
                plan=self._plan,
                store=self._store,
                builder=self._builder,
                counters=self.counters,
                retry=retry,
                only=self._only,
                stop=stop,
                on_complete=complete,
                hand_out=self._hand_out(last=most is not None),
                held=self.held,
                watch=self._watch,
            )
            requests = feed.requests(iter(shards))
            together = feed.grouped(self._job.request) if self._together else None
            pool = Pool(
                lanes=lanes,
                budget=self._terms.budget(),
                recorder=together or feed,
                limits=limits,
                stop=stop,
                counters=self.counters.attempts,
                say=self._observer.message,
                gate=self._taker.gate() if self._taker is not None else None,
                correction=self._correction(stop),
            )
            self._terms.begins(lanes, pool)
            ticker = group.create_task(self._tick(lanes, pool))
            slots = sum(self._concurrency(endpoint, most) for endpoint in self._endpoints)
            try:
                await pool.run(together.of(requests) if together else requests, slots * WORKERS_PER_SLOT)
            finally:
                if seals:
                    await asyncio.wait(seals)
                feed.close()
                ticker.cancel()
                self._report(lanes, pool)
        return again

    def _hand_out(self, *, last: bool) -> Callable[[Result], None] | None:
        """Where results go. A failure that the last pass asks again is no last word before it."""
        taker = self._taker
        if taker is None:
            return None

        def hand_out(result: Result) -> None:
            if last or not (isinstance(result, Failure) and result.retryable):
                taker.take(result)

        return hand_out

    def _correction(self, stop: StopSignal) -> Correction | None:
        schema = self._builder.schema
        return None if schema is None else Correction(schema, self._job.request.schema_retries, stop)

    def _lane(self, endpoint: Endpoint, transport: HttpTransport, most: int | None) -> Lane:
        own = endpoint.job
        controller = self._terms.controller(own, self._concurrency(endpoint, most))
        if most is not None:  # it goes on where another controller has just used the minute's rate
            controller.empty(time.monotonic())
        return Lane(
            name=own.name,
            transport=transport,
            controller=controller,
            prices=endpoint.prices,
            weight=own.weight,
            health=self._terms.health(),
        )

    def _concurrency(self, endpoint: Endpoint, most: int | None) -> int:
        allowed = endpoint.job.concurrency or self._job.limits.concurrency
        return allowed if most is None else min(most, allowed)

    async def _tick(self, lanes: Lanes, pool: Pool) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                self._report(lanes, pool)
                await asyncio.sleep(TICK_S)

    def _report(self, lanes: Lanes, pool: Pool) -> None:
        counters, now = self.counters, time.monotonic()
        used = [lane for lane in lanes if lane.out is None]
        counters.window = sum(lane.controller.window for lane in used)
        counters.in_flight = sum(lane.controller.in_flight for lane in lanes)
        counters.paused = bool(used) and all(lane.controller.gate_until > now for lane in used)
        counters.oldest = pool.oldest(now)
        counters.out = {lane.name: lane.out.message for lane in lanes if lane.out is not None}
        whys = {lane.name: lane.controller.why(now) for lane in used}
        if len(self._endpoints) == 1:
            counters.why = "".join(whys.values())
        else:
            counters.why = ", ".join(f"{name} {why}" for name, why in whys.items() if why)
        self._observer.update(counters, self._store.synced_results)


def transport_to(endpoint: Endpoint, job: Job, *, stream: bool | None = None) -> HttpTransport:
    """The connection to an endpoint as the job wants it; `stream` wins over the job's own."""
    own, asked = endpoint.job, job.request.model
    return HttpTransport(
        endpoint.base_url,
        key=endpoint.key,
        limits=job.limits,
        task=job.request.task,
        stream=job.request.stream if stream is None else stream,
        service=own.service,
        model=(asked, own.model) if own.model is not None else None,
        ca_bundle=own.ca_bundle,
        insecure=own.insecure,
        trust_env=own.trust_env,
    )
