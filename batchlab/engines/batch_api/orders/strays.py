"""Batches that are one too many: their orders arrived late, when their rows had been ordered anew.

An order of which a service knows nothing when it is asked, for as long as a batch may stay unseen there, is
given up. It may be on its way all the same: a machine fell asleep with it, and wakes up when another one has
taken the run over. So the list is looked at again while the run goes on, at its end, and at each start for a
day. What is found is called off at once; what it was billed is told, and in the books.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from batchlab.counts import counted
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.batch_calls import GONE
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.rate.slots import Stopped
from batchlab.dispatch.rate.worst_case import Reservation
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.batch_api.answers.downloads import download_all
from batchlab.engines.batch_api.answers.results import Results, write_inline
from batchlab.engines.batch_api.answers.worth import worth_of
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.life import Life
from batchlab.engines.batch_api.orders.ordering import CLOCK_MARGIN_S, at_most, has_answered_nothing
from batchlab.engines.batch_api.orders.recognizing import Marks, bears
from batchlab.engines.batch_api.waiting import next_look_s
from batchlab.engines.terms import spent_of
from batchlab.engines.work import Work
from batchlab.errors import BatchlabError
from batchlab.inputs.templates import RowProblem
from batchlab.protocol.batches.dialect import BatchState, Phase
from batchlab.records import ChatRequest
from batchlab.run_end import RunStopped
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import DOUBT_S, Batch, Step, Stray
from batchlab.store.disk.files import disk_errors
from batchlab.store.integrity.lost import billed_beside
from batchlab.store.locked import LockedRun
from batchlab.totals import RunningTotals, Totals

CALLED_OFF_S = 600.0  # OpenAI takes up to ten minutes to cancel a batch


class Strays:
    """Those of one run of the engine.

    Attributes:
        has_looked: once in this process, if there is anything to look for.

    Args:
        folder: where results are on their way.
        totals: of what is added to the run; they change.
    """

    def __init__(
        self,
        work: Work[LockedRun],
        lanes: Mapping[str, BatchLane],
        log: BatchLog,
        life: Life,
        folder: Path,
        *,
        say: Callable[[str], None],
        totals: RunningTotals,
        budget: Budget,
    ) -> None:
        self._work = work
        self._lanes = lanes
        self._log = log
        self._sleep = life.sleep
        self._folder = folder
        self._say = say
        self._totals = totals
        self._budget = budget
        self._set_aside: dict[str, Reservation] = {}  # by id: told of, and called off, in this process
        self._foreign: set[str] = set()  # ids of what was looked into, and is not ours
        self._said: set[str] = set()
        self.has_looked = not self._is_needed

    @property
    def _is_needed(self) -> bool:
        known = self._log.all
        return bool(known.strays_left() or known.doubted(time.time() - DOUBT_S))

    async def watch(self, stop: StopSignal) -> None:
        """Looks again and again, until the run stops; what cannot be noted stops it."""
        begun = time.monotonic()
        try:
            while True:
                if self._is_needed:
                    await self.look()
                await self._sleep(next_look_s(time.monotonic() - begun))
        except Stopped:
            return
        except RunStopped as error:
            stop(error.reason, str(error))

    async def finish(self, stop: StopSignal, *, waits: bool) -> None:
        """Looks once more when all is done, and waits for the end of what was called off."""
        begun = time.monotonic()
        try:
            while self._is_needed and not stop.is_set:
                await self.look()
                lasted = time.monotonic() - begun
                left = self._log.all.strays_left()
                if not left or not waits or lasted > CALLED_OFF_S:
                    break
                await self._sleep(next_look_s(lasted))
        except Stopped:
            pass
        except RunStopped as error:
            stop(error.reason, str(error))
        for one in self._log.all.strays_left():
            self._say(
                f"batch {one.id}, ordered once too often, goes on: the next start tells what it comes to"
            )

    async def look(self) -> None:
        """Finds those that have come, and follows those that were found. Raises Stopped, RunStopped."""
        since = time.time() - DOUBT_S
        for lane in self._lanes.values():
            doubted = [one for one in self._log.all.doubted(since) if one.endpoint == lane.name]
            try:
                if doubted:
                    await self._find(lane, doubted)
                for stray in self._log.all.strays_left():
                    if self._log.all.by_key[stray.key].endpoint == lane.name:
                        await self._follow(lane, stray)
            except ApiError as error:  # it is looked for again
                self._say_once(f"{lane.name}: whether an order arrived late cannot be looked up ({error})")
        self.has_looked = True

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    async def _find(self, lane: BatchLane, doubted: list[Batch]) -> None:
        listed = await lane.service.listed(min(one.doubted_at for one in doubted) - CLOCK_MARGIN_S)
        for state in listed.batches:
            batch = await self._ours(lane, doubted, state)
            if batch is None or not self._is_one_too_many(batch, state.id):
                continue
            self._log.stray(batch, state.id)
            await self._follow(lane, self._log.all.strays[state.id])

    def _is_one_too_many(self, batch: Batch, found: str) -> bool:
        """Whether a batch of that mark is none that the log knows, or is just being told of."""
        return self._log.all.by_key[batch.key].step is not Step.ORDERING and found not in self._log.all.ids()

    async def _ours(self, lane: BatchLane, doubted: list[Batch], listed: BatchState) -> Batch | None:
        """The batch as which one that is listed was ordered; None when nothing says that it is ours, yet."""
        if listed.id in self._foreign or listed.id in self._log.all.ids():
            return None
        for batch in doubted:
            if bears(batch, listed):
                return batch
        marks = Marks(lane, self._log, self._folder)
        maybe = [one for one in doubted if marks.may_be(one, listed)]
        state = await lane.service.state(listed.id) if maybe else listed
        if not state.phase.has_ended:
            self._say_once(
                f"{lane.name}: batch {listed.id} may be ours, and late; its results tell when it ends"
            )
            return None
        for batch in maybe:
            if await marks.has_lines_of(batch, state):
                return batch
        self._foreign.add(listed.id)
        return None

    async def _follow(self, lane: BatchLane, stray: Stray) -> None:
        """Calls it off, once in each process, and tells what it came to when it has ended."""
        batch = self._log.all.by_key[stray.key]
        if stray.id not in self._set_aside:
            worst = Money(batch.usd or 0.0, batch.tokens)
            reservation = self._budget.set_aside_for(worst, priced=batch.usd is not None)
            self._set_aside[stray.id] = reservation
            await self._call_off(lane, batch, stray)
        try:
            state = await lane.service.state(stray.id)
        except ApiError as error:
            if error.outcome.code not in GONE:
                raise
            state = None
        if state is not None and not state.phase.has_ended:
            return
        self._settle(
            lane, batch, stray, None if state is None else await self._worth(lane, batch, stray, state)
        )

    async def _call_off(self, lane: BatchLane, batch: Batch, stray: Stray) -> None:
        told = "cancelled" if lane.dialect.cancels else "which cannot be cancelled there"
        try:
            await lane.service.cancel(stray.id)
        except ApiError as error:
            told = f"which could not be cancelled ({error})"
        self._say(
            f"{lane.name}: an order of {counted(batch.lines, 'row')} arrived late, when these were ordered "
            f"anew: batch {stray.id}, {told}; it is billed beside, {at_most(batch)}"
        )

    def _settle(self, lane: BatchLane, batch: Batch, stray: Stray, worth: Totals | None) -> None:
        """What it was billed is known; None for what nobody will ever know."""
        self._totals.change(billed_beside(self._work.run.layout, batch, stray.id, worth))
        self._log.stray(batch, stray.id, settled=True)
        reservation = self._set_aside.pop(stray.id)
        spent = reservation.worst if worth is None else spent_of(worth)
        reservation.charged_usd, reservation.charged_tokens = spent
        self._budget.end(reservation)
        if worth is None:
            told = f"nothing tells what it was billed: {at_most(batch)}"
        elif not worth.wasted_completion_tokens and not worth.cost_wasted_usd:
            told = "it had answered nothing, and costs nothing"
        else:
            usd = "an unknown sum" if worth.waste_without_cost else f"${worth.cost_wasted_usd:,.6f}"
            told = f"{usd} was billed twice, for {counted(worth.attempts, 'row')}"
        self._say(f"{lane.name}: batch {stray.id}, ordered once too often, has ended; {told}")

    async def _worth(self, lane: BatchLane, batch: Batch, stray: Stray, state: BatchState) -> Totals | None:
        """What it was billed, as its results say; None when they are gone, or cannot be read."""
        if has_answered_nothing(state) and not state.files and not state.inline:
            return Totals()
        path = self._folder / f"{batch.key}.stray"
        try:
            with disk_errors(path):
                if state.inline is not None:
                    write_inline(state.inline, path)
                else:
                    await download_all(lane.service, state.files, path)
            results = Results(batch, lane.dialect, path)
            try:
                await results.index()
                if not results.found:
                    return None
                called_off = replace(batch, cancelled_at=stray.found_at)
                is_over = state.phase is Phase.COMPLETED
                return sum(
                    (
                        worth_of(lane, called_off, request, results.of(request.row_id), is_over=is_over)
                        for request in self._requests(batch)
                    ),
                    Totals(),
                ).as_waste()
            finally:
                results.close()
        except ApiError as error:
            if error.outcome.code not in GONE:
                raise
            return None
        except RunStopped:
            raise
        except BatchlabError:
            return None  # the input cannot be read any more
        finally:
            path.unlink(missing_ok=True)

    def _requests(self, batch: Batch) -> Iterator[ChatRequest]:
        """Of its rows. Raises UsageError, when they are not to be had any more."""
        work = self._work
        if batch.generation != work.run.manifest.generation:
            raise BatchlabError("its rows are those of an earlier plan")
        for row in work.source.rows(work.plan.shards[batch.shard], work.plan):
            if batch.holds(row.row_id):
                try:
                    yield work.builder.build(row)
                except RowProblem:
                    continue
