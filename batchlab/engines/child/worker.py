"""A worker process as the one that started it sees it: what is told it, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from batchlab.engines.child.process import exit_code, spawned
from batchlab.engines.messages import MAX_LINE, FromWorker, ShardWanted, ToWorker, from_worker, line

MODULE = "batchlab.engines.worker"


@dataclass(frozen=True, slots=True, eq=False)
class WorkerProcess:
    """A worker process; made by `started_worker`."""

    _process: subprocess.Popen[bytes]
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _shard_reader: asyncio.StreamReader
    _shard_writer: asyncio.StreamWriter

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tell(self, message: ToWorker) -> None:
        """Sends a message; to a worker that is gone it makes no difference."""
        if not self._writer.is_closing():
            self._writer.write(line(message))

    def give(self, shard: int | None) -> None:
        """Answers a worker that asked for a shard; None when there is no more."""
        if not self._shard_writer.is_closing():
            self._shard_writer.write(b"\n" if shard is None else b"%d\n" % shard)

    async def listen(self, heard: Callable[[FromWorker | None], None]) -> None:
        """Calls `heard` with each message, and with None when there is no more to come."""
        await asyncio.gather(self._hear(heard), self._hear_askings(heard))
        heard(None)

    def kill(self) -> None:
        """Makes an end of it at once."""
        self._process.kill()

    async def ended(self) -> int:
        """The exit code of a worker that is done or dead."""
        self._writer.close()
        self._shard_writer.close()
        return await asyncio.to_thread(exit_code, self._process)

    async def _hear(self, heard: Callable[[FromWorker], None]) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.readline():
                if data.endswith(b"\n"):  # else its end was cut off
                    heard(from_worker(data))

    async def _hear_askings(self, heard: Callable[[FromWorker], None]) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._shard_reader.readline():
                heard(ShardWanted())


async def started_worker(lock: int | None) -> WorkerProcess:
    """A fresh worker; it waits to be told what to do.

    Args:
        lock: descriptor of the run's lock, which the worker holds too, so that the run stays locked
            as long as any of its processes lives.
    """
    control, its_control = socket.socketpair()
    shards, its_shards = socket.socketpair()
    with its_control, its_shards:
        sockets = its_control.fileno(), its_shards.fileno()
        process = spawned(MODULE, sockets, more=[] if lock is None else [lock])
    reader, writer = await asyncio.open_connection(sock=control, limit=MAX_LINE)
    shard_reader, shard_writer = await asyncio.open_connection(sock=shards)
    return WorkerProcess(process, reader, writer, shard_reader, shard_writer)
