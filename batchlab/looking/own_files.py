"""Files that a run has written beside its directory: it may replace these, and no others.

`written.json` has the path of each as the system knows it, with its size and time (ns) when it was written. A
file that has changed since is somebody else's. One that is about to take its place is noted before it does,
under its path with `COMING` after it: a crash in between leaves it ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from batchlab.errors import UsageError
from batchlab.remote.urls import is_url
from batchlab.store.disk.files import atomic_write, file_content, special_kind
from batchlab.store.layout import Layout, is_run
from batchlab.store.manifest import read_manifest

COMING = "\n"  # no path that a person types ends so


def begin(root: Path) -> None:
    """From now on the run says which files it has written; those of an earlier version are its own."""
    if not Layout(root).written.exists():
        note(root, _written_before(root))


def note(root: Path, paths: Iterable[str | None]) -> None:
    """The run has just written these. A directory that cannot be written to has no such list."""
    written = dict(_written(root) or {})
    for path in paths:
        if path and not is_url(path) and (state := _state(path)) is not None:
            real = os.path.realpath(path)
            written[real] = state
            written.pop(real + COMING, None)
    with contextlib.suppress(OSError):
        atomic_write(Layout(root).written, json.dumps(written).encode())


def note_coming(root: Path, made: Path, path: Path) -> None:
    """The run is about to put a file that it has made to a path."""
    written = dict(_written(root) or {})
    if (state := _state(str(made))) is not None:
        written[os.path.realpath(path) + COMING] = state
        with contextlib.suppress(OSError):
            atomic_write(Layout(root).written, json.dumps(written).encode())


def refuse_special(paths: Iterable[str | None]) -> None:
    """Raises UsageError when one of the files is a device, a pipe or a socket.

    A file is written beside its place and then renamed into it: whoever names /dev/null, as root, would
    have a plain file there, and with it a machine that no longer works.
    """
    for path in paths:
        if path and not is_url(path) and (kind := special_kind(path)) is not None:
            raise UsageError(f"{path}: is {kind}, which a file would take the place of. Name another file.")


def refuse_others(root: Path, paths: Sequence[str | None], *, overwrite: bool) -> None:
    """Raises UsageError when one of the files is there, and the run did not write it.

    Args:
        overwrite: only what can be no file is refused.
    """
    refuse_special(paths)
    if overwrite:
        return
    written = _written(root)
    own = set() if written is not None else {os.path.realpath(path) for path in _written_before(root)}
    for path in paths:
        if not path or is_url(path) or (state := _state(path)) is None:
            continue
        real = os.path.realpath(path)
        if real in own or (written is not None and state in (written.get(real), written.get(real + COMING))):
            continue
        known = written is not None and real in written
        what = "has changed since this run wrote it" if known else "is there, and this run did not write it"
        raise UsageError(f"{path}: {what}. Pass {{output.overwrite}} to replace it, or name another file.")


def _written_before(root: Path) -> list[str]:
    """What the job names as output, of a run that was begun by a version without such a list."""
    if not is_run(root):
        return []
    output = read_manifest(root).job.output
    return [path for path in (output.file, output.errors) if path]


def _written(root: Path) -> Mapping[str, list[int]] | None:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file_content(Layout(root).written))
        return found if isinstance(found, dict) else {}
    return None


def _state(path: str) -> list[int] | None:
    """Size and time of a file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns] if stat.S_ISREG(found.st_mode) else None
