"""Workers on the nodes of a Ray cluster. This process only talks to the bridge (`ray.bridge`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import msgspec

from batchlab.engines.crew import Ending, Known, LenderLink, Worker
from batchlab.engines.messages import Begin, RunAt, ToWorker, line
from batchlab.engines.ray.attendance import Attendance
from batchlab.engines.ray.far_lender import FarLender
from batchlab.engines.ray.link import BridgeLink
from batchlab.engines.ray.messages import (
    CheckIn,
    Connected,
    End,
    Ended,
    FromBridge,
    Give,
    Heard,
    Join,
    Joined,
    LenderLost,
    Lent,
    Nowhere,
    Open,
    Refused,
    Start,
    Started,
    Tell,
)
from batchlab.engines.ray.node import code_digest, this_machine
from batchlab.job import SELF_STARTED, Job
from batchlab.lending.messages import LenderTerms
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.disk.fence import FENCE_S
from batchlab.store.locked import LockedRun
from batchlab.version import __version__


class RayCrew:
    """So many workers on each node of a cluster; see `engines.crew.Crew`.

    Made by `joined`, when nothing has been sent yet.
    """

    who = "a worker"

    def __init__(self, attendance: Attendance, link: BridgeLink, nodes: tuple[str, ...]) -> None:
        self.size = 1
        self.nodes = nodes
        self._attendance = attendance
        self._link = link
        self._lender = FarLender(link.tell)
        self._workers: dict[str, Worker] = {}
        self._endings: dict[str, asyncio.Future[Ending]] = {}
        self._lost: RunStopped | None = None
        self._lender_lost: Callable[[], Known]

    @classmethod
    def joined(cls, run: LockedRun, job: Job, address: str | None) -> RayCrew:
        """Joins the cluster at `address` and checks that every node can work on the run.

        Args:
            address: HEAD:PORT; None for RAY_ADDRESS, or the cluster of this machine, or one that is
                started for the run.

        Raises:
            UsageError: nothing was sent.
        """
        link, attendance = BridgeLink(), None
        try:
            attendance = Attendance(run)
            at = RunAt(job, str(run.path.absolute()), str(run.layout.stdin.absolute()), attendance.url)
            asked = CheckIn(
                version=__version__,
                code=code_digest(Path(__file__).parents[2]),
                token=attendance.token,
                cwd=str(Path.cwd()),
                machine=this_machine() if any(to.host in SELF_STARTED for to in job.endpoint) else None,
                run=line(at),
            )
            return cls(attendance, link, link.join(Join(address, asked)).nodes)
        except BaseException:  # whatever it is, the bridge must not stay behind; it goes on its way
            link.end()
            if attendance is not None:
                attendance.close()
            raise

    async def open(self, terms: LenderTerms, lost: Callable[[], Known]) -> LenderLink:
        self._lender_lost = lost
        await self._link.open(self._heard, self._bridge_ended)
        self._link.tell(Open(terms))
        return self._lender

    async def start(self, begin: Begin) -> Worker:
        if self._lost is not None:
            raise self._lost
        name = begin.name

        def tell(message: ToWorker) -> None:
            self._link.tell(Tell(name, message))

        def give(shard: int | None) -> None:
            self._link.tell(Give(name, shard))

        worker = self._workers[name] = Worker(name, tell, give)
        self._endings[name] = asyncio.get_running_loop().create_future()
        run = msgspec.structs.replace(begin.run, url=self._attendance.url)
        self._link.tell(Start(msgspec.structs.replace(begin, run=run, fence_s=FENCE_S)))
        return worker

    async def ended(self, worker: Worker) -> Ending:
        name = worker.name
        if not self._endings[name].done():
            self._link.tell(End(name))
        ending = await self._endings[name]
        del self._workers[name], self._endings[name]
        if ending.certain:
            await self._attendance.gone(name)
        return ending

    async def gone_for_certain(self, worker: Worker) -> None:
        await self._attendance.await_gone(worker.name)
        await self._attendance.gone(worker.name)

    async def close(self) -> None:
        self._link.hush()
        await asyncio.to_thread(self.end)

    def end(self) -> None:
        """Leaves the cluster. Blocks."""
        self._link.end()
        self._attendance.close()

    def _heard(self, message: FromBridge) -> None:
        match message:
            case Heard(name, said):
                if name in self._workers:
                    self._workers[name].inbox.put_nowait(said)
            case Started(name, where):
                if name in self._workers:
                    self._workers[name].where = where
            case Ended(name, ending):
                self._has_ended(name, ending)
            case Nowhere(name):
                self._lost = _stopped("no node of the cluster is left")
                self._lender.is_lost(self._lost, answers=True)
                self._has_ended(name, Ending("because no node is left"))
                if name in self._workers:
                    self._workers[name].inbox.put_nowait(None)
            case Lent():
                self._lender.answered(message)
            case LenderLost():
                self._lender.go_on(*self._lender_lost())
            case Connected() | Joined() | Refused():
                raise AssertionError("said before there are workers")
            case _:
                assert_never(message)

    def _bridge_ended(self, code: int) -> None:
        self._lost = _stopped(f"the process that talks to Ray ended with code {code}")
        self._lender.is_lost(self._lost, answers=False)
        for name in self._endings:
            self._has_ended(name, Ending("with the connection to the cluster", certain=False))
            self._workers[name].inbox.put_nowait(None)

    def _has_ended(self, name: str, ending: Ending) -> None:
        if name in self._endings and not self._endings[name].done():
            self._endings[name].set_result(ending)


def _stopped(why: str) -> RunStopped:
    return RunStopped(StopReason.RAY, f"{why}. Go on with the same command, or with another engine.")
