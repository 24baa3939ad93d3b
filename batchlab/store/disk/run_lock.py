"""The lock of a run directory: one process at a time works on a run, and its workers with it.

The file says who, for people. How a file is locked at all is in `file_locks`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from pathlib import Path

from batchlab.errors import UsageError
from batchlab.run_end import RunStopped
from batchlab.store.disk.fence import await_orphans
from batchlab.store.disk.file_locks import HELD, lock
from batchlab.store.disk.files import (
    FILE_MODE,
    O_BINARY,
    disk_errors,
    file_content,
    plain_file,
    read_at,
    write_at,
)
from batchlab.store.layout import Layout

ORPHANS_S = 5.0


class RunLock:
    """The lock, held by this process until `release`. A child process may inherit its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def taken(cls, run: Path) -> RunLock:
        """Takes the lock of a run directory, and says in it who has it.

        Raises:
            UsageError: another process holds it (names its pid, host and start), or a worker of an earlier
                one is at work still.
        """
        try:
            descriptor = os.open(Layout(run).lock, os.O_RDWR | os.O_CREAT | O_BINARY, FILE_MODE)
        except OSError as error:
            raise UsageError(f"{run}: not writable: {os.strerror(error.errno or 0)}.") from error
        try:
            _wait_for(descriptor)
        except OSError as error:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            if error.errno not in HELD:
                raise UsageError(f"{run}: cannot be locked: {os.strerror(error.errno or 0)}.") from error
            raise _in_use(run, holder) from None
        try:
            await_orphans(run)
            with disk_errors(run):
                os.ftruncate(descriptor, 0)
                write_at(descriptor, _who(), 0)
        except RunStopped as error:
            os.close(descriptor)
            raise UsageError(str(error)) from error  # nothing was sent yet
        except BaseException:  # whatever it is, the lock must not stay behind; it goes on its way
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Gives the lock up. The file stays: removing it would race."""
        with contextlib.suppress(OSError):  # what is in it is only a hint for people
            os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


def lock_holder(run: Path) -> int | None:
    """pid of the process that works on a run now, None when there is none."""
    try:
        file = plain_file(Layout(run).lock)
    except OSError:
        return None
    with file:
        try:
            lock(file.fileno(), shared=True)
        except OSError:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return int(json.loads(read_at(file.fileno(), 4_096, 0))["pid"])
    return None


def refuse_held(run: Path) -> None:
    """Raises UsageError while another process holds the lock of a run directory, as who wants it is told."""
    if lock_holder(run) is not None:
        raise _in_use(run, file_content(Layout(run).lock))


def is_left_locked(run: Path) -> bool:
    """Whether the last one who worked on a run ended without giving up its lock; asked while none does."""
    try:
        return bool(file_content(Layout(run).lock).strip())
    except OSError:
        return False


def _who() -> bytes:
    who = {"pid": os.getpid(), "host": platform.node(), "start": time.strftime("%Y-%m-%d %H:%M:%S")}
    return json.dumps(who).encode()


def _wait_for(descriptor: int) -> None:
    """Takes the lock. Raises OSError when another process has it.

    Workers of a process that was killed hold it until they notice, within moments, and who looks at a run
    holds it while it asks for its holder: who has it then says nothing in it. Both are waited for.
    """
    end = time.monotonic() + ORPHANS_S
    while True:
        try:
            lock(descriptor)
        except OSError:
            holder = _read_holder(descriptor)
            if time.monotonic() >= end or not (_is_gone(holder) or not holder):
                raise
            time.sleep(0.02)
        else:
            return


def _is_gone(content: bytes) -> bool:
    """Whether the lock's holder, as it called itself, was a process of this machine that has ended."""
    if sys.platform == "win32":
        return False  # it has no workers there; and signal 0 is Ctrl-C
    try:
        who = json.loads(content)
        if who["host"] != platform.node():
            return False
        os.kill(int(who["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OSError):
        return False
    return False


def _read_holder(descriptor: int) -> bytes:
    """What the lock's holder wrote; it may have taken the lock this very moment."""
    for _ in range(20):
        content = read_at(descriptor, 4_096, 0)
        if content:
            return content
        time.sleep(0.02)
    return b""


def _in_use(run: Path, holder: bytes) -> UsageError:
    return UsageError(
        f"{run}: in use by {_holder_text(holder)}. Wait for it, or stop it: `kill` ends it in order."
    )


def _holder_text(content: bytes) -> str:
    """What the lock file says, for a person."""
    try:
        who = json.loads(content)
        return f"process {who['pid']} on {who['host']} since {who['start']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
