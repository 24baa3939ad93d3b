"""Rows that go live beside the batches of a run: by the engine that a run without batches has."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

from batchlab.dispatch.stop import StopSignal
from batchlab.engines.observer import Observer
from batchlab.engines.work import Engine, Work
from batchlab.job import EndpointJob
from batchlab.records import LaneKind, Shard
from batchlab.run_end import StopReason
from batchlab.run_state import RunState
from batchlab.store.asking import FAILED, AskAgain
from batchlab.store.locked import LockedRun
from batchlab.totals import Totals

LiveEngine: TypeAlias = Engine[Work[LockedRun]]


class LivePhase:
    """Sends shards live, some at a time, and tells how far the whole run is.

    It stands between the live engine, which knows of no batch, and who is told of the run.

    Args:
        make: the engine for a phase that begins where the run is now; it tells this observer.
        is_here: it works in this process, and its journals are synced together with those of batches.
    """

    def __init__(
        self,
        observer: Observer,
        make: Callable[[Observer, RunState], LiveEngine],
        *,
        is_here: bool,
    ) -> None:
        self._observer = observer
        self._make = make
        self._is_here = is_here
        self._waiting: list[tuple[LaneKind, Shard]] = []
        self._sending: list[Shard] = []
        self._kind: LaneKind = "live"
        self._first: int | None = None  # rows of each shard, for the next phase; None for all
        self._phase_stop: StopSignal | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended: Callable[[Sequence[Shard]], None] = lambda _: None
        self._batches: Callable[[], RunState] = RunState
        self._root = RunState()  # how far the run is, with `_counted` of the batches
        self._counted = RunState()
        self._synced_before = 0
        self._done = 0  # rows that calls have brought a result, in phases that have ended
        self._begun_with = 0

    def begin(
        self,
        work: Work[LockedRun],
        retry: AskAgain | None,
        batches: Callable[[], RunState],
        ended: Callable[[Sequence[Shard]], None],
    ) -> None:
        """Says what is worked on, and how far batches have brought it.

        Args:
            ended: called with shards once nothing more is sent for them.
        """
        self._work = work
        self._retry = retry
        self._batches = batches
        self._ended = ended
        self._root = work.before
        self._synced_before = work.before.synced

    @property
    def is_here(self) -> bool:
        """Whether the live engine is in this process, and can be told to send single rows."""
        return self._is_here

    @property
    def is_busy(self) -> bool:
        """Whether rows are sent live, or wait for it."""
        return self._task is not None

    @property
    def rows(self) -> int:
        """Of shards that are sent live, or wait for it, without a result."""
        shards = (*(shard for _, shard in self._waiting), *self._sending)
        return max(0, sum(shard.rows for shard in shards) - self._in_phase)

    @property
    def done(self) -> int:
        """Rows that calls have brought a result."""
        return self._done + self._in_phase

    @property
    def _in_phase(self) -> int:
        return self._root.added.rows - self._begun_with if self._sending else 0

    def send(
        self,
        group: asyncio.TaskGroup,
        shards: Sequence[Shard],
        kind: LaneKind,
        stop: StopSignal,
        *,
        first: int | None = None,
    ) -> None:
        """Sends shards by calls of a kind, after those that are being sent; calls of another kind end.

        Args:
            first: rows of each shard that are sent; None for all.
        """
        self._waiting += [(kind, shard) for shard in shards]
        self._first = first
        if self._task is None:
            self._task = group.create_task(self._run(stop))
        elif self._phase_stop is not None and self._kind != kind:
            self._phase_stop(StopReason.DETACHED, f"the other rows go by {kind} calls")

    async def _run(self, stop: StopSignal) -> None:
        try:
            while self._waiting and not stop.is_set:
                kind = self._kind = self._waiting[-1][0]  # what was said last
                self._sending = [shard for _, shard in self._waiting]
                self._waiting.clear()
                self._begun_with = self._root.added.rows
                await self._stoppable(kind, stop)
                self._done += self._in_phase
                sent, self._sending = self._sending, []
                self._ended(sent)
        finally:
            self._task = None
            self._ended(())

    async def _stoppable(self, kind: LaneKind, stop: StopSignal) -> None:
        """One phase, which ends early when calls of another kind are wanted."""
        phase = self._phase_stop = StopSignal()

        async def relay() -> None:
            await stop.wait()
            assert stop.reason is not None
            phase(stop.reason, stop.message)

        try:
            async with asyncio.TaskGroup() as group:
                relaying = group.create_task(relay())
                await self._phase(kind, phase)
                relaying.cancel()
        finally:
            self._phase_stop = None
        if phase.reason not in {None, StopReason.DETACHED}:
            stop(phase.reason, phase.message)

    async def _phase(self, kind: LaneKind, stop: StopSignal) -> None:
        now = self._batches()
        self._root = self._sum(now)
        self._counted = now
        work = _by(kind, dataclasses.replace(self._work, before=self._root))
        if self._first is not None:
            first, self._first = self._first, None
            work = dataclasses.replace(work, only=_first_rows(self._sending, first))
        engine = self._make(self, self._root)
        await engine.run(work, stop, retry=self._asking, shards=self._sending)

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

    def totals(self) -> Totals:
        """Of the whole run, as it is now."""
        return self._sum(self._batches()).totals

    def tell(self) -> None:
        """Tells how far the run is."""
        self._observer.update(self._sum(self._batches()))

    def _sum(self, batches: RunState) -> RunState:
        root, counted = self._root, self._counted
        # of one process, whose journals are synced together: all that it has synced is in that of the batches
        synced = self._synced_before if self._is_here else root.synced - counted.synced
        return dataclasses.replace(
            root,
            added=root.added + (batches.added - counted.added),
            attempts=root.attempts + (batches.attempts - counted.attempts),
            synced=synced + batches.synced,
            batches=batches.batches,
        )


def _first_rows(shards: Sequence[Shard], count: int) -> frozenset[int]:
    return frozenset(
        row for one in shards for row in range(one.first_row, one.first_row + min(count, one.rows))
    )


def _by(kind: LaneKind, work: Work[LockedRun]) -> Work[LockedRun]:
    """The same work by calls of one kind."""

    def plain(endpoint: EndpointJob) -> EndpointJob:
        own = kind if kind == "live" or endpoint.flex_tier is not None else "live"
        return dataclasses.replace(endpoint, lane=own)

    job = dataclasses.replace(work.job, endpoint=tuple(plain(one) for one in work.job.endpoint))
    endpoints = tuple(dataclasses.replace(one, job=plain(one.job)) for one in work.endpoints)
    return dataclasses.replace(work, job=job, endpoints=endpoints)
