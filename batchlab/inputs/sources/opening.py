"""From what the user named to a Source."""

from __future__ import annotations

import glob
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import BinaryIO

from batchlab.errors import InputError
from batchlab.inputs.sources.compression import COMPRESSED
from batchlab.inputs.sources.delimited import DelimitedSource
from batchlab.inputs.sources.jsonl import JsonlSource
from batchlab.inputs.sources.parquet import ParquetSource
from batchlab.inputs.sources.source import InputFile, InputPlan, Source, unreadable
from batchlab.job import MEMORY, ROWS, InputJob
from batchlab.remote.storage import RemoteFile, StorageError, below, is_directory, matching
from batchlab.remote.urls import checked_url, is_url

__all__ = ["InputPlan", "Source", "open_source", "source_of", "spool_stdin"]

SUPPORTED = (
    ".jsonl, .ndjson (also .gz, .zst), .csv, .tsv (also .gz), .parquet, a directory or glob of those, or -"
)


def open_source(
    path: str, *, delimiter: str | None = None, quotes: bool = True, spool: Path | None = None
) -> Source:
    """The source at `path`, chosen by its ending.

    Args:
        delimiter: of a CSV file; a comma, or a tab for .tsv, when None.
        quotes: whether its cells may be quoted.
        spool: the file that holds standard input when `path` is `-`; rows that a program held are
            in the same folder.

    Raises:
        InputError: missing, unreadable, or of an unknown kind.
    """
    if path == "-":
        assert spool is not None, "standard input is spooled before it is read"
        return JsonlSource(spool, shown_as="<stdin>")
    if path.startswith(MEMORY):
        assert spool is not None, "a program's rows are spooled before they are read"
        return _spooled_rows(spool.parent / path.removeprefix(MEMORY))
    if is_url(path):
        where, several = _at_url(checked_url(path))
        if several is not None:
            return _parquet_files(path, several)
        return _one_file(where, path, delimiter=delimiter, quotes=quotes)
    where = Path(path)
    if where.is_dir():
        return _parquet_files(path, sorted(where.glob("**/*.parquet")))
    if not where.exists() and any(character in path for character in "*?["):
        return _parquet_files(path, sorted(Path(name) for name in glob.glob(path, recursive=True)))  # noqa: PTH207
    try:
        with where.open("rb"):
            pass
    except OSError as error:
        raise unreadable(path, error) from error
    return _one_file(where, path, delimiter=delimiter, quotes=quotes)


def source_of(own: InputJob, spool: Path) -> Source:
    """The source that a job's input names; `spool` as in `open_source`."""
    return open_source(own.path, delimiter=own.delimiter, quotes=own.quotes, spool=spool)


def _at_url(url: str) -> tuple[InputFile, Sequence[InputFile] | None]:
    """The object at a URL, and the files that are meant where it is a directory or a glob.

    Raises:
        InputError: there is none, or the store refuses.
    """
    file = RemoteFile(url)
    try:
        if any(character in url for character in "*?["):
            return file, matching(url)
        if is_directory(url):
            return file, [found for found in below(url) if found.suffix.lower() == ".parquet"]
        file.identity()
    except StorageError as error:
        raise unreadable(url, error) from error
    return file, None


def _one_file(where: InputFile, path: str, *, delimiter: str | None, quotes: bool) -> Source:
    suffixes = [suffix.lower() for suffix in PurePath(where.name).suffixes]
    packed = suffixes[-1] if suffixes and suffixes[-1] in COMPRESSED else ""
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    match kind:
        case [".jsonl" | ".ndjson"]:
            return JsonlSource(where)
        case [".csv" | ".tsv"] if packed != ".zst":
            usual = "\t" if kind == [".tsv"] else ","
            return DelimitedSource(where, _delimiter(path, delimiter, default=usual), quotes=quotes)
        case [".parquet"] if not packed:
            return ParquetSource([where], path)
    raise InputError(path, "unknown kind of input", f"Use {SUPPORTED}.")


def spool_stdin(target: Path, stream: BinaryIO | None = None) -> None:
    """Copies standard input to `target`, so that a resume can read it again."""
    tmp = target.with_name(f"{target.name}.tmp")
    with tmp.open("wb") as file:
        tmp.chmod(0o600)
        shutil.copyfileobj(stream or sys.stdin.buffer, file)
    tmp.replace(target)


def _spooled_rows(file: Path) -> Source:
    if not file.is_file():
        raise InputError(str(file), "the rows of this run are gone", "Call batchlab.run with them again.")
    if file.suffix == ".jsonl":
        return JsonlSource(file, shown_as=ROWS)
    return ParquetSource([file], ROWS)


def _parquet_files(shown_as: str, paths: Sequence[InputFile]) -> Source:
    if not paths:
        raise InputError(shown_as, "no .parquet file there", f"Use {SUPPORTED}.")
    other = next((path for path in paths if path.suffix.lower() != ".parquet"), None)
    if other is not None:
        raise InputError(shown_as, f"matches {other}, which is not a Parquet file")
    return ParquetSource(paths, shown_as)


def _delimiter(path: str, delimiter: str | None, *, default: str) -> str:
    if delimiter is None:
        return default
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(
            path,
            f"the delimiter {delimiter!r} is not one character",
            "Write {input.delimiter=;} or {input.delimiter=tab}.",
        )
    return delimiter
