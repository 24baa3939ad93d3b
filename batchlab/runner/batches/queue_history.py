"""How long batches and calls took in earlier runs: kept in the user's cache directory, and sent nowhere.

    queue-times.jsonl   a batch a line: {"at": 1764300000.0, "host": "api.openai.com", "seconds": 411.0}
    call-times.jsonl    a run a line, of a model by a lane of calls: {"at": …, "host": …, "model": …,
                        "lane": "live", "seconds": 3.2, "at_once": 60.5, "limited": false}

What cannot be read or written is done without.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from batchlab.lanes.call_times import CallsSeen
from batchlab.lanes.queue_times import MOST_KEPT, QUEUES, Durations
from batchlab.store.disk.files import FILE_MODE

MOST_BYTES = 1_000_000
QUEUE_TIMES, CALL_TIMES = "queue-times.jsonl", "call-times.jsonl"
RUNS_KEPT = 8  # of a model's newest: a service changes


def history_file(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where a history is."""
    if found := environ.get("XDG_CACHE_HOME"):
        return Path(found) / "batchlab" / name
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home) / "batchlab" / name
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "batchlab" / name


def known_queue(host: str) -> Durations:
    """How long batches took at a host."""
    seen: list[float] = []
    for one in _lines(QUEUE_TIMES):
        with contextlib.suppress(ValueError, TypeError, LookupError):
            if one["host"] == host and 0 < float(one["seconds"]) < 1e8:
                seen.append(float(one["seconds"]))
    return QUEUES.with_seen(seen[-MOST_KEPT:])


def remember(host: str, seconds: Sequence[float]) -> None:
    """Adds how long batches took in this run."""
    _add(QUEUE_TIMES, [{"host": host, "seconds": round(one, 3)} for one in seconds])


def known_calls(host: str, model: str, lane: str) -> list[CallsSeen]:
    """What the newest runs saw of calls to a model, the newest last."""
    seen: list[CallsSeen] = []
    for one in _lines(CALL_TIMES):
        with contextlib.suppress(ValueError, TypeError, LookupError):
            if (one["host"], one["model"], one["lane"]) == (host, model, lane):
                seconds, at_once = float(one["seconds"]), float(one["at_once"])
                if 0 < seconds < 1e6 and 0 < at_once < 1e6:
                    seen.append(CallsSeen(seconds, at_once, bool(one["limited"])))
    return seen[-RUNS_KEPT:]


def remember_calls(host: str, model: str, lane: str, seen: CallsSeen) -> None:
    """Adds what this run saw."""
    said = {"seconds": round(seen.seconds, 4), "at_once": round(seen.at_once, 2), "limited": seen.limited}
    _add(CALL_TIMES, [{"host": host, "model": model, "lane": lane, **said}])


def _lines(name: str) -> Iterator[Any]:
    with contextlib.suppress(OSError):
        with history_file(name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_BYTES))
            lines = file.readlines()
        for line in lines:
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def _add(name: str, records: Sequence[Mapping[str, Any]]) -> None:
    at = round(time.time(), 3)
    text = "".join(json.dumps({"at": at, **one}) + "\n" for one in records)
    if not text:
        return
    with contextlib.suppress(OSError):
        path = history_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
