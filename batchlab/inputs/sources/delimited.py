"""CSV and TSV. Every column is text, exactly as written; an empty cell is "", not null."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from batchlab.arrow import pa
from batchlab.errors import InputError
from batchlab.inputs.sources.column_types import Kind
from batchlab.inputs.sources.compression import is_compressed, open_bytes, read_errors
from batchlab.inputs.sources.source import (
    CheckRow,
    InputFile,
    InputPlan,
    OnProgress,
    PlanBuilder,
    file_size,
    files_unchanged,
)
from batchlab.records import Row, Shard

REPORT_EVERY = 5_000
MAX_FIELD_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class _Lines:
    """Decoded lines for the csv module, counting the bytes and lines it has taken."""

    file: BinaryIO
    shown_as: str
    offset: int = 0
    number: int = 0
    digest: hashlib.blake2b | None = None
    taken: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.offset += len(line)
            self.number += 1
            if self.digest is not None:
                self.digest.update(line)
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    self.shown_as,
                    f"byte {error.start + 1} is not UTF-8 text",
                    "Convert the file first, for example: iconv -f WINDOWS-1252 -t UTF-8.",
                    row=self.number,
                ) from None
            yield text.removeprefix("\ufeff") if self.number == 1 else text


@dataclass(slots=True)
class _Cursor:
    lines: _Lines
    records: Iterator[tuple[int, int, list[str], str | None]]
    row_id: int


class DelimitedSource:
    """Rows of a CSV or TSV file with a header line. Quoted cells may hold line ends."""

    def __init__(self, path: InputFile, delimiter: str, *, quotes: bool = True) -> None:
        self.path = str(path)
        self._path = path
        self._delimiter = delimiter
        self._quotes = quotes
        self._cursors: dict[str, _Cursor] = {}
        csv.field_size_limit(MAX_FIELD_BYTES)

    def peek(self) -> tuple[str, ...]:
        """The header's names."""
        lines = _Lines(open_bytes(self._path, self.path), self.path)
        with lines.file, read_errors(self.path):
            return self._header(self._records(lines))

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`."""
        builder, digest, rows = PlanBuilder(shard_rows), hashlib.blake2b(digest_size=16), 0
        total = None if is_compressed(self._path) else file_size(self._path)
        lines = _Lines(open_bytes(self._path, self.path), self.path, digest=digest)
        with lines.file, read_errors(self.path):
            records = self._records(lines)
            names = self._header(records)
            for offset, number, cells, problem in records:
                if limit is not None and rows >= limit:
                    break
                if rows % shard_rows == 0:
                    builder.positions.append({"offset": offset, "line": number})
                problem = problem or _misfit(names, cells)
                if problem is not None:
                    builder.bad(number, problem)
                elif check is not None:
                    check(rows, dict(zip(names, cells, strict=True)), number)
                rows += 1
                if on_progress is not None and rows % REPORT_EVERY == 0:
                    on_progress(lines.offset, total)
        kinds: dict[str, Kind] = dict.fromkeys(names, "str")
        return builder.plan(rows, kinds, digest.hexdigest(), [self._path])

    def rows(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        """See `Source.rows`."""
        return self._rows(shard, plan, "rows")

    def table(self, shard: Shard, plan: InputPlan) -> pa.Table:
        """See `Source.table`."""
        rows = [row.values for row in self._rows(shard, plan, "table")]
        columns = [
            pa.array([values.get(field.name) for values in rows], type=field.type) for field in plan.schema
        ]
        return pa.Table.from_arrays(columns, schema=plan.schema)

    def unchanged(self, plan: InputPlan, *, racy_ok: bool = False) -> bool:
        """See `Source.unchanged`."""
        return files_unchanged([self._path], plan, racy_ok=racy_ok)

    def close(self) -> None:
        """See `Source.close`."""
        while self._cursors:
            self._cursors.popitem()[1].lines.file.close()

    def _rows(self, shard: Shard, plan: InputPlan, purpose: str) -> Iterator[Row]:
        cursor = self._at(shard, purpose)
        names = plan.columns
        last = shard.first_row + shard.rows
        try:
            while cursor.row_id < last:
                with read_errors(self.path):
                    record = next(cursor.records, None)
                if record is None:
                    raise InputError(
                        self.path, f"ends at row {cursor.row_id}, before its plan does; it changed"
                    )
                row = _row(cursor.row_id, names, record[2], record[3])
                cursor.row_id += 1
                yield row
        finally:
            if cursor.row_id == last < plan.rows:
                self._cursors[purpose] = cursor
            else:
                cursor.lines.file.close()

    def _at(self, shard: Shard, purpose: str) -> _Cursor:
        cursor = self._cursors.pop(purpose, None)
        if cursor is not None:
            if cursor.row_id == shard.first_row:
                return cursor
            cursor.lines.file.close()
        file = open_bytes(self._path, self.path)
        offset = shard.position["offset"]
        if is_compressed(self._path):
            missing = offset
            with read_errors(self.path):
                while missing:
                    missing -= len(file.read(min(missing, 1 << 20)))
        else:
            file.seek(offset)
        lines = _Lines(file, self.path, offset=offset, number=shard.position["line"] - 1)
        return _Cursor(lines, self._records(lines), shard.first_row)

    def _records(self, lines: _Lines) -> Iterator[tuple[int, int, list[str], str | None]]:
        """(offset, line number, cells, problem) of each record; blank lines are skipped."""
        reader = csv.reader(
            iter(lines),
            delimiter=self._delimiter,
            quoting=csv.QUOTE_MINIMAL if self._quotes else csv.QUOTE_NONE,
            strict=True,
        )
        while True:
            offset, number = lines.offset, lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield (
                    offset,
                    number,
                    [],
                    f"not valid CSV ({error}); if quotes are plain text, pass {{input.quotes=false}}",
                )
                continue
            if cells:
                yield offset, number, cells, None

    def _header(self, records: Iterator[tuple[int, int, list[str], str | None]]) -> tuple[str, ...]:
        first = next(records, None)
        if first is None:
            raise InputError(self.path, "has no header line and no rows")
        _, number, names, problem = first
        if problem is not None:
            raise InputError(self.path, problem, row=number)
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise InputError(self.path, f"two columns are named {name!r}", "Rename one.", row=number)
            seen.add(name)
        return tuple(names)


def _misfit(names: tuple[str, ...], cells: list[str]) -> str | None:
    if len(cells) == len(names):
        return None
    return f"{len(cells)} cells, but the header has {len(names)}"


def _row(row_id: int, names: tuple[str, ...], cells: list[str], problem: str | None) -> Row:
    problem = problem or _misfit(names, cells)
    if problem is not None:
        return Row(row_id, {}, problem)
    return Row(row_id, dict(zip(names, cells, strict=True)))
