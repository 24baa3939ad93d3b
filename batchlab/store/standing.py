"""How a run stands, for who looks from another terminal: `standing.json`, replaced every second. Losing it
loses no result.

It has `at` and `began` (Unix seconds), the `pid` of who wrote it, `state` as `run_state.RunState` has it,
`rates` as `progress.speed.Rates` has them, the `command` that goes on with the run and the `folder` it was
typed in, and `ended` once this invocation has: `stopped` (why, null when
it finished), `message` and `exit_code`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from batchlab.finite import strict_json
from batchlab.run_state import RunState
from batchlab.store.disk.files import FILE_MODE, moved, small_file
from batchlab.store.layout import Layout

MOST_BYTES = 64 * 1_024 * 1_024  # with a line for each of a hundred thousand batches


@dataclass(frozen=True, slots=True)
class Ended:
    """How an invocation of a run ended.

    Attributes:
        stopped: why it stopped early, a `run_end.StopReason`; None if every row is final.
        message: one line for a person when `stopped` is set.
    """

    stopped: str | None
    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stood when it said so last.

    Attributes:
        at, began: Unix seconds: of this, and when the invocation began.
        pid: of the process that said it.
        rates: what `progress.speed.Rates` says, by name.
        command, folder: what was typed and where, to go on by; "" where no command began the run.
    """

    at: float
    began: float
    pid: int
    state: RunState
    rates: Mapping[str, Any] = field(default_factory=dict)
    ended: Ended | None = None
    command: str = ""
    folder: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """What the file says. Raises LookupError, TypeError or ValueError when it is another's."""
        ended = data.get("ended")
        return cls(
            at=float(data["at"]),
            began=float(data["began"]),
            pid=int(data["pid"]),
            state=RunState.of(data["state"]),
            rates=dict(data["rates"]),
            ended=Ended(**ended) if ended is not None else None,
            command=str(data.get("command", "")),
            folder=str(data.get("folder", "")),
        )


def write_standing(run_dir: Path, standing: Standing) -> None:
    """Replaces `standing.json` of a run. A disk that refuses is no trouble of the run's."""
    path = Layout(run_dir).standing
    tmp = path.with_suffix(".tmp")
    with contextlib.suppress(OSError):
        descriptor = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(strict_json(dataclasses.asdict(standing)))
        moved(tmp, path)


def read_standing(run_dir: Path) -> Standing | None:
    """What a run said last of how it stands; None when it never did."""
    with contextlib.suppress(OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return Standing.of(json.loads(small_file(Layout(run_dir).standing, MOST_BYTES)))
    return None
