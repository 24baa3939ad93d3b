"""A batch's results, found by row without being held: they are hundreds of megabytes, in any order."""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections.abc import Iterable
from pathlib import Path

import orjson

from batchlab.protocol.batches.dialect import Dialect, Json, LineResult
from batchlab.protocol.values import ReplyProblem, parse_json
from batchlab.store.batches import Batch

TURN_LINES = 200  # between which others on the event loop have their turn


class Results:
    """The lines of results that are a batch's own.

    Attributes:
        strange: lines that are no result of this batch; `doubled` are later ones of a row that has one.
    """

    def __init__(self, batch: Batch, dialect: Dialect, file: Path) -> None:
        self.strange = 0
        self.doubled = 0
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
        offset = 0
        for count, line in enumerate(self._file, 1):
            if not count % TURN_LINES:
                await asyncio.sleep(0)
            if line.strip():
                self._take(line, offset)
            offset += len(line)

    def _take(self, line: bytes, offset: int) -> None:
        found = self._read(line)
        row = None if found is None else self._batch.row_of(found.custom_id)
        if row is None:
            self.strange += 1
        elif self._offset[row - self._first] >= 0:
            self.doubled += 1
        else:
            self._offset[row - self._first], self._length[row - self._first] = offset, len(line)

    def _read(self, line: bytes) -> LineResult | None:
        """What a line says; None for one that says nothing, such as one that was cut."""
        with contextlib.suppress(ReplyProblem):
            data = parse_json(line)
            if isinstance(data, dict):
                return self._dialect.result(data)
        return None

    def of(self, row_id: int) -> LineResult | None:
        """What came of a row; None when nothing is said of it."""
        offset = self._offset[row_id - self._first]
        if offset < 0:
            return None
        self._file.seek(offset)
        return self._read(self._file.read(self._length[row_id - self._first]))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def write_inline(lines: Iterable[Json], to: Path) -> None:
    """Keeps results that came with a batch's state."""
    with to.open("ab") as file:
        for one in lines:
            file.write(orjson.dumps(one) + b"\n")
