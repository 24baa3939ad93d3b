"""The engine that runs the shards in this process.

One pool feeds from the next shard while the last one drains: a pool per shard would lose
10-13 % of the rate. A shard is sealed in a thread as soon as its last row has a result.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.correction import Correction
from batchlab.dispatch.http.transport import HttpTransport
from batchlab.dispatch.lanes import Lane, Lanes
from batchlab.dispatch.pool import WORKERS_PER_SLOT, Pool
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.feed import ShardFeed
from batchlab.engines.observer import Observer, RowWatch, Taker
from batchlab.engines.sealer import Sealer
from batchlab.engines.share import Share
from batchlab.engines.terms import OwnTerms, Terms, spent_of
from batchlab.errors import UsageError
from batchlab.inputs.plan import InputPlan
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import Source
from batchlab.job import EndpointJob, EndpointLimits, Job
from batchlab.job.key import Secret
from batchlab.records import Failure, Result, Shard
from batchlab.run_end import RunStopped, StopReason
from batchlab.run_state import RunState
from batchlab.store.asking import AskAgain
from batchlab.store.shard import OpenShard, RetryRule
from batchlab.store.working import WorkingRun
from batchlab.totals import Totals

LAST_PASS_CONCURRENCY = 4  # the provider had trouble with these rows: ask gently
TICK_S = 0.2


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


class LocalEngine:
    """Brings every shard of a plan to its sealed part, in this process."""

    def __init__(
        self,
        *,
        job: Job,
        endpoints: Sequence[Endpoint],
        source: Source,
        plan: InputPlan,
        store: WorkingRun,
        builder: RequestBuilder,
        observer: Observer,
        before: RunState,
        only: frozenset[int] | None = None,
        taker: Taker | None = None,
        terms: Terms | None = None,
        watch: RowWatch | None = None,
    ) -> None:
        self._only = only
        self._taker = taker
        self._watch = watch
        self._terms = terms or OwnTerms(job.limits.caps, spent_of(before.totals))
        self._job = job
        self._endpoints = endpoints
        self._source = source
        self._plan = plan
        self._store = store
        self._builder = builder
        self._observer = observer
        self._say_once = functools.cache(observer.message)  # each endpoint and pass finds it out
        self._answered_before = before.totals.answered > 0
        self._share = Share(before, store)
        self._sealer = Sealer()
        self.held: bytearray | None = None  # a byte a row of the input: 1 is not sent in the next pass
        self.odd: set[int] = set()  # row_ids that failed while others were answered
        self._together = job.request.task == "embeddings" and not builder.batch

    def state(self) -> RunState:
        """How far the run is."""
        return self._share.state()

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
                totals = await self._sealer.run(
                    lambda: shard.seal(self._source.table(shard.shard, self._plan))
                )
            except (RunStopped, UsageError) as error:
                # the disk, or the input cannot be read: the journal has it all, the next run seals it
                stop(error.reason if isinstance(error, RunStopped) else StopReason.INPUT, str(error))
                with contextlib.suppress(RunStopped):
                    shard.close()
                return
            self._terms.sealed(shard.shard, totals)
            if totals.retryable_failed:
                again.append((shard.shard, totals))

        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:

            def complete(shard: OpenShard) -> None:
                seals.add(task := group.create_task(seal(shard)))
                task.add_done_callback(seals.discard)

            feed = ShardFeed(
                source=self._source,
                plan=self._plan,
                store=self._store,
                builder=self._builder,
                share=self._share,
                retry=retry,
                only=self._only,
                stop=stop,
                on_complete=complete,
                hand_out=self._hand_out(last=most is not None),
                held=self.held,
                watch=self._watch,
            )
            lanes = Lanes(
                [
                    self._lane(
                        endpoint,
                        await stack.enter_async_context(
                            transport_to(endpoint, self._job, write=feed.write, say=self._say_once)
                        ),
                        most,
                    )
                    for endpoint in self._endpoints
                ]
            )
            requests = feed.requests(iter(shards))
            together = feed.grouped(self._job.request) if self._together else None
            pool = Pool(
                lanes=lanes,
                budget=self._terms.budget(),
                recorder=together or feed,
                limits=limits,
                stop=stop,
                attempts=self._share.attempts,
                say=self._observer.message,
                gate=self._taker.gate() if self._taker is not None else None,
                correction=self._correction(stop),
                odd=self.odd,
            )
            self._terms.begins(lanes, pool)
            ticker = group.create_task(self._tick(lanes, pool))
            slots = sum(self._limits(endpoint, most).concurrency for endpoint in self._endpoints)
            try:
                await pool.run(together.of(requests) if together else requests, slots * WORKERS_PER_SLOT)
            finally:
                if seals:
                    await asyncio.wait(seals)
                feed.close()
                ticker.cancel()
                self._observer.update(self._share.look(lanes, pool))
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
        controller = self._terms.controller(own.name, self._limits(endpoint, most))
        if most is not None:  # it goes on where another controller has just used the minute's rate
            controller.empty(time.monotonic())
        health = self._terms.health()
        if self._answered_before or self._share.totals.totals.answered:
            health.succeeded_elsewhere()  # by an earlier invocation, or in the pass before
        return Lane(
            name=own.name,
            transport=transport,
            controller=controller,
            prices=endpoint.prices,
            weight=own.weight,
            address=transport.address,
            health=health,
        )

    def _limits(self, endpoint: Endpoint, most: int | None) -> EndpointLimits:
        return self._job.limits_at(endpoint.job).at_most(most)

    async def _tick(self, lanes: Lanes, pool: Pool) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                self._observer.update(self._share.look(lanes, pool))
                await asyncio.sleep(TICK_S)


def transport_to(
    endpoint: Endpoint,
    job: Job,
    *,
    stream: bool | None = None,
    write: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> HttpTransport:
    """The connection to an endpoint as the job wants it; `stream` wins over the job's own.

    `write` is called before requests leave, `say` is told what a person should know of the way there.
    """
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
        write=write,
        say=say,
    )
