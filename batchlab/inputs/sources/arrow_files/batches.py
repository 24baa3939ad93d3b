"""Sources that are Arrow's from the start: files of record batches, as one table."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

from batchlab.arrow import pa
from batchlab.errors import InputError
from batchlab.inputs.sources.arrow_files.rows import arrow_rows
from batchlab.inputs.sources.arrow_files.schema import (
    cleaned,
    fitted,
    keys_schema,
    no_text_rows,
    storable,
    united,
    without_rows,
    writable,
)
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.source import (
    AGAIN,
    CheckRow,
    InputFile,
    InputPlan,
    OnProgress,
    PlanBuilder,
    Reading,
    files_unchanged,
    unreadable,
)
from batchlab.records import Row, Shard
from batchlab.remote.storage import RemoteFile, ahead

BATCH_ROWS = 1_024
BATCH_BYTES = 16 * 1024 * 1024  # rows that hold images are read fewer at a time
HASH_BYTES = 1 << 20


@contextlib.contextmanager
def damage(path: InputFile, what: str, remedy: str = AGAIN) -> Iterator[None]:
    """Whatever Arrow finds wrong with a file becomes an InputError."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(str(path), f"{what} ({reason.rstrip('.! ')})", remedy) from error
    except OSError as error:
        if error.errno is None:  # Arrow's own, about the content
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(str(path), f"{what} ({reason.rstrip('.! ')})", remedy) from error
        raise unreadable(str(path), error) from error


class ArrowSource:
    """Rows of one or more files of Arrow record batches, a batch at a time.

    Files whose schemas differ in the order of columns, in what may be null, or in the width of types are
    one table.
    """

    storable = True  # whether every type of such a file can be written to a part
    trouble = ("damaged file", AGAIN)  # what a value is that Arrow finds wrong, and what to do

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        self.path = shown_as
        self.notes: list[str] = list(reading.notes)
        self._files = files
        self._found: pa.Schema | None = None

    # what a format has of its own

    def _schema_of(self, path: InputFile) -> pa.Schema:
        raise NotImplementedError

    def _count(self, path: InputFile) -> int:
        raise NotImplementedError

    def _read(self, path: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        """Record batches from row `skip` of a file."""
        raise NotImplementedError

    # what all of them share

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
        counts = [self._count(one.file) for one in self._files]
        total = min(sum(counts), limit) if limit is not None else sum(counts)
        for one in self._files:
            with one.file.open("rb") as file:
                while chunk := file.read(HASH_BYTES):
                    digest.update(chunk)
            if one.keys:
                digest.update(repr(sorted(one.keys.items())).encode())
        start, nulled = 0, False
        for number, one in enumerate(self._files):
            stop = min(start + counts[number], total)
            first = -(-start // shard_rows) * shard_rows  # of a shard, in this file
            builder.positions += [
                {"file": number, "row": row - start} for row in range(first, stop, shard_rows)
            ]
            if check is not None and start < stop:
                nulled |= self._looked_at(one, start, stop, total, builder, check, on_progress)
            start += counts[number]
        digest.update(str(total).encode())
        if nulled:  # a row that cannot be read is null
            fields = [field.with_nullable(True) for field in schema]
            schema = pa.schema(fields, metadata=schema.metadata)
        return builder.plan(total, schema, digest.hexdigest(), [one.file for one in self._files])

    def _looked_at(
        self,
        one: DataFile,
        start: int,
        stop: int,
        total: int,
        builder: PlanBuilder,
        check: CheckRow,
        on_progress: OnProgress | None,
    ) -> bool:
        """Checks the rows of one file. Returns whether some cannot be read."""
        row_id, some = start, False
        for batch, bad in self._batches(one, 0):
            taken = batch.slice(0, stop - row_id)
            for index, values in enumerate(arrow_rows(taken)):
                if index in bad:
                    builder.bad(row_id + 1, bad[index])
                    some = True
                else:
                    check(row_id, values, row_id + 1)
                row_id += 1
            if on_progress is not None:
                on_progress(row_id, total)
            if row_id >= stop:
                break
        return some

    def rows(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        """See `Source.rows`."""
        del plan
        row_id = shard.first_row
        for batch, bad in self._shard_batches(shard):
            for index, values in enumerate(arrow_rows(batch)):
                if index in bad:
                    yield Row(row_id, {}, bad[index])
                else:
                    yield Row(row_id, values)
                row_id += 1

    def table(self, shard: Shard, plan: InputPlan) -> pa.Table:
        """See `Source.table`."""
        schema = plan.schema
        batches = [
            fitted(batch, schema, {}, self.path)  # a plan of an earlier batchlab may have other types
            for batch, _ in self._shard_batches(shard)
        ]
        return pa.Table.from_batches(batches, schema=schema)

    def unchanged(self, plan: InputPlan, *, racy_ok: bool = False) -> bool:
        """See `Source.unchanged`."""
        return files_unchanged([one.file for one in self._files], plan, racy_ok=racy_ok)

    def close(self) -> None:
        """See `Source.close`."""

    def _schema(self) -> pa.Schema:
        if self._found is None:
            schemas = []
            for one in self._files:
                schema = self._schema_of(one.file)
                with damage(one.file, "damaged file"):  # a name that is no text
                    schemas.append((str(one), cleaned(schema)))
            if len(schemas) == 1:
                schemas = [(self.path, schemas[0][1])]
            schema = keys_schema(united(schemas), [one.keys for one in self._files])
            with damage(self._files[0].file, "damaged file"):  # a name inside of a type may be no text either
                self._found = writable(schema) if self.storable else storable(schema, self.path)
        return self._found

    def _batches(self, one: DataFile, skip: int) -> Iterator[tuple[pa.RecordBatch, dict[int, str]]]:
        """Record batches from row `skip` of a file, in the input's schema, and the rows that cannot be read,
        which are null."""
        schema = self._schema()
        batches = self._read(one.file, skip)
        for batch in ahead(batches) if isinstance(one.file, RemoteFile) else batches:
            bad: dict[int, str] = {}
            try:
                batch.validate(full=True)  # text that is no UTF-8, offsets that point outside
            except pa.ArrowInvalid:
                with damage(one.file, *self.trouble):
                    bad = no_text_rows(batch)
                batch = without_rows(batch, bad)
            if not batch.schema.equals(schema, check_metadata=True):
                relaxed = schema if not bad else _all_nullable(schema)
                batch = fitted(batch, relaxed, one.keys, str(one))
            yield batch, bad

    def _shard_batches(self, shard: Shard) -> Iterator[tuple[pa.RecordBatch, dict[int, str]]]:
        left, skip = shard.rows, shard.position["row"]
        for one in self._files[shard.position["file"] :]:
            for batch, bad in self._batches(one, skip):
                yield batch.slice(0, left), bad
                left -= min(left, batch.num_rows)
                if not left:
                    return
            skip = 0
        raise InputError(
            self.path, f"ends before row {shard.first_row + shard.rows}; it changed since the plan"
        )


def _all_nullable(schema: pa.Schema) -> pa.Schema:
    fields = [field.with_nullable(True) for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def rows_for_bytes(rows: int, size: int) -> int:
    """Rows to be read together, so that they take BATCH_BYTES at most where they are about equal."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))
