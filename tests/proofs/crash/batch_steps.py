"""The command with a way to die at a step of a batch's life. Nothing of it is in the product.

    DIE_AT="created before:2" python -m tests.proofs.crash.batch_steps run job.toml

dies by SIGKILL before the second `created` record of batches.log is written; `order begins:1:0.004` 4 ms after
the first order has begun to be sent. Waits of minutes are seconds here, and a batch holds few lines.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, Never

from batchlab.dispatch.http.batch_service import BatchService
from batchlab.engines.batch_api import bringing, life, ordering, room, session, waiting
from batchlab.engines.batch_api.life import Life
from batchlab.engines.batch_api.packing import Packing
from batchlab.engines.sealer import Sealer
from batchlab.protocol.batches.table import DIALECTS
from batchlab.remote import presence
from batchlab.remote.mirror import Mirror
from batchlab.store import shard
from batchlab.store.batches import BatchLog
from batchlab.store.journals.journal import encode
from batchlab.store.journals.of_shard import Journals
from batchlab.store.shard import OpenShard
from tests.remote.shelf import sitecustomize  # noqa: F401 - the store of runs at a URL, when $SHELF names one

VISIBLE_S = 1.0
LINES = 35  # of a batch

WAITS: dict[ModuleType, dict[str, float]] = {
    ordering: {"AGAIN_S": 0.2, "MOST_AGAIN_S": 1.0, "LOOK_S": 0.3},
    waiting: {"FIRST_LOOK_S": 0.1},
    session: {"TICK_S": 0.1},
    bringing: {"LACKING_WAIT_S": 0.1},
    life: {"UNSEEN_S": 0.3},
    room: {"NO_ROOM_WAIT_S": 0.5},
    presence: {"GONE_S": 0.0},  # who had the run is certainly dead
}

RECORDS = ("meant", "uploaded", "ordering", "absent", "created", "ended", "merged", "dropped", "unmerged")
CALLS = {"upload": "upload", "order": "order", "state": "poll", "listed": "list", "fetch": "download"}
STEPS = (
    *(f"{record} {when}" for record in RECORDS for when in ("before", "torn", "after")),
    *(f"{name} {when}" for name in CALLS.values() for when in ("begins", "answered")),
    "line packed",
    "batch packed",
    "result taken",
    "merge flush before",
    "merge flush torn",
    "merge flush after",
    "results forgotten",
    "seal before",
    "part written",
    "part published",
    "journals deleted",
    "seal after",
    "kept at URL before",
    "kept at URL after",
)


class Death:
    """When this process dies: at the n-th time that a step is reached, and so many seconds after."""

    def __init__(self, text: str) -> None:
        self._step, nth, after_s = [*text.split(":"), "1", "0"][:3]
        self._left, self._after_s = int(nth), float(after_s)

    def due(self, step: str) -> bool:
        """Whether it is to die here: it is asked once each time that a step is reached."""
        if step != self._step:
            return False
        self._left -= 1
        return self._left == 0

    def at(self, step: str) -> None:
        """A step is reached."""
        if self.due(step):
            if self._after_s:
                asyncio.get_running_loop().call_later(self._after_s, die)
            else:
                die()


def die() -> Never:
    """As if somebody had killed it."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process that has killed itself goes on")


def _around(owner: Any, name: str, before: Callable[[], object], after: Callable[[], object]) -> None:
    call = getattr(owner, name)
    if asyncio.iscoroutinefunction(call):

        @functools.wraps(call)
        async def wrapped(*given: Any, **named: Any) -> Any:
            before()
            result = await call(*given, **named)
            after()
            return result

        setattr(owner, name, wrapped)
        return

    @functools.wraps(call)
    def wrapped_plainly(*given: Any, **named: Any) -> Any:
        before()
        result = call(*given, **named)
        after()
        return result

    setattr(owner, name, wrapped_plainly)


def _log(death: Death) -> None:
    note = BatchLog._note

    def noting(self: BatchLog, record: dict[str, Any]) -> Any:
        kind = record["t"]
        death.at(f"{kind} before")
        if death.due(f"{kind} torn"):
            data = encode(json.dumps({**record, "at": 0.0}).encode())
            with self._path.open("ab", buffering=0) as file:
                file.write(data[: len(data) // 2])
            die()
        noted = note(self, record)
        death.at(f"{kind} after")
        return noted

    BatchLog._note = noting  # type: ignore[method-assign]


def _journal(death: Death) -> None:
    """Appends to a shard's journal. All of them are of results here: no row goes live."""
    append = Journals.append

    def appending(self: Journals, data: bytes) -> tuple[int, int]:
        death.at("merge flush before")
        if death.due("merge flush torn"):
            append(self, data[: len(data) * 2 // 3])
            die()
        place = append(self, data)
        death.at("merge flush after")
        return place

    Journals.append = appending  # type: ignore[method-assign]


def set_up(death: Death) -> None:
    """Shortens what takes minutes, and puts the death at its step."""
    for name, dialect in DIALECTS.items():
        limits = replace(dialect.limits, lines=LINES)
        DIALECTS[name] = replace(dialect, visible_s=VISIBLE_S, limits=limits)  # type: ignore[index]
    for module, seconds in WAITS.items():
        for name, shorter in seconds.items():
            assert hasattr(module, name), f"{module.__name__} has no {name} any more"
            setattr(module, name, shorter)
    _log(death)
    _journal(death)

    def at(step: str) -> Callable[[], object]:
        return lambda: death.at(step)

    def nothing() -> None:
        pass

    for method, name in CALLS.items():
        _around(BatchService, method, at(f"{name} begins"), at(f"{name} answered"))
    _around(Packing, "_put", nothing, at("line packed"))
    _around(Packing, "_ship", nothing, at("batch packed"))
    _around(OpenShard, "append", nothing, at("result taken"))
    _around(Life, "forget", nothing, at("results forgotten"))
    _around(OpenShard, "seal", at("seal before"), nothing)
    _around(Sealer, "run", nothing, at("seal after"))
    _around(shard, "write_part", nothing, at("part written"))
    _around(Journals, "delete", at("part published"), at("journals deleted"))
    _around(Mirror, "keep", at("kept at URL before"), at("kept at URL after"))


if __name__ == "__main__" or os.environ.get("WARM_FIRST") == __name__:  # not for who wants the names alone
    set_up(Death(os.environ.get("DIE_AT", "never")))

if __name__ == "__main__":
    from batchlab.cli import main

    main()
