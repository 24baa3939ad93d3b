"""The run directory: everything a run knows, on disk.

    run.json        format, job without secrets, input fingerprint, shard plan
    lock            flock; who works here now
    journal/        one file a shard and attempt; deleted when the shard is sealed
    completions/    one Parquet part a sealed shard, named by its number
    ballast         space set aside for answers in flight when the disk is full
    workers.json    who works on the shards, while several processes or machines do
    checksums.log   each part's BLAKE2b and totals, written before the part is published
    uploaded.log    what the run's copy at a URL is known to have, if there is one (`mirror`)
    workers/away    there while workers leave what they do at the URL, and not all is here (`depot`)
    previous/N/     what an earlier generation of the run had (changed input or --fresh)

A shard with a part and no journal is sealed. With both, its failed rows are being asked
again, or a crash came between publishing the part and deleting the journals; either way
replaying the journals over the part gives the truth.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from batchlab.arrow import pa
from batchlab.errors import CorruptRun, UsageError
from batchlab.records import Failure, Result, Shard
from batchlab.remote.mirror import Mirror, problem_of
from batchlab.remote.segments import Segments
from batchlab.remote.storage import StorageError
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.checksums import Checksums
from batchlab.store.disk.ballast import Ballast
from batchlab.store.disk.fence import Fence, await_orphans
from batchlab.store.disk.file_locks import HELD, lock
from batchlab.store.disk.files import (
    FILE_MODE,
    O_BINARY,
    atomic_write,
    disk_errors,
    moved,
    private_dir,
    read_at,
    write_at,
)
from batchlab.store.disk.run_lock import holder_text, read_holder, take_lock
from batchlab.store.disk.sync import SyncGroup
from batchlab.store.expanded import of_text
from batchlab.store.generations import Generation, finish_swap, swap_pending
from batchlab.store.open_results import OpenResults, open_results
from batchlab.store.open_shard import OpenShard, RetryRule, part_numbers, part_path
from batchlab.store.parts import PartFile, part_results, part_totals, whole_tables, with_results
from batchlab.totals import Totals, sum_of

ROLL, ROLL_IS_OLD_S = "workers.json", 30.0
KEPT_OPEN = 4  # shards that `standing` has read and a run asks for first; each holds descriptors


class RunDir:
    """One run's directory. Reading needs no lock; `lock` is for the process that works on it."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.mirror: Mirror | None = None
        self.away: Segments | None = None  # a worker's, in a directory of its own
        self.checksums = Checksums(path)
        self.fence: Fence | None = None
        self._group = SyncGroup()
        self._lock: int | None = None
        self._ballast = Ballast(path / "ballast")
        self._opened: dict[int, OpenShard] = {}  # by `standing`, and not asked for since

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a run at `path`."""
        return (path / "run.json").is_file()

    @classmethod
    def create(cls, path: Path, manifest: dict[str, Any]) -> RunDir:
        """A new run, locked.

        Raises:
            UsageError: the directory cannot be made, or another process is at it.
        """
        private_dir(path)
        run = cls(path, manifest)
        run.lock()
        try:
            if cls.exists(path):
                raise UsageError(f"{path}: another process has just started this run. Run the command again.")
            for name in ("journal", "completions"):
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
    def open(cls, path: Path) -> RunDir:
        """The run at `path`. Raises UsageError when it cannot be read, CorruptRun when it is none."""
        try:
            manifest = json.loads((path / "run.json").read_bytes())
        except OSError as error:
            raise UsageError(f"{path}: cannot read the run: {os.strerror(error.errno or 0)}.") from error
        except ValueError as error:
            raise CorruptRun(f"{path}/run.json: not a run of batchlab: {error}") from error
        if not isinstance(manifest, dict) or "plan" not in manifest:
            raise CorruptRun(f"{path}/run.json: not a run of batchlab.")
        return cls(path, manifest)

    def lock(self) -> None:
        """Makes this process the only one that works here, and tidies up after a crash.

        Raises:
            UsageError: another process holds the lock; names its pid, host and start.
        """
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | O_BINARY, FILE_MODE)
        except OSError as error:
            raise UsageError(f"{self.path}: not writable: {os.strerror(error.errno or 0)}.") from error
        try:
            take_lock(descriptor)
        except OSError as error:
            holder = read_holder(descriptor)
            os.close(descriptor)
            if error.errno not in HELD:
                raise UsageError(
                    f"{self.path}: cannot be locked: {os.strerror(error.errno or 0)}."
                ) from error
            raise UsageError(
                f"{self.path}: in use by {holder_text(holder)}. Wait for it, or stop it."
            ) from None
        try:
            await_orphans(self.path)
        except UsageError:
            os.close(descriptor)
            raise
        self._lock = descriptor
        try:
            with disk_errors(self.path):
                self._tidy(descriptor)
        except RunStopped as error:
            raise UsageError(str(error)) from error  # nothing was sent yet
        self._ballast.take()

    @property
    def lock_descriptor(self) -> int:
        """The lock as a child process may inherit it: it lasts until every copy is closed."""
        assert self._lock is not None, "asked of a run that is not locked"
        return self._lock

    def _tidy(self, descriptor: int) -> None:
        """Says who works here, and finishes what a crash left half done."""
        os.ftruncate(descriptor, 0)
        who = {"pid": os.getpid(), "host": platform.node(), "start": time.strftime("%Y-%m-%d %H:%M:%S")}
        write_at(descriptor, json.dumps(who).encode(), 0)
        if swap_pending(self.path):
            finish_swap(self.path)
            self.manifest = json.loads((self.path / "run.json").read_bytes())
        for leftover in self.path.glob("*/*.tmp"):
            leftover.unlink()
        self.checksums.repair()

    def lock_holder(self) -> int | None:
        """pid of the process that works here now, None when there is none."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | O_BINARY)
        except OSError:
            return None
        try:
            lock(descriptor, shared=True)
        except OSError:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return int(json.loads(read_at(descriptor, 4_096, 0))["pid"])
            return None
        finally:
            os.close(descriptor)
        return None

    def close(self) -> None:
        """Syncs what is left and gives up the lock. The lock file stays: removing it would race."""
        try:
            if self.mirror is not None:
                self.mirror.close()
            self.let_go()
            self._group.close()
            if self.away is not None:
                self.away.close()
        finally:
            if self._lock is not None:
                with contextlib.suppress(OSError):  # what is in the lock file is only a hint for people
                    self._ballast.release()
                    os.ftruncate(self._lock, 0)
                os.close(self._lock)
                self._lock = None

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replaces run.json."""
        atomic_write(self.path / "run.json", json.dumps(manifest, indent=1).encode())
        self.manifest = manifest

    @property
    def prefix(self) -> str:
        """What the result columns' names begin with in this run."""
        return str(self.manifest.get("job", {}).get("output", {}).get("prefix", ""))

    @property
    def remote(self) -> str | None:
        """URL of the run's copy, None when it has none."""
        url = self.manifest.get("job", {}).get("output", {}).get("remote")
        return str(url) if url else None

    @property
    def expanded(self) -> pa.Schema | None:
        """The columns that are made of parsed answers; their types are the plan's. None without any."""
        return of_text(self.manifest.get("expanded"))

    @property
    def vectors(self) -> tuple[str, ...]:
        """Which columns for embeddings the results of this run have."""
        return tuple(self.manifest.get("plan", {}).get("vectors", ()))

    @property
    def synced_results(self) -> int:
        """Results of this invocation that are on disk for good."""
        return self._group.synced_results

    def check_disk(self) -> None:
        """Raises RunStopped once the disk has been full, or another machine has taken the run over.

        What was written by then is saved.
        """
        self._ballast.check()
        if self.mirror is not None:
            self.mirror.check()

    def sealed(self) -> set[int]:
        """Numbers of the shards that are done."""
        return self._parts() - self._with_journal()

    def part(self, index: int) -> PartFile:
        """Where a sealed shard's part is read from."""
        return part_path(self.path, index)

    def _parts(self) -> set[int]:
        return part_numbers(path.name for path in (self.path / "completions").glob("part-*"))

    def write_roll(self, roll: dict[str, Any] | None) -> None:
        """Replaces `workers.json`, which says who works here now; None removes it. Raises OSError."""
        path = self.path / ROLL
        if roll is None:
            path.unlink(missing_ok=True)
            return
        tmp = path.with_suffix(".tmp")
        tmp.write_text(json.dumps(roll))
        moved(tmp, path)

    def roll(self) -> dict[str, Any] | None:
        """What `write_roll` wrote last, if that is recent."""
        with contextlib.suppress(OSError, ValueError):
            roll = json.loads((self.path / ROLL).read_bytes())
            if isinstance(roll, dict) and abs(time.time() - roll["at"]) < ROLL_IS_OLD_S:
                return roll
        return None

    def open_shard(self, shard: Shard, *, retry: RetryRule | None = None) -> OpenShard:
        """The shard with its journals replayed. `retry` says which failures are asked again.

        Raises:
            CorruptRun: a journal was damaged; the next try goes on without the lost records.
            RunStopped: the disk is full or failing.
        """
        return self._opened.pop(shard.index, None) or self._open(shard, retry)

    def _open(self, shard: Shard, retry: RetryRule | None) -> OpenShard:
        record_part = self.checksums.note
        on_sealed: Callable[[], None] | None = None
        if self.away is not None:
            self.away.bring(shard.index)
            record_part, on_sealed = self.away.note, partial(self.away.sealed, shard.index)
        elif self.mirror is not None:
            on_sealed = self.mirror.wake
        return OpenShard(
            self.path,
            shard,
            self._group,
            prefix=self.prefix,
            vectors=self.vectors,
            record_part=record_part,
            ballast=self._ballast,
            retry=retry,
            on_sealed=on_sealed,
            expanded=self.expanded,
            fence=self.fence,
        )

    def standing(self, shards: Sequence[Shard], *, retry: RetryRule | None = None) -> tuple[Totals, int]:
        """Where a run goes on: `totals`, and the requests that were in flight when it was cut off.

        For the process that has the lock. Journals are read once: the first of the shards opened here
        are what `open_shard` gives next, so `retry` must be the same.
        """
        sums, in_flight = self._sealed_sums(), 0
        open_shards = self._with_journal()
        for shard in shards:
            if shard.index in open_shards:
                opened = self._open(shard, retry)
                sums += opened.found
                in_flight += opened.in_flight
                if len(self._opened) < KEPT_OPEN:
                    self._opened[shard.index] = opened
                else:
                    opened.close()
        return sums, in_flight

    def totals(self) -> Totals:
        """Sums over all final results: what was noted of sealed shards, journals of open ones."""
        with_journal = sorted(self._with_journal())
        return self._sealed_sums() + sum_of(self.shard_books(index)[0] for index in with_journal)

    def unsealed(self) -> set[int]:
        """Numbers of the shards that have a journal: begun, or asked again."""
        return self._with_journal()

    def let_go(self) -> None:
        """Other processes will open the shards: those that `standing` has opened are closed."""
        while self._opened:
            self._opened.popitem()[1].close()

    def sealed_elsewhere(self, index: int) -> None:
        """Another process of this run has sealed a shard."""
        if self.mirror is not None:
            self.mirror.wake(index if self.is_away else None)

    @property
    def is_away(self) -> bool:
        """Whether workers without this directory do the run's work, and bring it to the URL."""
        return self.mirror is not None and self.mirror.shares

    def gather(self, wanted: Collection[int] | None = None) -> None:
        """Brings here what workers without this directory have done of some shards.

        When they all have ended, of all: `wanted` is None. Raises RunStopped (storage).
        """
        if self.mirror is not None and self.mirror.shares:
            try:
                if wanted is None:
                    self.mirror.gathered()
                else:
                    self.mirror.gather(wanted)
            except StorageError as error:
                raise RunStopped(StopReason.STORAGE, f"{problem_of(error)}. It is kept there.") from error

    def shard_books(self, index: int) -> tuple[Totals, int]:
        """A shard's totals so far, and how many of its requests are in flight, or were at a crash."""
        if index not in self._with_journal():
            part = part_path(self.path, index)
            return (part_totals(part) if part.exists() else Totals()), 0
        opened = self._open_results(index)
        return opened.totals(), len(opened.replay.in_flight)

    def shards_with_failures(self) -> set[int]:
        """Numbers of the sealed shards in which a row has failed or has an invalid answer."""
        return {index for index, totals in self._part_totals() if totals.failed or totals.invalid}

    def _sealed_sums(self) -> Totals:
        return sum_of(totals for _, totals in self._part_totals())

    def _part_totals(self) -> Iterator[tuple[int, Totals]]:
        """Each sealed shard's totals, as `checksums.log` has them; from the footer of an older part.

        The last record of a part is that of the one which is there: with a record of a later one that
        was never published, there is a journal still, and the shard is not sealed.
        """
        noted = self.checksums.totals()
        for index in sorted(self.sealed()):
            part = self.part(index)
            try:
                yield index, Totals.of(noted[part.name])
            except (KeyError, TypeError):
                yield index, part_totals(part)

    def error_counts(self) -> dict[str, int]:
        """Failed rows by error class, most frequent first; reads every result."""
        counts: Counter[str] = Counter()
        open_shards = self._with_journal()
        for index in sorted(self.sealed() | open_shards):
            results = (
                self._open_results(index).by_row.values()
                if index in open_shards
                else part_results(self.part(index), self.prefix, self.vectors)
            )
            counts.update(result.error_class for result in results if isinstance(result, Failure))
        return dict(counts.most_common())

    def shard_tables(
        self, shard: Shard, input_table: Callable[[], pa.Table], *, prefix: str
    ) -> Iterator[pa.Table]:
        """A shard's rows with input and result columns; pending rows have the status `pending`."""
        if shard.index in self.sealed():
            yield from whole_tables(self.part(shard.index), prefix)
            return
        results = self._open_results(shard.index).by_row
        rows = (results.get(row) for row in range(shard.first_row, shard.first_row + shard.rows))
        yield with_results(input_table(), rows, shard.first_row, prefix, self.expanded, self.vectors)

    def next_generation(self, manifest: dict[str, Any]) -> Generation:
        """A context in which the run is moved to a new plan; see `Generation`."""
        return Generation(self, manifest)

    def shard_results(self, index: int) -> Iterator[Result]:
        """Every final result of a shard; sealed or not, begun or not."""
        if index in self._with_journal():
            yield from self._open_results(index).by_row.values()
        elif index in self._parts():
            yield from part_results(self.part(index), self.prefix, self.vectors)

    def all_results(self) -> Iterator[Result]:
        """Every final result of the run, shard by shard."""
        open_shards = self._with_journal()
        for index in sorted(self.sealed()):
            yield from part_results(self.part(index), self.prefix, self.vectors)
        for index in sorted(open_shards):
            yield from self._open_results(index).by_row.values()

    def _with_journal(self) -> set[int]:
        return {int(path.name.split(".")[0]) for path in (self.path / "journal").glob("*.log")}

    def _open_results(self, index: int) -> OpenResults:
        return open_results(self.path, index, self.prefix, self.vectors)
