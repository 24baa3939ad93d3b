"""Finding the run that a path or a URL names."""

from __future__ import annotations

from pathlib import Path

from batchlab.errors import UsageError
from batchlab.remote.depot import is_away
from batchlab.remote.remote_run import RemoteRun
from batchlab.remote.urls import checked_url, is_url, local_dir_of
from batchlab.store.run_dir import RunDir


def run_at(path: str | Path) -> RunDir | None:
    """The run at `path`, for reading; None when there is none. Another process may hold its lock.

    At a URL: the local directory that the run is kept in, if this machine has it, because it
    knows the rows of open shards too; else what is at the URL. That, too, while the workers of a
    cluster leave there what they have done.

    Raises:
        UsageError: it cannot be read.
    """
    if is_url(str(path)):
        url = checked_url(str(path))
        local = Path(local_dir_of(url))
        if RunDir.exists(local) and (run := RunDir.open(local)).remote == url:
            return RemoteRun(url, run) if is_away(local) else run
        return RemoteRun(url) if RemoteRun.is_at(url) else None
    return RunDir.open(Path(path)) if RunDir.exists(Path(path)) else None


def open_run(path: str | Path) -> RunDir:
    """The run at `path`, for reading. Raises UsageError when there is none; see `run_at`."""
    run = run_at(path)
    if run is None:
        raise UsageError(f"{path}: not a run directory (no run.json). Runs are usually under runs/.")
    return run
