"""Results on their way from the run's thread to the program that takes them one by one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable

from batchlab.dispatch.rate.gate import Gate
from batchlab.records import Failure, Result
from batchlab.store.view import RunView


class Outbox:
    """A bounded queue between two event loops. See `engines.observer.Taker` for the run's side.

    Args:
        most: rows are held back while more results than this wait. What is in flight then still
            comes, so at most `most` and the requests in flight are in memory.
        taker: the event loop of the program that takes the results.
    """

    def __init__(self, most: int, taker: asyncio.AbstractEventLoop) -> None:
        self._most = most
        self._taker = taker
        self._changed = asyncio.Event()  # of the taker's loop
        self._lock = threading.Condition()  # held for each change of the four below
        self._waiting: deque[Result] = deque()
        self._gate: Gate | None = None
        self._run: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def gate(self) -> Gate:
        """See `engines.observer.Taker`."""
        gate = Gate(lambda: len(self._waiting) >= self._most)
        with self._lock:
            self._gate, self._run = gate, asyncio.get_running_loop()
        return gate

    def take(self, result: Result) -> None:
        """See `engines.observer.Taker`."""
        with self._lock:
            if self._closed:
                return
            self._waiting.append(result)
            first = len(self._waiting) == 1
        if first:
            self._notify()

    def take_stored(self, store: RunView) -> None:
        """Takes what the run has from earlier processes, as fast as the program takes it.

        Called in the run's thread before anything is sent. A failure that this run will ask again
        is not among them.
        """
        sealed, shard_rows = store.sealed(), store.manifest.plan.shards[0].rows
        for result in store.all_results():
            asked_again = isinstance(result, Failure) and result.retryable
            if asked_again and result.row_id // shard_rows not in sealed:
                continue
            if not self.take_in_turn(result):
                return

    def take_in_turn(self, result: Result) -> bool:
        """Waits until there is room for the result; False when nobody takes any more.

        Called in the run's thread, or one of its threads, never from an event loop.
        """
        with self._lock:
            self._lock.wait_for(lambda: len(self._waiting) < self._most or self._closed)
            if self._closed:
                return False
            self._waiting.append(result)
        self._notify()
        return True

    def close(self) -> None:
        """Nobody takes any more; what waits is dropped, and is in the run directory."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._lock.notify_all()
        self._let_rows_pass()

    def end(self) -> None:
        """The run is over: nothing more comes."""
        with self._lock:
            self._gate = self._run = None
        self._notify()

    def next(self) -> Result | None:
        """The next result, if one waits."""
        with self._lock:
            if not self._waiting:
                return None
            result = self._waiting.popleft()
            # woken once, when half of the room is free again: not for each result
            half = len(self._waiting) == self._most // 2
            if half or not self._waiting:
                self._lock.notify_all()
        if half or not self._waiting:
            self._let_rows_pass()
        return result

    async def changed(self) -> None:
        """Returns when there may be a result, or the end."""
        await self._changed.wait()
        self._changed.clear()

    def _notify(self) -> None:
        self._call(self._taker, self._changed.set)

    def _let_rows_pass(self) -> None:
        with self._lock:
            gate, run = self._gate, self._run
        if gate is not None and run is not None:
            self._call(run, gate.look)

    @staticmethod
    def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # that loop has ended, and nobody waits in it
            loop.call_soon_threadsafe(what)
