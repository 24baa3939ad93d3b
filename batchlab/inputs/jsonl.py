"""JSON Lines: `.jsonl` and `.ndjson`, plain or compressed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from batchlab.errors import InputError
from batchlab.inputs.batch_lines import BODY, is_batch_line
from batchlab.inputs.column_types import ColumnTypes, column_array
from batchlab.inputs.compression import is_compressed, open_bytes, read_errors
from batchlab.inputs.input_plan import CheckRow, InputPlan, OnProgress, PlanBuilder, files_unchanged
from batchlab.records import Row, Shard

REPORT_EVERY = 5_000  # rows between two reports of progress


@dataclass(slots=True)
class _Cursor:
    """A file that stands before a certain row."""

    file: BinaryIO
    row_id: int


class JsonlSource:
    """Rows of a JSON Lines file, one object a line; blank lines are skipped."""

    def __init__(self, path: Path, *, shown_as: str | None = None) -> None:
        self.path = shown_as or str(path)
        self._path = path
        # One reader for requests and one for sealing, so that a compressed file is read on, not again.
        self._cursors: dict[str, _Cursor] = {}

    def peek(self) -> tuple[str, ...]:
        """Keys of the first good line."""
        with self._open() as file, read_errors(self.path):
            for line in file:
                values, problem = parse_line(line)
                if problem is None and values:
                    return tuple(values)
        return ()

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`."""
        builder, digest = PlanBuilder(shard_rows), hashlib.blake2b(digest_size=16)
        types: ColumnTypes | None = None
        offset = 0
        total = None if is_compressed(self._path) else self._path.stat().st_size
        with self._open() as file, read_errors(self.path):
            for number, line in enumerate(file, start=1):
                start, offset = offset, offset + len(line)
                if limit is not None and builder.rows >= limit:
                    break
                digest.update(line)
                if line.isspace():
                    continue
                values, problem = parse_line(line)
                row = Row(builder.rows, values, problem)
                builder.row(number, partial(dict, offset=start), problem)
                if problem is None:
                    if types is None:  # a body as Arrow structs would lose its keys' order and its nulls
                        types = ColumnTypes(as_json=(BODY,) if is_batch_line(values) else ())
                    types.see(values)
                    if check is not None:
                        check(row, number)
                if on_progress is not None and builder.rows % REPORT_EVERY == 0:
                    on_progress(offset, total)
        return builder.plan((types or ColumnTypes()).schema(), digest.hexdigest(), [self._path])

    def rows(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        """See `Source.rows`."""
        return self._rows(shard, plan, "rows")

    def table(self, shard: Shard, plan: InputPlan) -> pa.Table:
        """See `Source.table`."""
        rows = [row.values for row in self._rows(shard, plan, "table")]
        schema = plan.schema
        columns = [column_array(field, [values.get(field.name) for values in rows]) for field in schema]
        if not columns:  # every line of the input is malformed
            return pa.table({}).select([]) if not rows else _no_columns(len(rows))
        return pa.Table.from_arrays(columns, schema=schema)

    def unchanged(self, plan: InputPlan, *, racy_ok: bool = False) -> bool:
        """See `Source.unchanged`."""
        return files_unchanged([self._path], plan, racy_ok=racy_ok)

    def _open(self) -> BinaryIO:
        return open_bytes(self._path, self.path)

    def close(self) -> None:
        """See `Source.close`."""
        while self._cursors:
            self._cursors.popitem()[1].file.close()

    def _rows(self, shard: Shard, plan: InputPlan, purpose: str) -> Iterator[Row]:
        file = self._at(shard, purpose)
        row_id = shard.first_row
        last = shard.first_row + shard.rows
        try:
            with read_errors(self.path):
                for line in iter(file.readline, b""):
                    if line.isspace():
                        continue
                    values, problem = parse_line(line)
                    yield Row(row_id, values, problem)
                    row_id += 1
                    if row_id == last:
                        return
            raise InputError(self.path, f"ends at row {row_id}, before its plan does; it changed")
        finally:
            if row_id == last < plan.rows:
                self._cursors[purpose] = _Cursor(file, row_id)
            else:
                file.close()

    def _at(self, shard: Shard, purpose: str) -> BinaryIO:
        """A file that stands at the shard's first row."""
        cursor = self._cursors.pop(purpose, None)
        if cursor is not None:
            if cursor.row_id == shard.first_row:
                return cursor.file
            cursor.file.close()
        file = self._open()
        offset = shard.position["offset"]
        if is_compressed(self._path):
            with read_errors(self.path):
                while offset:
                    offset -= len(file.read(min(offset, 1 << 20)))
        else:
            file.seek(offset)
        return file


def _no_columns(rows: int) -> pa.Table:
    return pa.Table.from_struct_array(pa.array([{}] * rows, type=pa.struct([])))


def parse_line(line: bytes) -> tuple[dict[str, Any], str | None]:
    """A line's object, and what is wrong with it (then the object is empty)."""
    try:
        value = orjson.loads(line)
        if isinstance(value, dict) and any(_is_rounded(item) for item in value.values()):
            value = json.loads(line)
    except ValueError:
        try:
            # what orjson refuses but JSON allows, such as an escaped lone surrogate
            value = _cleaned(json.loads(line.decode("utf-8-sig"), parse_constant=_no_constant))
        except UnicodeDecodeError:
            return {}, "not UTF-8 text"
        except ValueError as error:
            return {}, f"not JSON: {str(error).split(': line')[0]}"
        except RecursionError:
            return {}, "nested too deeply"
    if not isinstance(value, dict):
        return {}, f"expected a JSON object, found {type(value).__name__}"
    return value, None


def _is_rounded(value: Any) -> bool:
    """orjson reads whole numbers past 64 bits as floats; ids of that size would lose digits."""
    if type(value) is str:
        return False
    if type(value) is float:
        return not -(2.0**63) < value < 2.0**63
    if type(value) is list:
        return any(_is_rounded(item) for item in value)
    return type(value) is dict and any(_is_rounded(item) for item in value.values())


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _cleaned(value: Any) -> Any:
    """`value` with lone surrogates replaced: UTF-8, and so Arrow, cannot hold them."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    return value
