"""A batch's results, found by row without being held: they are hundreds of megabytes, in any order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import orjson

from batchlab.protocol.batches.dialect import Dialect, Json, LineResult
from batchlab.protocol.redact import printable, redact
from batchlab.protocol.values import ReplyProblem, parse_json
from batchlab.store.batches import Batch
from batchlab.store.disk.files import disk_errors

TURN_LINES = 200  # between which others on the event loop have their turn
ODD_BYTES = 60  # of a line that is shown
MOST_LINE_BYTES = 128 * 1024 * 1024  # one that is longer is nobody's: it is not read into memory


class Results:
    """The lines of results that are a batch's own.

    Attributes:
        found: rows of which something is said.
        strange: lines that are no result of this batch, and `oddest` how the first of them begins; `doubled`
            are later ones of a row that has one.
    """

    def __init__(self, batch: Batch, dialect: Dialect, file: Path) -> None:
        self.found = 0
        self.strange = 0
        self.oddest = ""
        self.doubled = 0
        self._refused: set[int] = set()  # rows whose line is no answer
        self._batch = batch
        self._dialect = dialect
        self._file = file.open("rb")
        self._first = batch.rows[0][0]
        last, count = batch.rows[-1]
        span = last + count - self._first
        self._offset = array("q", [-1]) * span
        self._length = array("q", [0]) * span

    async def index(self) -> None:
        """Finds the line of each row."""
        self._file.seek(0)
        for count, (offset, line) in enumerate(_lines(self._file), 1):
            if not count % TURN_LINES:
                await asyncio.sleep(0)
            if line.strip():
                self._take(line, offset)

    def _take(self, line: bytes, offset: int) -> None:
        found = _read(self._dialect, line)
        row = None if found is None else self._batch.row_of(found.custom_id)
        if row is None:
            self.strange += 1
            self.oddest = self.oddest or _shown(line)
            return
        assert found is not None
        at, is_answer = row - self._first, found.status is not None and 200 <= found.status < 300
        if self._offset[at] < 0:
            self.found += 1
        else:
            self.doubled += 1
            if row not in self._refused or not is_answer:
                return  # the first stands, but an answer is worth more than a refusal
        self._offset[at], self._length[at] = offset, len(line)
        (self._refused.discard if is_answer else self._refused.add)(row)

    def of(self, row_id: int) -> LineResult | None:
        """What came of a row; None when nothing is said of it."""
        offset = self._offset[row_id - self._first]
        if offset < 0:
            return None
        self._file.seek(offset)
        return _read(self._dialect, self._file.read(self._length[row_id - self._first]))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _shown(line: bytes) -> str:
    return printable(redact(line[:ODD_BYTES].decode("utf-8", "replace").strip()))


def _read(dialect: Dialect, line: bytes) -> LineResult | None:
    """What a line says; None for one that says nothing, such as one that was cut."""
    with contextlib.suppress(ReplyProblem):
        data = parse_json(line)
        if isinstance(data, dict):
            return dialect.result(data)
    return None


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where each line begins, and what it is; of one that is too long only its beginning."""
    offset = 0
    while line := file.readline(MOST_LINE_BYTES):
        begun, length = offset, len(line)
        rest = line
        while len(rest) == MOST_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MOST_LINE_BYTES)
            length += len(rest)
        yield begun, line
        offset += length


def json_bytes(value: Json) -> bytes:
    """A value that came as JSON, on one line; also with whole numbers that orjson does not write."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(value).encode()


def has_one_of(batch: Batch, dialect: Dialect, file: Path) -> bool | None:
    """Whether a file of results has one of a batch's; None when it names no line at all."""
    named = False
    with file.open("rb") as opened:
        for _, line in _lines(opened):
            if (found := _read(dialect, line)) is not None:
                if batch.row_of(found.custom_id) is not None:
                    return True
                named |= bool(found.custom_id)
    return False if named else None


def write_inline(lines: Iterable[Json], to: Path) -> None:
    """Keeps results that came with a batch's state: all of them, or none. Raises RunStopped (disk)."""
    tmp = to.with_suffix(".piece")
    with disk_errors(to):
        with tmp.open("wb") as file:
            for one in lines:
                file.write(json_bytes(one) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        tmp.replace(to)
