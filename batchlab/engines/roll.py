"""Who works on a run right now, and what all have done together."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable
from typing import Any

from batchlab.dispatch.pool import PoolCounters
from batchlab.engines.crew import Worker
from batchlab.engines.messages import Report
from batchlab.engines.observer import Counters
from batchlab.store.run_dir import RunDir
from batchlab.totals import Tally, Totals

EVERY_S = 2.0


class Roll:
    """The workers of a run, for its counters and for `batchlab status` in another terminal.

    The run's `workers.json` is written every two seconds while it goes on, and removed at its end.

    Attributes:
        workers: those that live.
        gone: what those that have ended had done.
    """

    def __init__(self, run: RunDir, shards: int) -> None:
        self.workers: list[Worker] = []
        self.gone = Report()
        self._run = run
        self._shards = shards
        self._next = 0.0

    def left(self, worker: Worker, report: Report | None) -> None:
        """A worker has ended; `report` says what it had done, None what nobody knows yet."""
        if worker in self.workers:
            self.workers.remove(worker)
        if report is not None:
            self.gone = _sum([self.gone, dataclasses.replace(report, oldest=[])])

    def count(self, counters: Counters, *, waiting: int, concurrency: int) -> int:
        """Writes into `counters` what all have done. Returns how many rows have a saved result.

        Args:
            waiting: shards that are nobody's yet.
            concurrency: most requests in flight: a worker without a permit says 1.
        """
        reports = [worker.report for worker in self.workers]
        total = _sum([self.gone, *reports])
        counters.totals, counters.reopened = Tally(total.totals), total.reopened
        for name in PoolCounters.__slots__:
            setattr(counters.attempts, name, getattr(total.attempts, name))
        window = sum(report.window for report in reports) or counters.window
        counters.window = min(window, concurrency)
        counters.in_flight = sum(report.in_flight for report in reports)
        counters.why = next((report.why for report in reports if report.why), "")
        counters.paused = bool(reports) and all(report.paused for report in reports)
        in_tail = not waiting and all(report.oldest for report in reports if report.in_flight)
        oldest = [row for report in reports for row in report.oldest] if in_tail else []
        counters.oldest = sorted(oldest, key=lambda row: -row[1])
        return total.saved

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
        "in_flight": worker.report.in_flight,
        "saved": worker.report.saved,
        "silent_s": now - worker.heard_at if worker.heard_at else None,
    }


def _sum(reports: Iterable[Report]) -> Report:
    """What several workers have done together; how they stand now is left out."""
    totals, reopened, saved, attempts = Totals(), 0, 0, PoolCounters()
    for report in reports:
        totals += report.totals
        reopened += report.reopened
        saved += report.saved
        for name in PoolCounters.__slots__:
            setattr(attempts, name, getattr(attempts, name) + getattr(report.attempts, name))
    return Report(totals=totals, attempts=attempts, reopened=reopened, saved=saved)
