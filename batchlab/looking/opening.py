"""Finding the run that a path or a URL names, and the input that it had."""

from __future__ import annotations

from pathlib import Path

from batchlab.errors import InputError, UsageError
from batchlab.inputs.sources.opening import Source, source_of
from batchlab.remote.remote_run import RemoteRun
from batchlab.remote.urls import checked_url, is_url, local_dir_of
from batchlab.store.layout import MANIFEST, is_run
from batchlab.store.view import RunView


def run_at(path: str | Path) -> RunView | None:
    """The run at `path`, for reading; None when there is none. Another process may hold its lock.

    At a URL: the local directory that the run is kept in, if this machine has it, because it
    knows the rows of open shards too; else what is at the URL. That, too, while the workers of a
    cluster leave there what they have done.

    Raises:
        UsageError: it cannot be read, or a later version wrote it; CorruptRun: its run.json is none.
    """
    if is_url(str(path)):
        url = checked_url(str(path))
        local = Path(local_dir_of(url))
        if is_run(local) and (run := RunView.open(local)).manifest.remote == url:
            return RemoteRun.at(url, run) if run.is_away else run
        return RemoteRun.at(url) if RemoteRun.is_at(url) else None
    return RunView.open(Path(path)) if is_run(Path(path)) else None


def open_run(path: str | Path) -> RunView:
    """The run at `path`, for reading. Raises UsageError when there is none; see `run_at`."""
    run = run_at(path)
    if run is None:
        raise UsageError(f"{path}: not a run directory (no {MANIFEST}). Runs are usually under runs/.")
    return run


def input_of(run: RunView) -> Source:
    """The source of a run's rows; what came through standard input is in its directory."""
    return source_of(run.manifest.job.input, run.layout.stdin)


def unchanged_input(run: RunView) -> Source:
    """The input of a run, as its unfinished rows need it.

    Raises:
        UsageError: it cannot be read, or is not what it was.
    """
    source = input_of(run)
    if not source.unchanged(run.manifest.plan, racy_ok=True):
        raise InputError(
            run.manifest.job.input.shown_as,
            "the input changed since the run, and unfinished rows need it",
            "Run the job again first: it keeps every answer to an unchanged row.",
        )
    return source
