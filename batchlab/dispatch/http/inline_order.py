"""The JSON of an order that has its lines in it, sent as it is read: lines are hundreds of megabytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from batchlab.protocol.batches.dialect import Json

CHUNK_BYTES = 256 * 1024


def inline_order(body: Json, name: str, lines: Path) -> tuple[int, AsyncIterator[bytes]]:
    """How many bytes it has, and these, with the lines of a file as the last member, `name`."""
    others = orjson.dumps({key: value for key, value in body.items() if key != name})
    comma = b"" if others == b"{}" else b","
    head, tail = others[:-1] + comma + orjson.dumps(name) + b":[", b"]}"
    # each line feed but the last becomes a comma
    size = max(0, lines.stat().st_size - 1)
    return len(head) + size + len(tail), _pieces(head, lines, size, tail)


async def _pieces(head: bytes, lines: Path, size: int, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    with lines.open("rb") as file:
        while size and (chunk := file.read(min(CHUNK_BYTES, size))):
            size -= len(chunk)
            yield chunk.replace(b"\n", b",")  # JSON has no line feed of its own
    yield tail
