"""Rows that a program holds become an input file of their run, so that the run can go on without it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchlab.arrow import pq
from batchlab.errors import CorruptRun, InputError, UsageError
from batchlab.inputs.sources.frames import arrow_table, frame_table, json_row, table_digest
from batchlab.job import MEMORY, ROWS, Job
from batchlab.looking.load import load_run
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.run_end import RunStopped
from batchlab.store.disk.files import FILE_MODE, disk_errors, private_dir, publish
from batchlab.store.layout import Layout
from batchlab.store.manifest import read_manifest

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Spooled:
    """Rows in a file: the job that reads it, and the file."""

    job: Job
    file: Path


@contextlib.contextmanager
def spooled_rows(rows: Any, job: Job, *, run_dir: Path | None) -> Iterator[Spooled]:
    """The job over `rows`, which are written into its run directory.

    A file that is there already stays as it is: the same rows are the same input. A run that is
    refused in the body leaves nothing behind.

    Args:
        rows: a pandas frame, an Arrow table, or an iterable of dicts or prompts, which is read once.
        run_dir: where the run is; `runs/df-HASH` when None, named after the rows and the request:
            the same call finds its run again, a changed one starts another.

    Raises:
        InputError: a value that cannot be written, two columns of one name, no rows.
    """
    try:
        with _written(rows, job, run_dir.parent if run_dir is not None else RUNS) as (tmp, suffix, digest):
            place = run_dir if run_dir is not None else _usual_place(job, digest)
            private_dir(place)
            file = Layout(place).spooled_rows(digest.hex()[:12], suffix)
            if not file.exists():
                tmp.chmod(FILE_MODE)
                publish(tmp, file)
    except RunStopped as error:  # the disk, before anything was sent
        raise UsageError(str(error)) from error
    job = dataclasses.replace(
        job,
        input=dataclasses.replace(job.input, path=MEMORY + file.name),
        output=dataclasses.replace(job.output, run_dir=str(place)),
    )
    try:
        yield Spooled(job, file)
    finally:
        _tidy(place)


def _tidy(place: Path) -> None:
    """Removes rows that the run in `place` does not read: of an earlier frame, or of a refused call."""
    read = ""
    with contextlib.suppress(UsageError, CorruptRun):
        read = read_manifest(place).job.input.path
    with contextlib.suppress(OSError):
        for file in Layout(place).all_spooled_rows():
            if read != MEMORY + file.name:
                file.unlink()
        if not read:
            place.rmdir()  # fails when somebody has something there


@contextlib.contextmanager
def looked_at_rows(rows: Any, job: Job, *, run_dir: Path | None) -> Iterator[Job]:
    """The job over `rows` for the length of the body; writes nothing that stays."""
    with tempfile.TemporaryDirectory(prefix="batchlab-") as scratch:
        with _written(rows, job, Path(scratch)) as (tmp, suffix, digest):
            file = tmp.rename(tmp.with_name(f"rows{suffix}"))
        place = run_dir if run_dir is not None else _usual_place(job, digest)
        yield dataclasses.replace(
            job,
            input=dataclasses.replace(job.input, path=f"{MEMORY}{file}"),
            output=dataclasses.replace(job.output, run_dir=str(place)),
        )


def _usual_place(job: Job, digest: bytes) -> Path:
    return RUNS / f"df-{_identity(job, digest)[:12]}"


def _identity(job: Job, digest: bytes) -> str:
    """Hex digits that are the same for the same rows and request."""
    of_input = (job.input.id, job.input.limit, job.output.prefix)
    text = json.dumps([job.request_settings(), of_input], sort_keys=True, default=str)
    return hashlib.blake2b(digest + text.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def _written(rows: Any, job: Job, folder: Path) -> Iterator[tuple[Path, str, bytes]]:
    """A temporary file with the rows, the ending that says its kind, and what tells it from others."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".rows-", suffix=".tmp", dir=folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {os.strerror(error.errno or 0)}.") from error
    tmp = Path(name)
    try:
        with open(descriptor, "wb") as file:
            if _is_pandas(rows) or hasattr(rows, "__arrow_c_stream__"):
                table = frame_table(rows) if _is_pandas(rows) else arrow_table(rows)
                if not table.num_rows:
                    raise InputError(ROWS, "there are none")
                with disk_errors(tmp):
                    pq.write_table(table, file, row_group_size=job.output.shard_rows)
                written = tmp, ".parquet", table_digest(table)
            else:
                written = tmp, ".jsonl", _write_lines(rows, file)
        yield written
    finally:
        tmp.unlink(missing_ok=True)


def _write_lines(rows: Iterable[Any], file: Any) -> bytes:
    if not isinstance(rows, Iterable):
        raise UsageError(
            f"batchlab: type {type(rows).__name__} is no rows. "
            "Pass a frame, an Arrow table, dicts or prompts."
        )
    digest = hashlib.blake2b(digest_size=16)
    number = 0
    for number, row in enumerate(rows, 1):
        line = json_row(row, number)
        digest.update(line)
        with disk_errors("rows"):
            file.write(line)
    if not number:
        raise InputError(ROWS, "there are none")
    return digest.digest()


def _is_pandas(rows: Any) -> bool:
    """Whether it is a pandas frame; imports no pandas to find out."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"
        for kind in type(rows).__mro__
    )


def with_results(rows: Any, spooled: Spooled, run_dir: str) -> Any:
    """The rows as a pandas frame with the result columns after their own.

    A pandas frame comes back with its own columns and index; other rows as `load_run` gives them.
    """
    loaded = load_run(run_dir)
    if not _is_pandas(rows):
        return loaded
    import pandas as pd

    prefix = spooled.job.output.prefix
    # whatever follows the input's columns: those of every result, then those of the job's schema
    results = loaded.iloc[:, loaded.columns.get_loc(prefix + RESULT_COLUMNS[0]) :]
    own = rows.iloc[: len(results)]
    return pd.concat([own, results.set_axis(own.index, axis=0)], axis=1)
