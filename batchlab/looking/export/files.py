"""Rows as one Parquet, CSV or JSON Lines file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from batchlab.arrow import pa, pq
from batchlab.looking.export.staging import staged

# A cell that starts like a formula is run by a spreadsheet that opens the file (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
    """In UTF-8."""

    def __init__(self, path: Path, *, newline: str) -> None:
        super().__init__(path)
        self._file = self._staged.tmp.open("w", encoding="utf-8", newline=newline)

    def _close(self) -> None:
        self._file.close()


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
    """One JSON object a row."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, newline="\n")
        self._json_columns = _json_columns(schema)

    def write(self, table: pa.Table) -> None:
        """See `Writer.write`."""
        for row in table.to_pylist():
            for name in self._json_columns:
                if row[name] is not None:
                    row[name] = json.loads(row[name])
            self._file.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")


class CsvFile(_TextFile):
    """One record a row, under a header.

    Args:
        raw: leave cells that a spreadsheet would run as a formula as they are.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, raw: bool) -> None:
        super().__init__(path, newline="")
        self._csv = csv.writer(self._file)
        self._raw = raw
        self._csv.writerow([self._cell(name) for name in schema.names])

    def write(self, table: pa.Table) -> None:
        """See `Writer.write`."""
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


def _json_columns(schema: pa.Schema) -> list[str]:
    """Input columns whose values are carried as JSON text, to be written as the JSON they were."""
    return [field.name for field in schema if (field.metadata or {}).get(b"batchlab.json") == b"1"]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
