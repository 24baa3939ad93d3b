"""One run of the engine of batches: what is out is followed, and what the choice says is done."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import assert_never

from batchlab.counts import counted
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.correction import Correction
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.rate.slots import Stopped
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.batch_api.bringing import Bringing
from batchlab.engines.batch_api.choices.choice import GiveUp, Probe, Scene, SendLive, Submit, TakeBack
from batchlab.engines.batch_api.endings import Endings
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.life import BadLines, GivenUp, Life
from batchlab.engines.batch_api.means import Means
from batchlab.engines.batch_api.orders.ordering import NoRoom
from batchlab.engines.batch_api.orders.packing import Packed
from batchlab.engines.batch_api.orders.room import Room
from batchlab.engines.batch_api.orders.strays import Strays
from batchlab.engines.batch_api.orders.submitting import Submitting
from batchlab.engines.batch_api.out import Out
from batchlab.engines.batch_api.shards import ShardsLeft
from batchlab.engines.work import Work
from batchlab.errors import BatchlabError, UsageError
from batchlab.records import LaneKind, Result, Shard
from batchlab.run_end import RunStopped, StopReason
from batchlab.run_state import Attempts, RunState
from batchlab.store.asking import AskAgain
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Batch, Step, WhyLive
from batchlab.store.locked import LockedRun
from batchlab.totals import RunningTotals

TICK_S = 1.0


class Session:
    """One run of the engine."""

    def __init__(
        self,
        means: Means,
        work: Work[LockedRun],
        stop: StopSignal,
        retry: AskAgain | None,
        shards: Sequence[Shard],
    ) -> None:
        self._means = means
        self._work = work
        self._stop = stop
        self._say = means.observer.message
        self._changed = asyncio.Event()
        self._out: dict[str, Out] = {}
        self._totals = RunningTotals()
        self._attempts = Attempts()
        clock = asyncio.get_running_loop().time
        self._room = {name: Room(clock) for name in means.lanes}
        self._error: BatchlabError | None = None
        self._synced_before = work.run.synced_results
        work.run.let_go()
        folder = work.run.layout.batch_files
        folder.mkdir(mode=0o700, exist_ok=True)
        schema = work.builder.schema
        correction = None if schema is None else Correction(schema, work.job.request.schema_retries, stop)
        self._log = BatchLog(work.run.path, work.run.publisher, self._noted)
        self._left = ShardsLeft(
            work,
            shards,
            retry=retry,
            correction=correction,
            totals=self._totals,
            folder=folder,
            is_out=lambda key: self._log.all.by_key[key].is_out,
        )
        self._life = Life(
            self._log,
            stop,
            folder,
            say=self._say,
            changed=self._changed.set,
            ended_after_s=means.ended_after_s,
            accepts_loss=means.manner.accepts_loss,
        )
        self._note_retry(retry)
        self._strays = Strays(
            work,
            means.lanes,
            self._log,
            self._life,
            folder,
            say=self._say,
            totals=self._totals,
            budget=means.budget,
        )
        self._sent_live: list[Shard] = []  # and nothing more is sent for them
        self._submitting = Submitting(means, work.job.request.model, self._left, self._room)
        self._endings = Endings(means, work, self._log, self._room, stop)
        self._bringing = Bringing(self._life, self._left, self._log, self._attempts, self._take)
        means.live.begin(work, retry, self._added, self._live_ended)

    def _noted(self, step: str, batch: Batch) -> None:
        if (watch := self._means.manner.watch) is not None:
            watch.batch(step, batch)

    def _note_retry(self, retry: AskAgain | None) -> None:
        """Keeps what is asked again where nobody waits for it: who takes home batches orders the rest."""
        manifest = self._work.run.manifest
        if retry is None or self._means.manner.waits:
            return
        if retry != self._log.all.still_to_retry(manifest.generation, manifest.plan.rows):
            self._log.asks_again(retry, manifest.generation)

    def _added(self) -> RunState:
        """What batches have added to the run in this session, and those that are out."""
        return RunState(
            added=self._totals.totals,
            attempts=dataclasses.replace(self._attempts),
            synced=self._work.run.synced_results - self._synced_before,
            batches=tuple(one.standing() for one in self._out.values()),
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            ticker = group.create_task(self._tick())
            self._life.tidy()
            self._take_up(group)
            watching = group.create_task(self._strays.watch(self._stop))
            await self._go_on(group)
            watching.cancel()
            await self._strays.finish(self._stop, waits=self._means.manner.waits)
            await self._let_arrive()  # not after a second interrupt, which leaves at once
            ticker.cancel()
        self._means.live.tell()
        if self._error is not None:
            raise self._error

    def _take_up(self, group: asyncio.TaskGroup) -> None:
        """Goes on with what an earlier invocation has left."""
        lanes, known = self._means.lanes, list(self._log.all.by_key.values())
        for batch in self._left.lacking(one for one in known if one.step is Step.MERGED):
            if batch.endpoint in lanes:
                self._log.unmerged(batch)
            else:
                self._say(
                    f"{counted(batch.lines, 'row')} of a batch at {batch.endpoint}, which the job does not "
                    "name any more, had answers that are not here: asked, and paid, again"
                )
        for batch in known:
            if batch.step in {Step.MEANT, Step.UPLOADED}:
                self._log.dropped(batch, "it was never ordered")
        for batch in self._log.all.out:
            if lanes[batch.endpoint].endpoint.job.host == "simulator":
                self._log.dropped(batch, "it went with the simulator that an earlier invocation had started")
            else:
                self._begin(group, batch, lanes[batch.endpoint])
        self._left.find_free({one.batch.shard for one in self._out.values()})

    def _begin(
        self, group: asyncio.TaskGroup, batch: Batch, lane: BatchLane, packed: Packed | None = None
    ) -> None:
        worst = Money(batch.usd or 0.0, batch.tokens)
        budget = self._means.budget
        reservation = budget.set_aside_for(worst, priced=batch.usd is not None)
        budget.release(reservation)  # one that comes to nothing costs nothing
        self._left.expect(batch)
        out = Out(batch, lane, reservation, lines=None if packed is None else packed.lines)
        self._out[batch.key] = out
        out.task = group.create_task(self._follow(out))

    async def _go_on(self, group: asyncio.TaskGroup) -> None:
        """Does what the choice says until nothing is left, or the run stops."""
        manner, live = self._means.manner, self._means.live
        while not self._stop.is_set:
            self._changed.clear()
            while self._sent_live:
                await self._settle(self._sent_live.pop(), again=True)
            if not self._left.rows and not self._out and not live.is_busy:
                return
            if (manner.cancels or not manner.orders) and not self._out:
                self._stop(StopReason.CANCELLED, "its batches are cancelled; what had ended by then is kept")
            elif manner.cancels:
                self._take_back(group, list(self._out.values()))
            elif manner.orders and await self._act(group):
                continue
            if (
                not manner.waits
                and not live.is_busy
                and self._strays.has_looked
                and all(one.is_looked_at and one.next_look for one in self._out.values())
            ):
                self._detach()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._changed.wait()

    def _live_ended(self, shards: Sequence[Shard]) -> None:
        self._sent_live += shards
        self._changed.set()

    async def _act(self, group: asyncio.TaskGroup) -> bool:
        """Does one thing that the choice says. False when there is nothing to do now."""
        act = self._means.choice.next(self._scene())
        match act:
            case None:
                return False
            case Submit(lane):
                return await self._submit(group, self._means.lanes[lane])
            case SendLive(rows, kind, why):
                self._send_live(group, self._left.taken(rows), kind, why)
                return True
            case Probe(rows):
                self._send_live(group, self._left.taken(1), "live", "deadline", first=rows)
                return True
            case GiveUp(why):
                if not self._out and not self._means.live.is_busy:
                    self._stop(StopReason.BUDGET, why)
                return False
            case TakeBack(key):
                # else it would be said again at once, and nothing but that would ever be done
                return self._take_back(group, [self._out[key]])
        assert_never(act)

    def _send_live(
        self,
        group: asyncio.TaskGroup,
        shards: Sequence[Shard],
        kind: LaneKind,
        why: WhyLive,
        *,
        first: int | None = None,
    ) -> None:
        """Sends shards by calls, and notes why: what the deadline cost is known from there."""
        try:
            self._log.went_live([one.index for one in shards], self._work.run.manifest.generation, kind, why)
        except RunStopped as error:
            self._stop(error.reason, str(error))
            return
        self._means.live.send(group, shards, kind, self._stop, first=first)

    def _scene(self) -> Scene:
        """What the choice is made from."""
        out = {name: sum(one.lane.name == name for one in self._out.values()) for name in self._means.lanes}
        return Scene(
            self._left.rows,
            self._left.returned_rows,
            tuple(self._out.values()),
            {name: self._room[name].left(count) for name, count in out.items()},
            self._means.ended_after_s,
            self._means.live.rows,
            self._means.live.done,
        )

    async def _submit(self, group: asyncio.TaskGroup, lane: BatchLane) -> bool:
        """Orders batches for the next shard. False when the money reaches for none."""
        out = sum(one.lane is lane for one in self._out.values())
        try:
            shard, packing = await self._submitting.packed(lane, out)
        except RunStopped as error:
            self._stop(error.reason, str(error))
            return False
        except BatchlabError as error:  # the input cannot be read any more
            self._error = error
            self._stop(StopReason.INPUT, str(error))
            return False
        if self._stop.is_set:
            packing.give_up(len(packing.packed))
            return False
        for packed in packing.packed:
            self._begin(group, self._log.meant(packed.batch), lane, packed)
        if packing.packed:
            return True  # the others of the shard, if any, are free again when these have ended
        if not packing.is_short and packing.unfit and self._means.choice.has_calls:
            self._submitting.say_unfit(lane, packing.unfit)
            self._send_live(group, [shard], "live", "cheapest")
            return True
        if not packing.is_short:
            await self._settle(shard, again=False)
            return True
        self._left.give_back(shard)
        if not self._out and not self._means.live.is_busy:
            self._stop(StopReason.BUDGET, self._submitting.why_short(packing.need))
        return False

    async def _follow(self, out: Out) -> None:
        """Brings one batch to its results, and these to the journal."""
        shard = self._work.plan.shards[out.batch.shard]
        try:
            await self._bring(out)
        except Stopped:
            pass
        except ApiError as error:  # the next one would be refused, too
            self._endings.refused(out, error)
        except RunStopped as error:
            self._stop(error.reason, str(error))
        except BatchlabError as error:  # the input cannot be read any more, or a journal is damaged
            self._error = error
            self._stop(StopReason.INPUT, str(error))
        finally:
            self._left.expect_no_more(out.batch)
            self._changed.set()
        if self._log.all.by_key[out.batch.key].is_out:
            out.next_look = 0.0
            return  # the run stops, and it goes on at its service: what it may cost stays set aside
        self._means.budget.end(out.reservation)
        del self._out[out.batch.key]
        if out.lines is not None:
            out.lines.unlink(missing_ok=True)
        if not any(one.batch.shard == shard.index for one in self._out.values()):
            await self._settle(shard, again=True)
        await self._life.give_file_back(out)

    async def _bring(self, out: Out) -> None:
        """Takes what comes of a batch, be it nothing."""
        try:
            if (told := await self._bringing.bring(out)) is not None:
                self._endings.came(out, told)
        except NoRoom:
            others = sum(
                one is not out and one.lane is out.lane and one.batch.id is not None
                for one in self._out.values()
            )
            self._endings.found_no_room(out, others)
        except BadLines as bad:
            await self._left.fail_lines(out, bad.problems, self._take)
            lines = counted(len(bad.problems), "line")
            self._say(f"{out.lane.name}: refused a batch for {lines}, and failed are these rows alone")
        except GivenUp as lost:
            self._say(str(lost))
            await self._bringing.give_up(out)

    def _take(self, came: Result, written: Result) -> None:
        watch, taker = self._means.manner.watch, self._means.manner.taker
        if watch is not None:
            watch.result(came)
        if taker is not None:
            taker.take(written)

    async def _settle(self, shard: Shard, *, again: bool) -> None:
        """Seals a shard if it is complete; else it may be free again."""
        try:
            await self._left.settle(shard, again=again)
        except RunStopped as error:
            self._stop(error.reason, str(error))
        except UsageError as error:
            self._stop(StopReason.INPUT, str(error))
        self._changed.set()

    def _take_back(self, group: asyncio.TaskGroup, wanted: Sequence[Out]) -> bool:
        """Whether there was any to take back. That its service is slow to hear it holds up nothing else."""
        told = [out for out in wanted if self._life.begin_to_end(out)]
        for out in told:
            group.create_task(self._call_off(out))
        return bool(told)

    async def _call_off(self, out: Out) -> None:
        with contextlib.suppress(Stopped):
            await self._life.call_off(out)

    def _detach(self) -> None:
        """Leaves what is out to its service."""
        rows = sum(one.batch.lines for one in self._out.values())
        more = f", {counted(self._left.rows, 'row')} not ordered yet" if self._left.rows else ""
        out = f"{_batches(len(self._out))} with {counted(rows, 'row')} out"
        if not self._means.manner.orders:
            self._stop(StopReason.CANCELLED, f"{out}; what was cancelled is not ordered again")
        else:
            self._stop(StopReason.DETACHED, f"{out}{more}")

    async def _let_arrive(self) -> None:
        """Lets an order that is on its way arrive, and results that are here be taken."""
        tasks = [one.task for one in self._out.values() if one.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._work.job.limits.drain_timeout_s)
        for task in late:
            task.cancel()

    async def _tick(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                self._means.live.tell()
                try:
                    self._work.run.check_disk()
                except RunStopped as error:  # another machine has taken the run over at its URL
                    self._stop(error.reason, str(error))
                await asyncio.sleep(TICK_S)


def _batches(count: int) -> str:
    return counted(count, "batch", "batches")
