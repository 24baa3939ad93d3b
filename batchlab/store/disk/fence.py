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
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from batchlab.errors import UsageError
from batchlab.store.disk.file_locks import HELD, lock
from batchlab.store.disk.files import FILE_MODE, O_BINARY, private_dir

FENCE_S = 15.0  # a lease is renewed twice a second; a driver that is busy may take seconds
WATCH_S = 0.5
ORPHANS_S = FENCE_S + 5.0  # Ray ends the workers of a driver that was killed within moments
FOLDER = "workers"


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
        self.leave = leave

    def renew(self, asked_at: float) -> None:
        """It got a grant that it had asked for then."""
        self._until = max(self._until, asked_at + self._seconds)

    def check(self) -> None:
        """Leaves when its time is over."""
        if self._now() >= self._until:
            self.leave()

    def watch(self) -> None:
        """Checks now and then from a thread of its own, whatever else this process does."""

        def check() -> None:
            while True:
                time.sleep(WATCH_S)
                self.check()

        threading.Thread(target=check, daemon=True).start()


def hold(run: Path, name: str) -> int:
    """Takes the lock of a worker of this name for as long as its descriptor is open."""
    private_dir(run / FOLDER)
    descriptor = os.open(_lock_path(run, name), os.O_RDWR | os.O_CREAT | O_BINARY, FILE_MODE)
    lock(descriptor)
    return descriptor


def is_held(run: Path, name: str) -> bool:
    """Whether somebody has the lock of that name, on whatever machine."""
    return _is_held(_lock_path(run, name))


def let_go(run: Path, name: str) -> None:
    """Removes the lock of a worker that has ended."""
    _lock_path(run, name).unlink(missing_ok=True)


def await_orphans(run: Path, *, patience_s: float = ORPHANS_S) -> None:
    """Returns once no worker of an earlier driver works on the run, and tidies up after them.

    Raises:
        UsageError: one still does.
    """
    end = time.monotonic() + patience_s
    for path in sorted(_locks(run)):
        while _is_held(path):
            if time.monotonic() >= end:
                raise UsageError(
                    f"{path}: a worker of an earlier run still holds it, on a machine that lost its driver. "
                    "Stop it there, or wait: it leaves by itself."
                )
            time.sleep(0.05)
        path.unlink(missing_ok=True)


def _locks(run: Path) -> Iterator[Path]:
    return (run / FOLDER).glob("*.lock")


def _lock_path(run: Path, name: str) -> Path:
    return run / FOLDER / f"{name}.lock"


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
