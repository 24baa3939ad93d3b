"""The locks of a run directory: one process at a time works on a run, and its workers with it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from batchlab.store.disk.file_locks import lock
from batchlab.store.disk.files import FILE_MODE, O_BINARY, AppendFile, read_at

ORPHANS_S = 5.0
_TAIL_BYTES = 64 * 1024


def take_lock(descriptor: int) -> None:
    """Takes the lock. Raises OSError when another process has it.

    Workers of a process that was killed hold it until they notice, within moments: it is waited for.
    """
    end = time.monotonic() + ORPHANS_S
    while True:
        try:
            lock(descriptor)
        except OSError:
            if time.monotonic() >= end or not _is_gone(read_holder(descriptor)):
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


def cut_torn_tail(file: AppendFile) -> None:
    """Drops what follows the last whole line, so that no record follows half of another."""
    tail = file.read(max(0, file.size - _TAIL_BYTES), _TAIL_BYTES)
    if tail and not tail.endswith(b"\n"):
        file.truncate(file.size - len(tail) + tail.rfind(b"\n") + 1)


def read_holder(descriptor: int) -> bytes:
    """What the lock's holder wrote; it may have taken the lock this very moment."""
    for _ in range(20):
        content = read_at(descriptor, 4_096, 0)
        if content:
            return content
        time.sleep(0.02)
    return b""


def holder_text(content: bytes) -> str:
    """What the lock file says, for a person."""
    try:
        who = json.loads(content)
        return f"process {who['pid']} on {who['host']} since {who['start']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
