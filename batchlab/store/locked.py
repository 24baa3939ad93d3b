"""A run that nobody else works on: this process holds its lock, and may change what the run is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

from batchlab.errors import UsageError
from batchlab.records import Shard
from batchlab.run_end import RunStopped
from batchlab.store.asking import RetryRule
from batchlab.store.disk.files import disk_errors, moved, private_dir
from batchlab.store.disk.run_lock import RunLock
from batchlab.store.integrity.checksums import ChecksumLog, left_record, plan_record
from batchlab.store.integrity.lost import lost_totals
from batchlab.store.layout import DIRECTORIES, is_run
from batchlab.store.manifest import Manifest, plan_digest, read_manifest, write_manifest
from batchlab.store.publisher import Here, RunPublisher
from batchlab.store.shard import OpenShard
from batchlab.store.swap import finish_swap, swap_in, swap_pending
from batchlab.store.working import WorkingRun
from batchlab.totals import Totals

KEPT_OPEN = 4  # shards that `standing` has read and a run asks for first; each holds descriptors


class LockedRun(WorkingRun):
    """The run of the process that holds its lock, until it is closed."""

    publisher: RunPublisher

    def __init__(self, path: Path, manifest: Manifest, lock: RunLock) -> None:
        super().__init__(path, manifest)
        self.publisher = Here(path)
        self._lock: RunLock | None = lock
        self._opened: dict[int, OpenShard] = {}  # by `standing`, and not asked for since

    @classmethod
    def create(cls, path: Path, manifest: Manifest) -> Self:
        """A new run, locked.

        Raises:
            UsageError: the directory cannot be made, or another process is at it.
        """
        private_dir(path)
        run = cls._of(path, manifest)
        try:
            if is_run(path):
                raise UsageError(f"{path}: another process has just started this run. Run the command again.")
            for name in DIRECTORIES:
                private_dir(path / name)
            run.write_manifest(manifest)
        except RunStopped as error:
            run.close()
            raise UsageError(str(error)) from error  # nothing was sent yet
        except BaseException:  # whatever it is, the lock must not stay behind; it goes on its way
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run in a directory, locked, and tidied up after a crash.

        Raises:
            UsageError: it cannot be read, a later version wrote it, or another process holds the lock.
            CorruptRun: it is none.
        """
        return cls._of(path, read_manifest(path))

    @classmethod
    def _of(cls, path: Path, manifest: Manifest) -> Self:
        lock = RunLock.taken(path)
        try:
            run = cls(path, manifest, lock)
            try:
                with disk_errors(path):
                    run._tidy()
            except RunStopped as error:
                raise UsageError(str(error)) from error  # nothing was sent yet
            run._ballast.take()
        except BaseException:  # whatever it is, the lock must not stay behind; it goes on its way
            lock.release()
            raise
        return run

    def _tidy(self) -> None:
        """Finishes what a crash left half done."""
        if swap_pending(self.path):
            finish_swap(self.path)
            self.manifest = read_manifest(self.path)
        for name in DIRECTORIES:  # a copy may have left out the empty ones
            private_dir(self.path / name)
        for leftover in self.layout.leftovers():
            leftover.unlink()
        ChecksumLog(self.path).repair()

    @property
    def lock_descriptor(self) -> int:
        """The lock as a child process may inherit it: it lasts until every copy is closed."""
        assert self._lock is not None, "asked of a run that was closed"
        return self._lock.descriptor

    def publish_by(self, publisher: RunPublisher) -> None:
        """Sealed shards go where that says from now on."""
        self.publisher = publisher

    def check_disk(self) -> None:
        """Raises RunStopped once the disk has been full, or another machine has taken the run over.

        What was written by then is saved.
        """
        super().check_disk()
        self.publisher.check()

    def write_manifest(self, manifest: Manifest) -> None:
        """Replaces run.json. Raises RunStopped (disk)."""
        write_manifest(self.path, manifest)
        self.manifest = manifest
        digest = plan_digest(manifest.plan)
        if self.noted().plan != digest:
            ChecksumLog(self.path).append(plan_record(digest))

    def take_next(self, manifest: Manifest) -> None:
        """Makes what was built in `next/` the run's generation (`generations`)."""
        swap_in(self.path, manifest)
        self.manifest = manifest

    def write_roll(self, roll: dict[str, Any] | None) -> None:
        """Replaces what `roll` says of who works here now; None removes it. Raises OSError."""
        path = self.layout.roll
        if roll is None:
            path.unlink(missing_ok=True)
            return
        tmp = path.with_suffix(".tmp")
        tmp.write_text(json.dumps(roll))
        moved(tmp, path)

    def open_shard(self, shard: Shard, *, retry: RetryRule | None = None) -> OpenShard:
        """See `WorkingRun.open_shard`."""
        return self._opened.pop(shard.index, None) or super().open_shard(shard, retry=retry)

    def standing(self, shards: Sequence[Shard], *, retry: RetryRule | None = None) -> tuple[Totals, int]:
        """Where a run goes on: `totals`, and the requests that were in flight when it was cut off.

        Journals are read once: the first of the shards opened here are what `open_shard` gives next, so
        `retry` must be the same.
        """
        sums, in_flight = self._sealed_sums() + lost_totals(self.layout), 0
        open_shards = self.unsealed()
        for shard in shards:
            if shard.index in open_shards:
                opened = super().open_shard(shard, retry=retry)
                sums += opened.found
                in_flight += opened.in_flight
                if len(self._opened) < KEPT_OPEN:
                    self._opened[shard.index] = opened
                else:
                    opened.close()
        return sums, in_flight

    def note_left(self) -> None:
        """Notes how the open shards are left: nobody works on them, and all is synced.

        Raises RunStopped (disk).
        """
        shards = sorted(self.unsealed())
        if shards:
            records = (left_record(self.layout, index, self.shard_books(index)[0]) for index in shards)
            ChecksumLog(self.path).append(*records)

    def let_go(self) -> None:
        """Other processes will open the shards: those that `standing` has opened are closed."""
        while self._opened:
            self._opened.popitem()[1].close()

    def sealed_elsewhere(self, index: int) -> None:
        """Another process of this run has sealed a shard."""
        self.publisher.sealed_elsewhere(index)

    def gather(self, wanted: Collection[int] | None = None) -> None:
        """See `RunPublisher.collect`."""
        self.publisher.collect(wanted)

    def close(self) -> None:
        """Syncs what is left and gives up the lock."""
        try:
            self.publisher.close()
            self.let_go()
            super().close()
        finally:
            if self._lock is not None:
                with contextlib.suppress(OSError):  # the next one takes what is left of it
                    self._ballast.release()
                self._lock.release()
                self._lock = None
