"""Parquet: a file, a directory of files, or a glob, in name order."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from batchlab.arrow import pa, pq
from batchlab.errors import InputError
from batchlab.inputs.sources.column_types import JSON_MARK
from batchlab.inputs.sources.source import (
    CheckRow,
    InputFile,
    InputPlan,
    OnProgress,
    PlanBuilder,
    files_unchanged,
    unreadable,
)
from batchlab.records import Row, Shard
from batchlab.remote.storage import RemoteFile, ahead

BATCH_ROWS = 1_024
BATCH_BYTES = 16 * 1024 * 1024  # rows that hold images are read fewer at a time
BUFFER_BYTES = 1024 * 1024
HASH_BYTES = 1 << 20


@contextlib.contextmanager
def _damage(path: InputFile, what: str) -> Iterator[None]:
    """Whatever Arrow finds wrong with a file becomes an InputError."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(str(path), f"{what} ({reason})") from error
    except OSError as error:
        if error.errno is None:  # Arrow's own, about the content
            raise InputError(str(path), f"{what} ({str(error).splitlines()[0]})") from error
        raise unreadable(str(path), error) from error


def _json_mark(field: pa.Field) -> dict[bytes, bytes] | None:
    """Kept of a column that holds JSON text, as an export or a frame's file says."""
    return JSON_MARK if JSON_MARK.items() <= (field.metadata or {}).items() else None


def _rows(batch: pa.RecordBatch, schema: pa.Schema) -> list[dict[str, Any]]:
    """The batch's rows; a column of JSON text gives the values that the text stands for."""
    rows: list[dict[str, Any]] = batch.to_pylist()
    for name in (field.name for field in schema if field.metadata):
        for row in rows:
            if row[name] is not None:
                with contextlib.suppress(ValueError, RecursionError):  # text that is no JSON is itself
                    row[name] = json.loads(row[name])
    return rows


class ParquetSource:
    """Rows of one or more Parquet files with the same columns, a record batch at a time."""

    def __init__(self, paths: Sequence[InputFile], shown_as: str) -> None:
        self.path = shown_as
        self._paths = paths

    def peek(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(self._schema().names)

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`. Without `check` no row is decoded."""
        schema = self._schema()
        builder, digest = PlanBuilder(shard_rows), hashlib.blake2b(digest_size=16)
        counts = [self._open(path).metadata.num_rows for path in self._paths]
        total = min(sum(counts), limit) if limit is not None else sum(counts)
        for path in self._paths:
            with path.open("rb") as file:
                while chunk := file.read(HASH_BYTES):
                    digest.update(chunk)
        start = 0
        for number, path in enumerate(self._paths):
            stop = min(start + counts[number], total)
            first = -(-start // shard_rows) * shard_rows  # of a shard, in this file
            builder.positions += [
                {"file": number, "row": row - start} for row in range(first, stop, shard_rows)
            ]
            if check is not None and start < stop:
                row_id = start
                for batch in self._batches(path, 0):
                    for values in _rows(batch.slice(0, stop - row_id), schema):
                        check(row_id, values, row_id + 1)
                        row_id += 1
                    if on_progress is not None:
                        on_progress(row_id, total)
                    if row_id >= stop:
                        break
            start += counts[number]
        digest.update(str(total).encode())
        return builder.plan(total, schema, digest.hexdigest(), self._paths)

    def rows(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        """See `Source.rows`."""
        schema, row_id = plan.schema, shard.first_row
        for batch in self._shard_batches(shard):
            for values in _rows(batch, schema):
                yield Row(row_id, values)
                row_id += 1

    def table(self, shard: Shard, plan: InputPlan) -> pa.Table:
        """See `Source.table`."""
        schema = plan.schema
        batches = [batch.select(schema.names) for batch in self._shard_batches(shard)]
        return pa.Table.from_batches(batches, schema=schema)

    def unchanged(self, plan: InputPlan, *, racy_ok: bool = False) -> bool:
        """See `Source.unchanged`."""
        return files_unchanged(self._paths, plan, racy_ok=racy_ok)

    def close(self) -> None:
        """See `Source.close`."""

    def _schema(self) -> pa.Schema:
        first = self._schema_of(self._paths[0])
        names = first.names
        for name in names:
            if names.count(name) > 1:
                raise InputError(self.path, f"two columns are named {name!r}", "Rename one.")
        for path in self._paths[1:]:
            other = self._schema_of(path)
            if not other.equals(first):
                raise InputError(str(path), f"its columns or types differ from those of {self._paths[0]}")
        return first

    def _schema_of(self, path: InputFile) -> pa.Schema:
        with self._open(path) as file, _damage(path, "damaged Parquet file"):
            return pa.schema(
                [
                    pa.field(str(field.name), field.type, field.nullable, metadata=_json_mark(field))
                    for field in file.schema_arrow
                ]
            )

    def _open(self, path: InputFile) -> pq.ParquetFile:
        with _damage(path, "not a Parquet file"):
            return pq.ParquetFile(path.open_random() if isinstance(path, RemoteFile) else path)

    def _open_for_rows(self, path: InputFile) -> pq.ParquetFile:
        """The file, of which no more is held than is read at a time when its rows are large.

        Arrow's usual way reads the row groups ahead: 400 MB of images took 1,000 MB of memory.
        """
        file = self._open(path)
        if isinstance(path, RemoteFile) or _batch_rows(file.metadata) == BATCH_ROWS:
            return file
        with file, _damage(path, "not a Parquet file"):
            return pq.ParquetFile(path, metadata=file.metadata, pre_buffer=False, buffer_size=BUFFER_BYTES)

    def _batches(self, path: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        """Record batches from row `skip` of a file; row groups before it are not read."""
        batches = self._read(path, skip)
        return ahead(batches) if isinstance(path, RemoteFile) else batches

    def _read(self, path: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        with self._open_for_rows(path) as file, _damage(path, "damaged Parquet file"):
            groups = list(range(file.metadata.num_row_groups))
            while groups and skip >= file.metadata.row_group(groups[0]).num_rows:
                skip -= file.metadata.row_group(groups.pop(0)).num_rows
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata), row_groups=groups):
                batch.validate(full=True)  # text that is no UTF-8, offsets that point outside
                if skip < batch.num_rows:
                    yield batch.slice(skip)
                skip = max(0, skip - batch.num_rows)

    def _shard_batches(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        left, skip = shard.rows, shard.position["row"]
        for path in self._paths[shard.position["file"] :]:
            for batch in self._batches(path, skip):
                yield batch.slice(0, left)
                left -= min(left, batch.num_rows)
                if not left:
                    return
            skip = 0
        raise InputError(
            self.path, f"ends before row {shard.first_row + shard.rows}; it changed since the plan"
        )


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Rows to be read together, so that they take BATCH_BYTES at most where they are about equal."""
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    rows: int = BATCH_BYTES * metadata.num_rows // max(size, 1)
    return max(1, min(BATCH_ROWS, rows))
