"""A shard on its way: its journals replayed, one more open for what comes, sealed at the end."""

from __future__ import annotations

import contextlib
import shutil
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from batchlab.errors import CorruptRun, RunStopped
from batchlab.records import Completion, Failure, Result, Shard, Totals, Usage, result_totals
from batchlab.store.ballast import Ballast
from batchlab.store.files import AppendFile, atomic_write, disk_errors, fsync_dir, publish
from batchlab.store.journal import (
    JournalScan,
    Record,
    back_record,
    decode,
    result_of,
    result_record,
    sent_record,
)
from batchlab.store.parts import file_digest, part_results, write_part
from batchlab.store.replay import Replay
from batchlab.store.sync import SyncGroup

RetryRule = Callable[[Failure], bool]

_PENDING, _FAILED, _ANSWERED = 0, 1, 2


def part_path(root: Path, index: int) -> Path:
    """Where a shard's part is, or will be."""
    return root / "completions" / f"part-{index:06d}.parquet"


def journal_paths(root: Path, index: int) -> list[Path]:
    """A shard's journals, oldest first."""
    found = (root / "journal").glob(f"{index:06d}.*.log")
    return sorted(found, key=lambda path: int(path.name.split(".")[1]))


def repaired_records(path: Path) -> Iterator[Record]:
    """A journal's good records. A torn tail is cut off; damage before a good record is set aside.

    Raises:
        CorruptRun: after the last record, when there was damage that no crash leaves behind. The
            damaged file is kept beside a clean one, so the next run goes on.
    """
    scan = JournalScan(path)
    yield from scan.records()
    if scan.damaged:
        kept = path.with_name(f"{path.name}.damaged")
        with disk_errors(kept):
            shutil.copyfile(path, kept)
        data = path.read_bytes()
        good = b"".join(line for line in data.splitlines(keepends=True) if decode(line) is not None)
        atomic_write(path, good)
        where = ", ".join(f"{length} bytes at {offset}" for offset, length in scan.damaged[:5])
        raise CorruptRun(
            f"{path}: damaged ({where}), and not as a crash would leave it. "
            f"The damaged file is kept as {kept.name}. Run the same command again to go on: "
            "rows whose record was lost will be asked, and paid, once more."
        )
    if scan.torn_bytes:
        file = AppendFile(path)
        with disk_errors(path), contextlib.closing(file):
            file.truncate(scan.good_bytes)
            file.sync()


class OpenShard:
    """One shard's results so far. `append` returns when the record is written.

    A result replaces a failed one, never a good one. Positions are kept, not results: memory
    is a few bytes a row.
    """

    def __init__(
        self,
        root: Path,
        shard: Shard,
        group: SyncGroup,
        *,
        prefix: str,
        record_digest: Callable[[str, str], None],
        ballast: Ballast,
        retry: RetryRule | None = None,
    ) -> None:
        self.shard = shard
        self._root = root
        self._group = group
        self._prefix = prefix
        self._record_digest = record_digest
        self._ballast = ballast
        self._state = bytearray(shard.rows)
        self._file_of = array("i", [-1]) * shard.rows
        self._offset = array("q", [0]) * shard.rows
        self._length = array("q", [0]) * shard.rows
        self._files: list[AppendFile] = []
        self._writing: AppendFile | None = None
        self._final = 0
        self._base = part_path(root, shard.index)
        self._had_part = self._base.exists()
        self.reopened = 0  # rows with a failure in the part that are to be asked again
        replay = Replay()
        if self._had_part:
            for result in part_results(self._base, prefix):
                if isinstance(result, Failure) and retry is not None and retry(result):
                    self.reopened += 1
                    replay.reopen(result)
                else:
                    self._mark(result)
        for path in journal_paths(root, shard.index):
            self._read_journal(path, replay, retry)
        replay.end()
        self._earlier = replay.earlier

    @property
    def complete(self) -> bool:
        """Whether every row has a final result."""
        return self._final == self.shard.rows

    def done(self, row_id: int) -> bool:
        """Whether the row has a final result."""
        return self._state[row_id - self.shard.first_row] != _PENDING

    def append_sent(self, row_id: int, attempt: int) -> None:
        """Records that a request for the row leaves now. Raises RunStopped (disk)."""
        self._write(sent_record(row_id, attempt), results=0)

    def append_back(self, row_id: int, usage: Usage | None, usd: float | None = None) -> None:
        """Records that the row's request came back without a final result; `usage` was paid for."""
        self._write(back_record(row_id, usage, usd), results=0)

    def append(self, result: Result) -> Totals:
        """Records the row's final result, and what its requests of earlier processes came to.

        Returns by how much the run's totals change. Raises RunStopped (disk).
        """
        earlier = self._earlier.get(result.row_id)
        if earlier is not None:
            result = earlier.added_to(result)
        record = result_record(result)
        offset = self._write(record, results=1)
        self._place(result, len(self._files) - 1, offset, len(record))
        self._earlier.pop(result.row_id, None)
        return result_totals(result) - (earlier.counted() if earlier is not None else Totals())

    def results(self) -> Iterator[Result | None]:
        """Each row's result, in row order; None for a pending one."""
        base = part_results(self._base, self._prefix) if self._had_part else None
        for index in range(self.shard.rows):
            old = next(base) if base is not None else None
            if self._state[index] == _PENDING:
                yield None
            elif self._file_of[index] < 0:
                yield old
            else:
                yield self._read(index)

    def seal(self, input_table: pa.Table) -> Totals:
        """Publishes the part and deletes the journals. Returns the shard's totals.

        A crash in between is harmless: the same journals over the new part make the same part.

        Raises:
            RunStopped: the disk is full or failing; the journals stay.
        """
        assert self.complete, "a shard is sealed when every row has a final result"
        totals = Totals()
        for result in self.results():
            assert result is not None
            totals += result_totals(result)
        stream = self.results()

        def batch(start: int, stop: int) -> list[Result]:
            return [result for _ in range(start, stop) if (result := next(stream)) is not None]

        tmp = write_part(
            self._base,
            input_table,
            batch,
            first_row=self.shard.first_row,
            prefix=self._prefix,
            totals=totals,
        )
        self._record_digest(self._base.name, file_digest(tmp))
        publish(tmp, self._base)
        self.close()
        with disk_errors(self._root / "journal"):
            for path in journal_paths(self._root, self.shard.index):
                path.unlink()
            fsync_dir(self._root / "journal")
        return totals

    def close(self) -> None:
        """Syncs and closes the journals."""
        if self._writing is not None:
            self._group.flush()
        for file in self._files:
            file.close()
        self._files.clear()
        self._writing = None

    def _write(self, record: bytes, *, results: int) -> int:
        try:
            offset = self._journal().append(record)
        except RunStopped as stop:
            if not self._ballast.spend(stop):
                raise
            # a new file: the old one may be as large as it may get, or end in half a record
            self._writing = None
            offset = self._journal().append(record)
        self._group.written(self._journal(), results=results)
        return offset

    def _journal(self) -> AppendFile:
        """The file that is written to, made first if need be. Raises RunStopped (disk)."""
        if self._writing is None:
            taken = journal_paths(self._root, self.shard.index)
            number = int(taken[-1].name.split(".")[1]) + 1 if taken else 1
            self._writing = AppendFile(self._root / "journal" / f"{self.shard.index:06d}.{number}.log")
            self._files.append(self._writing)
        return self._writing

    def _read_journal(self, path: Path, replay: Replay, retry: RetryRule | None) -> None:
        number = len(self._files)
        for record in repaired_records(path):
            result = replay.apply(record.data)
            if result is None:
                continue
            if isinstance(result, Failure) and not self._had_part and retry is not None and retry(result):
                self.reopened += 1
                replay.reopen(result)
            else:
                self._place(result, number, record.offset, record.length)
        self._files.append(AppendFile(path))

    def _place(self, result: Result, file: int, offset: int, length: int) -> None:
        index = result.row_id - self.shard.first_row
        if self._state[index] == _ANSWERED:
            return
        self._mark(result)
        self._file_of[index], self._offset[index], self._length[index] = file, offset, length

    def _mark(self, result: Result) -> None:
        index = result.row_id - self.shard.first_row
        self._final += self._state[index] == _PENDING
        self._state[index] = _ANSWERED if isinstance(result, Completion) else _FAILED

    def _read(self, index: int) -> Result:
        line = self._files[self._file_of[index]].read(self._offset[index], self._length[index])
        data = decode(line)
        result = result_of(data) if data is not None else None
        if result is None:
            raise CorruptRun(f"{self._files[self._file_of[index]].path}: changed while the run was going on.")
        return result

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            for file in self._files:
                file.close()
