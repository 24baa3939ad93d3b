"""What runs on a node of a Ray cluster: an actor that starts workers there and carries their messages.

Ray gets this module by value, because a node may have another batchlab, or none: that is the first
thing to find out. So it imports nothing of ours, and no ray, before a function needs it.

The workers are the same processes as with `--processes`: what they say over their socket pairs is
put into a box, from which the driver takes it, and what the driver tells goes the other way. Only
the lease does not travel that far: the actor asks the budget's keeper for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchlab.engines.child.worker import WorkerProcess
    from batchlab.engines.messages import Asked, Begin, FromWorker, ToWorker

BOX_MESSAGES = 2_000  # most that one answer carries


def code_digest(package: Path) -> str:
    """What the code of a package is, whatever it says its version is."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def this_machine() -> str:
    """What no two running machines have in common."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return platform.node()


def _unshared(run: Path, token: str) -> str:
    """Why this machine does not see the run directory of the driver; "" when it does."""
    from batchlab.store.layout import Layout

    try:
        if Layout(run).token.read_text() == token:
            return ""
    except OSError as error:
        return f"{run}: {os.strerror(error.errno or 0)}"
    return f"{run} is another directory there"


class Node:
    """The actor of one node.

    Args:
        lender: finds the actor that keeps the budget.
    """

    def __init__(self, lender: Callable[[], Any]) -> None:
        self._lender = lender
        self._workers: dict[str, tuple[WorkerProcess, asyncio.Task[None]]] = {}
        self._homes: dict[str, tuple[Path, str]] = {}  # of workers whose run is at a URL, and that
        self._box: list[tuple[int, str, FromWorker | None]] = []
        self._number = 0
        self._news = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()

    async def check_in(
        self, *, version: str, code: str, token: str, cwd: str, machine: str | None, run: bytes
    ) -> str:
        """What keeps workers of this node from this run, in a line; "" when nothing does.

        It is given what is in a `ray.messages.CheckIn`, a type that this node may not have.
        """
        installed = find_spec("batchlab")
        if installed is None or installed.origin is None:
            return f"batchlab is not installed there. Install {version} on every node."
        from batchlab.version import __version__ as there

        if there != version:
            return f"it has batchlab {there}, and this is {version}. Install one version on every node."
        if code_digest(Path(installed.origin).parent) != code:
            return f"its batchlab {there} has other code than this one. Install the same on every node."
        from batchlab.engines.messages import read_run

        at = read_run(run)
        if at.url is not None:
            from batchlab.remote.depot import unusable

            if problem := await asyncio.to_thread(unusable, at.url, token):
                return f"{problem}. Every node must be able to read and write the run directory."
        elif problem := _unshared(Path(at.path), token):
            return f"{problem}. Put the run directory on a file system that all nodes share, or at a URL."
        if machine not in (None, this_machine()):
            return "the endpoint's address is the driver's own machine, which this node is not."
        from batchlab.store.disk.fence import is_held

        if at.url is None and not is_held(Path(at.path), "driver"):
            return f"locks in {at.path} do not reach it. Mount that file system with locks (NFS 4, flock)."
        with contextlib.suppress(OSError):
            os.chdir(cwd)  # paths of the job that are not absolute
        from batchlab.engines.worker.opening import problem_with

        return await asyncio.to_thread(problem_with, at)

    async def start(self, begin: Begin) -> int:
        """Starts a worker; returns its process id."""
        from msgspec.structs import replace

        from batchlab.engines.child.worker import started_worker

        name, url = begin.name, begin.run.url
        worker = await started_worker(None)
        listening = asyncio.create_task(worker.listen(lambda message: self._heard(name, worker, message)))
        self._workers[name] = worker, listening
        if url is not None:
            home = tempfile.mkdtemp(prefix="batchlab-")
            self._homes[name] = Path(home), url
            begin = replace(begin, home=home)
        worker.tell(begin)
        return worker.pid

    def _heard(self, name: str, worker: WorkerProcess, message: FromWorker | None) -> None:
        from batchlab.engines.messages import Asked

        if isinstance(message, Asked):
            task = asyncio.create_task(self._ask(name, worker, message))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        else:
            self._put(name, message)

    async def _ask(self, name: str, worker: WorkerProcess, asked: Asked) -> None:
        from batchlab.engines.messages import Asked, Granted

        lease = await self._lender().lease.remote(name, asked.demand)
        if lease is None:
            worker.kill()  # it was given up, and its shards may have another worker
            return
        worker.tell(Granted(lease))
        self._put(name, Asked(asked.demand, asked.state, lease))

    def _put(self, name: str, message: FromWorker | None) -> None:
        self._number += 1
        self._box.append((self._number, name, message))
        self._news.set()

    async def hear(self, after: int, wait_s: float) -> list[tuple[int, str, FromWorker | None]]:
        """What the workers said since message number `after`; waits so long for something."""
        self._box = [entry for entry in self._box if entry[0] > after]
        if not self._box:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
        return self._box[:BOX_MESSAGES]

    async def tell(self, name: str, message: ToWorker) -> None:
        """Tells a worker something."""
        if name in self._workers:
            self._workers[name][0].tell(message)

    async def give(self, name: str, shard: int | None) -> None:
        """Answers a worker that asked for a shard."""
        if name in self._workers:
            self._workers[name][0].give(shard)

    async def kill(self, name: str) -> None:
        """Makes an end of a worker that says nothing any more."""
        if name in self._workers:
            self._workers[name][0].kill()

    async def ended(self, name: str) -> int:
        """The exit code of a worker that is done or dead."""
        worker, listening = self._workers.pop(name)
        code = await worker.ended()
        await listening
        if name in self._homes and code:
            from batchlab.remote.segments import salvage

            with contextlib.suppress(OSError):  # then it is as if the node had been lost
                await asyncio.to_thread(salvage, *self._homes.pop(name))
        return code
