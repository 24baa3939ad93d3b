"""Workers that are processes of this machine: messages travel over socket pairs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from batchlab.dispatch.rate.money import Money
from batchlab.engines.crew import Ending, Hand, LenderLink
from batchlab.engines.lender import LenderHere
from batchlab.engines.worker_process import WorkerProcess, started_worker
from batchlab.lending.messages import LenderTerms

EXIT_S = 10.0  # after its sockets have closed, a worker has so long to end by itself


class ProcessCrew:
    """So many processes of this machine; see `engines.crew.Crew`.

    Args:
        lock: descriptor of the run's lock, which each worker holds too.
    """

    who = "a worker process"

    def __init__(self, processes: int, lock: int) -> None:
        self.size = processes
        self._lock = lock
        self._processes: dict[str, tuple[WorkerProcess, asyncio.Task[None]]] = {}

    async def open(self, terms: LenderTerms, lost: Callable[[], tuple[list[str], Money]]) -> LenderLink:
        """See `Crew`."""
        del lost  # it is here
        return LenderHere(terms)

    async def start(self, name: str, index: int, begin: Mapping[str, Any]) -> Hand:
        """See `Crew`."""
        del index
        worker = await started_worker(self._lock)
        hand = Hand(name, worker.tell, worker.give, place=f"pid {worker.process.pid}")
        self._processes[name] = worker, asyncio.create_task(worker.listen(hand.inbox.put_nowait))
        worker.tell("begin", **begin, hold=None)
        return hand

    async def ended(self, hand: Hand) -> Ending:
        """See `Crew`."""
        worker, listening = self._processes.pop(hand.name)
        code = await reaped(worker)
        await listening
        return Ending(cause_of(code))

    async def gone_for_certain(self, hand: Hand) -> None:
        """See `Crew`."""

    async def close(self) -> None:
        """See `Crew`."""


async def reaped(worker: WorkerProcess) -> int:
    """The exit code of a worker that is done or dead."""
    worker.close()
    try:
        return await asyncio.to_thread(worker.process.wait, EXIT_S)
    except subprocess.TimeoutExpired:
        worker.process.kill()
        return await asyncio.to_thread(worker.process.wait)


def cause_of(code: int) -> str:
    """How a process ended, for a person."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with code {code}"
