"""A run in a thread of its own, and how the thread that waits for it ends it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

from batchlab.dispatch.stop import StopSignal
from batchlab.run_end import StopReason

T = TypeVar("T")


class Interrupt:
    """Called once, the run stops in order; called again, it leaves requests in flight behind.

    May be called from any thread, also before the run has begun: then nothing is sent.
    """

    def __init__(self, message: str = "interrupted") -> None:
        self._message = message
        self._lock = threading.RLock()  # held for each change of the two below; a signal may come inside
        self._calls = 0
        self._act: Callable[[int], None] | None = None

    def __call__(self) -> None:
        with self._lock:
            self._calls += 1
            if self._act is not None:
                self._act(self._calls)

    @contextlib.contextmanager
    def bound(self, stop: StopSignal) -> Iterator[None]:
        """In the body, a call ends the task that runs now, whose run ends by `stop`."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "bound by the run's own task"

        def act(calls: int) -> None:
            if calls == 1:
                loop.call_soon_threadsafe(stop, StopReason.INTERRUPTED, self._message)
            else:
                loop.call_soon_threadsafe(task.cancel)

        with self._lock:
            self._act = act
            if self._calls:
                stop(StopReason.INTERRUPTED, self._message)
            if self._calls > 1:
                task.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._act = None


def in_thread(call: Callable[[], T]) -> concurrent.futures.Future[T]:
    """The outcome of `call()`, which a thread of its own makes."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
            future.set_exception(error)

    # the context tells a notebook which cell the output belongs to
    threading.Thread(target=contextvars.copy_context().run, args=(work,), name="batchlab-run").start()
    return future


def waited_for(call: Callable[[], T], interrupt: Interrupt, say: Callable[[str], None]) -> tuple[T, bool]:
    """The value of `call()`, and whether SIGINT came meanwhile, which `interrupt` was told."""
    with _Interrupts(interrupt, say) as interrupts:
        ended = in_thread(call)
        concurrent.futures.wait([ended])
    return ended.result(), interrupts.count > 0


class _Interrupts:
    """In the body, Ctrl-C and a kernel's interrupt go to the run, and raise nothing.

    A KeyboardInterrupt could come at any line, also while an earlier one is being taken care of, and
    leave a run behind that nobody waits for. Other threads than the main one hear no signals.
    """

    def __init__(self, interrupt: Interrupt, say: Callable[[str], None]) -> None:
        self._interrupt = interrupt
        self._say = say
        self._before: Any = signal.SIG_IGN
        self.count = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
        # a program that ignores SIGINT goes on ignoring it
        if self._before not in {signal.SIG_IGN, None}:
            signal.signal(signal.SIGINT, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before not in {signal.SIG_IGN, None}:
            signal.signal(signal.SIGINT, self._before)

    def _caught(self, number: int, frame: object) -> None:
        del number, frame
        self.count += 1
        self._interrupt()
        if self.count == 1:
            self._say(
                "interrupted: sending nothing new; waiting for requests in flight "
                "(interrupt again to leave at once)"
            )
