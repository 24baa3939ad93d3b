"""What keeps a worker that was given up from writing: its lease, its lock, and files of its own.

A worker on another machine may be out of our reach and at work all the same. Its shards are given to
another one only when it can write no more:

- it holds a lock of its own in `workers/` as long as it lives, and a free lock is proof of its end;
- it leaves by itself once it has had no grant for `FENCE_S`, and looks at the clock before each write.

Should it be stopped for long in the very moment between that look and the write, nothing is mixed all
the same: every attempt writes to a journal that it has made, publishes a part only where there is
none, and none once another has begun a journal of the shard.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

from batchlab.errors import UsageError
from batchlab.store.disk.file_locks import HELD, lock
from batchlab.store.disk.files import FILE_MODE, O_BINARY, made_new, private_dir, publish, publish_new
from batchlab.store.layout import Layout

FENCE_S = 15.0  # a lease is renewed twice a second; a driver that is busy may take seconds
WATCH_S = 0.5
ORPHANS_S = FENCE_S + 5.0  # Ray ends the workers of a driver that was killed within moments


class NoFence:
    """Of a process that nobody gives up while it lives: it has the run's lock, or ends with who has it."""

    mark = ""  # in the names of its temporary files

    def renew(self, asked_at: float) -> None:
        """It may go on anyway."""

    def check(self) -> None:
        """It may write."""

    def leave_if(self, taken_over: Callable[[], bool]) -> None:
        """Nobody takes over from it."""

    def claim(self, journal: Path) -> bool:
        """Every name that is free is its own: True."""
        del journal
        return True

    def publish(self, tmp: Path, final: Path, *, replaces: bool) -> bool:
        """Makes a written file appear under its final name: True. Raises RunStopped (disk)."""
        del replaces
        publish(tmp, final)
        return True


class Fence:
    """The worker's own side: it may write until its time is over.

    Args:
        seconds: it may write that long after it asked for its last grant.
        leave: ends this process at once.
    """

    def __init__(
        self, seconds: float, leave: Callable[[], NoReturn], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._now = now
        self._until = now() + seconds
        self._leave = leave

    @property
    def mark(self) -> str:
        """In the name of a temporary file: another attempt may be writing its own."""
        return f".{secrets.token_hex(4)}"

    def renew(self, asked_at: float) -> None:
        """It got a grant that it had asked for then."""
        self._until = max(self._until, asked_at + self._seconds)

    def check(self) -> None:
        """Leaves when its time is over."""
        if self._now() >= self._until:
            self._leave()

    def leave_if(self, taken_over: Callable[[], bool]) -> None:
        """Leaves when somebody else has begun with what this process was at."""
        self.check()
        if taken_over():
            self._leave()

    def claim(self, journal: Path) -> bool:
        """Makes a journal, empty; False when another attempt has one of that name.

        Raises RunStopped (disk).
        """
        return made_new(journal)

    def publish(self, tmp: Path, final: Path, *, replaces: bool) -> bool:
        """Makes a written file appear under its final name; False when another attempt was faster.

        Args:
            replaces: it may take the place of the file that was there when the shard was opened.

        Raises RunStopped (disk).
        """
        if not replaces:
            return publish_new(tmp, final)
        publish(tmp, final)
        return True

    def watch(self) -> None:
        """Checks now and then from a thread of its own, whatever else this process does."""

        def check() -> None:
            while True:
                time.sleep(WATCH_S)
                self.check()

        threading.Thread(target=check, daemon=True).start()


AnyFence: TypeAlias = "Fence | NoFence"


def hold(run: Path, name: str) -> int:
    """Takes the lock of a worker of this name for as long as its descriptor is open."""
    layout = Layout(run)
    private_dir(layout.workers)
    descriptor = os.open(layout.worker_lock(name), os.O_RDWR | os.O_CREAT | O_BINARY, FILE_MODE)
    lock(descriptor)
    return descriptor


def is_held(run: Path, name: str) -> bool:
    """Whether somebody has the lock of that name, on whatever machine."""
    return _is_held(Layout(run).worker_lock(name))


def let_go(run: Path, name: str) -> None:
    """Removes the lock of a worker that has ended."""
    Layout(run).worker_lock(name).unlink(missing_ok=True)


def await_orphans(run: Path, *, patience_s: float = ORPHANS_S) -> None:
    """Returns once no worker of an earlier driver works on the run, and tidies up after them.

    Raises:
        UsageError: one still does.
    """
    end = time.monotonic() + patience_s
    for path in Layout(run).worker_locks():
        while _is_held(path):
            if time.monotonic() >= end:
                raise UsageError(
                    f"{path}: a worker of an earlier run still holds it, on a machine that lost its driver. "
                    "Stop it there, or wait: it leaves by itself."
                )
            time.sleep(0.05)
        path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR | O_BINARY)
        try:
            lock(descriptor)
        except OSError as error:
            if error.errno in HELD:
                return True
            raise
        finally:
            os.close(descriptor)
    return False
