"""Rows that go live beside the batches of a run: by the engine that a run without batches has."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.observer import Observer
from batchlab.engines.terms import spent_of
from batchlab.engines.work import Engine, Work
from batchlab.job import Caps
from batchlab.records import Shard
from batchlab.run_state import RunState
from batchlab.store.asking import FAILED, AskAgain
from batchlab.store.locked import LockedRun

LiveEngine: TypeAlias = Engine[Work[LockedRun]]


class LivePhase:
    """Sends shards live, some at a time, and tells how far the whole run is.

    It stands between the live engine, which knows of no batch, and who is told of the run.

    Args:
        make: the engine for a phase that begins where the run is now; it tells this observer.
        budget: that of the batches.
        shares: the live engine spends of the same budget. Else it has its part of the caps while it runs.
    """

    def __init__(
        self,
        observer: Observer,
        make: Callable[[Observer, RunState], LiveEngine],
        budget: Budget,
        *,
        shares: bool,
    ) -> None:
        self._observer = observer
        self._make = make
        self._budget = budget
        self._shares = shares
        self._waiting: list[Shard] = []
        self._sending: list[Shard] = []
        self._task: asyncio.Task[None] | None = None
        self._ended: Callable[[], None] = lambda: None
        self._batches: Callable[[], RunState] = RunState
        self._root = RunState()  # how far the run is, with `_counted` of the batches
        self._counted = RunState()
        self._synced_before = 0

    def begin(
        self,
        work: Work[LockedRun],
        retry: AskAgain | None,
        batches: Callable[[], RunState],
        ended: Callable[[], None],
    ) -> None:
        """Says what is worked on, and how far batches have brought it.

        Args:
            ended: called when shards have been sent.
        """
        self._work = work
        self._retry = retry
        self._batches = batches
        self._ended = ended
        self._root = work.before
        self._synced_before = work.before.synced

    @property
    def is_busy(self) -> bool:
        """Whether rows are sent live, or wait for it."""
        return self._task is not None

    @property
    def rows(self) -> int:
        """Of shards that are sent live, or wait for it."""
        return sum(shard.rows for shard in (*self._waiting, *self._sending))

    def send(self, group: asyncio.TaskGroup, shards: Sequence[Shard], stop: StopSignal) -> None:
        """Sends shards live: now, or after those that are being sent."""
        self._waiting += shards
        if self._task is None:
            self._task = group.create_task(self._run(stop))

    async def _run(self, stop: StopSignal) -> None:
        try:
            while self._waiting and not stop.is_set:
                self._sending, self._waiting = self._waiting, []
                await self._phase(stop)
                self._sending = []
        finally:
            self._task = None
            self._ended()

    async def _phase(self, stop: StopSignal) -> None:
        now = self._batches()
        self._root = self._sum(now)
        self._counted = now
        work = dataclasses.replace(self._work, before=self._root)
        if self._shares:
            engine = self._make(self, self._root)
            await engine.run(work, stop, retry=self._asking, shards=self._sending)
            return
        left, caps, before = self._budget.left, self._budget.caps, spent_of(self._root.totals)
        mine = Caps(
            None if left.usd is None else before.usd + left.usd,
            None if left.tokens is None else before.tokens + left.tokens,
        )
        limits = dataclasses.replace(work.job.limits, max_cost=mine.usd, max_tokens_total=mine.tokens)
        work = dataclasses.replace(work, job=dataclasses.replace(work.job, limits=limits))
        self._budget.restrict(_less(caps, left))
        try:
            engine = self._make(self, self._root)
            await engine.run(work, stop, retry=self._asking, shards=self._sending)
        finally:
            spent = spent_of(self._root.totals)
            self._budget.spend(Money(spent.usd - before.usd, spent.tokens - before.tokens))
            self._budget.allow(caps)

    @property
    def _asking(self) -> AskAgain | None:
        """Answers of a batch that do not fit are asked again, with their correction turns at once."""
        if self._work.builder.schema is None or not self._work.job.request.schema_retries:
            return self._retry
        if self._retry is None:
            return AskAgain(only=("invalid",))
        return dataclasses.replace(self._retry, only=(*(self._retry.only or (FAILED,)), "invalid"))

    def update(self, state: RunState) -> None:
        """See `Observer`: the live engine says how far the run is, with the batches up to its beginning."""
        self._root = state
        self.tell()

    def message(self, text: str) -> None:
        """See `Observer`."""
        self._observer.message(text)

    def tell(self) -> None:
        """Tells how far the run is."""
        self._observer.update(self._sum(self._batches()))

    def _sum(self, batches: RunState) -> RunState:
        root, counted = self._root, self._counted
        # of one process, whose journals are synced together: all that it has synced is in that of the batches
        synced = self._synced_before if self._shares else root.synced - counted.synced
        return dataclasses.replace(
            root,
            added=root.added + (batches.added - counted.added),
            attempts=root.attempts + (batches.attempts - counted.attempts),
            synced=synced + batches.synced,
            batches=batches.batches,
        )


def _less(caps: Caps, left: Caps) -> Caps:
    """Caps without what is left of them."""
    return Caps(
        None if caps.usd is None or left.usd is None else caps.usd - left.usd,
        None if caps.tokens is None or left.tokens is None else caps.tokens - left.tokens,
    )
