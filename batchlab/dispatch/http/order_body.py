"""The JSON of an order, sent as it is read: lines that are part of it are hundreds of megabytes."""

from __future__ import annotations

import errno
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from batchlab.protocol.batches.dialect import Json

CHUNK_BYTES = 256 * 1024
# Half of the time after which another machine may take a run over (`remote.presence`), and order anew
SLEPT_S = 60.0


def order_body(body: Json, inline: str | None, lines: Path) -> tuple[int, AsyncIterator[bytes]]:
    """How many bytes an order has, and these; with the lines of a file as the last member, `inline`, if that
    has a name."""
    if inline is None:
        whole = orjson.dumps(body)
        return len(whole), _pieces(whole, lines, 0, b"")
    others = orjson.dumps({key: value for key, value in body.items() if key != inline})
    comma = b"" if others == b"{}" else b","
    head, tail = others[:-1] + comma + orjson.dumps(inline) + b":[", b"]}"
    # each line feed but the last becomes a comma
    size = max(0, lines.stat().st_size - 1)
    return len(head) + size + len(tail), _pieces(head, lines, size, tail)


async def _pieces(head: bytes, lines: Path, size: int, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    if size:
        with lines.open("rb") as file:
            while size and (chunk := file.read(min(CHUNK_BYTES, size))):
                size -= len(chunk)
                yield chunk.replace(b"\n", b",")  # JSON has no line feed of its own
    if tail:
        yield tail


async def while_awake(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of an order, each within a minute after the one before.

    Raises OSError when there was a longer pause. A machine that sleeps in the middle of an order would send
    the rest when it wakes, and its run may be another's by then; half an order comes to nothing.
    """
    last = time.time()  # also while a machine sleeps
    async for piece in pieces:
        if time.time() - last > SLEPT_S:
            raise ConnectionAbortedError(errno.ECONNABORTED, "this machine has slept")
        last = time.time()
        yield piece
