"""A worker process as its parent sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

import batchlab
from batchlab.engines.messages import MAX_LINE, line
from batchlab.engines.start import SIGNALS


@dataclass(frozen=True, slots=True, eq=False)
class WorkerProcess:
    """A worker process as the one that started it sees it."""

    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    work_reader: asyncio.StreamReader
    work_writer: asyncio.StreamWriter

    def tell(self, kind: str, **values: Any) -> None:
        """Sends a message; to a worker that is gone it makes no difference."""
        self.send(line(kind, **values))

    def send(self, message: bytes) -> None:
        """Sends a message that is a line already."""
        if not self.writer.is_closing():
            self.writer.write(message)

    def give(self, shard: int | None) -> None:
        """Answers a worker that asked for a shard; None when there is no more."""
        if not self.work_writer.is_closing():
            self.work_writer.write(b"\n" if shard is None else b"%d\n" % shard)

    async def listen(self, heard: Callable[[dict[str, Any] | None], None]) -> None:
        """Calls `heard` with each message, and with None when there is no more to come."""
        await asyncio.gather(self._hear(heard), self._hear_askings(heard))
        heard(None)

    def close(self) -> None:
        """Closes both ways to it: it ends by itself."""
        self.writer.close()
        self.work_writer.close()

    async def _hear(self, heard: Callable[[dict[str, Any]], None]) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.readline():
                if data.endswith(b"\n"):  # else its end was cut off
                    heard(orjson.loads(data))

    async def _hear_askings(self, heard: Callable[[dict[str, Any]], None]) -> None:
        with contextlib.suppress(ConnectionError):
            while await self.work_reader.readline():
                heard({"t": "more"})


async def started_worker(lock: int | None) -> WorkerProcess:
    """A fresh worker; it waits to be told what to do.

    Args:
        lock: descriptor of the run's lock, which the worker holds too, so that the run stays locked
            as long as any of its processes lives.
    """
    control, its_control = socket.socketpair()
    work, its_work = socket.socketpair()
    with its_control, its_work:
        sockets = its_control.fileno(), its_work.fileno()
        process = spawned(sockets, more=[] if lock is None else [lock])
    reader, writer = await asyncio.open_connection(sock=control, limit=MAX_LINE)
    work_reader, work_writer = await asyncio.open_connection(sock=work)
    return WorkerProcess(process, reader, writer, work_reader, work_writer)


def spawned(
    sockets: Sequence[int],
    *,
    more: Sequence[int] = (),
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """`engines.start` in a process of its own, which has these sockets, and `more` descriptors.

    Args:
        env: on top of the environment here.
        new_session: what a terminal signals does not reach it.
    """
    if sys.platform == "win32":
        raise NotImplementedError("a run has one process there")
    root = str(Path(batchlab.__file__).parents[1])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    # a signal that comes before the worker ignores it would end it with a traceback
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "batchlab.engines.start", *map(str, sockets)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(*sockets, *more),
            env={**os.environ, **(env or {}), "PYTHONPATH": path},
            start_new_session=new_session,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
