"""How our errors leave a function of the Python API: short, and in Python's words."""

from __future__ import annotations

from types import TracebackType

from batchlab.errors import BatchlabError, RunStopped
from batchlab.run_summary import RunSummary

# how messages written for the command line read in Python
_IN_PYTHON = (
    ("--null-as TEXT", 'null_as="TEXT"'),
    ("Pass --prefix, for example --prefix ", "Pass prefix=, for example prefix="),
    ("--fresh", "fresh=True"),
    ("another --run-dir", "another run_dir="),
    ("--run-dir", "run_dir="),
    ("--id-column", "id="),
    ("--row-params", "row_params="),
    ("--reuse ", "reuse: "),
    ("--dedupe", "dedupe=True"),
    ("Pass --temperature 0", "Pass temperature=0"),
    ("-m MODEL", "model="),
    ("-i FILE", "input="),
    ("Pass -p with a template such as -p ", "Pass prompt= with a template such as "),
)


class short_errors:  # noqa: N801 - reads as the statement it is; a generator would restore the traceback
    """Our errors leave with a short traceback and in Python's words: the message says it all."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, BatchlabError):
            text = str(error)
            for flag, keyword in _IN_PYTHON:
                text = text.replace(flag, keyword)
            error.args = (text,)
            raise error.with_traceback(None) from None


def run_stopped(summary: RunSummary) -> RunStopped:
    """The exception of a run that stopped early."""
    error = RunStopped(
        summary.stopped or "",
        f"{summary.message.rstrip('.')}. {summary.totals.rows:,} of {summary.input_rows:,} rows have a "
        f"result: batchlab.load({summary.run_dir!r}). The same call goes on.",
    )
    error.summary = summary
    return error
