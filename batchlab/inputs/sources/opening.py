"""From what the user named to a Source."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from batchlab.errors import InputError
from batchlab.inputs.sources.arrow_files.ipc import IpcSource, saved_dataset
from batchlab.inputs.sources.arrow_files.parquet import ParquetSource
from batchlab.inputs.sources.files import DataFile, files_at_url, files_of_directory, files_of_glob, is_glob
from batchlab.inputs.sources.formats import FORMATS, SUPPORTED, format_of, formats_of
from batchlab.inputs.sources.json_files.lines import JsonlSource
from batchlab.inputs.sources.source import Reading, Source, unreadable
from batchlab.job import INSIDE, MEMORY, ROWS, InputJob
from batchlab.remote.storage import RemoteFile, StorageError
from batchlab.remote.urls import checked_url, is_url

STDIN = "<stdin>"
_STDIN_PATHS = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


def open_source(
    path: str,
    *,
    delimiter: str | None = None,
    quotes: bool = True,
    encoding: str | None = None,
    spool: Path | None = None,
) -> Source:
    """The source at `path`, chosen by its content and its ending.

    Args:
        delimiter: of a CSV file; found in it when None.
        quotes: whether its cells may be quoted.
        encoding: of a text file; UTF-8, or what its mark says, when None.
        spool: the file that holds standard input when `path` is `-`; rows that a program held are
            in the same folder.

    Raises:
        InputError: missing, unreadable, or of an unknown kind.
    """
    reading = Reading(delimiter, quotes, encoding)
    if path == "-":
        assert spool is not None, "standard input is spooled before it is read"
        return _one_file(DataFile(spool), STDIN, reading)
    if path.startswith(MEMORY):
        assert spool is not None, "a program's rows are spooled before they are read"
        return _spooled_rows(spool.parent / path.removeprefix(MEMORY))
    if is_url(path):
        return _at_url(path, reading)
    outside, separator, inside = path.partition(INSIDE)
    if separator and not os.path.exists(path):  # noqa: PTH110 - a string stays as it was written
        reading = Reading(delimiter, quotes, encoding, inside)
        _readable(outside)
        return _one_file(DataFile(Path(outside)), outside, reading)
    if os.path.isdir(path):  # noqa: PTH112
        saved = saved_dataset(path)
        if saved is not None:
            return IpcSource(saved, path, reading)
        return _several(files_of_directory(path), path, reading)
    if is_glob(path) and not os.path.exists(path):  # noqa: PTH110
        return _several(files_of_glob(path), path, reading)
    _readable(path)
    return _one_file(DataFile(Path(path)), path, reading)


def _readable(path: str) -> None:
    """Raises InputError for what cannot be read, or not as often as a run and its resumes read it."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode) or path in _STDIN_PATHS:
            given = "" if path in _STDIN_PATHS else f" < {shlex.quote(path)}"
            raise InputError(
                path,
                "can be read only once, and a resume reads it again",
                f"Put it into a file first; JSON Lines may be given by {{input.path=-}}{given}.",
            )
        with Path(path).open("rb"):
            pass
    except ValueError as error:  # a zero byte
        raise InputError(repr(path), "is no path") from error
    except OSError as error:
        if any(os.path.exists(one.strip()) for one in path.split(",")):  # noqa: PTH110
            raise InputError(
                path, "is no file", "Several files are a directory, or a glob in quotes: 'DIR/*.csv'."
            ) from error
        raise unreadable(path, error) from error


def source_of(own: InputJob, spool: Path) -> Source:
    """The source that a job's input names; `spool` as in `open_source`."""
    return open_source(
        own.path, delimiter=own.delimiter, quotes=own.quotes, encoding=own.encoding, spool=spool
    )


def _at_url(url: str, reading: Reading) -> Source:
    file = RemoteFile(checked_url(url))
    try:
        several = files_at_url(url)
        if several is None:
            file.identity()
    except StorageError as error:
        raise unreadable(url, error) from error
    return _one_file(DataFile(file), url, reading) if several is None else _several(several, url, reading)


def _one_file(one: DataFile, shown_as: str, reading: Reading) -> Source:
    found = format_of(one.file, shown_as, reading.encoding)
    if reading.inside and not found.inside:
        kinds = ", ".join(kind.name for kind in FORMATS if kind.inside)
        raise InputError(
            shown_as, f"is {found.name}, which has nothing inside to name", f"That is for {kinds}."
        )
    return found.source([one], shown_as, reading)


def _several(files: list[DataFile], shown_as: str, reading: Reading) -> Source:
    if not files:
        raise InputError(shown_as, "no file with rows there", f"Use {SUPPORTED}.")
    found, taken, notes = formats_of(files, shown_as, reading)
    return found.source(taken, shown_as, replace(reading, notes=tuple(notes)))


def spool_stdin(target: Path, stream: BinaryIO | None = None) -> None:
    """Copies standard input to `target`, so that a resume can read it again."""
    tmp = target.with_name(f"{target.name}.tmp")
    with tmp.open("wb") as file:
        tmp.chmod(0o600)
        shutil.copyfileobj(stream or sys.stdin.buffer, file)
    tmp.replace(target)


@contextlib.contextmanager
def spooled_anew(target: Path) -> Iterator[None]:
    """Standard input in the place of what came by it before, which is back when the body raises.

    A refused command must not take the rows of batches that are out with it.
    """
    before = target.with_name(f"{target.name}.tmp-before")
    with contextlib.suppress(OSError):
        before.unlink(missing_ok=True)
        before.hardlink_to(target)
    try:
        spool_stdin(target)
        yield
    except BaseException:
        if before.exists():
            before.replace(target)
        raise
    finally:
        before.unlink(missing_ok=True)


def _spooled_rows(file: Path) -> Source:
    if not file.is_file():
        raise InputError(str(file), "the rows of this run are gone", "Call batchlab.run with them again.")
    if file.suffix == ".jsonl":
        return JsonlSource([DataFile(file)], ROWS, Reading())
    return ParquetSource([DataFile(file)], ROWS, Reading())
