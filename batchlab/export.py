"""One file of a run: one row per input row, in input order, whatever the run's state.

Sealed shards are copied from their parts. A row of an open shard that has no final result
yet appears with the status `pending`.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchlab.errors import UsageError
from batchlab.store.files import fsync_dir

FORMATS = (".parquet", ".csv", ".jsonl")

# A cell that starts like a formula is run by a spreadsheet that opens the file (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


class _ParquetWriter:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class _JsonlWriter:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._json_columns = _json_columns(schema)

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            for name in self._json_columns:
                if row[name] is not None:
                    row[name] = json.loads(row[name])
            self._file.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")

    def close(self) -> None:
        self._file.close()


class _CsvWriter:
    def __init__(self, path: Path, schema: pa.Schema, *, raw: bool) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file)
        self._raw = raw
        self._csv.writerow([self._cell(name) for name in schema.names])

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            self._csv.writerow([self._cell(value) for value in row.values()])

    def _cell(self, value: Any) -> Any:
        if isinstance(value, str):
            safe = self._raw or not value.lstrip("\ufeff\"'").startswith(_FORMULA)
            return value if safe else f"'{value}"
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict | list):
            return json.dumps(value, ensure_ascii=False, default=_plain)
        return _plain(value)

    def close(self) -> None:
        self._file.close()


def _json_columns(schema: pa.Schema) -> list[str]:
    """Input columns whose values are carried as JSON text, to be written as the JSON they were."""
    return [field.name for field in schema if (field.metadata or {}).get(b"batchlab.json") == b"1"]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


class Export:
    """Writes tables to `path`; the file appears complete or not at all. A context manager."""

    def __init__(self, path: str | Path, schema: pa.Schema, *, csv_raw: bool = False) -> None:
        self._path = Path(path)
        self._tmp = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        # one schema for all: dictionary columns of different parts have different dictionaries
        self._schema = pa.schema([_undictionaried(field) for field in schema])
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._open(self._path.suffix.lower(), csv_raw)
        except OSError as error:
            raise UsageError(f"{path}: cannot write the output file: {error.strerror}.") from error

    def _open(self, suffix: str, csv_raw: bool) -> _Writer:
        match suffix:
            case ".parquet":
                return _ParquetWriter(self._tmp, self._schema)
            case ".csv":
                return _CsvWriter(self._tmp, self._schema, raw=csv_raw)
            case ".jsonl":
                return _JsonlWriter(self._tmp, self._schema)
        raise UsageError(f"{self._path}: unknown output format; use one of {', '.join(FORMATS)}.")

    def write(self, table: pa.Table) -> None:
        """Adds rows."""
        columns = [_decoded(table.column(field.name), field.type) for field in self._schema]
        self._writer.write(pa.Table.from_arrays(columns, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        if kind is not None:
            self._tmp.unlink(missing_ok=True)
            return
        with self._tmp.open("rb+") as file:
            os.fsync(file.fileno())
        self._tmp.replace(self._path)
        fsync_dir(self._path.parent)


def _undictionaried(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _decoded(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    return pc.cast(column, wanted) if column.type != wanted else column


def export_tables(
    path: str | Path, tables: Callable[[], Iterator[pa.Table]], *, csv_raw: bool = False
) -> int:
    """Writes all tables to `path` and returns the number of rows.

    Raises:
        UsageError: the file cannot be written, or its ending is not one of FORMATS.
    """
    rows: int = 0
    stream = tables()
    first: pa.Table = next(stream)
    with Export(path, first.schema, csv_raw=csv_raw) as export:
        export.write(first)
        rows += first.num_rows
        for table in stream:
            export.write(table)
            rows += table.num_rows
    return rows
