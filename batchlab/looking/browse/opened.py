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


@dataclass(frozen=True, slots=True)
class Sent:
    """A request for a row, as a journal has it.

    Attributes:
        by: key of the batch in which it was; "" for a call.
        is_back: whether it came back without a result; else it is under way, or was lost in a crash.
        tokens, usd: paid for it all the same; None where that is not known.
    """

    by: str = ""
    is_back: bool = False
    tokens: int | None = None
    usd: float | None = None


_PLAIN = Sent()  # a call that is under way, or brought the row's result


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
    # of rows that have no result, or took more than one plain call
    _sent: dict[int, list[Sent]] = field(default_factory=dict)

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
                self._take_request(data)
                result = result_of(data)
                if result is not None and self._counts(result, retried=data.get("retried") is True):
                    self._places[result.row_id] = _Place(
                        path, offset, length, is_replaceable(result), is_wanting(result)
                    )
                    found[result.row_id] = data["v"]
                    if self._sent.get(result.row_id) == [_PLAIN]:
                        del self._sent[result.row_id]

    def _take_request(self, data: dict[str, Any]) -> None:
        """What a record says of a request that was sent, or came back without a result."""
        if data.get("t") not in ("sent", "back"):
            return
        row = data.get("row")
        for one in [row] if isinstance(row, int) else data.get("rows", ()):
            sent = self._sent.setdefault(int(one), [])
            if data["t"] == "sent":
                by, back = str(data.get("by", "")), data.get("back")
                sent.append(_PLAIN if not by else Sent(by) if back is None else _came_back(by, back))
            elif sent:
                sent[-1] = _came_back(sent[-1].by, data)

    def sent(self, row: int) -> list[Sent]:
        """The requests for a row that its journals tell of, oldest first; of one that took one call, none."""
        return list(self._sent.get(row, ()))

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


def _came_back(by: str, back: dict[str, Any]) -> Sent:
    usage = back.get("usage") or {}
    tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    known = [int(one) for one in tokens if one is not None]
    usd = None if back.get("usd") is None else float(back["usd"])
    return Sent(by, is_back=True, tokens=sum(known) if known else None, usd=usd)
