"""Sources that are read a row at a time: what they share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchlab.arrow import pa
from batchlab.errors import InputError
from batchlab.inputs.sources.column_types import column_array
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.source import CheckRow, InputPlan, PlanBuilder, Reading, files_unchanged
from batchlab.inputs.sources.text_files.compression import read_errors
from batchlab.inputs.sources.text_files.no_text import NoText
from batchlab.inputs.templates import RowFault
from batchlab.records import Row, Shard


@dataclass(slots=True)
class _Reader:
    """Rows from a certain one on."""

    rows: Iterator[Row]
    row_id: int


class FaultyRow(Mapping[str, Any]):
    """Values of a row some of which cannot be had: null in a table, and the row's fault for who asks.

    Attributes:
        stored: what a table has of it.
    """

    __slots__ = ("_faults", "stored")

    def __init__(self, stored: Mapping[str, Any], faults: Mapping[str, str]) -> None:
        self.stored = stored
        self._faults = faults

    def __getitem__(self, name: str) -> Any:
        if name in self._faults:
            raise RowFault(f"column {name!r}: {self._faults[name]}")
        return self.stored[name]

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


class RecordSource:
    """A source whose rows come one after another from where a shard starts.

    Attributes:
        notes: what is worth telling of how it is read; those of a pass are there after it.
    """

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        self.path = shown_as
        self.notes: list[str] = list(reading.notes)
        self._opened_as = reading.notes
        self._names_encoding = reading.encoding is not None
        self._files = files
        # One reader for requests and one for sealing, so that a compressed file is read on, not again.
        self._readers: dict[str, _Reader] = {}

    def rows(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        """See `Source.rows`."""
        return self._rows(shard, plan, "rows")

    def table(self, shard: Shard, plan: InputPlan) -> pa.Table:
        """See `Source.table`."""
        found = (row.values for row in self._rows(shard, plan, "table"))
        rows = [values.stored if isinstance(values, FaultyRow) else values for values in found]
        schema = plan.schema
        columns = [column_array(field, [values.get(field.name) for values in rows]) for field in schema]
        if not columns:  # every row of the input is malformed
            return pa.table({}).select([]) if not rows else _no_columns(len(rows))
        return pa.Table.from_arrays(columns, schema=schema)

    def unchanged(self, plan: InputPlan, *, racy_ok: bool = False) -> bool:
        """See `Source.unchanged`."""
        return files_unchanged([one.file for one in self._files], plan, racy_ok=racy_ok)

    def close(self) -> None:
        """See `Source.close`."""
        while self._readers:
            self._readers.popitem()[1].rows.close()  # type: ignore[attr-defined]

    def _tell(self, notes: Iterable[str | None]) -> None:
        """What a pass has found out is worth telling."""
        self.notes = [*self._opened_as, *filter(None, notes)]

    def _judged(self, scan: Pass) -> list[str]:
        """What is worth telling of rows that are no text. Raises InputError where they are too many."""
        return scan.no_text.judged(scan.rows, named=self._names_encoding)

    def _read(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        """Rows from the shard's first to the input's last; a generator, which closes what it opened."""
        raise NotImplementedError

    def _rows(self, shard: Shard, plan: InputPlan, purpose: str) -> Iterator[Row]:
        reader = self._readers.pop(purpose, None)
        if reader is not None and reader.row_id != shard.first_row:
            reader.rows.close()  # type: ignore[attr-defined]
            reader = None
        if reader is None:
            reader = _Reader(self._read(shard, plan), shard.first_row)
        last = shard.first_row + shard.rows
        try:
            with read_errors(self.path):
                for row in reader.rows:
                    reader.row_id += 1
                    yield row
                    if reader.row_id == last:
                        return
            raise InputError(self.path, f"ends at row {reader.row_id}, before its plan does; it changed")
        finally:
            if reader.row_id == last < plan.rows:
                self._readers[purpose] = reader
            else:
                reader.rows.close()  # type: ignore[attr-defined]


class Pass:
    """One pass over files whose rows are read one after another.

    Attributes:
        rows: seen so far; `full` once there are `most`, as many as are wanted.
        no_text: of those rows, the ones that could not be decoded.
    """

    def __init__(self, shard_rows: int, check: CheckRow | None, limit: int | None, *, several: bool) -> None:
        self.builder = PlanBuilder(shard_rows)
        self.rows = 0
        self.no_text = NoText()
        self._check = check
        self.most = sys.maxsize if limit is None else limit
        self._several = several
        self._file: tuple[int, DataFile] | None = None

    @property
    def full(self) -> bool:
        """Whether no more rows are wanted."""
        return self.rows >= self.most

    def begin(self, number: int, file: DataFile) -> None:
        """The next rows are those of this file."""
        self._file = number, file

    def bookmark(self, position: dict[str, Any]) -> dict[str, Any]:
        """A place in the current file; a single file's is as short as it can be."""
        if not self._several or self._file is None:
            return position
        return {"file": self._file[0], **position}

    def checker(self) -> CheckRow | None:
        """Looks at a row of the current file: with its folders' keys, and with a number that tells it from
        the rows of other files."""
        check = self._check
        if check is None or self._file is None:
            return check
        keys = self._file[1].keys
        if not self._several:
            return check if not keys else _keyed(check, keys)

        def looked_at(row_id: int, values: Mapping[str, Any], number: int) -> None:
            del number
            check(row_id, {**keys, **values}, row_id + 1)

        return looked_at

    def bad(self, number: int, problem: str, row_id: int) -> None:
        """A row of the current file that cannot be read."""
        if self._several and self._file is not None:
            number, problem = row_id + 1, f"{self._file[1]}:{number}: {problem}"
        self.builder.bad(number, problem)

    def row(
        self, values: Mapping[str, Any], problem: str | None, number: int, position: dict[str, Any]
    ) -> None:
        """Takes in one row."""
        if self.rows % self.builder.shard_rows == 0:
            self.builder.positions.append(self.bookmark(position))
        if problem is not None:
            self.bad(number, problem, self.rows)
        elif (check := self.checker()) is not None:
            check(self.rows, values, number)
        self.rows += 1


def _keyed(check: CheckRow, keys: Mapping[str, Any]) -> CheckRow:
    def looked_at(row_id: int, values: Mapping[str, Any], number: int) -> None:
        check(row_id, {**keys, **values}, number)

    return looked_at


def _no_columns(rows: int) -> pa.Table:
    return pa.Table.from_struct_array(pa.array([{}] * rows, type=pa.struct([])))
