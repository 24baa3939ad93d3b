"""Finding the run that a path, a URL or a job file names, and the input that it had."""

from __future__ import annotations

import difflib
from pathlib import Path

from batchlab.errors import InputError, UsageError
from batchlab.inputs.sources.opening import source_of
from batchlab.inputs.sources.source import Source
from batchlab.job.file import load_job
from batchlab.remote.remote_run import RemoteRun
from batchlab.remote.storage import StorageError, matching
from batchlab.remote.urls import checked_url, is_url, local_dir_of
from batchlab.shell import command_line
from batchlab.store.layout import MANIFEST, Layout, is_run
from batchlab.store.view import RunView

RUNS = "runs"  # where a run is that was given no directory


def run_at(path: str | Path) -> RunView | None:
    """The run at `path`, for reading; None when there is none. Another process may hold its lock.

    A job file names the run that it describes, a name alone one under `runs/`.

    At a URL: the local directory that the run is kept in, if this machine has it, because it
    knows the rows of open shards too; else what is at the URL. That, too, while the workers of a
    cluster leave there what they have done.

    Raises:
        UsageError: it cannot be read, or a later version wrote it; CorruptRun: its run.json is none.
    """
    path = place_of(path)
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
        raise UsageError(_no_run(str(path), place_of(path)))
    return run


def place_of(path: str | Path) -> str | Path:
    """Where a run is: `path` itself, the run of that name under `runs/` where there is no such path, or what
    it says if it is a job file. Raises UsageError for a bad one."""
    if not names_a_job(path):
        return _named(path)
    output = load_job(path).output
    # of a run at a URL, its run_dir is where this machine keeps the journal
    if output.remote and output.run_dir == local_dir_of(output.remote):
        return output.remote
    return output.run_dir


def _named(path: str | Path) -> str | Path:
    """`runs/NAME` for a NAME that is no path here; else what was given."""
    name = str(path).rstrip("/")
    under = Path(RUNS) / name
    if not name or is_url(name) or name in {".", ".."} or len(Path(name).parts) != 1 or Path(name).exists():
        return path
    return str(under) if is_run(under) else path


def names_a_job(path: str | Path) -> bool:
    """Whether `path` is, or is meant to be, a job file."""
    return not is_url(str(path)) and Path(path).suffix == ".toml" and not Path(path).is_dir()


def run_names(folder: Path) -> list[Path]:
    """The runs right inside a folder, by name. Raises OSError when it cannot be read."""
    return sorted(path for path in folder.iterdir() if is_run(path))


def newest_run(folder: str = RUNS) -> str:
    """The run in `folder` that was worked on last. Raises UsageError when there is none."""
    try:
        found = run_names(Path(folder))
    except OSError:
        found = []
    if not found:
        raise UsageError(f"no run under {folder}/ here: name one, or a job file.")
    return str(max(found, key=worked_on))


def worked_on(run: Path) -> float:
    """Unix seconds when something was last written into a run directory by who works on the run."""
    layout = Layout(run)
    times = [layout.manifest, layout.lock, layout.standing, layout.checksums, layout.journals, layout.parts]
    # the report and other files of those who only look say nothing
    return max((path.stat().st_mtime for path in times if path.exists()), default=0.0)


def _no_run(path: str, place: str | Path) -> str:
    """What to say of a place without a run."""
    if names_a_job(path):
        begin = command_line("run", path)
        return f"{path}: its run has not begun: {place} is not a run directory. Begin it: {begin}"
    said = f"{path}: not a run directory (no {MANIFEST})."
    folder = Path(path)
    if is_url(path):
        return f"{said} It holds runs: {command_line('ls', path)} lists them." if _holds_runs(path) else said
    try:
        if folder.is_dir() and run_names(folder):
            return f"{said} It holds runs: {command_line('ls', path)} lists them."
        beside = folder.parent if len(folder.parts) > 1 else Path(RUNS)
        names = [found.name for found in run_names(beside)]
    except OSError:
        names = []
    if close := difflib.get_close_matches(folder.name, names, n=1):
        return f"{said} Did you mean {beside / close[0]}?"
    return f"{said} Runs are usually under {RUNS}/: batchlab ls lists them."


def _holds_runs(url: str) -> bool:
    try:
        return bool(matching(f"{checked_url(url)}/*/{MANIFEST}"))
    except StorageError:
        return False


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
