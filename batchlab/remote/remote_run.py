"""Looking at a run at a URL: its sealed parts are read where they are.

From a machine that has not run it, and while workers of a cluster leave there what they have done.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Self

from batchlab.errors import UsageError
from batchlab.remote.copy import uploaded_digests
from batchlab.remote.depot import Depot, manifest_at
from batchlab.remote.presence import live_host
from batchlab.remote.storage import NotThereError, RemoteFile, StorageError, get_bytes
from batchlab.run_state import BatchStanding
from batchlab.store.disk.files import private_dir
from batchlab.store.integrity.checksums import Noted
from batchlab.store.layout import (
    BATCHES,
    CHECKSUMS,
    DIRECTORIES,
    HISTORY,
    LOST,
    MANIFEST,
    UPLOADED,
    part_key,
    part_number,
)
from batchlab.store.manifest import Manifest
from batchlab.store.parts import PartFile
from batchlab.store.standing import Standing
from batchlab.store.view import RunView

_COPIED = (CHECKSUMS, LOST, UPLOADED, HISTORY, BATCHES)  # what is small, and read whole


class RemoteRun(RunView):
    """A run at a URL. Rows of its open shards are in journals elsewhere: pending here.

    Those of a run over a cluster are known, as far as its workers have put their journals there.

    `path` is a scratch directory with the run's small files, gone with this object.

    Args:
        parts: numbers of the shards whose parts are there.
        driver: the run's directory, if it is on this machine: it knows who works on the run.
    """

    url: str

    def __init__(
        self, path: Path, manifest: Manifest, url: str, parts: set[int], driver: RunView | None = None
    ) -> None:
        super().__init__(path, manifest)
        self.url = url
        self._numbers = parts
        self._driver = driver

    @classmethod
    def at(cls, url: str, driver: RunView | None = None) -> Self:
        """The run at a URL, as it is now.

        Raises:
            UsageError: there is none, the store refuses, or a later version wrote it; CorruptRun: run.json
                is none.
        """
        manifest = manifest_at(url)
        if manifest is None:
            raise UsageError(f"{url}: not a run directory (no {MANIFEST}).")
        scratch = Path(tempfile.mkdtemp(prefix="batchlab-"))
        try:
            path = private_dir(scratch / url.rpartition("/")[2])
            parts = _fetched(url, path)
        except BaseException:  # whatever it is, nothing stays behind; it goes on its way
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        run = cls(path, manifest, url, parts, driver)
        weakref.finalize(run, shutil.rmtree, scratch, ignore_errors=True)
        return run

    @staticmethod
    def is_at(url: str) -> bool:
        """Whether there is a run at `url`. Raises UsageError when the store refuses."""
        try:
            RemoteFile(f"{url}/{MANIFEST}").identity()
        except NotThereError:
            return False
        except StorageError as error:
            raise UsageError(f"{url}: {error.strerror}.") from error
        return True

    def part(self, index: int) -> PartFile:
        """See `RunView.part`."""
        return RemoteFile(f"{self.url}/{part_key(index)}")

    def roll(self) -> dict[str, Any] | None:
        """See `RunView.roll`."""
        return super().roll() if self._driver is None else self._driver.roll()

    def lock_holder(self) -> int | None:
        """See `RunView.lock_holder`."""
        return super().lock_holder() if self._driver is None else self._driver.lock_holder()

    def other_host(self) -> str | None:
        """See `RunView.other_host`."""
        return live_host(self.url) if self.lock_holder() is None else None

    def is_left_locked(self) -> bool:
        """See `RunView.is_left_locked`."""
        return super().is_left_locked() if self._driver is None else self._driver.is_left_locked()

    def last_standing(self) -> Standing | None:
        """See `RunView.last_standing`."""
        return super().last_standing() if self._driver is None else self._driver.last_standing()

    def batches_out(self) -> tuple[BatchStanding, ...]:
        """See `RunView.batches_out`."""
        return super().batches_out() if self._driver is None else self._driver.batches_out()

    def noted(self) -> Noted:
        """What must be at the URL: a part that has come there. Others, and journals, are elsewhere."""
        noted = super().noted()
        came = uploaded_digests(self.layout, self.url)
        noted.left.clear()
        for name in [*noted.parts]:
            if name not in came and part_number(name) not in self._numbers:
                del noted.parts[name]
        return noted

    def part_sizes(self) -> dict[int, int | None]:
        """See `RunView.part_sizes`."""
        return dict.fromkeys(sorted(self._numbers))

    def _parts(self) -> set[int]:
        return self._numbers

    def _has_part(self, index: int) -> bool:
        return index in self._numbers


def _fetched(url: str, path: Path) -> set[int]:
    """Brings a run's small files into a directory. Returns the numbers of the parts at the URL."""
    try:
        for name in _COPIED:
            with contextlib.suppress(NotThereError):
                (path / name).write_bytes(get_bytes(f"{url}/{name}"))
        for name in DIRECTORIES:
            private_dir(path / name)
        depot = Depot(path, url)
        for index in sorted({piece.shard for piece in depot.pieces()}):
            depot.bring(index)
        # after the pieces: a shard that was sealed meanwhile is among these
        parts = depot.parts()
        depot.bring_records(parts)
    except StorageError as error:
        raise UsageError(f"{url}: cannot read the run: {error.strerror}.") from error
    return parts
