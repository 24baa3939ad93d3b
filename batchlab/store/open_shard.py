"""A shard on its way: its journals replayed, one more open for what comes, sealed at the end."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from batchlab.arrow import pa
from batchlab.errors import CorruptRun
from batchlab.records import Result, Shard, Usage, is_replaceable
from batchlab.run_end import RunStopped
from batchlab.store.disk.ballast import Ballast
from batchlab.store.disk.fence import Fence
from batchlab.store.disk.files import (
    AppendFile,
    atomic_write,
    disk_errors,
    fsync_dir,
    made_new,
    publish,
    publish_new,
)
from batchlab.store.disk.sync import SyncGroup
from batchlab.store.journal import (
    RESULT_KINDS,
    JournalScan,
    Record,
    ResultValues,
    back_record,
    back_together_record,
    decode,
    result_record,
    sent_record,
    sent_together_record,
    storable,
)
from batchlab.store.parts import file_digest, part_results, part_totals, write_part
from batchlab.store.replay import Found, Replay
from batchlab.store.result_columns import values_of
from batchlab.totals import RunningTotals, Totals

RetryRule = Callable[[Result], bool]  # asked about failed and invalid results only

_PENDING, _FAILED, _ANSWERED = 0, 1, 2


def part_path(root: Path, index: int) -> Path:
    """Where a shard's part is, or will be."""
    return root / "completions" / f"part-{index:06d}.parquet"


def part_numbers(names: Iterable[str]) -> set[int]:
    """The shards whose parts are among some file names."""
    found = (re.fullmatch(r"part-(\d+)\.parquet", name) for name in names)
    return {int(match.group(1)) for match in found if match is not None}


def journal_paths(root: Path, index: int) -> list[Path]:
    """A shard's journals, oldest first."""
    found = (root / "journal").glob(f"{index:06d}.*.log")
    return sorted(found, key=_age)


def _age(path: Path) -> tuple[int, str, int]:
    """Orders the journals of a shard; one that came in pieces has a mark and a number more (`depot`)."""
    _, journal, *piece, _ = path.name.split(".")
    return int(journal), piece[0] if piece else "", int(piece[1]) if piece else 0


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
    """One shard's results so far.

    Records are taken, and written by the next `flush` in the order they came, with one write.
    A result replaces a failed or an invalid one, never a good one. Positions are kept, not results: memory
    is a few bytes a row.

    Attributes:
        reopened: rows with a failed or invalid result that are to be asked again.
        found: the totals of what the shard had when it was opened.
        in_flight: requests of earlier processes that have neither come back nor been asked again.
    """

    def __init__(
        self,
        root: Path,
        shard: Shard,
        group: SyncGroup,
        *,
        prefix: str,
        vectors: Sequence[str],
        record_part: Callable[[str, str, Totals], None],
        ballast: Ballast,
        retry: RetryRule | None = None,
        on_sealed: Callable[[], None] | None = None,
        expanded: pa.Schema | None = None,
        fence: Fence | None = None,
    ) -> None:
        self.shard = shard
        self._fence = fence
        self._root = root
        self._group = group
        self._prefix = prefix
        self._expanded = expanded
        self._vectors = vectors
        self._record_part = record_part
        self._ballast = ballast
        self._on_sealed = on_sealed
        self._state = bytearray(shard.rows)
        self._file_of = array("i", [-1]) * shard.rows
        self._offset = array("q", [0]) * shard.rows
        self._length = array("q", [0]) * shard.rows
        self._files: list[AppendFile] = []
        self._writing: AppendFile | None = None
        self._queued: list[tuple[bytes, int | None]] = []
        self._final = 0
        self._base = part_path(root, shard.index)
        self._had_part = self._base.exists()
        self.reopened = 0
        replay, found = Replay(), Found()
        if self._had_part:
            for result in part_results(self._base, prefix, vectors):
                if retry is not None and is_replaceable(result) and retry(result):
                    self.reopened += 1
                    replay.reopen(result)
                else:
                    self._mark(result)
                    found.add(result)
        for path in journal_paths(root, shard.index):
            self._read_journal(path, replay, found, retry)
        replay.end()
        self._earlier = replay.earlier
        self.in_flight = replay.requests_in_flight
        self.found = found.totals(replay)

    @property
    def complete(self) -> bool:
        """Whether every row has a final result."""
        return self._final == self.shard.rows

    @property
    def pending(self) -> int:
        """Rows without a final result."""
        return self.shard.rows - self._final

    def done(self, row_id: int) -> bool:
        """Whether the row has a final result."""
        return self._state[row_id - self.shard.first_row] != _PENDING

    def append_sent(self, row_id: int, attempt: int) -> None:
        """Records that a request for the row leaves after the next `flush`."""
        self._queue(sent_record(row_id, attempt))

    def append_sent_together(self, row_ids: Sequence[int], attempt: int) -> None:
        """As `append_sent`, of one request for all these rows: one record, so that it is whole or not."""
        self._queue(sent_together_record(row_ids, attempt))

    def append_back_together(
        self, row_ids: Sequence[int], usages: Sequence[Usage] | None, usds: Sequence[float | None]
    ) -> None:
        """Records that it came back without a final result; what was paid for it, by row."""
        if usages is None:
            self._queue(back_together_record(row_ids))
        else:
            for row_id, usage, usd in zip(row_ids, usages, usds, strict=True):
                self._queue(back_record(row_id, usage, usd))

    def append_back(self, row_id: int, usage: Usage | None, usd: float | None = None) -> None:
        """Records that the row's request came back without a final result; `usage` was paid for."""
        self._queue(back_record(row_id, usage, usd))

    def append(self, result: Result, totals: RunningTotals | None = None) -> Result:
        """Takes the row's final result, and returns it as it is recorded: with what its requests of
        earlier processes came to, and with nothing in it that cannot be written.

        Args:
            totals: the run's; they change by what the row now counts.
        """
        earlier = self._earlier.pop(result.row_id, None)
        if earlier is not None:
            result = earlier.added_to(result)
        index = result.row_id - self.shard.first_row
        # a failure that comes after an answer is written, and counts for nothing
        try:
            record = result_record(result)
        except TypeError:  # an odd byte in one answer
            result = storable(result)
            record = result_record(result)
        self._queue(record, -1 if self._state[index] == _ANSWERED else index)
        self._mark(result)
        if totals is not None:
            totals.count(result)
            if earlier is not None:
                totals.change(Totals() - earlier.counted())
        return result

    def flush(self) -> None:
        """Writes what was taken: on disk when this returns. Raises RunStopped (disk)."""
        if not self._queued:
            return
        data = b"".join([record for record, _ in self._queued])
        offset = self._write(data)
        queued, self._queued = self._queued, []
        number, results = len(self._files) - 1, 0
        for record, index in queued:
            if index is not None:
                results += 1
                if index >= 0:
                    self._place(index, number, offset, len(record))
            offset += len(record)
        self._group.written(self._files[number], records=len(queued), results=results)

    def values(self) -> Iterator[ResultValues | None]:
        """Each row's result as plain values, in row order; None for a pending one."""
        base = part_results(self._base, self._prefix, self._vectors) if self._had_part else None
        for index in range(self.shard.rows):
            old = next(base) if base is not None else None
            if self._state[index] == _PENDING:
                yield None
            elif self._file_of[index] < 0:
                assert old is not None, "a row without a journal record has one in the part"
                yield values_of(old)
            else:
                yield self._read(index)

    def seal(self, input_table: pa.Table) -> Totals:
        """Publishes the part and deletes the journals. Returns the shard's totals.

        A crash in between is harmless: the same journals over the new part make the same part.

        Raises:
            RunStopped: the disk is full or failing; the journals stay.
        """
        assert self.complete, "a shard is sealed when every row has a final result"
        self.flush()
        tmp, totals = write_part(
            self._base,
            input_table,
            self.values(),
            first_row=self.shard.first_row,
            prefix=self._prefix,
            expanded=self._expanded,
            vectors=self._vectors,
            mark="" if self._fence is None else f".{secrets.token_hex(4)}",
        )
        if self._fence is not None:
            self._fence.check()
            if self._is_taken_over():
                self._fence.leave()
        self._record_part(self._base.name, file_digest(tmp), totals)
        if self._fence is None or self._had_part:
            publish(tmp, self._base)
        elif not publish_new(tmp, self._base):
            # an attempt that had been given up was faster after all: its part is complete, and stays
            totals = part_totals(self._base)
            self._record_part(self._base.name, file_digest(self._base), totals)
        self.close()
        with disk_errors(self._root / "journal"):
            for path in journal_paths(self._root, self.shard.index):
                path.unlink()
            fsync_dir(self._root / "journal")
        if self._on_sealed is not None:
            self._on_sealed()
        return totals

    def close(self) -> None:
        """Writes what was taken, syncs and closes the journals."""
        self.flush()
        if self._writing is not None:
            self._group.flush()
        for file in self._files:
            file.close()
        self._files.clear()
        self._writing = None

    def _is_taken_over(self) -> bool:
        """Whether another process has begun a journal of this shard since this one opened it."""
        return bool(set(journal_paths(self._root, self.shard.index)) - {file.path for file in self._files})

    def _queue(self, record: bytes, index: int | None = None) -> None:
        """Takes a record; `index` is the row whose result it holds, -1 when that is not to be kept."""
        self._queued.append((record, index))

    def _write(self, data: bytes) -> int:
        """Appends whole records and returns the offset of the first."""
        if self._fence is not None:
            self._fence.check()
        try:
            return self._journal().append(data)
        except RunStopped as stop:
            if not self._ballast.spend(stop):
                raise
            # a new file: the old one may be as large as it may get, or end in half a record
            self._writing = None
            return self._journal().append(data)

    def _journal(self) -> AppendFile:
        """The file that is written to, made first if need be. Raises RunStopped (disk)."""
        if self._writing is None:
            taken = journal_paths(self._root, self.shard.index)
            number = int(taken[-1].name.split(".")[1]) + 1 if taken else 1
            path = self._journal_path(number)
            if self._fence is not None:
                while not made_new(path):  # this moment, by a process that was given up
                    number += 1
                    path = self._journal_path(number)
            self._writing = AppendFile(path)
            self._files.append(self._writing)
        return self._writing

    def _journal_path(self, number: int) -> Path:
        return self._root / "journal" / f"{self.shard.index:06d}.{number}.log"

    def _read_journal(self, path: Path, replay: Replay, found: Found, retry: RetryRule | None) -> None:
        number = len(self._files)
        for record in repaired_records(path):
            result = replay.apply(record.data)
            if result is None:
                continue
            index = result.row_id - self.shard.first_row
            if not self._had_part and retry is not None and is_replaceable(result) and retry(result):
                self.reopened += 1
                replay.reopen(result)
            elif self._state[index] != _ANSWERED:
                self._mark(result)
                found.add(result)
                self._place(index, number, record.offset, record.length)
        self._files.append(AppendFile(path))

    def _place(self, index: int, file: int, offset: int, length: int) -> None:
        self._file_of[index], self._offset[index], self._length[index] = file, offset, length

    def _mark(self, result: Result) -> None:
        index = result.row_id - self.shard.first_row
        if self._state[index] == _ANSWERED:
            return
        self._final += self._state[index] == _PENDING
        self._state[index] = _FAILED if is_replaceable(result) else _ANSWERED

    def _read(self, index: int) -> ResultValues:
        line = self._files[self._file_of[index]].read(self._offset[index], self._length[index])
        data = decode(line)
        if data is None or data.get("t") not in RESULT_KINDS:
            raise CorruptRun(f"{self._files[self._file_of[index]].path}: changed while the run was going on.")
        return cast("ResultValues", data["v"])

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            for file in self._files:
                file.close()
