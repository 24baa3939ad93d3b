"""JSON Lines: `.jsonl` and `.ndjson`, plain or compressed."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

import orjson

from batchlab.arrow import pa
from batchlab.errors import InputError
from batchlab.inputs.sources.batch_lines import BODY, is_batch_line
from batchlab.inputs.sources.column_types import ColumnTypes, column_array
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

BLOCK_BYTES = 160 * 1024  # read and split at a time; larger ones gain nothing
HASH_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class _Cursor:
    """A file that stands before a certain row."""

    file: BinaryIO
    row_id: int


class JsonlSource:
    """Rows of a JSON Lines file, one object a line; blank lines are skipped."""

    def __init__(self, path: InputFile, *, shown_as: str | None = None) -> None:
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
        total = None if is_compressed(self._path) else file_size(self._path)
        scan = _Scan(shard_rows, check, limit)
        with self._open() as file, read_errors(self.path), _Hasher(scan.digest) as hasher:
            # whole lines, and a line of any length is read once
            while not scan.full and (block := file.read(BLOCK_BYTES)):
                block += file.readline()
                taken = scan.take(block)
                hasher.update(block if taken == len(block) else block[:taken])
                if on_progress is not None:
                    on_progress(scan.offset, total)
        return scan.builder.plan(scan.rows, scan.types.kinds(), scan.digest.hexdigest(), [self._path])

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


class _Hasher:
    """Hashes blocks in a thread, behind whoever reads them; used as a context, whose end waits for it.

    A block's hash lets go of the interpreter, but its thread must get hold of it first, which takes 5 ms
    while another one works: so it gets a few megabytes at a time, and nobody waits for it until there
    are a few more.
    """

    def __init__(self, digest: hashlib.blake2b) -> None:
        self._digest = digest
        self._blocks: list[bytes] = []
        self._bytes = 0
        self._thread = ThreadPoolExecutor(1)
        self._hashing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def update(self, block: bytes) -> None:
        """Takes the next bytes."""
        self._blocks.append(block)
        self._bytes += len(block)
        if self._bytes >= HASH_BYTES:
            self._begin()

    def __exit__(self, *error: object) -> None:
        self._begin()
        self._thread.shutdown()

    def _begin(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = self._thread.submit(self._digest.update, b"".join(self._blocks))
        self._blocks.clear()
        self._bytes = 0


class _Scan:
    """One pass over the lines: rows, where shards start, column types, malformed lines.

    Attributes:
        rows: seen so far; `full` once there are as many as wanted.
        offset: bytes taken so far.
    """

    def __init__(self, shard_rows: int, check: CheckRow | None, limit: int | None) -> None:
        self.builder = PlanBuilder(shard_rows)
        self.types = ColumnTypes()
        self._seen_one = False
        self.digest = hashlib.blake2b(digest_size=16)
        self.rows = 0
        self.offset = 0
        self._lines = 0
        self._check = check
        self._limit = limit

    @property
    def full(self) -> bool:
        """Whether no more rows are wanted."""
        return self._limit is not None and self.rows >= self._limit

    def take(self, block: bytes) -> int:
        """Takes whole lines. Returns how many bytes it took, all of them short of the limit.

        A row costs a microsecond beyond its parsing, so nothing is made for it here, no Row either.
        """
        loads, check, first = orjson.loads, self._check, self._lines + 1
        knows = self.types.knows if self._seen_one else _knows_nothing
        rows, shard_at = self.rows, len(self.builder.positions) * self.builder.shard_rows
        limit = self._limit if self._limit is not None else sys.maxsize
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        index = 0
        for index, line in enumerate(lines):
            if rows >= limit:
                break
            problem = None
            try:
                values = loads(line)
            except ValueError:
                if not line or line.isspace():
                    continue
                values = None
            if type(values) is not dict or not knows(values):
                values, problem = parse_line(line) if type(values) is not dict else _exact(values, line)
                if problem is None:
                    self._see(values)
                else:
                    self.builder.bad(first + index, problem)
            if rows == shard_at:
                self.builder.positions.append({"offset": self.offset + _bytes_of(lines[:index])})
                shard_at += self.builder.shard_rows
            if check is not None and problem is None:
                check(rows, values, first + index)
            rows += 1
        else:
            index += 1
        taken = min(_bytes_of(lines[:index]), len(block))  # the last line may have no end
        self._lines += index
        self.offset += taken
        self.rows = rows
        return taken

    def _see(self, values: dict[str, Any]) -> None:
        if not self._seen_one:
            self._seen_one = True
            if is_batch_line(values):  # a body as Arrow structs would lose its keys' order and its nulls
                self.types = ColumnTypes(as_json=(BODY,))
        self.types.see(values)


def _bytes_of(lines: list[bytes]) -> int:
    """With their ends."""
    return sum(map(len, lines)) + len(lines)


def _no_columns(rows: int) -> pa.Table:
    return pa.Table.from_struct_array(pa.array([{}] * rows, type=pa.struct([])))


def parse_line(line: bytes) -> tuple[dict[str, Any], str | None]:
    """A line's object, and what is wrong with it (then the object is empty)."""
    try:
        value = orjson.loads(line)
        if type(value) is dict:
            return _exact(value, line)
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


def _exact(value: dict[str, Any], line: bytes) -> tuple[dict[str, Any], str | None]:
    """An object as orjson read it from `line`, with whole numbers of any size as they are written."""
    try:
        for item in value.values():
            if type(item) is not str and _is_rounded(item):
                return json.loads(line), None
    except RecursionError:
        return {}, "nested too deeply"
    return value, None


def _knows_nothing(values: dict[str, Any]) -> bool:
    del values
    return False


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
