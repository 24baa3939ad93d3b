"""The controller's window as something to wait for: used like `asyncio.Semaphore`.

A slot covers one attempt, never a sleep. Held around the retries it made runs three times
longer (1,200 rows, 16 slots, 10 % retries of 1 s on 20 ms requests: 10.5 s against 3.4 s).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from batchlab.dispatch.controller import Permit, RateController


class Stopped(Exception):
    """The run stops: nothing new is sent."""


class Slots:
    """Hands out the controller's permits, first come first served; retries go to the front.

    Waiters and the timer change only in `_wake`, `slot` and `stop`, without an await inside.
    """

    def __init__(self, controller: RateController, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._controller = controller
        self._clock = clock
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @contextlib.asynccontextmanager
    async def slot(
        self, prompt_tokens: int, max_tokens: int | None, *, front: bool = False
    ) -> AsyncIterator[Permit]:
        """A permit for one attempt. The body ends it by one of the controller's methods.

        A body that leaves by an exception without doing so (cancelled) has abandoned the request.

        Raises:
            Stopped: the run stops before a slot was free.
        """
        if self._stopped:
            raise Stopped
        permit = None
        if not self._waiting:
            got = self._controller.try_acquire(self._clock(), prompt_tokens, max_tokens)
            permit = got if isinstance(got, Permit) else None
        if permit is None:
            permit = await self._queued(_Waiter(prompt_tokens, max_tokens), front=front)
        try:
            yield permit
        finally:
            if not permit.released:
                self._controller.cancelled(permit, self._clock())
            self._wake()

    def stop(self) -> None:
        """Every waiter, now and later, gets Stopped."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.granted.done():
                waiter.granted.set_exception(Stopped())

    async def _queued(self, waiter: _Waiter, *, front: bool) -> Permit:
        if front:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        self._wake()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if (
                waiter.granted.done()
                and not waiter.granted.cancelled()
                and waiter.granted.exception() is None
            ):
                # granted and cancelled in the same tick: the permit was never used
                self._controller.refused(waiter.granted.result(), self._clock())
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(waiter)
            self._wake()
            raise

    def _wake(self) -> None:
        """Grants permits to the head of the queue; when it must wait for a time, sets one timer."""
        while self._waiting and not self._stopped:
            waiter = self._waiting[0]
            if waiter.granted.done():
                self._waiting.popleft()
                continue
            got = self._controller.try_acquire(self._clock(), waiter.prompt_tokens, waiter.max_tokens)
            if not isinstance(got, Permit):
                self._arm(got)
                return
            self._waiting.popleft()
            waiter.granted.set_result(got)

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if math.isfinite(seconds):
            # A timer that fires a hair early would ask again and again.
            self._timer = asyncio.get_running_loop().call_later(seconds + 0.001, self._wake)


class _Waiter:
    __slots__ = ("granted", "max_tokens", "prompt_tokens")

    def __init__(self, prompt_tokens: int, max_tokens: int | None) -> None:
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.granted: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
