"""The run directory: everything a run knows, on disk.

    run.json        format, job without secrets, input fingerprint, shard plan
    lock            flock; who works here now
    journal/        one file a shard and attempt; deleted when the shard is sealed
    completions/    one Parquet part a sealed shard, named by its number
    ballast         space set aside for answers in flight when the disk is full
    checksums.log   each part's BLAKE2b and totals, written before the part is published
    uploaded.log    what the run's copy at a URL is known to have, if there is one (`mirror`)
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from batchlab.arrow import pa
from batchlab.errors import CorruptRun, RunStopped, UsageError
from batchlab.records import Failure, Result, Shard, is_replaceable
from batchlab.store.ballast import Ballast
from batchlab.store.expanded import of_text
from batchlab.store.files import (
    FILE_MODE,
    O_BINARY,
    AppendFile,
    atomic_write,
    disk_errors,
    private_dir,
    read_at,
    write_at,
)
from batchlab.store.generations import Generation, finish_swap, swap_pending
from batchlab.store.journal import JournalScan, Record, encode
from batchlab.store.lock import alone_at, cut_torn_tail, holder_text, read_holder, take_lock
from batchlab.store.locking import HELD, lock
from batchlab.store.mirror import Mirror
from batchlab.store.open_shard import (
    OpenShard,
    RetryRule,
    journal_paths,
    part_numbers,
    part_path,
    repaired_records,
)
from batchlab.store.parts import (
    PartFile,
    file_digest,
    part_results,
    part_tables,
    part_totals,
    whole_tables,
    with_results,
)
from batchlab.store.replay import Replay
from batchlab.store.sync import SyncGroup
from batchlab.totals import Tally, Totals, result_totals

KEPT_OPEN = 4  # shards that `standing` has read and a run asks for first; each holds descriptors


@dataclass(slots=True)
class VerifyReport:
    """What a run holds, and everything found wrong with it."""

    totals: Totals = field(default_factory=Totals)
    pending: int = 0
    problems: list[str] = field(default_factory=list)


class RunDir:
    """One run's directory. Reading needs no lock; `lock` is for the process that works on it."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.mirror: Mirror | None = None
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
        if self._checksums.exists():
            for _ in repaired_records(self._checksums):
                pass

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

    def open_shard(self, shard: Shard, *, retry: RetryRule | None = None) -> OpenShard:
        """The shard with its journals replayed. `retry` says which failures are asked again.

        Raises:
            CorruptRun: a journal was damaged; the next try goes on without the lost records.
            RunStopped: the disk is full or failing.
        """
        return self._opened.pop(shard.index, None) or self._open(shard, retry)

    def _open(self, shard: Shard, retry: RetryRule | None) -> OpenShard:
        return OpenShard(
            self.path,
            shard,
            self._group,
            prefix=self.prefix,
            vectors=self.vectors,
            record_part=self._record_part,
            ballast=self._ballast,
            retry=retry,
            on_sealed=self.mirror.wake if self.mirror is not None else None,
            expanded=self.expanded,
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
                sums.add(opened.found)
                in_flight += opened.in_flight
                if len(self._opened) < KEPT_OPEN:
                    self._opened[shard.index] = opened
                else:
                    opened.close()
        return sums.totals(), in_flight

    def totals(self) -> Totals:
        """Sums over all final results: what was noted of sealed shards, journals of open ones."""
        sums = self._sealed_sums()
        for index in sorted(self._with_journal()):
            sums.add(self.shard_books(index)[0])
        return sums.totals()

    def unsealed(self) -> set[int]:
        """Numbers of the shards that have a journal: begun, or asked again."""
        return self._with_journal()

    def let_go(self) -> None:
        """Other processes will open the shards: those that `standing` has opened are closed."""
        while self._opened:
            self._opened.popitem()[1].close()

    def sealed_elsewhere(self) -> None:
        """Another process of this run has sealed a shard."""
        if self.mirror is not None:
            self.mirror.wake()

    def shard_books(self, index: int) -> tuple[Totals, int]:
        """A shard's totals so far, and how many of its requests are in flight, or were at a crash."""
        if index not in self._with_journal():
            part = part_path(self.path, index)
            return (part_totals(part) if part.exists() else Totals()), 0
        sums = Tally()
        results, replay = self._open_state(index)
        for result in results.values():
            sums.add_result(result)
        for row, earlier in replay.earlier.items():
            if row not in results:
                sums.add(earlier.counted())
        return sums.totals(), len(replay.in_flight)

    def shards_with_failures(self) -> set[int]:
        """Numbers of the sealed shards in which a row has failed or has an invalid answer."""
        return {index for index, totals in self._part_totals() if totals.failed or totals.invalid}

    def _sealed_sums(self) -> Tally:
        sums = Tally()
        for _, totals in self._part_totals():
            sums.add(totals)
        return sums

    def _part_totals(self) -> Iterator[tuple[int, Totals]]:
        """Each sealed shard's totals, as `checksums.log` has them; from the footer of an older part.

        The last record of a part is that of the one which is there: with a record of a later one that
        was never published, there is a journal still, and the shard is not sealed.
        """
        noted: dict[str, Any] = {
            str(record.data.get("part")): record.data.get("totals") for record in self._checksum_records()
        }
        for index in sorted(self.sealed()):
            part = self.part(index)
            try:
                yield index, Totals(**noted[part.name])
            except (KeyError, TypeError):
                yield index, part_totals(part)

    def error_counts(self) -> dict[str, int]:
        """Failed rows by error class, most frequent first; reads every result."""
        counts: Counter[str] = Counter()
        open_shards = self._with_journal()
        for index in sorted(self.sealed() | open_shards):
            results = (
                self._open_results(index).values()
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
        results = self._open_results(shard.index)
        rows = (results.get(row) for row in range(shard.first_row, shard.first_row + shard.rows))
        yield with_results(input_table(), rows, shard.first_row, prefix, self.expanded, self.vectors)

    def next_generation(self, manifest: dict[str, Any]) -> Generation:
        """A context in which the run is moved to a new plan; see `Generation`."""
        return Generation(self, manifest)

    def shard_results(self, index: int) -> Iterator[Result]:
        """Every final result of a shard; sealed or not, begun or not."""
        if index in self._with_journal():
            yield from self._open_results(index).values()
        elif index in self._parts():
            yield from part_results(self.part(index), self.prefix, self.vectors)

    def all_results(self) -> Iterator[Result]:
        """Every final result of the run, shard by shard."""
        open_shards = self._with_journal()
        for index in sorted(self.sealed()):
            yield from part_results(self.part(index), self.prefix, self.vectors)
        for index in sorted(open_shards):
            yield from self._open_results(index).values()

    def verify(self, shards: Sequence[Shard]) -> VerifyReport:
        """Reads everything and checks it against the plan."""
        report = VerifyReport()
        sealed, with_journal = self.sealed(), self._with_journal()
        known = {shard.index for shard in shards}
        for index in sorted((sealed | with_journal) - known):
            report.problems.append(f"shard {index}: results that no input row belongs to")
        digests = self._digests()
        for shard in shards:
            try:
                if shard.index in sealed:
                    part = self.part(shard.index)
                    if file_digest(part) not in digests.get(part.name, set()):
                        report.problems.append(f"{part}: not the file that was written (checksum differs)")
                    self._verify_part(shard, report)
                else:
                    self._verify_open(shard, report)
            except CorruptRun as error:
                report.problems.append(str(error))
        return report

    def _verify_part(self, shard: Shard, report: VerifyReport) -> None:
        path = self.part(shard.index)
        expected = shard.first_row
        totals = Totals()
        for table in part_tables(path):  # every column, so that every page's checksum is verified
            if self.prefix + "row_id" not in table.column_names:
                raise CorruptRun(f"{path}: damaged (its columns are not those of a part).")
            ids = table.column(self.prefix + "row_id").to_pylist()
            if ids != list(range(expected, expected + len(ids))):
                report.problems.append(
                    f"{path}: rows are missing, doubled or out of order near row {expected}"
                )
                return
            expected += len(ids)
        for result in part_results(path, self.prefix, self.vectors):
            totals += result_totals(result)
        if expected != shard.first_row + shard.rows:
            report.problems.append(f"{path}: {expected - shard.first_row} rows, the plan has {shard.rows}")
        stated = part_totals(path)
        if not _same_totals(stated, totals):
            report.problems.append(f"{path}: the footer's totals differ from the sum of its rows")
        report.totals += totals

    def _verify_open(self, shard: Shard, report: VerifyReport) -> None:
        results = self._open_results(shard.index)
        for path in journal_paths(self.path, shard.index):
            scan = JournalScan(path)
            for _ in scan.records():
                pass
            report.problems += [
                f"{path}: {length} damaged bytes at {offset}" for offset, length in scan.damaged
            ]
        outside = [row for row in results if not shard.first_row <= row < shard.first_row + shard.rows]
        if outside:
            report.problems.append(f"shard {shard.index}: a result for row {outside[0]}, which is not in it")
        for result in results.values():
            report.totals += result_totals(result)
        report.pending += shard.rows - len(results)

    @property
    def _checksums(self) -> Path:
        return self.path / "checksums.log"

    def _record_part(self, part: str, digest: str, totals: Totals) -> None:
        record = encode(json.dumps({"part": part, "blake2b": digest, "totals": asdict(totals)}).encode())
        with disk_errors(self._checksums), alone_at(self._checksums):
            file = AppendFile(self._checksums)
            with contextlib.closing(file):
                cut_torn_tail(file)  # of another process that was killed while it wrote
                file.append(record)
                file.sync()

    def _digests(self) -> dict[str, set[str]]:
        """Every digest a part ever had: a crash may come between writing it and publishing."""
        digests: dict[str, set[str]] = {}
        for record in self._checksum_records():
            digests.setdefault(str(record.data.get("part")), set()).add(str(record.data.get("blake2b")))
        return digests

    def _checksum_records(self) -> Iterator[Record]:
        with contextlib.suppress(FileNotFoundError):
            yield from JournalScan(self._checksums).records()

    def _with_journal(self) -> set[int]:
        return {int(path.name.split(".")[0]) for path in (self.path / "journal").glob("*.log")}

    def _open_results(self, index: int) -> dict[int, Result]:
        """Final results of a shard that is not sealed; a reader's view, repairing nothing."""
        return self._open_state(index)[0]

    def _open_state(self, index: int) -> tuple[dict[int, Result], Replay]:
        results: dict[int, Result] = {}
        replay = Replay()
        part = part_path(self.path, index)
        if part.exists():
            results = {result.row_id: result for result in part_results(part, self.prefix, self.vectors)}
        for path in journal_paths(self.path, index):
            with contextlib.suppress(FileNotFoundError):  # sealed while we read
                for record in JournalScan(path).records():
                    result = replay.apply(record.data)
                    if result is None:
                        continue
                    old = results.get(result.row_id)
                    if old is None or is_replaceable(old):
                        results[result.row_id] = result
        replay.end()
        return results, replay


def _same_totals(one: Totals, two: Totals) -> bool:
    for name in Totals.__slots__:
        left, right = getattr(one, name), getattr(two, name)
        if abs(left - right) > 1e-9 * max(1.0, abs(left)):
            return False
    return True
