"""Workers that are processes of this machine: messages travel over socket pairs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from batchlab.engines.child.process import cause_of
from batchlab.engines.child.worker import WorkerProcess, started_worker
from batchlab.engines.crew import Ending, Known, LenderLink, Worker
from batchlab.engines.lender import LenderHere
from batchlab.engines.messages import Begin
from batchlab.lending.messages import LenderTerms


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

    async def open(self, terms: LenderTerms, lost: Callable[[], Known]) -> LenderLink:
        del lost  # it is here
        return LenderHere(terms)

    async def start(self, begin: Begin) -> Worker:
        return await self._started(begin, self._lock)

    async def _started(self, begin: Begin, lock: int | None) -> Worker:
        process = await started_worker(lock)
        worker = Worker(begin.name, process.tell, process.give, where=f"pid {process.pid}")
        listening = asyncio.create_task(process.listen(worker.inbox.put_nowait))
        self._processes[begin.name] = process, listening
        process.tell(begin)
        return worker

    async def ended(self, worker: Worker) -> Ending:
        process, listening = self._processes.pop(worker.name)
        code = await process.ended()
        await listening
        return Ending(cause_of(code))

    async def gone_for_certain(self, worker: Worker) -> None:
        pass  # it is gone: its process was waited for

    async def close(self) -> None:
        pass
