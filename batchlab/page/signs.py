"""Whether a run has changed since it was looked at: a few `stat` calls, and nothing read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from batchlab.store.disk.run_lock import lock_holder
from batchlab.store.layout import Layout

Sign: TypeAlias = tuple[object, ...]


def sign_of(path: Path) -> Sign:
    """What changes with a run: equal as long as nothing of it has.

    Who works on it says so once a second in `standing.json`. That it was killed shows in nothing but its
    lock, which is asked for only while somebody has it: whoever looks must never be in the way of a start.
    """
    layout = Layout(path)
    files = (
        layout.manifest,
        layout.standing,
        layout.checksums,
        layout.lock,
        layout.lost,
        layout.batches,
        layout.journals,
        layout.parts,
        layout.labels,
    )
    seen = tuple(map(_state, files))
    lock = seen[3]
    is_locked = lock is not None and lock[1] > 0
    return (*seen, lock_holder(path) if is_locked else None)


def labels_sign(path: Path) -> str | None:
    """What changes with each label; None without any."""
    found = _state(Layout(path).labels)
    return None if found is None else "-".join(map(str, found))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
