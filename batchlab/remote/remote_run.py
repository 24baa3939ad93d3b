"""Looking at a run at a URL: its sealed parts are read where they are.

From a machine that has not run it, and while workers of a cluster leave there what they have done.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from batchlab.errors import CorruptRun, UsageError
from batchlab.remote.depot import Depot
from batchlab.remote.storage import NotThereError, RemoteFile, StorageError, below, get_bytes
from batchlab.store.disk.files import private_dir
from batchlab.store.open_shard import part_numbers, part_path
from batchlab.store.parts import PartFile
from batchlab.store.run_dir import RunDir

# what is small, and read whole
_COPIED = ("checksums.log", "history.jsonl")


class RemoteRun(RunDir):
    """A run at a URL, for reading. Rows of its open shards are in journals elsewhere: pending here.

    Those of a run over a cluster are known, as far as its workers have put their journals there.

    `path` is a scratch directory with the run's small files, gone with this object.

    Args:
        driver: the run's directory, if it is on this machine: it knows who works on the run.
    """

    def __init__(self, url: str, driver: RunDir | None = None) -> None:
        self._driver = driver
        scratch = Path(tempfile.mkdtemp(prefix="batchlab-"))
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        path = private_dir(scratch / url.rpartition("/")[2])
        try:
            manifest = json.loads(get_bytes(f"{url}/run.json"))
            for name in _COPIED:
                with contextlib.suppress(NotThereError):
                    (path / name).write_bytes(get_bytes(f"{url}/{name}"))
            for name in ("journal", "completions"):
                private_dir(path / name)
            depot = Depot(path, url)
            for index in sorted({piece.shard for piece in depot.pieces()}):
                depot.bring(index)
            # after the pieces: a shard that was sealed meanwhile is among these
            self._numbers = part_numbers(file.name for file in below(f"{url}/completions"))
            depot.bring_records(self._numbers)
        except NotThereError as error:
            raise UsageError(f"{url}: not a run directory ({error.strerror}).") from error
        except StorageError as error:
            raise UsageError(f"{url}: cannot read the run: {error.strerror}.") from error
        except ValueError as error:
            raise CorruptRun(f"{url}/run.json: not a run of batchlab: {error}") from error
        if not isinstance(manifest, dict) or "plan" not in manifest:
            raise CorruptRun(f"{url}/run.json: not a run of batchlab.")
        super().__init__(path, manifest)
        self.url = url

    @staticmethod
    def is_at(url: str) -> bool:
        """Whether there is a run at `url`. Raises UsageError when the store refuses."""
        try:
            RemoteFile(f"{url}/run.json").identity()
        except NotThereError:
            return False
        except StorageError as error:
            raise UsageError(f"{url}: {error.strerror}.") from error
        return True

    def part(self, index: int) -> PartFile:
        """See `RunDir.part`."""
        return RemoteFile(f"{self.url}/completions/{part_path(self.path, index).name}")

    def roll(self) -> dict[str, Any] | None:
        """See `RunDir.roll`."""
        return super().roll() if self._driver is None else self._driver.roll()

    def lock_holder(self) -> int | None:
        """See `RunDir.lock_holder`."""
        return super().lock_holder() if self._driver is None else self._driver.lock_holder()

    def _parts(self) -> set[int]:
        return self._numbers
