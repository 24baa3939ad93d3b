"""Space set aside while a run works, so that a full disk costs no answer that is in flight.

When a record cannot be written for want of space, the ballast is deleted, the record written
in its place, and the run told to stop: what is in flight still finds room.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from batchlab.errors import UsageError
from batchlab.run_end import RunStopped
from batchlab.store.disk.files import FILE_MODE, O_BINARY

BALLAST_BYTES = 16 * 1024 * 1024  # 64 answers in flight of 256 kB each
_ZEROS = bytes(1024 * 1024)


class Ballast:
    """The file that holds the space. Only the process that has the run's lock makes one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop: RunStopped | None = None

    def take(self) -> None:
        """Sets the space aside. Raises UsageError when there is not even that much."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | O_BINARY, FILE_MODE)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
                else:  # macOS, Windows
                    for _ in range(BALLAST_BYTES // len(_ZEROS)):
                        os.write(descriptor, _ZEROS)
            finally:
                os.close(descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            why, need = os.strerror(error.errno or 0), BALLAST_BYTES // 2**20
            raise UsageError(
                f"{self._path.parent}: no room to start ({why}); free at least {need} MiB."
            ) from error

    def spend(self, stop: RunStopped) -> bool:
        """Gives the space back to the disk; False when this process did before. The run is to stop."""
        first = self._stop is None  # another process of the run may have given it back for all
        self._stop = self._stop or stop
        with contextlib.suppress(OSError):  # the disk is failing, not full: the next write says so
            self._path.unlink(missing_ok=True)
        return first

    def check(self) -> None:
        """Raises the RunStopped that the ballast was spent on, if it was."""
        if self._stop is not None:
            raise RunStopped(self._stop.reason, str(self._stop))

    def release(self) -> None:
        """The run's work is over."""
        self._path.unlink(missing_ok=True)
