"""How a run went over time: one JSON line every few seconds, for the page. Losing it loses no result.

A line has what `Moment` has; what came with a later version is left out where nothing is to be said.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from batchlab.finite import is_finite, strict_json
from batchlab.protocol.redact import printable
from batchlab.run_state import RunState
from batchlab.store.disk.files import FILE_MODE, plain_file
from batchlab.store.layout import Layout

EVERY_S = 2.0
LONG_AFTER_LINES, LONG_EVERY_S = 1_800, 15.0  # a night of 12 h is 4,400 lines
MOST_BYTES = 64 << 20  # that are read, the last ones: a month of lines
WHY_CHARS = 120
FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Moment:
    """How a run stood at one moment.

    Attributes:
        at: Unix seconds.
        window, in_flight, paused, why: as in `run_state.RunState`.
        limited, errors: the answers of that kind since the line before.
        rows: with a final result, of the whole run; `failed` are those of them that failed. None in a line of
            an earlier version, as of all that follows.
        usd: spent on the whole run; None also when it is not known.
        began: Unix seconds when the invocation began, which tells one from the next.
        ended: in the last line of an invocation `finished`, or why it stopped, a `run_end.StopReason`.
    """

    at: float
    window: int
    in_flight: int
    limited: int
    errors: int
    paused: bool
    why: str = ""
    rows: int | None = None
    failed: int | None = None
    usd: float | None = None
    began: float | None = None
    ended: str | None = None

    @classmethod
    def of(cls, line: Any) -> Self:
        """What a line says. Raises LookupError, TypeError or ValueError when it is none."""
        if not isinstance(line, dict) or not is_finite(line):
            raise ValueError("no line of a history")
        rows, failed, usd, began = (line.get(name) for name in ("rows", "failed", "usd", "began"))
        return cls(
            at=float(line["at"]),
            window=int(line["window"]),
            in_flight=int(line["in_flight"]),
            limited=int(line["limited"]),
            errors=int(line["errors"]),
            paused=bool(line["paused"]),
            why=str(line.get("why") or ""),
            rows=None if rows is None else int(rows),
            failed=None if failed is None else int(failed),
            usd=None if usd is None else float(usd),
            began=None if began is None else float(began),
            ended=None if line.get("ended") is None else str(line["ended"]),
        )


class History:
    """Appends to `history.jsonl` of a run. A disk that refuses ends the history, never the run."""

    def __init__(self, run_dir: Path) -> None:
        self._path = Layout(run_dir).history
        self._began = time.time()
        self._lines = 0
        self._next = 0.0
        self._limited = self._errors = 0
        self._dead = False

    def update(self, state: RunState) -> None:
        """Writes a line when it is time."""
        now = time.time()
        if now < self._next:
            return
        self._next = now + (EVERY_S if self._lines < LONG_AFTER_LINES else LONG_EVERY_S)
        self._write(state, now)

    def end(self, state: RunState, stopped: str | None) -> None:
        """Writes the last line of an invocation: why it stopped, None if it finished."""
        self._write(state, time.time(), stopped or FINISHED)

    def _write(self, state: RunState, now: float, ended: str | None = None) -> None:
        if self._dead:
            return
        limited, errors = state.attempts.limited, state.attempts.errors
        totals = state.totals
        line: dict[str, Any] = {
            "at": round(now, 3),
            "window": state.window,
            "in_flight": state.in_flight,
            "limited": limited - self._limited,
            "errors": errors - self._errors,
            "paused": state.paused,
            "rows": totals.rows,
            "failed": totals.failed,
            "began": round(self._began, 3),
        }
        later: dict[str, Any] = {
            "why": printable(state.why, WHY_CHARS),
            "usd": totals.spent_usd,
            "ended": ended,
        }
        line |= {name: value for name, value in later.items() if value not in ("", None)}
        self._limited, self._errors = limited, errors
        self._lines += 1
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
            with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
                file.write(strict_json(line).encode() + b"\n")
        except OSError:
            self._dead = True


@dataclass(slots=True)
class _Read:
    """What was read of a history, so that of one which grows only the new lines are."""

    inode: int
    begin: int  # of what was read: of a very long one only the last lines are
    end: int
    moments: list[Moment]


_KNOWN: OrderedDict[Path, _Read] = OrderedDict()  # of the runs that were looked at last
_MOST_KNOWN = 8
_TURN = threading.Lock()


def history_of(run_dir: Path) -> list[Moment]:
    """What `History` wrote of a run, oldest first; lines that a crash cut short are left out."""
    path = Layout(run_dir).history
    with _TURN, contextlib.suppress(OSError), plain_file(path) as file:
        stat = os.fstat(file.fileno())
        known = _KNOWN.pop(path, None)
        if known is None or known.inode != stat.st_ino or known.end > stat.st_size:
            begin = max(0, stat.st_size - MOST_BYTES)
            known = _Read(stat.st_ino, begin, begin, [])
        file.seek(known.end)
        text = file.read(stat.st_size - known.end)
        whole = text.rpartition(b"\n")[0]  # the last line may be on its way
        for line in whole.splitlines():
            with contextlib.suppress(LookupError, TypeError, ValueError, OverflowError, RecursionError):
                known.moments.append(Moment.of(json.loads(line)))
        known.end += len(whole) + 1 if whole else 0
        _KNOWN[path] = known
        while len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.popitem(last=False)
        return list(known.moments)
    return []
