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

from batchlab.counts import counted
from batchlab.dispatch.correction import Correction
from batchlab.dispatch.http.transport import HttpTransport
from batchlab.dispatch.lanes import Lane, Lanes
from batchlab.dispatch.pool import WORKERS_PER_SLOT, Pool
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.endpoint import transport_to
from batchlab.engines.feed import ShardFeed
from batchlab.engines.observer import Observer, RowWatch, Taker
from batchlab.engines.sealer import Sealer
from batchlab.engines.share import Share
from batchlab.engines.terms import Terms
from batchlab.engines.work import CallLane, Work
from batchlab.errors import UsageError
from batchlab.job import EndpointLimits
from batchlab.records import Failure, Result, Shard
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.asking import AskAgain
from batchlab.store.shard import OpenShard
from batchlab.store.working import WorkingRun
from batchlab.totals import Totals

LAST_PASS_CONCURRENCY = 4  # the provider had trouble with these rows: ask gently
TICK_S = 0.2


class LocalEngine:
    """Brings every shard of its work to its sealed part, in this process; see `engines.work.Engine`.

    Args:
        terms: how fast and how far this process may go, over all runs.
        share: what this process has done of the run; grows with each run.
        odd: row_ids that failed while others were answered. Grows here.
    """

    def __init__(
        self,
        observer: Observer,
        terms: Terms,
        share: Share,
        *,
        watch: RowWatch | None = None,
        taker: Taker | None = None,
        odd: set[int] | None = None,
    ) -> None:
        self._observer = observer
        self._terms = terms
        self._share = share
        self._watch = watch
        self._taker = taker
        self._odd = set() if odd is None else odd
        self._say_once = functools.cache(observer.message)  # each endpoint and pass finds it out
        self._sealer = Sealer()

    async def run(
        self, work: Work[WorkingRun], stop: StopSignal, *, retry: AskAgain | None, shards: Sequence[Shard]
    ) -> None:
        """Runs `shards`, then gives rows that failed by the provider's trouble one more pass.

        Returns when all are sealed or `stop` is set; raises what the store raises (disk).
        """
        again = await self.first_pass(work, stop, retry=retry, shards=shards)
        if again and not stop.is_set:
            await self.last_pass(work, stop, again, retry=retry)

    async def first_pass(
        self, work: Work[WorkingRun], stop: StopSignal, *, retry: AskAgain | None, shards: Iterable[Shard]
    ) -> list[tuple[Shard, Totals]]:
        """Brings `shards` to their parts. Returns those with rows that are worth one more try."""
        return await self._pass(work, stop, shards, None, retry)

    async def last_pass(
        self,
        work: Work[WorkingRun],
        stop: StopSignal,
        again: Sequence[tuple[Shard, Totals]],
        *,
        retry: AskAgain | None,
    ) -> None:
        """Asks once more for the rows that failed by the provider's trouble."""
        rows = sum(totals.retryable_failed for _, totals in again)
        self._observer.message(
            f"one more try for {counted(rows, 'row')} that failed by the provider's trouble"
        )
        shards = [shard for shard, _ in again]
        most = retry.max_tokens if retry is not None else None
        once_more = AskAgain(retryable=True, max_tokens=most)
        await self._pass(work, stop, shards, LAST_PASS_CONCURRENCY, once_more)

    async def _pass(
        self,
        work: Work[WorkingRun],
        stop: StopSignal,
        shards: Iterable[Shard],
        most: int | None,
        retry: AskAgain | None,
    ) -> list[tuple[Shard, Totals]]:
        """One pass over `shards`, with at most `most` requests in flight at each endpoint.

        Returns the shards with rows worth another try.
        """
        again: list[tuple[Shard, Totals]] = []
        seals: set[asyncio.Task[None]] = set()

        async def seal(shard: OpenShard) -> None:
            try:
                totals = await self._sealer.run(lambda: shard.seal(work.source.table(shard.shard, work.plan)))
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
                work,
                self._share,
                retry=retry,
                stop=stop,
                on_complete=complete,
                hand_out=self._hand_out(last=most is not None),
                watch=self._watch,
            )
            lanes = Lanes(
                [
                    self._lane(
                        planned,
                        await stack.enter_async_context(
                            transport_to(
                                planned.endpoint,
                                work.job,
                                planned.kind,
                                write=feed.write,
                                say=self._say_once,
                            )
                        ),
                        planned.limits.at_most(most),
                        starts_empty=most is not None,
                    )
                    for planned in work.lanes
                ]
            )
            requests = feed.requests(iter(shards))
            is_together = work.job.request.task == "embeddings" and not work.builder.batch
            together = feed.grouped(work.job.request) if is_together else None
            pool = Pool(
                lanes=lanes,
                budget=self._terms.budget(),
                recorder=together or feed,
                limits=work.job.limits,
                stop=stop,
                attempts=self._share.attempts,
                say=self._observer.message,
                gate=self._taker.gate() if self._taker is not None else None,
                correction=_correction(work, stop),
                odd=self._odd,
            )
            self._terms.begins(lanes, pool)
            ticker = group.create_task(self._tick(lanes, pool))
            slots = sum(lane.limits.at_most(most).concurrency for lane in work.lanes)
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

    def _lane(
        self, planned: CallLane, transport: HttpTransport, limits: EndpointLimits, *, starts_empty: bool
    ) -> Lane:
        endpoint = planned.endpoint
        controller = self._terms.controller(endpoint.job.name, limits)
        if starts_empty:  # it goes on where another controller has just used the minute's rate
            controller.empty(time.monotonic())
        health = self._terms.health()
        if self._share.state().totals.answered:
            health.succeeded_elsewhere()  # by an earlier invocation, or in the pass before
        return Lane(
            name=endpoint.job.name,
            transport=transport,
            controller=controller,
            prices=endpoint.prices,
            weight=endpoint.job.weight,
            address=transport.address,
            kind=planned.kind,
            tier=planned.tier,
            timeout_s=planned.patience.timeout_s,
            most=limits.concurrency if planned.shares else None,
            health=health,
        )

    async def _tick(self, lanes: Lanes, pool: Pool) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                self._observer.update(self._share.look(lanes, pool))
                await asyncio.sleep(TICK_S)


def _correction(work: Work[WorkingRun], stop: StopSignal) -> Correction | None:
    schema = work.builder.schema
    return None if schema is None else Correction(schema, work.job.request.schema_retries, stop)
