"""The command with a way to die at a step of a batch's life. Nothing of it is in the product.

    DIE_AT="created before:2" python -m tests.proofs.crash.batch_steps run job.toml

dies by SIGKILL before the second `created` record of batches.log is written; `order begins:1:0.004` 4 ms after
the first order has begun to be sent. `sleep created before:2` falls asleep there instead, as a laptop does, and
`worker:5` kills one of its workers at the fifth word of one. Several are divided by commas: it dies at that
which comes first. Waits of minutes are seconds here, a batch holds few lines, and with $ANY_CHOICE lanes are chosen by chance, of that seed.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Never

from batchlab.dispatch.http.batch_service import BatchService
from batchlab.dispatch.http.transport import HttpTransport
from batchlab.engines.batch_api import bringing, life, session, waiting
from batchlab.engines.batch_api.choices import cheapest
from batchlab.engines.batch_api.life import Life
from batchlab.engines.batch_api.live import LivePhase
from batchlab.engines.batch_api.orders import ordering, room
from batchlab.engines.batch_api.orders.packing import Packing
from batchlab.engines.batch_api.session import Session
from batchlab.engines.foreman.shift import Shift
from batchlab.engines.sealer import Sealer
from batchlab.lanes.decisions import Decision, SendLive, Submit, TakeBack, Wait
from batchlab.lanes.policy import LanePolicy
from batchlab.lanes.seen import Lanes, Left
from batchlab.protocol.batches.table import DIALECTS
from batchlab.remote.copy import Copy
from batchlab.remote.mirror import Mirror
from batchlab.store import shard
from batchlab.store.batch_log import BatchLog
from batchlab.store.journals.journal import encode
from batchlab.store.journals.of_shard import Journals
from batchlab.store.locked import LockedRun
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
    cheapest: {"AGAIN_S": 0.3},
}

RECORDS = (
    "meant", "uploaded", "ordering", "absent", "created", "cancelling", "ended", "merged", "dropped",
    "unmerged",
)  # fmt: skip
CALLS = {
    "upload": "upload", "order": "order", "state": "poll", "listed": "list", "cancel": "cancel",
    "fetch": "download",
}  # fmt: skip
AT_URL = ("kept at URL before", "kept at URL after", "take-over before", "take-over half", "take-over after")
WORKER = "worker"  # one of the workers dies, and the run goes on
LIVE = ("live begins", "live answered", "phase before", "phase after")
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
    "detach before",
    "left before",
    "left after",
    *LIVE,
    *AT_URL,
)
SLEEPER, DIED = "asleep.pid", "died.at"  # in the directory of a process that has fallen asleep, or died


class Death:
    """When this process dies: at the n-th time that a step is reached, and so many seconds after."""

    def __init__(self, text: str) -> None:
        step, *more = text.split(":")
        self._step, self._sleeps = step.removeprefix("sleep "), step.startswith("sleep ")
        self._left = int(more[0]) if more else 1
        self._after_s = float(more[1]) if len(more) > 1 else 0.0

    def due(self, step: str) -> bool:
        """Whether it is to die here: it is asked once each time that a step is reached."""
        if step != self._step:
            return False
        self._left -= 1
        return self._left == 0

    def at(self, step: str) -> None:
        """A step is reached."""
        if not self.due(step):
            return
        if self._sleeps:
            fall_asleep()
        elif step == WORKER:
            kill_a_worker()
        elif self._after_s:
            asyncio.get_running_loop().call_later(self._after_s, die, step)
        else:
            die(step)


class Deaths:
    """All that are to come in one process."""

    def __init__(self, text: str) -> None:
        self._each = [Death(one) for one in text.split(",")]

    def due(self, step: str) -> bool:
        """Whether it is to die here, by half of a write."""
        return any(one.due(step) for one in self._each)

    def at(self, step: str) -> None:
        """A step is reached."""
        for one in self._each:
            one.at(step)


def die(step: str) -> Never:
    """As if somebody had killed it; who did it is told where."""
    with Path(DIED).open("a") as file:
        file.write(f"{step}\n")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process that has killed itself goes on")


def fall_asleep() -> None:
    """Until somebody wakes it: SIGCONT."""
    Path(SLEEPER).write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.001)  # the signal has come by then


def kill_a_worker() -> None:
    """As if the machine had no memory left for it."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    if children:
        with suppress(ProcessLookupError):
            os.kill(int(random.choice(children)), signal.SIGKILL)
        with Path("workers.killed").open("a") as file:
            file.write("1\n")


def choose(rng: random.Random, now: float, seen: Lanes, left: Left) -> Decision:
    """Any decision that a policy of lanes might come to."""
    draw = rng.random()
    out = [one for one in seen.out if not one.is_cancelled]
    if out and draw < 0.15:
        return TakeBack(rng.choice(out).id, "as chance has it")
    if left.pending and draw < 0.4:
        return SendLive(seen.ways[0].endpoint, "live", rng.randint(1, left.pending), "as chance has it")
    room = [one.endpoint for one in seen.batches if one.room_batches > 0]
    if left.pending and room and draw < 0.8:
        return Submit(rng.choice(room), left.pending, "as chance has it")
    return Wait(now + rng.uniform(0.05, 0.4), "as chance has it")


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


def _log(death: Deaths) -> None:
    note = BatchLog._note

    def noting(self: BatchLog, record: dict[str, Any]) -> Any:
        kind = record["t"]
        death.at(f"{kind} before")
        if death.due(f"{kind} torn"):
            data = encode(json.dumps({**record, "at": 0.0}).encode())
            with self._path.open("ab", buffering=0) as file:
                file.write(data[: len(data) // 2])
            die(f"{kind} torn")
        noted = note(self, record)
        death.at(f"{kind} after")
        return noted

    BatchLog._note = noting  # type: ignore[method-assign]


def _journal(death: Deaths) -> None:
    """Appends to a shard's journal, of results and of live calls that begin."""
    append = Journals.append

    def appending(self: Journals, data: bytes) -> tuple[int, int]:
        death.at("merge flush before")
        if death.due("merge flush torn"):
            append(self, data[: len(data) * 2 // 3])
            die("merge flush torn")
        place = append(self, data)
        death.at("merge flush after")
        return place

    Journals.append = appending  # type: ignore[method-assign]


def set_up(death: Deaths) -> None:
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
    _around(Mirror, "restore", at("take-over before"), at("take-over after"))
    _around(Copy, "brought", nothing, at("take-over half"))
    _around(Session, "_detach", at("detach before"), nothing)
    _around(LockedRun, "note_left", at("left before"), at("left after"))
    _around(HttpTransport, "send", at("live begins"), at("live answered"))
    _around(LivePhase, "_phase", at("phase before"), at("phase after"))
    _around(Shift, "_heard", nothing, at(WORKER))
    if seed := os.environ.get("ANY_CHOICE"):
        rng = random.Random(seed)
        LanePolicy.next = lambda _, now, seen, left: choose(rng, now, seen, left)  # type: ignore[method-assign]


if __name__ == "__main__" or os.environ.get("WARM_FIRST") == __name__:  # not for who wants the names alone
    set_up(Deaths(os.environ.get("DIE_AT", "never")))

if __name__ == "__main__":
    from batchlab.cli import main

    main()
