"""Workers that turn requests into results.

Workers share one iterator of requests: no task per row, no queue, and back-pressure for
free. There is a worker for each slot of the window, and one more for each row that waits to
be retried, because such a row keeps its worker but holds no slot.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Iterator

from batchlab.costs.tokens import estimated_prompt_tokens
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.correction import Correction
from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.lanes import Grant, Lanes, NoLane
from batchlab.dispatch.longer import with_more_tokens
from batchlab.dispatch.on_way import RowsOnWay
from batchlab.dispatch.rate import attempt_costs
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.gate import Gate
from batchlab.dispatch.rate.slots import Slots, Stopped
from batchlab.dispatch.rate.worst_case import Reservation
from batchlab.dispatch.recorder import Recorder
from batchlab.dispatch.retry import retried_after
from batchlab.dispatch.row_state import RowState
from batchlab.dispatch.sender import Sender
from batchlab.dispatch.stop import StopSignal
from batchlab.dispatch.trouble.failover import Failover, stop_reason
from batchlab.dispatch.trouble.unforeseen import Unforeseen
from batchlab.dispatch.trouble.verdict import booked
from batchlab.errors import BatchlabError
from batchlab.job import LimitsJob
from batchlab.records import ChatRequest, LaneKind, Outcome, OutcomeClass, Result
from batchlab.run_end import RunStopped, StopReason
from batchlab.run_state import LAST_ERROR_CHARS, Attempts

WORKERS_PER_SLOT = 4  # rows in back-off hold a worker: at 10 % retries 16 workers took 3x as long as 64
ODD_ATTEMPTS = 2  # of a row that failed in an earlier pass while others were answered

# attempts without an answer that the provider may have billed all the same
_MAYBE_BILLED = frozenset({"timeout", "connection", "invalid_response", "too_large"})


class Pool:
    """Sends requests through the lanes until the iterator ends or the run stops.

    Args:
        attempts: what the pool counts in.
        say: told what a person should know while the run goes on.
        correction: what holds answers against the job's schema; None without one.
        gate: passed before each new row, if there is one.
        odd: row_ids that failed while others were answered: asked only a little more. Grows here.
    """

    def __init__(
        self,
        *,
        lanes: Lanes,
        budget: Budget,
        recorder: Recorder,
        limits: LimitsJob,
        stop: StopSignal,
        attempts: Attempts,
        say: Callable[[str], None],
        gate: Gate | None = None,
        correction: Correction | None = None,
        odd: set[int] | None = None,
    ) -> None:
        self._gate = gate
        self.odd = set() if odd is None else odd
        self._correction = correction
        self.rows = RowsOnWay()
        self._lanes = lanes
        self._slots = Slots(lanes)
        self._failover = Failover(lanes=lanes, slots=self._slots, limits=limits, stop=stop, say=say)
        self._budget = budget
        self._ceiling = attempt_costs.ceiling if budget.caps_cost else attempt_costs.no_ceiling
        self._recorder = recorder
        self._limits = limits
        self._stop = stop
        self._attempts = attempts
        self._sender = Sender(lanes=lanes, limits=limits, in_tail=self.rows.are_all_sent, booked=self._hedged)
        self._unforeseen = Unforeseen(say)
        self._hire: Callable[[], None] = lambda: None
        self._most = 0
        self._active = 0  # workers
        self._away = 0  # of them, those whose row waits for its next attempt
        self._error: BatchlabError | None = None
        self._left_out: Outcome | None = None  # why rows bound to one endpoint have no result

    async def run(self, requests: Iterator[ChatRequest], workers: int) -> None:
        """Brings every request to a result, with at most `workers` rows on their way at once.

        When the run stops, nothing new is sent; requests in flight are awaited up to the drain
        timeout, then abandoned. Rows without a result stay pending.
        """
        drain = asyncio.create_task(self._drain_deadline())
        tasks: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.TaskGroup() as group:

                def hire() -> None:
                    self._active += 1
                    tasks.add(task := group.create_task(self._work(requests)))
                    task.add_done_callback(tasks.discard)

                self._hire, self._most = hire, workers
                self._staff()
                drain.add_done_callback(lambda done: None if done.cancelled() else _cancel(tasks))
        finally:
            drain.cancel()
            self._unforeseen.tell()
        if self._error is not None:
            raise self._error
        if self._left_out is not None:
            self._stop(stop_reason(self._left_out), self._left_out.message)

    async def _drain_deadline(self) -> None:
        await self._stop.wait()
        self._slots.stop()
        self._budget.stop()
        if self._gate is not None:
            self._gate.stop()
        await asyncio.sleep(self._limits.drain_timeout_s)

    @property
    def _needed(self) -> int:
        """Workers that can send now, and those whose rows wait for something else than a slot.

        One for each slot of the window: with more, each request would wait in a queue and be
        woken from it, which costs as much as the journal does.
        """
        slots = self._slots
        return min(self._most, self._lanes.window + self._away + slots.bound + slots.behind)

    def _staff(self) -> None:
        """Puts as many workers to work as are needed; those too many leave by themselves."""
        while self._active < self._needed and not self.rows.none_left and not self._stop.is_set:
            self._hire()

    async def _work(self, requests: Iterator[ChatRequest]) -> None:
        try:
            while not self._stop.is_set and self._active <= self._needed:
                if self._gate is not None and not await self._gate.passed():
                    return
                request = self._next(requests)
                if request is None:
                    self.rows.none_left = True
                    return
                await self._bring(request)
                self._staff()
        finally:
            self._active -= 1

    async def _bring(self, request: ChatRequest) -> None:
        """Brings one request to its result, and the result to the recorder."""
        self.rows.taken()
        try:
            result = await self._complete(request)
            if result is not None:
                self._emit(request, result)
        except RunStopped as error:  # nothing can be written any more, or the budget is spent
            self._stop(error.reason, str(error))
        finally:
            self.rows.ended(request.row_id)

    def _emit(self, request: ChatRequest, result: Result) -> None:
        try:
            self._recorder.emit(result)
        except BatchlabError:  # the disk, or a journal that is damaged: the run's trouble
            raise
        except Exception as error:  # noqa: BLE001 - a result that cannot be recorded as it is, is one row's
            self._recorder.emit(self._unforeseen.instead_of(result, request, error))

    def _next(self, requests: Iterator[ChatRequest]) -> ChatRequest | None:
        """The next request; None at the end, or when there will be no other.

        What is in flight then was paid for: it is awaited before the error is raised.
        """
        try:
            return next(requests, None)
        except RunStopped as error:
            self._stop(error.reason, str(error))
        except BatchlabError as error:  # the input cannot be read any more, or a journal is damaged
            self._error = error
            self._stop(StopReason.INPUT, str(error))
        return None

    def wake(self) -> None:
        """More may be sent than before, for a reason from outside."""
        self._slots.wake()
        self._staff()

    def use(self, kinds: Collection[LaneKind]) -> None:
        """Sends by lanes of these kinds only from now on; those on their way come back as they were sent."""
        self._lanes.use(kinds)
        self.wake()

    def lane_is_out(self, name: str, outcome: Outcome) -> None:
        """Another process of the run found that a lane cannot go on."""
        self._failover.lane_is_out(name, outcome)

    async def _complete(self, request: ChatRequest) -> Result | None:
        """The row's result, or None when the run stopped before it had one."""
        state = RowState(is_odd=request.row_id in self.odd)
        try:
            await self._obtain(request, state)
            await self._improve(request, state)
        except Stopped:
            return None
        except NoLane as gone:
            self._left_out = gone.outcome
            return None
        except ApiError as error:
            if error.outcome.kind is OutcomeClass.RETRY and state.failed_alone:
                self.odd.add(request.row_id)
            return state.failure(request, error.outcome)
        except BatchlabError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one row's and not the run's
            return state.failure(request, self._unforeseen.outcome(request, error))
        return state.completion(request)

    async def _obtain(self, request: ChatRequest, state: RowState) -> None:
        """Leaves an answer in `state`, after as many attempts as it takes and the job allows."""
        try:
            await self._attempt(request, state)
        except ApiError as first:
            if first.outcome.kind is not OutcomeClass.RETRY:
                raise
            most = self._limits.max_attempts
            await retried_after(
                first,
                lambda: self._attempt(request, state),
                max_attempts=min(ODD_ATTEMPTS, most) if state.is_odd else most,
                max_wait_s=self._limits.max_pause_s,
                sleep=self._sleep,
            )

    async def _improve(self, request: ChatRequest, state: RowState) -> None:
        """Asks again for an answer that is empty, truncated or unfit, if the job says so.

        An answer that is there is kept when asking again fails: it was paid for.
        """
        limits, correction = self._limits, self._correction
        for _ in range(limits.retry_empty):
            if not state.is_empty or not await self._obtained_better(request, state):
                break
        if limits.retry_truncated is not None and state.is_truncated:
            longer = with_more_tokens(request, limits.retry_truncated)
            if longer is not None and not (correction is not None and correction.fits(state)):
                await self._obtained_better(longer, state)
                request = longer
        if correction is not None:
            await correction.correct(request, state, self._obtained_better, self._recorder.back)

    async def _obtained_better(self, request: ChatRequest, state: RowState) -> bool:
        kept, usd, lane = state.answer, state.usd, state.lane
        assert kept is not None
        try:
            await self._obtain(request, state)
        except (ApiError, Stopped, RunStopped, NoLane) as error:
            state.answer, state.usd, state.lane, state.trouble = kept, usd, lane, str(error)
            if isinstance(error, RunStopped):
                self._stop(error.reason, str(error))
            return False
        state.wasted.append((kept.reply.usage, usd))
        return True

    async def _attempt(self, request: ChatRequest, state: RowState) -> None:
        """Sends the row once, waiting out rate limits and outages, and leaves the answer in `state`."""
        prompt_tokens = estimated_prompt_tokens(request.prompt_bytes)
        retried = state.attempts > 0
        while True:
            if (left := self._sender.left_s(state)) is not None and left <= 0:
                raise ApiError(self._sender.overdue())
            queued = time.monotonic()
            async with self._slots.slot(
                prompt_tokens,
                request.max_tokens,
                only=request.endpoint,
                avoid=state.lane,
                front=retried,
                behind=state.waits > 0,
            ) as grant:
                most = self._ceiling(request, grant.lane)
                async with self._budget.reserved(prompt_tokens, request.max_tokens, most) as reservation:
                    state.queue_ms += (time.monotonic() - queued) * 1000
                    state.attempts += 1
                    state.lane = grant.lane
                    self._attempts.sent += 1
                    self._attempts.retried += retried
                    self._recorder.sent(request.row_id, state.attempts)
                    self.rows.sent(request)
                    try:
                        state.answer, grant = await self._sender.send(request, state, grant)
                    except ApiError as error:
                        outcome, behind_s = self._came_back(request, state, error, grant, reservation)
                        # before the slot is free: a stop must not let one more request out
                        self._failover.check(grant.lane, outcome)
                    else:
                        state.lane = grant.lane
                        state.usd = attempt_costs.answer_usd(request, state.answer, grant.lane)
                        self._answered(state.answer, grant, reservation, state.usd)
                        return
            if outcome.kind in {OutcomeClass.RETRY, OutcomeClass.FAIL}:
                raise ApiError(outcome)
            if behind_s > 0:  # others go first; equal waits would bring all of a look back as one burst
                await self._sleep(behind_s * random.uniform(1.0, 1.05))

    def _hedged(self, request: ChatRequest, state: RowState) -> None:
        state.attempts += 1
        self._attempts.sent += 1
        self._attempts.hedged += 1
        self._recorder.sent(request.row_id, state.attempts)

    def _answered(self, answer: Answer, grant: Grant, reservation: Reservation, usd: float | None) -> None:
        usage = answer.reply.usage
        total = usage.total_tokens
        if total is None and usage.prompt_tokens is not None:
            total = usage.prompt_tokens + (usage.completion_tokens or 0)
        grant.lane.health.succeeded(grant.permit.sent_at)
        grant.lane.controller.succeeded(grant.permit, time.monotonic(), total, answer.rate)
        self._budget.settle(reservation, usage, usd)

    def _came_back(
        self,
        request: ChatRequest,
        state: RowState,
        error: ApiError,
        grant: Grant,
        reservation: Reservation,
    ) -> tuple[Outcome, float]:
        """Books a failed attempt everywhere it counts. Returns the outcome the run makes of it, and how
        long the row stays behind before it is asked again without an attempt being counted."""
        usd = attempt_costs.failure_usd(request, error.usage, grant.lane, reservation.at)
        self._recorder.back(request.row_id, error.usage, usd)
        if error.usage is not None:
            state.wasted.append((error.usage, usd))
            self._budget.settle(reservation, error.usage, usd)
        elif error.outcome.error_class not in _MAYBE_BILLED:
            self._budget.release(reservation)
        kind = error.outcome.kind
        self._attempts.limited += kind is OutcomeClass.WAIT
        self._attempts.errors += kind in {OutcomeClass.PAUSE, OutcomeClass.RETRY}
        self._attempts.last_error = error.outcome.message[:LAST_ERROR_CHARS]
        now, lane = time.monotonic(), grant.lane
        verdict = lane.health.judged(
            error.outcome,
            state.refused_at(lane),
            sent_at=grant.permit.sent_at,
            now=now,
            max_pause_s=self._limits.max_pause_s,
            left=self.rows.left,
            beside=lane.controller.in_flight - 1,
        )
        behind_s = booked(verdict, lane.controller, grant.permit, now)
        state.waits += verdict.outcome.kind is OutcomeClass.WAIT
        return verdict.outcome, min(behind_s, self._limits.max_pause_s)

    async def _sleep(self, seconds: float) -> None:
        """A back-off that ends at once when the run stops. Meanwhile another worker has the slot."""
        self._away += 1
        self._staff()
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        finally:
            self._away -= 1
        raise Stopped


def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in list(tasks):
        task.cancel()
