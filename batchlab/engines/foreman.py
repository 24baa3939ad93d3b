"""The engine that spreads the shards of a run over several workers, wherever these are.

This process holds the run's lock and hands out shard numbers; the workers share one budget, in
leases (`lending.lender`). A worker that dies is replaced: a fresh one replays the journals of its
open shards and goes on. Correctness rests on the store alone. How messages travel is the crew's
concern (`engines.crew`), and what is said is in `engines.messages`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.crew import Crew, Ending, Hand, LenderLink
from batchlab.engines.local import TICK_S, Endpoint, LocalEngine
from batchlab.engines.observer import Observer, RowWatch
from batchlab.engines.roll import Roll
from batchlab.engines.terms import OwnTerms, spent_of
from batchlab.errors import BatchlabError, CorruptRun, UsageError
from batchlab.inputs.plan import InputPlan
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import Source
from batchlab.job import Job
from batchlab.lending.messages import Demand, Lease, LenderTerms
from batchlab.lending.pauses import Pauses
from batchlab.records import Shard
from batchlab.run_end import RunStopped, StopReason
from batchlab.run_state import RunState, together
from batchlab.store.asking import AskAgain
from batchlab.store.locked import LockedRun
from batchlab.totals import Totals

MOST_DEATHS = 4  # in a row in which no row got a result: the next worker would die too


class Foreman:
    """Brings every shard of a plan to its sealed part, by the workers of a crew.

    Args:
        spool: where the run keeps standard input.
        watch_link: what a worker needs to watch its rows, see `observe.watchers`.
        before: how far the run was when this invocation began.
    """

    def __init__(
        self,
        *,
        job: Job,
        endpoints: Sequence[Endpoint],
        source: Source,
        plan: InputPlan,
        store: LockedRun,
        builder: RequestBuilder,
        observer: Observer,
        before: RunState,
        crew: Crew,
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
        self._crew = crew
        self._spool = spool
        self._state = before
        self._settled = before  # with what the workers that have ended have done
        self._answered_before = before.totals.answered > 0
        self._out: dict[str, str] = {}  # endpoints that cannot go on, and why
        self._hands: list[Hand] = []
        self._lender: LenderLink
        self._roll = Roll(store, len(plan.shards))
        self._to_do: deque[int] = deque()
        self._books: dict[int, Totals] = {}  # shard → its totals before its worker began
        self._again: dict[int, int] = {}  # shard → rows that are worth one more try
        self._odd: set[int] = set()  # rows that failed while others were answered
        self._started = 0
        self._active = crew.size
        self._said: set[str] = set()
        self._error: BatchlabError | None = None
        self._pauses = Pauses()
        self._retry: AskAgain | None = None
        self._stop: StopSignal
        self._concurrency = sum(job.limits_at(one.job).concurrency for one in endpoints)
        self._spent = spent_of(before.totals)  # by all that are gone, and before
        self._deaths_unsettled: set[str] = set()

    def state(self) -> RunState:
        """How far the run is."""
        return self._state

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
        try:
            self._lender = await self._crew.open(self._lender_terms(), self._lender_lost)
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._tick()), group.create_task(self._pass_on_stop())]
                async with asyncio.TaskGroup() as workers:
                    for index in range(self._crew.size):
                        workers.create_task(self._keep_working(index))
                for task in beside:
                    task.cancel()
            spent = await self._lender.spent()
            if self._store.is_away:
                try:
                    await asyncio.to_thread(self._store.gather)
                except RunStopped as error:  # the first reason counts: a worker's says where its journal is
                    stop(error.reason, str(error))
        finally:
            self._roll.close()
            await self._crew.close()
        self._report()
        if self._error is not None:
            raise self._error
        if self._again and not stop.is_set:
            await self._last_pass(stop, spent)

    def _lender_terms(self) -> LenderTerms:
        return LenderTerms(
            {one.job.name: self._job.limits_at(one.job) for one in self._endpoints},
            expected=self._crew.size,
            caps=self._job.limits.caps,
            spent=self._spent,
            request_s=self._job.limits.timeout_s,
        )

    def _lender_lost(self) -> tuple[list[str], Money]:
        """What the next lender must know after one was lost: who may hold something, and what is spent."""
        self._observer.message("the budget's keeper was lost; a new one asks every worker what it has")
        working = [hand.name for hand in self._hands if not hand.ended]
        return working + sorted(self._deaths_unsettled), self._spent

    async def _last_pass(self, stop: StopSignal, spent: Money) -> None:
        """In this process: it sends so little at once that one is enough."""
        engine = LocalEngine(
            job=self._job,
            endpoints=self._endpoints,
            source=self._source,
            plan=self._plan,
            store=self._store,
            builder=self._builder,
            observer=self._observer,
            before=self._state,
            terms=OwnTerms(self._job.limits.caps, spent),
            watch=self._watch,
        )
        engine.odd = self._odd
        again = [
            (self._plan.shards[index], Totals(retryable_failed=rows))
            for index, rows in sorted(self._again.items())
        ]
        try:
            await engine.last_pass(stop, again)
        finally:
            self._state = engine.state()

    async def _keep_working(self, index: int) -> None:
        """Has worker number `index` work until nothing is left to do, with as many lives as it takes."""
        deaths = 0
        while True:
            try:
                hand = await self._start(index)
            except RunStopped as error:  # there is nowhere left to start it
                self._stop(error.reason, str(error))
                break
            try:
                async for message in hand.messages():
                    await self._heard(hand, message)
            finally:
                ending = await self._ending_of(hand)
            if hand.ended:
                break
            try:
                progressed = await self._mourn(hand, ending)
            except RunStopped as error:  # its journals are out of reach
                self._stop(error.reason, str(error))
                break
            deaths = 0 if progressed else deaths + 1
            if deaths >= MOST_DEATHS:
                self._stop(
                    StopReason.WORKERS,
                    f"{self._crew.who} ended {deaths} times without finishing a row, "
                    f"the last time {ending.cause}.",
                )
            if self._stop.is_set or not self._to_do:
                break
        self._active -= 1
        await self._lender.expect(self._active)
        self._renew()

    async def _start(self, index: int) -> Hand:
        self._started += 1
        begin = {
            "job": self._job.to_dict(),
            "run_dir": str(self._store.path.absolute()),
            "spool": str(self._spool.absolute()),
            "index": index,
            "processes": self._crew.size,
            "answered": self._answered_before,
            "endpoints": [(one.base_url, one.key and one.key.reveal()) for one in self._endpoints],
            "retry": None if self._retry is None else dataclasses.asdict(self._retry),
            "watch": self._watch_link,
        }
        hand = await self._crew.start(f"{index}.{self._started}", index, begin)
        self._hands.append(hand)
        if self._stop.is_set:
            hand.tell("stop", reason=self._stop.reason, message=self._stop.message)
        return hand

    def _more(self, hand: Hand) -> None:
        """Hands out a shard; none when there is no more."""
        if not self._to_do or self._stop.is_set:
            hand.give(None)
            return
        index = self._to_do.popleft()
        if index not in self._books:
            self._books[index] = self._store.shard_books(index)[0]
        hand.assigned.add(index)
        hand.open.add(index)
        hand.give(index)

    async def _heard(self, hand: Hand, message: dict[str, Any]) -> None:
        hand.heard_at = time.monotonic()
        match message["t"]:
            case "ask":
                await self._asked(hand, message)
            case "more":
                self._more(hand)
            case "pause" | "answered" | "out":
                self._pass_on(hand, message)
            case "stop":
                self._stop(StopReason(message["reason"]), message["message"])
            case "say":
                if message["text"] not in self._said:  # each of them finds it out
                    self._said.add(message["text"])
                    self._observer.message(message["text"])
            case "sealed":
                hand.open.discard(message["shard"])
                self._store.sealed_elsewhere(message["shard"])
                if message["retryable"]:
                    self._again[message["shard"]] = message["retryable"]
                    self._odd.update(message.get("odd", ()))
            case "end":
                hand.ended = True
                if message["state"] is not None:
                    hand.state = RunState.of(message["state"])
                spent = Money(*message["spent"])
                self._spent = self._spent.plus(spent)
                await self._lender.release(hand.name, spent)
                self._failed(message["error"])

    async def _asked(self, hand: Hand, message: dict[str, Any]) -> None:
        hand.asked = True
        hand.state = RunState.of(message["state"])
        hand.demand = msgspec.convert(message["demand"], Demand)
        if "grant" in message:  # the lender has answered already
            hand.lease = msgspec.convert(message["grant"], Lease)
        else:
            hand.lease = await self._lender.lease(hand.name, hand.demand)
            hand.tell("grant", grant=msgspec.to_builtins(hand.lease))
        if hand.lease is not None and hand.lease.stop:
            self._stop(StopReason.BUDGET, hand.lease.stop)

    def _pass_on(self, hand: Hand, message: dict[str, Any]) -> None:
        """What one has met at an endpoint, all are to know."""
        others = [other for other in self._hands if other is not hand and other.asked]
        lane = message["lane"]
        match message["t"]:
            case "pause":
                names, now = [other.name for other in others], time.monotonic()
                seconds, outage = message["seconds"], message["outage"]
                told = self._pauses.met(lane, hand.name, names, now, seconds, outage=outage)
                for one in (hand, *others):
                    if one.name in told:
                        pause = {"seconds": told[one.name], "reason": message["reason"], "outage": outage}
                        one.tell("pause", lane=lane, **pause)
            case "answered":
                self._pauses.over(lane)
                for other in others:
                    other.tell("up" if message["was_out"] else "renew", lane=lane)
            case "out":
                self._out.setdefault(lane, message["outcome"]["message"])
                for other in others:
                    other.tell("out", lane=lane, outcome=message["outcome"])

    def _failed(self, error: dict[str, str] | None) -> None:
        """A worker met what ends the run."""
        if error is None:
            return
        if error["kind"] == "stop":
            if self._stop.is_set and error["text"] != self._stop.message:
                self._observer.message(error["text"])
            self._stop(StopReason(error["reason"]), error["text"])
            return
        if self._error is None:
            self._error = (UsageError if error["kind"] == "usage" else CorruptRun)(error["text"])
        self._stop(StopReason.INPUT, error["text"])

    async def _ending_of(self, hand: Hand) -> Ending:
        """How a worker ended, once it has."""
        ending = await self._crew.ended(hand)
        self._hands.remove(hand)
        self._pauses.gone(hand.name)
        if hand.ended:
            self._settled = self._settled.plus(hand.state)
        return ending

    async def _mourn(self, hand: Hand, ending: Ending) -> bool:
        """Settles the books of a worker that died, and puts its shards back. Returns whether it got on."""
        self._deaths_unsettled.add(hand.name)
        if not ending.certain:
            await self._lender.give_up(hand.name)
            self._observer.message(
                f"{self._crew.who} is out of reach {ending.cause}; its rows wait until it can write no more"
            )
            await self._crew.gone_for_certain(hand)
        await self._lender.forget(hand.name)
        done, in_flight = await asyncio.to_thread(self._books_of, hand)
        told, unsaved = hand.demand.spent, 0
        if self._store.is_away:  # the last of its journal is lost with it, and was in flight or answered
            in_flight = hand.state.in_flight
            unsaved = max(0, hand.state.saved - done.rows)
        # what was in flight may have been billed, and no journal will ever say how much
        largest = hand.demand.largest
        lost_at_most = Money(largest.usd * in_flight, largest.tokens * in_flight)
        lost = spent_of(done).plus(lost_at_most)
        if self._store.is_away:
            told = told.plus(lost_at_most)
        spent = Money(max(lost.usd, told.usd), max(lost.tokens, told.tokens))
        self._spent = self._spent.plus(spent)
        self._deaths_unsettled.discard(hand.name)
        await self._lender.settle(hand.name, spent)
        attempts = dataclasses.replace(hand.state.attempts, sent=done.attempts)
        synced = done.rows + hand.state.reopened
        self._settled = self._settled.plus(
            dataclasses.replace(hand.state, added=done, attempts=attempts, synced=synced)
        )
        sealed = self._store.sealed()
        for index in sorted(hand.open, reverse=True):
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
        if unsaved:
            flush_s, answers = self._job.limits.journal_flush_s, "answer" if unsaved == 1 else "answers"
            with_requests += (
                f" and {unsaved:,} {answers} of its last {flush_s:g} s, which had not reached the run's URL "
                "and will be paid again"
            )
        self._observer.message(f"{self._crew.who} ended {ending.cause}{with_requests}; its rows go on")
        return done.rows > 0 or done.answered > 0  # a row that had failed was counted before

    def _books_of(self, hand: Hand) -> tuple[Totals, int]:
        """What the journals and parts say that a worker has done, and what it had in flight."""
        done, in_flight = Totals(), 0
        self._store.gather(hand.open)
        for index in hand.assigned:
            books, sent = self._store.shard_books(index)
            done += books - self._books[index]
            in_flight += sent
        return done, in_flight

    def _renew(self) -> None:
        """There is more to lend: nobody is to wait for its next renewal."""
        for hand in self._hands:
            if hand.asked:
                hand.tell("renew")

    async def _pass_on_stop(self) -> None:
        await self._stop.wait()
        for hand in self._hands:
            hand.tell("stop", reason=self._stop.reason, message=self._stop.message)

    async def _tick(self) -> None:
        while True:
            self._report()
            self._roll.write(self._hands, len(self._to_do))
            try:
                self._store.check_disk()
            except RunStopped as error:  # another machine has taken the run over at its URL
                self._stop(error.reason, str(error))
            await asyncio.sleep(TICK_S)

    def _report(self) -> None:
        working = together([hand.state for hand in self._hands])
        # a worker without a permit says 1
        window = min(working.window or self._state.window, self._concurrency)
        oldest = [] if self._to_do else working.oldest
        working = dataclasses.replace(working, window=window, oldest=oldest, out=self._out)
        self._state = self._settled.plus(working)
        self._observer.update(self._state)
