"""What stands where a file of a run is or may be, and is none: a folder, a pipe, a link that leads nowhere.

Who reads such a file goes on without it, if that can be; here it is found, so that it is said all the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from batchlab.store.disk.files import what_is_odd
from batchlab.store.layout import Layout


def odd_files(layout: Layout) -> list[str]:
    """Each such file or folder of a run, in a line; nothing is opened for it."""
    return [
        *_odd(_files(layout), is_folder=False),
        *_odd((layout.journals, layout.parts, layout.batch_files, layout.workers), is_folder=True),
        *_odd(_strange_within(layout.journals), is_folder=False),
        *_odd(_strange_within(layout.parts), is_folder=False),
    ]


def _files(layout: Layout) -> tuple[Path, ...]:
    return (
        layout.manifest,
        layout.lock,
        layout.checksums,
        layout.lost,
        layout.batches,
        layout.history,
        layout.standing,
        layout.pilot,
        layout.forecast,
        layout.written,
        layout.labels,
        layout.labels_lock,
        layout.roll,
        layout.uploaded,
    )


def _odd(paths: Iterator[Path] | tuple[Path, ...], *, is_folder: bool) -> Iterator[str]:
    for path in paths:
        if what := what_is_odd(path, is_folder=is_folder):
            yield f"{path}: {what}"


def _strange_within(folder: Path) -> Iterator[Path]:
    """Of a folder with a file for each shard those that the folder itself does not call plain, and those
    that this user may not read are told by who reads them."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for one in found:
            if not one.is_file(follow_symlinks=False):
                yield Path(one.path)
