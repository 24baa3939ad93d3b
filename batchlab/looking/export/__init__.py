"""The rows of a run somewhere else: a file of any FORMATS, or a Hugging Face data set directory.

Tables, files and data sets have one row per input row, in input order, whatever the run's state:
sealed shards are copied from their parts, and a row that has no final result yet has the status
`pending`. A batch file has one line per row with a final result. Rows are streamed; what is at the
target is replaced when all of them are written, or not at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from batchlab.arrow import pa, pc
from batchlab.errors import UsageError
from batchlab.job import ENDINGS, FORMATS
from batchlab.looking.export.dataset import DatasetDirectory, refuse_foreign
from batchlab.looking.export.files import CsvFile, JsonLinesFile, ParquetFile
from batchlab.looking.export.openai_batch import BatchFile
from batchlab.looking.export.staging import STANDARD_OUTPUT, cannot_write
from batchlab.remote.bucket import check_bucket
from batchlab.remote.storage import StorageError, put_file
from batchlab.remote.urls import is_url
from batchlab.result_columns import RESULT_COLUMNS

__all__ = ["STANDARD_OUTPUT", "Exported", "Target", "Writer", "check_target", "export_tables"]


class Writer(Protocol):
    """An output in the making."""

    def write(self, table: pa.Table) -> None:
        """Adds rows."""
        ...

    def commit(self) -> None:
        """Makes the output appear at its place."""
        ...

    def discard(self) -> None:
        """Leaves what is at its place as it was."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go, and how.

    Attributes:
        path: a path or, but for a data set, a URL; `errors` too. `-` is standard output.
        format: one of `job.FORMATS`; None when nothing tells.
        errors, prefix, model, own_ids, task: see `openai_batch.BatchFile`.
        csv_raw, csv_delimiter, csv_encoding: `raw`, `delimiter` and `encoding` of `files.CsvFile`.
    """

    path: str
    format: str | None
    errors: str | None = None
    prefix: str = ""
    model: str = ""
    own_ids: bool = False
    task: str | None = "chat"
    csv_raw: bool = False
    csv_delimiter: str = ","
    csv_encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        rows: rows or lines, those of failed rows among them.
        failed: lines of failed rows; 0 for a table, in which they are rows like any other.
        left_out: rows without a final result, for which a batch file has no line.
        quoted: cells of a CSV file that got a ' in front; see `files.CsvFile`.
        nulled: numbers that JSON has no word for and that are null; see `files.JsonLinesFile`.
    """

    rows: int
    failed: int = 0
    left_out: int = 0
    quoted: int = 0
    nulled: int = 0


def check_target(target: Target) -> None:
    """Raises UsageError for what can be known to be wrong with a target before there are rows."""
    path = Path(target.path)
    if target.format not in FORMATS:
        raise UsageError(
            f"{target.path}: unknown output format; use an ending of {', '.join(ENDINGS)}, "
            "a / for a Hugging Face data set, or {output.to}."
        )
    if target.path == STANDARD_OUTPUT and target.format not in {"csv", "jsonl"}:
        raise UsageError(f"-: standard output takes jsonl or csv; write {target.format} to a file.")
    if target.errors is not None and target.format != "openai-batch":
        raise UsageError(
            f"{{output.errors}} {target.errors}: only {{output.to=openai-batch}} has a file of errors."
        )
    for url in filter(is_url, filter(None, (target.path, target.errors))):
        if target.format == "hf":
            raise UsageError(f"{url}: a data set is made in a directory of this machine; upload that.")
        check_bucket(url)
    if target.format == "hf":
        refuse_foreign(path)
    elif path.is_dir():
        raise UsageError(f"{target.path}: is a directory; {target.format} is written to a file.")


def export_tables(target: Target, tables: Callable[[], Iterator[pa.Table]]) -> Exported:
    """Writes all rows of `tables` (at least one table) to `target`.

    At a URL the whole file appears with one upload, or nothing does.

    Raises:
        UsageError: it cannot be written, or its format is unknown.
    """
    check_target(target)
    urls = {name: url for name in ("errors", "path") if is_url(url := getattr(target, name) or "")}
    if not urls:
        return _export(target, tables)
    with tempfile.TemporaryDirectory(prefix="batchlab-") as scratch:
        made = {name: f"{scratch}/{name}" for name in urls}
        local = replace(target, path=made.get("path", target.path), errors=made.get("errors", target.errors))
        exported = _export(local, tables)
        for name, url in urls.items():
            try:
                put_file(Path(made[name]), url)
            except StorageError as error:
                raise cannot_write(url, error) from error
    return exported


def _export(target: Target, tables: Callable[[], Iterator[pa.Table]]) -> Exported:
    stream = tables()
    table: pa.Table | None = next(stream)
    assert table is not None, "a run has at least one table"
    # One schema for all. The words of result columns are plain text outside, and in a data set all words are:
    # `datasets` reads no dictionaries.
    ours = _our_columns(table.schema, target.prefix)
    fields = [
        _undictionaried(field) if target.format == "hf" or field.name in ours else field
        for field in table.schema
    ]
    schema = pa.schema(fields, metadata=table.schema.metadata)
    try:
        writer = _writer(target, schema)
    except OSError as error:
        raise cannot_write(Path(target.path), error) from error
    rows = 0
    try:
        while table is not None:
            columns = [_decoded(table.column(field.name), field.type) for field in schema]
            writer.write(pa.Table.from_arrays(columns, schema=schema))
            rows += table.num_rows
            table = next(stream, None)
    except BaseException:  # whatever it is, half an output must not stay behind; it goes on its way
        writer.discard()
        raise
    writer.commit()
    if isinstance(writer, BatchFile):
        return Exported(rows - writer.left_out, writer.failed, writer.left_out)
    if isinstance(writer, CsvFile):
        return Exported(rows, quoted=writer.quoted, nulled=writer.nulled)
    return Exported(rows, nulled=writer.nulled if isinstance(writer, JsonLinesFile) else 0)


def _writer(target: Target, schema: pa.Schema) -> Writer:
    path = Path(target.path)
    match target.format:
        case "parquet":
            return ParquetFile(path, schema)
        case "csv":
            return CsvFile(
                path,
                schema,
                raw=target.csv_raw,
                delimiter=target.csv_delimiter,
                encoding=target.csv_encoding,
                prefix=target.prefix,
            )
        case "jsonl":
            return JsonLinesFile(path, schema, prefix=target.prefix)
        case "hf":
            return DatasetDirectory(path, schema)
        case _:
            return BatchFile(
                path,
                errors=Path(target.errors) if target.errors is not None else None,
                prefix=target.prefix,
                model=target.model,
                own_ids=target.own_ids,
                task=target.task,
            )


def _our_columns(schema: pa.Schema, prefix: str) -> set[str]:
    """Names of the columns that are results, or are made of them."""
    made = [field.name for field in schema if b"batchlab.parsed" in (field.metadata or {})]
    return {*(prefix + name for name in RESULT_COLUMNS), *made}


def _undictionaried(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _decoded(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    return pc.cast(column, wanted) if column.type != wanted else column
