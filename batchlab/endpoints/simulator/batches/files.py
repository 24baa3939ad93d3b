"""Files of the batch API, on disk: uploads in pieces, whatever their size, and results."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


class NotFound(LookupError):
    """No such file, or not yet."""


class TooLarge(ValueError):
    """An upload is larger than the service takes."""


@dataclass(slots=True)
class StoredFile:
    """One file.

    Attributes:
        visible_s: from when on it can be found, seconds since 1970.
        gone_s: from when on it no longer can.
    """

    id: str
    name: str
    purpose: str
    size: int
    created_s: float
    visible_s: float
    path: Path
    gone_s: float = float("inf")


class FileStore:
    """All files, in a directory that goes with it."""

    def __init__(self) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._files: dict[str, StoredFile] = {}
        self._count = 0

    def path(self, name: str) -> Path:
        """Where a file of this name is written."""
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="simulator-", ignore_cleanup_errors=True)
        return Path(self._directory.name) / name

    async def received(self, pieces: AsyncIterator[bytes], *, most: int) -> tuple[Path, int]:
        """Writes what comes, piece by piece. Raises TooLarge beyond `most` bytes, all of them read."""
        self._count += 1
        path, size = self.path(f"upload-{self._count}"), 0
        with path.open("wb") as file:
            async for piece in pieces:
                size += len(piece)
                if size <= most:
                    file.write(piece)
        if size > most:
            path.unlink()
            raise TooLarge(size)
        return path, size

    def add(self, file: StoredFile) -> StoredFile:
        """A file that can be found by its id from now on."""
        self._files[file.id] = file
        return file

    def get(self, file_id: str, now_s: float) -> StoredFile:
        """A file that is there now. Raises NotFound."""
        file = self._files.get(file_id)
        if file is None or not file.visible_s <= now_s < file.gone_s:
            raise NotFound(file_id)
        return file

    def delete(self, file_id: str, now_s: float) -> None:
        """Removes a file for whoever asks; a batch that reads it goes on. Raises NotFound."""
        self.get(file_id, now_s).gone_s = now_s

    def listed(self, now_s: float) -> list[StoredFile]:
        """All that are there, the newest first."""
        return [one for one in reversed(self._files.values()) if one.visible_s <= now_s < one.gone_s]

    def close(self) -> None:
        """Removes them all."""
        if self._directory is not None:
            self._directory.cleanup()


class Lines:
    """The lines of a file by their number, without holding them."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        self._starts = array("Q")

    def scan(self) -> Iterator[tuple[int, bytes]]:
        """Reads once through: each line that is not blank, with its number in the file from 1."""
        at = 0
        for number, line in enumerate(self._file, 1):
            if line.strip():
                self._starts.append(at)
                yield number, line
            at += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> bytes:
        self._file.seek(self._starts[index])
        return self._file.readline()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
