"""What can go wrong, and the exit code each kind ends with.

    BatchlabError                 one line: where, what, remedy; it names settings as `{limits.rpm}`
    ├── UsageError      exit 2    flags, job file, environment, lock: nothing was sent
    │   └── InputError  exit 2    the prompts file; carries path and row
    ├── CorruptRun      exit 1    stored results fail their checksums
    ├── RunStopped      exit 3    the run cannot go on now; resumable (`run_end`)
    └── ApiError                  one attempt failed; becomes a Failure in dispatch, and never leaves it

Exit codes: 0 every row answered · 1 finished, some rows failed · 2 nothing was sent ·
3 stopped early, resumable · 130/143 interrupted, resumable.
"""

from __future__ import annotations

import difflib
import errno
import os
from pathlib import Path

EXIT_OK = 0
EXIT_FAILED_ROWS = 1
EXIT_USAGE = 2
EXIT_STOPPED = 3
EXIT_INTERRUPTED = 130


class BatchlabError(Exception):
    """Base of all errors a caller may want to catch. `str()` is one line for a person."""

    exit_code = EXIT_FAILED_ROWS

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback: the message says where, what and the remedy."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(BatchlabError):
    """The command, the job file or the environment is wrong; nothing was sent."""

    exit_code = EXIT_USAGE


class InputError(UsageError):
    """The input cannot be used as asked.

    Reads `prompts.csv:7: no 'prompt' column; found: id, question. Pass {request.prompt=TEMPLATE}.`

    Attributes:
        path: the file as the user named it.
        row: 1-based line or row number as an editor shows it, or None for the whole file.
    """

    def __init__(self, path: str, problem: str, remedy: str = "", *, row: int | None = None) -> None:
        where = path if row is None else f"{path}:{row}"
        tail = f" {remedy}" if remedy else ""
        super().__init__(f"{where}: {problem.rstrip('.')}.{tail}")
        self.path = path
        self.row = row
        self.problem = problem
        self.remedy = remedy


class CorruptRun(BatchlabError):
    """Stored results fail their checksums, and not as a crash would leave them."""


def file_trouble(path: str | Path, error: OSError | UnicodeError) -> str:
    """Why a file that a person named cannot be read, as `No such file or directory in /data; ...`."""
    if not isinstance(error, OSError):
        return "it is not UTF-8 text"
    reason = error.strerror or type(error).__name__
    if "://" in str(path):
        return reason
    if error.errno != errno.ENOENT:
        return reason
    where, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - without its ".."
    try:
        close = difflib.get_close_matches(name, os.listdir(where), n=1, cutoff=0.7)
    except OSError:
        return f"{reason}: there is no directory {where}"
    return f"{reason} in {where}" + (f"; there is {close[0]}" if close else "")
