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
from typing import Any

BOX_MESSAGES = 2_000  # most that one answer carries


class Hidden:
    """Something with a key in it, on its way to a node: it has no text that a log could show."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Hidden()"


def code_digest(package: Path) -> str:
    """What the code of a package is, whatever it says its version is."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def machine() -> str:
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
        self._workers: dict[str, tuple[Any, asyncio.Task[None]]] = {}
        self._homes: dict[str, tuple[Path, str]] = {}  # of workers whose run is at a URL, and that
        self._box: list[tuple[int, str, bytes]] = []
        self._number = 0
        self._news = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()

    async def check_in(self, asked: dict[str, Any]) -> str:
        """What keeps workers of this node from this run, in a line; "" when nothing does.

        Args:
            asked: version, code and place of the driver's batchlab, and the run; see `ray_crew`.
        """
        installed = find_spec("batchlab")
        if installed is None or installed.origin is None:
            return f"batchlab is not installed there. Install {asked['version']} on every node."
        from batchlab.version import __version__ as there

        here = asked["version"]
        if there != here:
            return f"it has batchlab {there}, and this is {here}. Install one version on every node."
        if code_digest(Path(installed.origin).parent) != asked["code"]:
            return f"its batchlab {there} has other code than this one. Install the same on every node."
        run, url = Path(asked["run_dir"]), asked.get("url")
        if url is not None:
            from batchlab.remote.depot import unusable

            if problem := await asyncio.to_thread(unusable, url, asked["token"]):
                return f"{problem}. Every node must be able to read and write the run directory."
        elif problem := _unshared(run, asked["token"]):
            return f"{problem}. Put the run directory on a file system that all nodes share, or at a URL."
        if asked["machine"] not in (None, machine()):
            return "the endpoint's address is the driver's own machine, which this node is not."
        from batchlab.store.disk.fence import is_held

        if url is None and not is_held(run, "driver"):
            return f"locks in {run} do not reach it. Mount that file system with locks (NFS 4, flock)."
        with contextlib.suppress(OSError):
            os.chdir(asked["cwd"])  # paths of the job that are not absolute
        from batchlab.engines.worker import problem_with

        return await asyncio.to_thread(problem_with, asked)

    async def start(self, name: str, begin: Hidden) -> int:
        """Starts a worker of that name; returns its process id."""
        from batchlab.engines.worker_process import started_worker

        worker = await started_worker(None)
        listening = asyncio.create_task(worker.listen(lambda message: self._heard(name, worker, message)))
        self._workers[name] = worker, listening
        home = None
        if begin.value.get("url") is not None:
            home = tempfile.mkdtemp(prefix="batchlab-")
            self._homes[name] = Path(home), begin.value["url"]
        worker.tell("begin", **begin.value, home=home)
        return int(worker.process.pid)

    def _heard(self, name: str, worker: Any, message: dict[str, Any] | None) -> None:
        if message is not None and message["t"] == "ask":
            task = asyncio.create_task(self._ask(name, worker, message))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        else:
            self._put(name, message)

    async def _ask(self, name: str, worker: Any, message: dict[str, Any]) -> None:
        grant = await self._lender().lease.remote(name, message["demand"])
        if grant is None:
            worker.process.kill()  # it was given up, and its shards may have another worker
            return
        worker.tell("grant", grant=grant)
        self._put(name, {**message, "grant": grant})

    def _put(self, name: str, message: dict[str, Any] | None) -> None:
        import orjson

        self._number += 1
        self._box.append((self._number, name, orjson.dumps(message)))
        self._news.set()

    async def hear(self, after: int, wait_s: float) -> list[tuple[int, str, bytes]]:
        """What the workers said since message number `after`; waits so long for something."""
        self._box = [entry for entry in self._box if entry[0] > after]
        if not self._box:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
        return self._box[:BOX_MESSAGES]

    async def tell(self, name: str, message: bytes) -> None:
        """Passes a line on to a worker."""
        if name in self._workers:
            self._workers[name][0].send(message)

    async def give(self, name: str, shard: int | None) -> None:
        """Answers a worker that asked for a shard."""
        if name in self._workers:
            self._workers[name][0].give(shard)

    async def kill(self, name: str) -> None:
        """Makes an end of a worker that says nothing any more."""
        if name in self._workers:
            self._workers[name][0].process.kill()

    async def ended(self, name: str) -> int:
        """The exit code of a worker that is done or dead."""
        from batchlab.engines.processes import reaped

        worker, listening = self._workers.pop(name)
        code = await reaped(worker)
        await listening
        if name in self._homes and code:
            from batchlab.remote.segments import salvage

            with contextlib.suppress(OSError):  # then it is as if the node had been lost
                await asyncio.to_thread(salvage, *self._homes.pop(name))
        return code
