"""Rows as one Parquet, CSV or JSON Lines file."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

from batchlab.arrow import pa, pq
from batchlab.finite import json_and_nulls
from batchlab.job import DELIMITERS
from batchlab.looking.export.formulas import is_formula
from batchlab.looking.export.plain import plain_columns
from batchlab.looking.export.staging import staged

OUR_TIMES = ("started_at", "finished_at")  # of the results: in ISO 8601, with a T


class _OneFile:
    """How a file in the making ends: its writer is closed, then it takes its place or is gone."""

    def __init__(self, path: Path) -> None:
        self._staged = staged(path)

    def _close(self) -> None:
        raise NotImplementedError

    def commit(self) -> None:
        """See `Writer.commit`."""
        self._close()
        self._staged.commit()

    def discard(self) -> None:
        """See `Writer.discard`."""
        self._close()
        self._staged.discard()


class _TextFile(_OneFile):
    """In UTF-8, with or without a mark that says so.

    Attributes:
        nulled: numbers that JSON has no word for, NaN and the infinite ones, and that are null.
    """

    def __init__(self, path: Path, *, prefix: str, newline: str, encoding: str = "utf-8") -> None:
        super().__init__(path)
        self._file = self._staged.tmp.open("w", encoding=encoding, newline=newline)
        self._our_times = [prefix + name for name in OUR_TIMES]
        self.nulled = 0

    def _close(self) -> None:
        self._file.close()

    def _json(self, value: Any) -> str:
        text, nulled = json_and_nulls(value, default=_plain)
        self.nulled += nulled
        return text


class ParquetFile(_OneFile):
    """One Parquet file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path)
        self._writer = pq.ParquetWriter(
            self._staged.tmp, schema, compression="zstd", write_page_checksum=True
        )

    def write(self, table: pa.Table) -> None:
        """See `Writer.write`."""
        self._writer.write_table(table)

    def _close(self) -> None:
        self._writer.close()


class JsonLinesFile(_TextFile):
    """One JSON object a row.

    Args:
        prefix: of the result columns.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, prefix: str = "") -> None:
        super().__init__(path, prefix=prefix, newline="\n")
        self._json_columns = _json_columns(schema)

    def write(self, table: pa.Table) -> None:
        """See `Writer.write`."""
        columns = plain_columns(table, self._our_times)
        for index in self._json_columns:
            columns[index] = [_parsed(value) for value in columns[index]]
        names = table.column_names
        for row in zip(*columns, strict=True):
            self._file.write(self._json(dict(zip(names, row, strict=True))) + "\n")


class CsvFile(_TextFile):
    """One record a row, under a header.

    Args:
        raw: leave cells that a spreadsheet would run as a formula as they are.
        delimiter: one of `job.DELIMITERS`.
        encoding: `utf-8`, or `utf-8-sig` for a byte order mark.
        prefix: of the result columns.

    Attributes:
        quoted: cells that got a ' in front, so that a spreadsheet takes them for text.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        raw: bool,
        delimiter: str = ",",
        encoding: str = "utf-8",
        prefix: str = "",
    ) -> None:
        super().__init__(path, prefix=prefix, newline="", encoding=encoding)
        self._csv = csv.writer(self._file, delimiter=DELIMITERS[delimiter])
        self._raw = raw
        self._times = [_is_time(field.type) for field in schema]
        self.quoted = 0
        self._csv.writerow([self._cell(name, is_time=False) for name in schema.names])

    def write(self, table: pa.Table) -> None:
        """See `Writer.write`."""
        for row in zip(*plain_columns(table, self._our_times), strict=True):
            self._csv.writerow(
                [self._cell(value, is_time=is_time) for value, is_time in zip(row, self._times, strict=True)]
            )

    def _cell(self, value: Any, *, is_time: bool) -> Any:
        if isinstance(value, str):
            if self._raw or is_time or not is_formula(value):
                return value
            self.quoted += 1
            return f"'{value}"
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._json(value) if isinstance(value, dict | list) else _plain(value)


def _json_columns(schema: pa.Schema) -> list[int]:
    """Which input columns carry their values as JSON text, to be written as the JSON they were."""
    marks = [(field.metadata or {}).get(b"batchlab.json") for field in schema]
    return [index for index, mark in enumerate(marks) if mark == b"1"]


def _is_time(kind: pa.DataType) -> bool:
    """Whether a column's texts are times, of which some begin with a sign: years before the first."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _is_time(kind.value_type)
    return bool(pa.types.is_temporal(kind))


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):  # text that is no JSON is itself
            return json.loads(value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
