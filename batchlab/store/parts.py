"""Parts: the immutable Parquet files that sealed shards become.

Input columns first, then the result columns, types fixed, never inferred: a shard without a
single error has the same schema as one with errors. Pages carry checksums, and our readers
verify them (without, 317 of 400 flipped bits were read back as silently different data).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from batchlab.arrow import pa, pq
from batchlab.errors import CorruptRun, UsageError
from batchlab.records import Result
from batchlab.remote.storage import RemoteFile, StorageError
from batchlab.result_columns import FORMAT, RESULT_COLUMNS, columns_since
from batchlab.store.columns.expanded import expanded_columns
from batchlab.store.columns.results import (
    columns_totals,
    result_columns,
    result_of_columns,
    result_schema,
    values_of,
)
from batchlab.store.columns.vectors import vector_fields, vector_texts
from batchlab.store.disk.files import FILE_MODE, check_plain, disk_stop, plain_file
from batchlab.store.journals.journal import ResultValues
from batchlab.totals import Totals

PartFile: TypeAlias = Path | RemoteFile

_OF_FORMAT_1 = frozenset({"cut_off", "endpoint"})  # which its first parts lack
BATCH_ROWS = 2_000  # rows held as Python values while a part is written or read
# of results that become one row group: they are held as Python values, as Arrow's, and as pages at once
GROUP_BYTES = 4 << 20


def part_schema(
    input_schema: pa.Schema, prefix: str, expanded: pa.Schema | None = None, vectors: Sequence[str] = ()
) -> pa.Schema:
    """Input columns, then result columns under their prefixed names, then those of the job's schema.

    Args:
        vectors: which of the columns for embeddings there are.
    """
    results = (field.with_name(prefix + field.name) for field in [*result_schema(), *vector_fields(vectors)])
    return pa.schema([*input_schema, *results, *(expanded or ())], metadata=input_schema.metadata)


def write_part(
    path: Path,
    input_table: pa.Table,
    results: Iterator[ResultValues | None],
    *,
    sizes: Iterable[int],
    first_row: int,
    prefix: str,
    expanded: pa.Schema | None = None,
    vectors: Sequence[str] = (),
    mark: str = "",
) -> tuple[Path, Totals]:
    """Writes one part to a temporary file beside `path`, a row group at a time.

    Returns that file, not yet published, and the totals that its footer holds.

    Args:
        results: those of all its rows, in order; taken as they are needed.
        sizes: about how many bytes each of them has.
        expanded: columns that are made of the parsed answers.
        vectors: which of the columns for embeddings it has.
        mark: in the temporary file's name, where other attempts may be writing theirs.

    Raises:
        RunStopped: the disk is full or failing.
    """
    schema = part_schema(input_table.schema, prefix, expanded, vectors)
    tmp = path.with_name(f"{path.name}{mark}.tmp")
    totals = Totals()
    try:
        with pq.ParquetWriter(
            tmp, schema, compression="zstd", write_page_checksum=True, use_dictionary=True
        ) as writer:
            for start, stop in _groups(sizes):
                batch = list(itertools.islice(results, stop - start))
                columns = result_columns(batch, range(first_row + start, first_row + stop), vectors)
                totals += columns_totals(columns)
                columns += _expanded(columns, expanded)
                inputs = input_table.slice(start, stop - start).columns
                writer.write_table(pa.Table.from_arrays([*inputs, *columns], schema=schema))
            writer.add_key_value_metadata(
                {
                    "batchlab.format": str(FORMAT),
                    "batchlab.first_row": str(first_row),
                    "batchlab.prefix": prefix,
                    "batchlab.totals": json.dumps(asdict(totals)),
                }
            )
        tmp.chmod(FILE_MODE)
    except OSError as error:
        tmp.unlink(missing_ok=True)
        disk_stop(path, error)
    return tmp, totals


def _groups(sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Where the row groups of a part begin and end, by the bytes of its rows."""
    start = stop = held = 0
    for size in sizes:
        if stop - start == BATCH_ROWS or (held and held + size > GROUP_BYTES):
            yield start, stop
            start, held = stop, 0
        stop, held = stop + 1, held + size
    if stop > start:
        yield start, stop


def row_bytes(path: PartFile) -> int:
    """Bytes that a row of a part has on average, before they were compressed. Raises CorruptRun."""
    with open_part(path) as part:
        return _row_bytes(part.metadata)


def _row_bytes(metadata: pq.FileMetaData) -> int:
    size: int = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return size // max(1, rows)


def file_digest(path: PartFile) -> str:
    """BLAKE2b of a whole file. Pages carry checksums of their own, but a Parquet footer has none."""
    digest = hashlib.blake2b(digest_size=16)
    with _store_trouble(path), plain_file(path) if isinstance(path, Path) else path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _store_trouble(path: PartFile) -> Iterator[None]:
    """A store that cannot be read says nothing about the part."""
    try:
        yield
    except StorageError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from error


def open_part(path: PartFile, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """A part as Parquet, checksums verified while it is read. Raises CorruptRun.

    Args:
        footer: that of the same file, if it was read before.
    """
    try:
        with _store_trouble(path):
            if isinstance(path, Path):
                check_plain(path)
            # read ahead, all of it: that saves requests to a store, and is nothing but memory here
            source = path.open_random() if isinstance(path, RemoteFile) else path
            ahead = isinstance(path, RemoteFile)
            return pq.ParquetFile(source, metadata=footer, page_checksum_verification=True, pre_buffer=ahead)
    except (OSError, pa.ArrowException, UnicodeEncodeError) as error:  # Arrow opens no name that is no text
        raise CorruptRun(f"{path}: not a whole Parquet file ({_first_line(error)}).") from error


@contextlib.contextmanager
def reading(path: PartFile, footer: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    """A part while it is read, as `open_part` opens it. Raises CorruptRun, also for what the body reads."""
    with open_part(path, footer) as part:
        try:
            with _store_trouble(path):
                yield part
        except (OSError, pa.ArrowException) as error:
            raise CorruptRun(f"{path}: damaged ({_first_line(error)}).") from error


def part_totals(path: PartFile) -> Totals:
    """A part's totals, from its footer; no row is read."""
    return stated_totals(path)[0]


def stated_totals(path: PartFile) -> tuple[Totals, Collection[str]]:
    """A part's totals, and which of them its footer states: an earlier batchlab counted less."""
    with open_part(path) as part:
        metadata = part.metadata.metadata or {}
    try:
        stated = json.loads(metadata[b"batchlab.totals"])
        return Totals.of(stated), stated.keys()
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptRun(f"{path}: not a part of batchlab: its footer holds no totals.") from error


def part_tables(
    path: PartFile,
    columns: Sequence[str] | None = None,
    *,
    groups: Sequence[int] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.Table]:
    """A part's rows, some at a time, every page's checksum verified. Raises CorruptRun.

    Args:
        groups: numbers of the row groups to read, as `group_rows` counts them; all when None.
        batch_rows: the most at a time; of long rows there are fewer.
    """
    with reading(path) as part:
        most = min(batch_rows, max(1, GROUP_BYTES // max(1, _row_bytes(part.metadata))))
        for batch in part.iter_batches(batch_size=most, row_groups=groups, columns=columns):
            yield pa.Table.from_batches([batch])


def part_results(path: PartFile, prefix: str, vectors: Sequence[str] = ()) -> Iterator[Result]:
    """A part's results, in row order; `vectors` are the columns for embeddings that its run has."""
    names = [prefix + name for name in RESULT_COLUMNS]
    own = [prefix + name for name in vectors]
    for table in _with_later_columns(path, prefix, [*names, *own]):
        texts = vector_texts([table[name] for name in own], vectors, table.num_rows)
        try:
            rows = table.select(names).rename_columns(list(RESULT_COLUMNS)).to_pylist()
        except pa.ArrowException as error:  # a flipped bit in the name of a time zone
            raise CorruptRun(f"{path}: damaged ({_first_line(error)}).") from error
        for row, kept in zip(rows, texts, strict=True):
            yield result_of_columns(row, kept)


def whole_tables(
    path: PartFile, prefix: str, *, groups: Sequence[int] | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.Table]:
    """A part's rows with every result column that there is now, some at a time; see `part_tables`."""
    return _with_later_columns(path, prefix, None, groups=groups, batch_rows=batch_rows)


def group_rows(path: PartFile) -> list[int]:
    """How many rows each row group of a part has. Raises CorruptRun."""
    with open_part(path) as part:
        return [part.metadata.row_group(number).num_rows for number in range(part.num_row_groups)]


def column_names(path: PartFile) -> list[str]:
    """The columns of a part. Raises CorruptRun."""
    with open_part(path) as part:
        names: list[str] = part.schema_arrow.names
        return names


def _with_later_columns(
    path: PartFile,
    prefix: str,
    columns: list[str] | None,
    *,
    groups: Sequence[int] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.Table]:
    """A part's rows, nulls in the result columns that were added since it was written.

    Args:
        columns: the result columns' names, to have no other; all columns when None.
    """
    names = [prefix + name for name in RESULT_COLUMNS]
    lacking: list[str] | None = None
    for table in part_tables(path, columns, groups=groups, batch_rows=batch_rows):
        if _results_of(table, names) != names:
            if lacking is None:
                with open_part(path) as part:
                    lacking = lacking_columns(part, prefix)
            if columns is not None:  # what else has such a name is a column of the input
                table = table.select(
                    [name for name in table.column_names if name.removeprefix(prefix) not in lacking]
                )
            for name in lacking:
                table = _with_nulls(table, name, prefix)
            if _results_of(table, names) != names:
                raise CorruptRun(f"{path}: damaged (its columns are not those of a part).")
        yield table


def _results_of(table: pa.Table, names: list[str]) -> list[str]:
    """The columns from the first result column on, as many as there should be."""
    present: list[str] = table.column_names
    start = present.index(names[0]) if names[0] in present else 0
    return present[start : start + len(names)]


def _with_nulls(table: pa.Table, name: str, prefix: str) -> pa.Table:
    before = prefix + RESULT_COLUMNS[RESULT_COLUMNS.index(name) - 1]
    if before not in table.column_names:
        return table
    field = result_schema().field(name).with_name(prefix + name)
    nulls = pa.nulls(table.num_rows, type=field.type)
    return table.add_column(table.column_names.index(before) + 1, field, nulls)


def lacking_columns(part: pq.ParquetFile, prefix: str) -> list[str]:
    """Result columns, in order, that were added since the part was written."""
    text = (part.metadata.metadata or {}).get(b"batchlab.format", b"")
    present: list[str] = part.schema_arrow.names
    written_as = int(text) if text.isdigit() else FORMAT
    if written_as == 1 and prefix + RESULT_COLUMNS[0] in present:
        own = present[present.index(prefix + RESULT_COLUMNS[0]) :]
        early = {name for name in _OF_FORMAT_1 if prefix + name not in own}
        later = early.union(columns_since(written_as))
        return [name for name in RESULT_COLUMNS if name in later]
    return columns_since(written_as)


def _expanded(columns: Sequence[pa.Array], expanded: pa.Schema | None) -> list[pa.Array]:
    """The columns of the job's schema, from the result columns of the same rows."""
    if expanded is None:
        return []
    return expanded_columns(columns[RESULT_COLUMNS.index("parsed")].to_pylist(), expanded)


def with_results(
    input_table: pa.Table,
    results: Iterable[Result | None],
    first_row: int,
    prefix: str,
    expanded: pa.Schema | None = None,
    vectors: Sequence[str] = (),
) -> pa.Table:
    """Input rows with what is known of their results: for a shard that is not sealed."""
    row_ids = range(first_row, first_row + input_table.num_rows)
    values = [None if result is None else values_of(result) for result in results]
    columns = result_columns(values, row_ids, vectors)
    columns += _expanded(columns, expanded)
    return pa.Table.from_arrays(
        [*input_table.columns, *columns], schema=part_schema(input_table.schema, prefix, expanded, vectors)
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
