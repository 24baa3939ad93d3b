"""The run's process as a worker sees it: what it says, and what is told it.

When it is gone the worker exits at once, as if it had been killed with it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import NoReturn

from batchlab.engines.messages import MAX_LINE, Begin, FromWorker, ToWorker, line, to_worker
from batchlab.errors import EXIT_STOPPED


class Parent:
    """The other end of a worker's two sockets: messages on one, shards on the other."""

    def __init__(self, control: socket.socket, shards: socket.socket) -> None:
        self._control = control
        self._shards = shards
        self._numbers = shards.makefile("rb")
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def begin(self) -> Begin:
        """The first thing that it says: what to do."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._control, limit=MAX_LINE)
        begin = to_worker(await self._reader.readline() or leave())
        assert isinstance(begin, Begin)
        return begin

    async def messages(self) -> AsyncIterator[ToWorker]:
        """What it says after that, as long as it lives."""
        while data := await self._reader.readline():
            yield to_worker(data)
        leave()

    def tell(self, message: FromWorker) -> None:
        """Sends it a message."""
        self._writer.write(line(message))

    async def told(self) -> None:
        """Returns when all that it was told is on its way."""
        await self._writer.drain()

    def next_shard(self) -> int | None:
        """The number of the next shard, or None when there is no more.

        Blocks this process for the answer, once a shard: a shard asked for ahead would lie here while
        another worker has nothing to do.
        """
        try:
            self._shards.sendall(b"\n")
            answer = self._numbers.readline()
        except OSError:
            answer = b""
        if not answer:
            leave()
        return int(answer) if answer.strip() else None


def leave() -> NoReturn:
    """The parent is gone. Nothing more is sent, and what was written is written."""
    os._exit(EXIT_STOPPED)
