"""The windows of the endpoints as something to wait for: used like `asyncio.Semaphore`.

A slot covers one attempt, never a sleep. Held around the retries it made runs three times
longer (1,200 rows, 16 slots, 10 % retries of 1 s on 20 ms requests: 10.5 s against 3.4 s).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable

from batchlab.dispatch.lanes import Grant, Lane, Lanes, NoLane


class Stopped(Exception):
    """The run stops: nothing new is sent."""


class Slots:
    """Hands out the lanes' permits, first come first served; retries go to the front.

    Rows that are bound to one endpoint wait in a queue of their own, so that an endpoint that
    pauses holds back nobody else. Waiters and the timer change only in `wake`, `slot` and `stop`,
    without an await inside.
    """

    def __init__(self, lanes: Lanes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lanes = lanes
        self._clock = clock
        self._queues: dict[str | None, deque[_Waiter]] = {}
        self._last: dict[str | None, deque[_Waiter]] = {}  # of rows that others go before
        self._waiting = 0  # rows in all queues
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def slot(
        self,
        prompt_tokens: int,
        max_tokens: int | None,
        *,
        only: str | None = None,
        avoid: Lane | None = None,
        front: bool = False,
        behind: bool = False,
    ) -> Slot:
        """A grant for one attempt, as an async context; `only` and `avoid` are those of `Lanes.acquire`.

        A row that goes `behind` waits until nobody else does.

        The body ends the permit by one of its controller's methods.

        A body that leaves by an exception without doing so (cancelled) has abandoned the request.

        Entering it raises:
            Stopped: the run stops before a slot was free.
            NoLane: every endpoint that may answer is out.
        """
        waiter = _Waiter(prompt_tokens, max_tokens, only, avoid)
        waiter.behind = behind
        return Slot(self, waiter, front)

    async def acquire(self, waiter: _Waiter, *, front: bool) -> Grant:
        """See `slot`, which is how to use it."""
        if self._stopped:
            raise Stopped
        if not waiter.behind and not self._queues.get(waiter.only):
            got = self._acquire(waiter)
            if isinstance(got, Grant):
                return got
        return await self._queued(waiter, front=front)

    def release(self, grant: Grant) -> None:
        """The attempt is over: the slot is free for whoever waits."""
        if not grant.permit.released:
            grant.lane.controller.cancelled(grant.permit, self._clock())
        if self._waiting:
            self.wake()

    @property
    def bound(self) -> int:
        """How many rows wait for the one endpoint they are bound to."""
        if not self._waiting:  # asked before each row
            return 0
        return sum(len(queue) for only, queue in self._queues.items() if only is not None)

    @property
    def behind(self) -> int:
        """How many rows wait until nobody else does."""
        return sum(len(queue) for queue in self._last.values()) if self._waiting else 0

    def stop(self) -> None:
        """Every waiter, now and later, gets Stopped."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for queue in (*self._queues.values(), *self._last.values()):
            while queue:
                waiter = self._pop(queue)
                if not waiter.granted.done():
                    waiter.granted.set_exception(Stopped())

    def wake(self) -> None:
        """Grants what can be granted to the heads of the queues; sets one timer for what must wait.

        To be called when a lane has gone out; the end of a slot calls it by itself.
        """
        if self._stopped:
            return
        soonest = math.inf
        for queue in (*self._queues.values(), *self._last.values()):
            if queue and queue[0].behind and self._queues.get(queue[0].only):
                continue  # others wait
            while queue:
                waiter = queue[0]
                if waiter.granted.done():
                    self._pop(queue)
                    continue
                try:
                    got = self._acquire(waiter)
                except NoLane as gone:
                    self._pop(queue)
                    waiter.granted.set_exception(gone)
                    continue
                if not isinstance(got, Grant):
                    soonest = min(soonest, got)
                    break
                self._pop(queue)
                waiter.granted.set_result(got)
        self._arm(soonest)

    def _acquire(self, waiter: _Waiter) -> Grant | float:
        return self._lanes.acquire(
            self._clock(), waiter.prompt_tokens, waiter.max_tokens, only=waiter.only, avoid=waiter.avoid
        )

    async def _queued(self, waiter: _Waiter, *, front: bool) -> Grant:
        queues = self._last if waiter.behind else self._queues
        queue = queues.setdefault(waiter.only, deque())
        waiter.granted = asyncio.get_running_loop().create_future()
        self._waiting += 1
        if front:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        self.wake()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            granted = waiter.granted
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                # granted and cancelled in the same tick: the permit was never used
                grant = granted.result()
                grant.lane.controller.refused(grant.permit, self._clock())
            else:
                with contextlib.suppress(ValueError):
                    queue.remove(waiter)
                    self._waiting -= 1
            self.wake()
            raise

    def _pop(self, queue: deque[_Waiter]) -> _Waiter:
        self._waiting -= 1
        return queue.popleft()

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if math.isfinite(seconds):
            # A timer that fires a hair early would ask again and again.
            self._timer = asyncio.get_running_loop().call_later(seconds + 0.001, self.wake)


class Slot:
    """One attempt's slot, as an async context. A class, because a generator costs 3 µs a use."""

    __slots__ = ("_front", "_grant", "_slots", "_waiter")

    def __init__(self, slots: Slots, waiter: _Waiter, front: bool) -> None:
        self._slots = slots
        self._waiter = waiter
        self._front = front

    async def __aenter__(self) -> Grant:
        self._grant = await self._slots.acquire(self._waiter, front=self._front)
        return self._grant

    async def __aexit__(self, *error: object) -> None:
        self._slots.release(self._grant)


class _Waiter:
    __slots__ = ("avoid", "behind", "granted", "max_tokens", "only", "prompt_tokens")

    def __init__(
        self, prompt_tokens: int, max_tokens: int | None, only: str | None, avoid: Lane | None
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.only = only
        self.avoid = avoid
        self.behind = False
        self.granted: asyncio.Future[Grant]  # once it is queued
