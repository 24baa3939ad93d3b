"""A shard that is not sealed, followed while it grows: what was read of its journals is not read again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchlab.records import Result, Shard, is_replaceable, is_wanting
from batchlab.store.disk.files import plain_file
from batchlab.store.journals.journal import MAX_RECORD_BYTES, ResultValues, decode, result_of
from batchlab.store.journals.origin import strange_origin
from batchlab.store.view import RunView

_ODD = (LookupError, TypeError, ValueError)  # what a record that is none of ours may raise


@dataclass(slots=True)
class _Read:
    """How far a journal was read, of which file."""

    inode: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row's result is, and what may take its place."""

    path: Path
    offset: int
    length: int
    is_replaceable: bool
    is_wanting: bool


@dataclass(slots=True)
class OpenShard:
    """The results that the journals of a shard hold, over those of its part if it has one.

    The rules are those of `store.journals.replay.open_results`.

    Attributes:
        part_rows: of the rows that a part holds, what may take their place: (replaceable, wanting) by row.
        trouble: which of its journals cannot be read, and why; "" for none.
    """

    run: RunView
    shard: Shard
    part_rows: dict[int, tuple[bool, bool]] = field(default_factory=dict)
    trouble: str = ""
    _files: dict[Path, _Read] = field(default_factory=dict)
    _places: dict[int, _Place] = field(default_factory=dict)

    def begins_again(self) -> bool:
        """Whether a journal that was read is gone, is another now, or is shorter than it was."""
        for path, read in self._files.items():
            try:
                now = path.stat()
            except OSError:
                return True
            if now.st_ino != read.inode or now.st_size < read.offset:
                return True
        return False

    def grown(self) -> dict[int, ResultValues]:
        """What has come since the last call, by row: results as the journal holds them."""
        found: dict[int, ResultValues] = {}
        self.trouble = ""
        for path in self.run.layout.journal_files(self.shard.index):
            try:
                if path in self._files or strange_origin(path, self.run.manifest) is None:
                    self._grown(path, found)  # that one is strange is told by `losses`
            except FileNotFoundError:
                continue  # sealed while we read
            except OSError as error:
                self.trouble = f"{path}: {error.strerror}"
        return found

    def _grown(self, path: Path, found: dict[int, ResultValues]) -> None:
        for offset, length, data in self._records(path):
            with contextlib.suppress(*_ODD):
                result = result_of(data)
                if result is not None and self._counts(result, retried=data.get("retried") is True):
                    self._places[result.row_id] = _Place(
                        path, offset, length, is_replaceable(result), is_wanting(result)
                    )
                    found[result.row_id] = data["v"]

    def __contains__(self, row: int) -> bool:
        return row in self._places

    def record(self, row: int) -> dict[str, Any] | None:
        """The record of a row's result; None when no journal has one."""
        place = self._places.get(row)
        if place is None:
            return None
        with contextlib.suppress(OSError), plain_file(place.path) as file:
            file.seek(place.offset)
            return decode(file.read(place.length))
        return None

    def _counts(self, result: Result, *, retried: bool) -> bool:
        row = result.row_id
        if not 0 <= row - self.shard.first_row < self.shard.rows:
            return False
        place = self._places.get(row)
        before = (place.is_replaceable, place.is_wanting) if place else self.part_rows.get(row)
        return before is None or before[0] or (retried and before[1])

    def _records(self, path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Offset, length and content of each good record that was not read before."""
        with plain_file(path) as file:
            read = self._files.setdefault(path, _Read(os.fstat(file.fileno()).st_ino))
            file.seek(read.offset)
            while line := file.readline(MAX_RECORD_BYTES):
                if not line.endswith(b"\n"):
                    return  # it is being written
                hole = len(line) - len(line.lstrip(b"\0"))  # see `JournalScan`
                data = decode(line[hole:])
                at, read.offset = read.offset + hole, read.offset + len(line)
                if data is not None:
                    yield at, len(line) - hole, data
