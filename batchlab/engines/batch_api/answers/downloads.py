"""Files of results as lines of UTF-8, however their service, or what stands before it, has packed them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from batchlab.dispatch.http.batch_service import BatchService
from batchlab.errors import InputError
from batchlab.inputs.sources.text_files.file import TextFile

COPIED_BYTES = 1 << 20
Fetch: TypeAlias = Callable[[BatchService, str, Path], Awaitable[None]]


async def download(service: BatchService, file: str, to: Path) -> None:
    """Fetches a file of results. Raises what `BatchService.fetch` does, and OSError of the disk."""
    await service.fetch(file, to)
    await asyncio.to_thread(unpack, to)


async def download_all(
    service: BatchService, files: Sequence[str], to: Path, fetch: Fetch = download
) -> None:
    """Fetches files of results, one after another, as one file."""
    piece = to.with_suffix(".piece")
    to.write_bytes(b"")
    for file in files:
        await fetch(service, file, piece)
        await asyncio.to_thread(_append_lines, piece, to)
        piece.unlink()


def _append_lines(piece: Path, whole: Path) -> None:
    """Adds a file of lines to another; the last one ends as the others do."""
    with piece.open("rb") as part, whole.open("ab") as file:
        last = b"\n"
        while chunk := part.read(COPIED_BYTES):
            file.write(chunk)
            last = chunk[-1:]
        if last != b"\n":
            file.write(b"\n")


def unpack(path: Path) -> None:
    """Unpacks a compressed file in its place, and makes UTF-8 of one whose mark says otherwise.

    Of one that is cut off there is what comes before; what cannot be unpacked stays as it is.
    """
    try:
        text = TextFile.at(path, path.name)
        if text.plain:
            return
        packed = text.open()
    except InputError:
        return
    unpacked = path.with_suffix(".unpacked")
    with packed, unpacked.open("wb") as out, contextlib.suppress(InputError):
        shutil.copyfileobj(packed, out, COPIED_BYTES)
    unpacked.replace(path)
