"""A worker process as its parent sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import batchlab
from batchlab.engines.messages import MAX_LINE, Report, line
from batchlab.engines.start import SIGNALS


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker process as this one sees it.

    Attributes:
        assigned: numbers of all shards it was ever given; `open` those it has not sealed.
        asked: whether it has a lease, and so something to be told about.
        ended: whether it said that it was done.
    """

    name: str
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    work_reader: asyncio.StreamReader
    work_writer: asyncio.StreamWriter
    report: Report = field(default_factory=Report)
    assigned: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    asked: bool = False
    ended: bool = False

    def tell(self, kind: str, **values: Any) -> None:
        """Sends a message; to a worker that is gone it makes no difference."""
        if not self.writer.is_closing():
            self.writer.write(line(kind, **values))


async def started_worker(name: str, lock: int) -> WorkerProcess:
    """A fresh worker; it waits to be told what to do.

    Args:
        lock: descriptor of the run's lock, which the worker holds too, so that the run stays locked
            as long as any of its processes lives.
    """
    control, its_control = socket.socketpair()
    work, its_work = socket.socketpair()
    with its_control, its_work:
        process = _spawned((its_control.fileno(), its_work.fileno()), lock)
    reader, writer = await asyncio.open_connection(sock=control, limit=MAX_LINE)
    work_reader, work_writer = await asyncio.open_connection(sock=work)
    return WorkerProcess(name, process, reader, writer, work_reader, work_writer)


def _spawned(sockets: tuple[int, int], lock: int) -> subprocess.Popen[bytes]:
    if sys.platform == "win32":
        raise NotImplementedError("a run has one process there")
    root = str(Path(batchlab.__file__).parents[1])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    # a signal that comes before the worker ignores it would end it with a traceback
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "batchlab.engines.start", *map(str, sockets)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(*sockets, lock),
            env={**os.environ, "PYTHONPATH": path},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
