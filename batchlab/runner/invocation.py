"""One invocation of a run: it sends what is not final yet, tells who is to know, and says how it ended."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchlab.counts import counted
from batchlab.dispatch.http.key_check import refused_key
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.endpoint import Endpoint, access_to
from batchlab.engines.local import LocalEngine
from batchlab.engines.loop import first_of, run_loop
from batchlab.engines.observer import CallCounter, Observer
from batchlab.engines.share import Share
from batchlab.engines.terms import OwnTerms, spent_of
from batchlab.engines.work import Engine, Work, call_lanes
from batchlab.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_STOPPED,
    BatchlabError,
    UsageError,
)
from batchlab.job import SELF_STARTED, Job
from batchlab.lanes.call_times import CallWatch
from batchlab.observe.facts import EndpointAddress, RunFacts
from batchlab.observe.watchers import Watchers
from batchlab.records import Shard
from batchlab.run_end import RunStopped, RunSummary, StopReason, code_of
from batchlab.run_state import RunState
from batchlab.runner.crews import crew_for
from batchlab.runner.embedded.interrupt import Interrupt
from batchlab.runner.endpoints import key_remedy
from batchlab.runner.preparing.prepare import Prepared
from batchlab.runner.rows.asked_again import asked_again, refuse_same_cut
from batchlab.runner.run_options import RunOptions
from batchlab.runner.signals import Signals
from batchlab.runner.start_time import Start, start_of, stop_at, wait_for
from batchlab.runner.telling import Telling
from batchlab.runner.to_do import asks_only_by_batch, batches_of, shards_to_run
from batchlab.shell import command_line
from batchlab.store.batches import with_rows_out
from batchlab.store.integrity.lost import lost_at_most
from batchlab.store.locked import LockedRun

if TYPE_CHECKING:
    from batchlab.engines.crew import Crew


class Invocation:
    """One invocation: what was final before, what is final now, and who is told."""

    def __init__(
        self,
        job: Job,
        endpoints: Sequence[Endpoint],
        prepared: Prepared,
        watchers: Watchers,
        options: RunOptions,
        *,
        reused: int = 0,
    ) -> None:
        asks = with_rows_out(prepared.store.path, options.retry)
        earlier, self._in_flight_before = prepared.store.standing(prepared.plan.shards, retry=asks)
        self._work = Work(
            job,
            tuple(endpoints),
            prepared.source,
            prepared.plan,
            prepared.store,
            prepared.builder,
            RunState(rows=prepared.plan.rows, earlier=earlier, copies=reused),
            only=options.only,
        )
        self._prepared = prepared
        self._watchers = watchers
        self._options = options
        secrets = [one for endpoint in endpoints for one in endpoint.secrets]
        self.telling = Telling(
            prepared.store,
            watchers,
            self._work.before,
            spell=options.spell,
            command="" if options.only is not None else options.command,
            secrets=secrets,
        )
        self._start = Start()
        if options.only is None and options.retry is None and options.waits and not options.cancels:
            before = prepared.store.manifest.job.limits.start_at
            prices = [(endpoint.job, endpoint.prices) for endpoint in endpoints]
            self._start = start_of(job, prices, before, time.time())
        self._deadline: float | None = None  # Unix seconds, once rows are sent
        self._batches = False  # whether some are out, or to be

    def facts(self) -> RunFacts:
        """What is known of the run before it sends anything."""
        work = self._work
        return RunFacts(
            run=str(work.run.path.absolute()),
            job=work.job,
            before=work.before,
            addresses=tuple(EndpointAddress.of(at.job, at.base_url) for at in work.endpoints),
            secrets=tuple(one for endpoint in work.endpoints for one in endpoint.secrets),
        )

    def opening_lines(self) -> list[str]:
        """What answers have to fit, where a resumed run goes on, and when it begins.

        Raises:
            UsageError: a retry would pay for the same again; or no batch can carry the rows.
        """
        work = self._work
        if self._options.only is None and asks_only_by_batch(work.job):
            from batchlab.runner.batches.engine import refuse_unfit

            refuse_unfit(work.job, work.source, work.plan, work.builder)
        totals, rows = self._work.before.earlier, self._work.before.rows
        schema = self._work.builder.schema
        lines = [schema.described()] if schema is not None else []
        if before := totals.rows - self._work.before.copies:
            lines.append(f"resuming: {before:,} of {counted(rows, 'row')} have a final result")
        if self._options.retry is not None:
            refuse_same_cut(self._work, self._options.retry)
            lines.append(asked_again(self._work, self._options.retry))
        elif failed := totals.failed - totals.bad_input:
            asked = "is" if failed == 1 else "are"
            lines.append(
                f"{counted(failed, 'row')} failed before, and {asked} asked again by "
                f"{command_line('retry', self._work.run.path)} only"
            )
        if self._work.job.input.limit == rows:
            lines.append(
                f"the run has the first {counted(rows, 'row')} of the input; a start without the limit adds "
                "the others, and pays for none of these again"
            )
        if self._in_flight_before:
            count = counted(self._in_flight_before, "request")
            lines.append(f"an earlier run was cut off with {count} in flight, which may be billed twice")
        if self._start.line:
            lines.append(self._start.line)
        return lines

    def to_end(self) -> RunSummary:
        """Runs until every row is final or the run stops."""
        work, options = self._work, self._options
        shards = shards_to_run(work.run, list(work.plan.shards), options.retry)
        self._batches, awaited = batches_of(work.job, work.run)
        shards += [work.plan.shards[index] for index in sorted(awaited - {one.index for one in shards})]
        crew = crew_for(work.job, work.run, len(shards), self.telling.message, alone=self._alone())
        stop, interrupt = StopSignal(), options.interrupt or Interrupt()
        signals = Signals(stop, self.telling.message, options.command)

        async def main() -> None:
            if options.signals:
                signals.install()
            with interrupt.bound(stop):
                await self._wait_to_start(stop)
                if stop.is_set:
                    return
                self._set_deadline(stop)
                if options.cancel_within_s is not None:
                    told = (
                        f"some batches have not ended {options.cancel_within_s:g} s after they were cancelled"
                    )
                    asyncio.get_running_loop().call_later(
                        options.cancel_within_s, stop, StopReason.CANCELLED, told
                    )
                await self._run(crew, stop, shards)

        stopped: tuple[StopReason, str] | None = None
        if shards or self._awaits_orders():
            try:
                run_loop(main)
                if stop.reason is not None:
                    stopped = stop.reason, stop.message
            except asyncio.CancelledError:  # the second interrupt
                stopped = StopReason.INTERRUPTED, "interrupted; requests in flight were left"
            except BaseExceptionGroup as group:
                stopped = _stopped_by(first_of(group))
        summary = self._summary(stopped, signals.exit_code or EXIT_INTERRUPTED)
        # before the run's copy at a URL is brought up to date: it has this file
        self.telling.end_history(summary)
        return summary

    def _awaits_orders(self) -> bool:
        """Whether orders that were given up may have arrived since: what they cost is to be told."""
        if not self._batches:
            return False
        from batchlab.runner.batches.engine import orders_are_late

        return orders_are_late(self._work.run)

    async def _wait_to_start(self, stop: StopSignal) -> None:
        """Waits for the time at which the run is to begin.

        Raises:
            UsageError: there is time to find out that an endpoint refuses its key, and it does.
        """
        work, start = self._work, self._start
        if start.at is None:
            return
        for endpoint in work.endpoints:
            if (refused := await refused_key(access_to(endpoint, work.job))) is not None:
                raise UsageError(f"{endpoint.job.name}: {refused.message} (asked before the wait to start)")

        def show(why: str) -> None:
            self.telling.update(dataclasses.replace(work.before, why=why, paused=True))

        await wait_for(start, stop, show)
        self.telling.begin_now()

    def _set_deadline(self, stop: StopSignal) -> None:
        """Has the run stopped at its deadline: by the clock, or so long after now."""
        limits = self._work.job.limits
        if limits.deadline_s is None:
            return
        told = f"the deadline of {limits.deadline_s:g} s is over"
        self._deadline = limits.deadline_at or time.time() + limits.deadline_s
        stop_at(self._deadline, stop, StopReason.DEADLINE, told)

    def _alone(self) -> str:
        """Why this process sends the rows itself; "" when it need not."""
        if self._options.taker is not None:
            return "results are handed over one by one in this process"
        if self._work.only is not None:
            return "a pilot sends few rows"
        return "dedupe copies answers in this process" if self._work.job.output.dedupe else ""

    async def _run(self, crew: Crew | None, stop: StopSignal, shards: list[Shard]) -> None:
        work, options = self._work, self._options
        watch = self._watchers if self._watchers.of_rows else None
        spent = spent_of(work.before.totals).plus(Money(*lost_at_most(work.run.layout)))
        budget = Budget(work.job.limits.caps, spent=spent)

        calls = CallWatch()
        crews = [crew]  # of the first phase; one of a cluster is done with after its phase

        def live(told: Observer, before: RunState) -> Engine[Work[LockedRun]]:
            observer = CallCounter(told, calls, before.added.rows)
            if crew is not None:
                hired = crews.pop() if crews else crew_for(work.job, work.run, len(shards), lambda _: None)
                assert hired is not None, "as many shards as for the first"
                from batchlab.engines.foreman.engine import Foreman

                return Foreman(observer, hired, budget, watch=watch, span=self._watchers.span)
            share = Share(before, work.run)
            return LocalEngine(observer, OwnTerms(budget), share, watch=watch, taker=options.taker)

        if work.only is not None or not self._batches:
            await self._run_by(live(self.telling, work.before), stop, shards)
            self._remember(calls)
            return
        from batchlab.engines.batch_api.live import LivePhase
        from batchlab.engines.batch_api.means import Manner
        from batchlab.runner.batches.engine import batch_engine

        manner = Manner(
            waits=options.waits,
            cancels=options.cancels,
            orders=options.orders,
            accepts_loss=work.job.output.accept_lost_parts,
            watch=watch,
            taker=options.taker,
        )
        phases = LivePhase(self.telling, live, is_here=crew is None)
        try:
            async with batch_engine(
                self.telling, work, stop, phases, budget, manner=manner, deadline=self._deadline, calls=calls
            ) as engine:
                await self._run_by(engine, stop, shards)
        finally:
            for unused in filter(None, crews):  # no row went live
                await unused.close()
        self._remember(calls)

    def _remember(self, calls: CallWatch) -> None:
        """Keeps how long calls took, for the choice of lanes of later runs, where it is known of which."""
        job, seen = self._work.job, calls.seen
        lanes, models = call_lanes(job, self._work.endpoints), self._prepared.plan.models
        model = job.request.model or (models[0] if len(models) == 1 else "")
        if seen is None or len(lanes) != 1 or not model or lanes[0].endpoint.job.host in SELF_STARTED:
            return
        from batchlab.runner.batches.queue_history import remember_calls

        remember_calls(lanes[0].endpoint.job.host, model, lanes[0].kind, seen)

    async def _run_by(self, engine: Engine[Work[LockedRun]], stop: StopSignal, shards: list[Shard]) -> None:
        work, retry = self._work, self._options.retry
        if work.job.output.dedupe and work.only is None:
            from batchlab.runner.rows.once_each import run_once_each  # with numpy: other runs start without

            await run_once_each(engine, self._prepared, work, stop, shards, self._options, self.telling)
        else:
            await engine.run(work, stop, retry=retry, shards=shards)

    def _why(self, reason: StopReason, message: str) -> str:
        """Why the run stopped, and what to do about a key that was refused."""
        remedy = key_remedy(self._work.endpoints) if reason is StopReason.KEY else ""
        return f"{message}; {remedy}" if remedy else message

    def _summary(self, stopped: tuple[StopReason, str] | None, interrupted_code: int) -> RunSummary:
        work, state = self._work, self.telling.state
        totals, fail_on = work.run.totals(), work.job.output.fail_on
        if stopped is not None and stopped[0] is StopReason.DEADLINE and totals.rows == work.plan.rows:
            stopped = None  # all that was out then has come: in the morning after, by `collect`
        if stopped is None and work.only is not None and totals.rows < work.plan.rows:
            stopped, code = (StopReason.PILOT, "only the rows of the pilot were to be sent"), EXIT_OK
        elif stopped is None:
            code = code_of(totals, fail_on)
            if totals.rows < work.plan.rows:
                raise BatchlabError(
                    f"without a result: {counted(work.plan.rows - totals.rows, 'row')}; please report this"
                )
        else:
            code = interrupted_code if stopped[0] == StopReason.INTERRUPTED else EXIT_STOPPED
        out = work.run.batches_out()
        return RunSummary(
            run_dir=str(work.run.path),
            input_rows=work.plan.rows,
            totals=totals,
            sent=state.attempts.sent,
            elapsed_s=self.telling.elapsed_s,
            maybe_repaid=self._in_flight_before,
            stopped=stopped[0] if stopped else None,
            message=self._why(*stopped) if stopped else "",
            exit_code=code,
            insecure=tuple(endpoint.name for endpoint in work.job.endpoint if endpoint.insecure),
            limited=state.attempts.limited,
            window=state.window,
            fail_on=fail_on,
            batches_out=len(out),
            came=state.added.rows,
            rows_out=sum(one.rows for one in out),
        )


def _stopped_by(error: BaseException) -> tuple[StopReason, str]:
    """Reason and message of an error that ends a run in order; any other is raised."""
    match error:
        case RunStopped():
            return error.reason, str(error)
        case UsageError():  # the input cannot be read any more: too late for exit code 2
            return StopReason.INPUT, str(error)
    raise error from None
