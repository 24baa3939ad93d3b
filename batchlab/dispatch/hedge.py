"""Asking the last, slow rows a second time, and taking whichever answer comes first.

Only for endpoints that bill nothing per call: a hedge is always paid twice. It starts when no
row is left to begin and a request takes longer than nearly all before it (Dean and Barroso,
The Tail at Scale, 2013).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.lanes import Grant
from batchlab.records import ChatRequest

SEEN = 200  # latest answers whose latency counts
ENOUGH = 20  # fewer say nothing about the tail
SLOW = 1.5  # times the 95th percentile: a straggler
MIN_S = 1.0
POLL_S = 0.25


class Hedge:
    """Sends requests, stragglers twice. One instance per pool; called from one event loop.

    Args:
        in_tail: whether every row that is left is on its way, so that a second request keeps none back.
    """

    def __init__(self, in_tail: Callable[[], bool]) -> None:
        self._in_tail = in_tail
        self._latencies: deque[float] = deque(maxlen=SEEN)

    def slow_s(self) -> float:
        """How long a request may take before it is a straggler; inf while too few were seen."""
        if len(self._latencies) < ENOUGH:
            return math.inf
        ordered = sorted(self._latencies)
        return max(MIN_S, SLOW * ordered[int(0.95 * len(ordered))])

    async def send(
        self, request: ChatRequest, grant: Grant, second: Callable[[], Grant | None]
    ) -> tuple[Answer, Grant]:
        """The first good answer and the grant it came by; the other request is abandoned.

        Args:
            second: gives a grant for one request more and books it as sent; None when there is no
                room. Its permit ends here unless it is returned; that of `grant` never does.

        Raises:
            ApiError: of the first request, when none is answered.
        """
        started = time.monotonic()
        error: ApiError | None = None
        tasks = {asyncio.create_task(grant.lane.transport.send(request)): grant}
        hedged = False
        try:
            while tasks:
                done, _ = await asyncio.wait(tasks, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        answer = task.result()
                    except ApiError as failed:
                        used = tasks.pop(task)
                        if used is grant:
                            error = failed
                        else:
                            used.lane.controller.failed(used.permit, time.monotonic())
                        continue
                    self._latencies.append(answer.latency_ms / 1000)
                    return answer, tasks.pop(task)
                straggles = self._in_tail() and time.monotonic() - started >= self.slow_s()
                if tasks and straggles and not hedged and (more := second()) is not None:
                    hedged = True
                    tasks[asyncio.create_task(more.lane.transport.send(request))] = more
            assert error is not None
            raise error
        finally:
            for task, used in tasks.items():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ApiError):
                    await task
                if used is not grant:
                    used.lane.controller.cancelled(used.permit, time.monotonic())
