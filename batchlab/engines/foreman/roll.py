"""Who works on a run right now, and what all have done together."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from batchlab.engines.crew import Worker
from batchlab.run_state import RunState, together
from batchlab.store.locked import LockedRun

EVERY_S = 2.0


class Roll:
    """The workers of a run, for its counters and for `batchlab status` in another terminal.

    The run's `workers.json` is written every two seconds while it goes on, and removed at its end.

    Args:
        before: how far the run was when this invocation began.

    Attributes:
        workers: those that live.
    """

    def __init__(self, run: LockedRun, shards: int, before: RunState) -> None:
        self.workers: list[Worker] = []
        self._settled = before
        self._run = run
        self._shards = shards
        self._window = 0
        self._next = 0.0

    def left(self, worker: Worker, state: RunState | None) -> None:
        """A worker has ended; `state` says what it had done, None what nobody knows yet."""
        if worker in self.workers:
            self.workers.remove(worker)
        if state is not None:
            self._settled = self._settled.plus(state)

    def state(self, out: Mapping[str, str], *, waiting: int, concurrency: int) -> RunState:
        """How far the run is.

        Args:
            out: endpoints that cannot go on, and why.
            waiting: shards that are nobody's yet.
            concurrency: most requests in flight: a worker without a permit says 1.
        """
        working = together([worker.state for worker in self.workers])
        self._window = min(working.window or self._window, concurrency)
        oldest = [] if waiting else working.oldest
        working = dataclasses.replace(working, window=self._window, oldest=oldest, out=out)
        return self._settled.plus(working)

    def write(self, waiting: int) -> None:
        """Writes how each stands; `waiting` shards are nobody's yet. Not synced: only for people to see."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        being_sent = sum(len(worker.open) for worker in self.workers)
        shards = {"sealed": self._shards - being_sent - waiting, "open": being_sent, "waiting": waiting}
        workers = [_line(worker, now) for worker in self.workers]
        with contextlib.suppress(OSError):  # only for people to look at
            self._run.write_roll({"at": time.time(), "shards": shards, "workers": workers})

    def close(self) -> None:
        """Nobody works any more."""
        with contextlib.suppress(OSError):
            self._run.write_roll(None)


def _line(worker: Worker, now: float) -> dict[str, Any]:
    lanes = worker.lease.lanes.values() if worker.lease is not None else []
    rates = [lane.requests_per_s for lane in lanes if lane.requests_per_s is not None]
    return {
        "name": worker.name,
        "place": worker.where,
        "shards": sorted(worker.open),
        "permits": sum(lane.permits for lane in lanes),
        "requests_per_s": sum(rates) if rates else None,
        "in_flight": worker.state.in_flight,
        "saved": worker.state.synced,
        "silent_s": now - worker.heard_at if worker.heard_at else None,
    }
