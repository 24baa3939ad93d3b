"""One attempt on its way: within the row's deadline, and asked twice when it straggles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from batchlab.costs.tokens import estimated_prompt_tokens
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.hedge import Hedge
from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.lanes import Grant, Lane, Lanes, NoLane
from batchlab.dispatch.row_state import RowState
from batchlab.job import LimitsJob
from batchlab.records import ChatRequest, Outcome, OutcomeClass


class Sender:
    """Sends requests by the grants they have.

    Args:
        in_tail: whether every row that is left is on its way; stragglers are asked twice only then.
        booked: called when a request is sent a second time, before it leaves.
    """

    def __init__(
        self,
        *,
        lanes: Lanes,
        limits: LimitsJob,
        in_tail: Callable[[], bool],
        booked: Callable[[ChatRequest, RowState], None],
    ) -> None:
        self._lanes = lanes
        self._limits = limits
        self._booked = booked
        self._hedge = Hedge(in_tail) if limits.hedge else None

    async def send(self, request: ChatRequest, state: RowState, grant: Grant) -> tuple[Answer, Grant]:
        """The answer and the grant it came by; a row that is over its deadline has failed."""
        if self._limits.row_deadline_s is None and self._hedge is None:
            return await grant.lane.transport.send(request), grant
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.left_s(state)):
                if self._hedge is None:
                    return await grant.lane.transport.send(request), grant
                return await self._hedge.send(
                    request, grant, lambda: self._second(request, state, grant.lane)
                )
        except TimeoutError:
            raise ApiError(self.overdue()) from None
        finally:
            state.spent_s += time.monotonic() - started

    def left_s(self, state: RowState) -> float | None:
        """What is left of the row's deadline; None without one."""
        deadline = self._limits.row_deadline_s
        return None if deadline is None else deadline - state.spent_s

    def overdue(self) -> Outcome:
        """What a row has failed by when nothing is left."""
        deadline = self._limits.row_deadline_s
        return Outcome(
            OutcomeClass.FAIL, "timeout", None, f"its attempts took longer than row_deadline, {deadline:g} s"
        )

    def _second(self, request: ChatRequest, state: RowState, avoid: Lane) -> Grant | None:
        """A grant to ask a straggler once more, if there is room right now."""
        prompt_tokens = estimated_prompt_tokens(request.prompt_bytes)
        try:
            got = self._lanes.acquire(
                time.monotonic(), prompt_tokens, request.max_tokens, only=request.endpoint, avoid=avoid
            )
        except NoLane:
            return None
        if not isinstance(got, Grant):
            return None
        self._booked(request, state)
        return got
