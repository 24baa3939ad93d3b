"""How long batches took in earlier runs, by service: kept in the user's cache directory, and sent nowhere.

One JSON line a batch: `{"at": 1764300000.0, "host": "api.openai.com", "seconds": 411.0}`. What
cannot be read or written is done without.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from batchlab.lanes.queue_times import MOST_KEPT, QUEUES, Durations
from batchlab.store.disk.files import FILE_MODE

MOST_BYTES = 1_000_000


def history_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the history is."""
    if found := environ.get("XDG_CACHE_HOME"):
        return Path(found) / "batchlab" / "queue-times.jsonl"
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home) / "batchlab" / "queue-times.jsonl"
    return (
        home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "batchlab" / "queue-times.jsonl"
    )


def known_queue(host: str) -> Durations:
    """How long batches took at a host."""
    seen: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        with history_file().open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_BYTES))
            lines = file.readlines()
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, LookupError):
                one = json.loads(line)
                if one["host"] == host and 0 < float(one["seconds"]) < 1e8:
                    seen.append(float(one["seconds"]))
    return QUEUES.with_seen(seen[-MOST_KEPT:])


def remember(host: str, seconds: Sequence[float]) -> None:
    """Adds what this run has seen."""
    if not seconds:
        return
    text = "".join(
        json.dumps({"at": round(time.time(), 3), "host": host, "seconds": round(one, 3)}) + "\n"
        for one in seconds
    )
    with contextlib.suppress(OSError):
        path = history_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
