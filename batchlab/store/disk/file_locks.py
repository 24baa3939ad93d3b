"""How any file is locked: flock, or byte ranges where there is no flock (Windows).

Both belong to the open file and end with it, however the process ends. Who has a run is told by the lock of
its directory (`run_lock`), who is at work on it from afar by those of its workers (`fence`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from batchlab.store.disk.files import FILE_MODE, O_BINARY

HELD = frozenset({errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK})  # errors that mean: somebody has it

# A range is locked against reading too on Windows, so it lies behind all that a lock file holds.
_RANGE_AT = 2**30

if sys.platform == "win32":  # pragma: no cover - not run by our tests
    import msvcrt

    def lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> None:
        """Takes the lock; raises OSError at once if it is taken, unless it is to wait (10 s at most).

        There is no shared one here: a reader lets go again.
        """
        os.lseek(descriptor, _RANGE_AT, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        if shared:
            os.lseek(descriptor, _RANGE_AT, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> None:
        """Takes the lock until the file is closed; raises OSError if it is taken, unless it is to wait."""
        # flock, not lockf: a lockf lock is dropped when any descriptor of the file closes.
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, how if wait else how | fcntl.LOCK_NB)


@contextlib.contextmanager
def alone_at(path: Path) -> Iterator[None]:
    """Keeps the other processes of a run away from a file that all append to.

    A write that fails is taken back by cutting the file, and must not cut off another's record.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | O_BINARY, FILE_MODE)
    try:
        lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)
