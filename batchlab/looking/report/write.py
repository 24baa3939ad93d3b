"""The report of a run, written: in its directory or at its URL, or where somebody wants it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from batchlab.errors import UsageError
from batchlab.looking import own_files
from batchlab.looking.opening import open_run
from batchlab.looking.report.contents import report_data
from batchlab.looking.report.page import page
from batchlab.remote.storage import StorageError, put_bytes
from batchlab.remote.urls import checked_url, is_url
from batchlab.store.disk.files import FILE_MODE
from batchlab.store.layout import REPORT


def write_report(path: str, output: str | None, by: Sequence[str] = (), *, overwrite: bool = False) -> str:
    """Writes the page of the run at `path` and returns its file name.

    Args:
        by: columns to show the cost by, beside those that have few values.
        overwrite: replace a file that the run did not write.

    Raises:
        UsageError: there is no run, no such column, or the page cannot be written.
    """
    run = open_run(path)
    if output is not None:
        own_files.refuse_others(run.path, (output,), overwrite=overwrite)
    is_beside = output is not None
    if output is None:
        output = f"{run.place}/{REPORT}"
    text = page(report_data(run, by))
    if is_url(output):
        try:
            put_bytes(checked_url(output), text.encode("utf-8", "replace"))
        except StorageError as error:
            raise UsageError(f"{output}: cannot write the report: {error.strerror}.") from error
        return output
    target = Path(output)
    try:
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as file:
            file.write(text.encode("utf-8", "replace"))  # a lone surrogate in an answer is no UTF-8
    except OSError as error:
        raise UsageError(f"{target}: cannot write the report: {error.strerror}.") from error
    if is_beside:
        own_files.note(run.path, (output,))
    return str(target)
