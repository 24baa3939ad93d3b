"""Putting a generation of a run in the place of the one before.

It is built whole in `next/`. Renaming that to `ready/` is the commit; the moves that follow can be
repeated any number of times, so a crash among them is finished by whoever locks the run next. What the
earlier generation had is kept under `previous/`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from batchlab.store.disk.files import atomic_write, file_content, fsync_dir, moved, private_dir
from batchlab.store.layout import OF_A_GENERATION, Layout
from batchlab.store.manifest import Manifest, read_manifest, write_manifest


def swap_in(run: Path, manifest: Manifest) -> None:
    """Makes what is in `next/` the run's generation. Raises RunStopped or OSError (disk)."""
    layout = Layout(run)
    write_manifest(layout.next, manifest)
    moved(layout.next, layout.ready)
    fsync_dir(run)
    finish_swap(run)


def swap_pending(run: Path) -> bool:
    """Whether a committed generation has not been moved into place yet."""
    return Layout(run).ready.is_dir()


def finish_swap(run: Path) -> None:
    """Moves a committed generation into place; may be interrupted and repeated at any step."""
    layout = Layout(run)
    ready = Layout(layout.ready)
    if ready.manifest.exists():
        before = layout.previous(read_manifest(ready.root).generation - 1)
        private_dir(before.parent)
        kept = Layout(private_dir(before))
        for name in OF_A_GENERATION:
            if (ready.root / name).exists():
                if (run / name).exists():
                    moved(run / name, kept.root / name)
                moved(ready.root / name, run / name)
        if not kept.manifest.exists():
            atomic_write(kept.manifest, file_content(layout.manifest))
        fsync_dir(run)
        moved(ready.manifest, layout.manifest)
        fsync_dir(run)
    shutil.rmtree(ready.root)
