"""A shard on its way: its journals replayed, one more open for what comes, sealed at the end."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchlab.arrow import pa
from batchlab.errors import CorruptRun
from batchlab.records import Completion, Result, Shard, Usage, is_replaceable, is_wanting
from batchlab.store.asking import RetryRule
from batchlab.store.columns.results import values_of
from batchlab.store.disk.ballast import Ballast
from batchlab.store.disk.fence import AnyFence
from batchlab.store.disk.sync import SyncGroup
from batchlab.store.journals.journal import (
    AskedInVain,
    ResultValues,
    asked_record,
    back_record,
    back_together_record,
    result_record,
    sent_record,
    sent_together_record,
    storable,
)
from batchlab.store.journals.of_shard import Journals
from batchlab.store.journals.replay import Found, Replay
from batchlab.store.layout import Layout
from batchlab.store.manifest import Manifest
from batchlab.store.parts import file_digest, part_results, part_totals, row_bytes, write_part
from batchlab.store.publisher import Publisher
from batchlab.totals import RunningTotals, Totals

_PENDING, _FAILED, _WANTING, _ANSWERED = 0, 1, 2, 3


class _Rows:
    """What is known of each row of a shard, and where its result is: a few bytes a row.

    Attributes:
        state: of each row, one of `_PENDING`, `_FAILED`, `_WANTING` and `_ANSWERED`.
        final: how many have a result.
    """

    def __init__(self, count: int) -> None:
        self.state = bytearray(count)
        self.final = 0
        self._file = array("i", [-1]) * count
        self._offset = array("q", [0]) * count
        self._length = array("q", [0]) * count

    def mark(self, index: int, result: Result, *, retried: bool) -> bool:
        """The row has this result, and returns whether it counts: it takes the place of a failed or an
        invalid one, of a cut off, filtered or empty one if a retry brought it, and never of a good one."""
        state = self.state[index]
        if state == _ANSWERED or (state == _WANTING and not retried):
            return False
        self.final += state == _PENDING
        if is_replaceable(result):
            self.state[index] = _FAILED
        else:
            self.state[index] = _WANTING if is_wanting(result) else _ANSWERED
        return True

    def put(self, index: int, file: int, offset: int, length: int) -> None:
        """The row's result is there in the journals."""
        self._file[index], self._offset[index], self._length[index] = file, offset, length

    def place(self, index: int) -> tuple[int, int, int] | None:
        """Where in the journals the row's result is; None when it is in the part."""
        if self._file[index] < 0:
            return None
        return self._file[index], self._offset[index], self._length[index]


class OpenShard:
    """One shard's results so far.

    Records are taken, and written by the next `flush` in the order they came, with one write.
    A result replaces a failed or an invalid one, never a good one; a cut off, filtered or empty one is asked
    again and replaced by a retry only. Positions are kept, not results: memory is a few bytes a row.

    Args:
        root: the run directory.
        publisher: where its part goes once it is sealed.
        fence: whether this process may still write.
        retry: which results are asked again.
        found: the totals of what the shard had when it was opened.
        in_flight: requests of earlier processes that have neither come back nor been asked again.
    """

    def __init__(
        self,
        root: Path,
        shard: Shard,
        manifest: Manifest,
        *,
        group: SyncGroup,
        ballast: Ballast,
        publisher: Publisher,
        fence: AnyFence,
        retry: RetryRule | None = None,
    ) -> None:
        self.shard = shard
        self._manifest = manifest
        self._publisher = publisher
        self._fence = fence
        layout = Layout(root)
        self._journals = Journals(layout, shard.index, manifest, group, ballast, fence)
        self._rows = _Rows(shard.rows)
        self._queued: list[tuple[bytes, int | None]] = []
        self._part = layout.part(shard.index)
        self._had_part = self._part.exists()
        replay, found = Replay(), Found()
        if self._had_part:
            self._read_part(replay, found, retry)
        for path in layout.journal_files(shard.index):
            self._read_journal(path, replay, found, retry)
        replay.end()
        for row in [row for row in replay.earlier if self._rows.state[row - shard.first_row] == _ANSWERED]:
            del replay.earlier[row]  # of a process that had been given up: it has the answer of another one
        self._earlier = replay.earlier
        self._reopened = frozenset(replay.reopened)
        self.in_flight = replay.requests_in_flight
        self.found = found.totals(replay)
        self._settle()
        self._journals.count_from(self.found)  # what was settled is in it

    @property
    def complete(self) -> bool:
        """Whether every row has a final result."""
        return self._rows.final == self.shard.rows

    @property
    def pending(self) -> int:
        """Rows without a final result."""
        return self.shard.rows - self._rows.final

    def done(self, row_id: int) -> bool:
        """Whether the row has a final result."""
        return self._rows.state[row_id - self.shard.first_row] != _PENDING

    @property
    def reopened(self) -> int:
        """Rows that had a result when the shard was opened, and are asked again."""
        return len(self._reopened)

    def asks_again(self, row_id: int) -> bool:
        """Whether the row had a result when the shard was opened, and is asked again."""
        return row_id in self._reopened

    def kept(self, row_id: int) -> Completion | None:
        """The answer of a row that is asked again; it stays unless another one comes."""
        earlier = self._earlier.get(row_id)
        return earlier.kept if earlier is not None else None

    def attempts(self, row_id: int) -> int:
        """Requests that were sent for a row without a final result, when the shard was opened."""
        earlier = self._earlier.get(row_id)
        return earlier.attempts if earlier is not None else 0

    def asked_by(self, row_id: int) -> str:
        """Key of the batch in which the last request for a row without a final result was; "" for none."""
        earlier = self._earlier.get(row_id)
        return earlier.by if earlier is not None else ""

    def append_asked(self, asked: AskedInVain) -> None:
        """Records that a batch has brought no final result for a row."""
        self._queue(asked_record(asked))

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
            result = earlier.final(result)
        result = self._take(result, retried=earlier is not None and earlier.kept is not None)
        if earlier is not None:
            self._journals.tally.change(Totals() - earlier.counted())
        if totals is not None:
            totals.count(result)
            if earlier is not None:
                totals.change(Totals() - earlier.counted())
        return result

    def _take(self, result: Result, *, retried: bool) -> Result:
        """Queues the record of a row's result. Returns the result as it is recorded."""
        try:
            record = result_record(result, retried=retried)
        except TypeError:  # an odd byte in one answer
            result = storable(result)
            record = result_record(result, retried=retried)
        index = result.row_id - self.shard.first_row
        # one that comes after an answer which stays is written, and counts for nothing
        counts = self._rows.mark(index, result, retried=retried)
        if counts:
            self._journals.tally.count(result)
        self._queue(record, index if counts else -1)
        return result

    def _settle(self) -> None:
        """Rows that have a result, and have had requests since, of a retry that was cut off."""
        first = self.shard.first_row
        left = {row for row in self._earlier if self._rows.state[row - first] != _PENDING}
        if not left:
            return
        results: dict[int, Result] = {}
        if self._had_part and any(self._rows.place(row - first) is None for row in left):
            old = part_results(self._part, self._manifest.prefix, self._manifest.vectors)
            results = {result.row_id: result for result in old if result.row_id in left}
        for row in sorted(left):
            place = self._rows.place(row - first)
            result = results[row] if place is None else self._journals.recorded_at(*place)
            self._take(self._earlier.pop(row).final(result), retried=True)

    def flush(self) -> None:
        """Writes what was taken: on disk when this returns. Raises RunStopped (disk)."""
        if not self._queued:
            return
        data = b"".join([record for record, _ in self._queued])
        number, offset = self._journals.append(data)
        queued, self._queued = self._queued, []
        results = 0
        for record, index in queued:
            if index is not None:
                results += 1
                if index >= 0:
                    self._rows.put(index, number, offset, len(record))
            offset += len(record)
        self._journals.appended(records=len(queued), results=results, rows=self._rows.final)

    def values(self) -> Iterator[ResultValues | None]:
        """Each row's result as plain values, in row order; None for a pending one."""
        base = None
        if self._had_part:
            base = part_results(self._part, self._manifest.prefix, self._manifest.vectors)
        for index in range(self.shard.rows):
            old = next(base) if base is not None else None
            place = self._rows.place(index)
            if self._rows.state[index] == _PENDING:
                yield None
            elif place is None:
                assert old is not None, "a row without a journal record has one in the part"
                yield values_of(old)
            else:
                yield self._journals.result_at(*place)

    def _sizes(self) -> Iterator[int]:
        """About how many bytes the result of each row has."""
        of_old = row_bytes(self._part) if self._had_part else 0
        for index in range(self.shard.rows):
            place = self._rows.place(index)
            yield of_old if place is None else place[2]

    def seal(self, input_table: pa.Table) -> Totals:
        """Publishes the part and deletes the journals. Returns the shard's totals.

        A crash in between is harmless: the same journals over the new part make the same part.

        Raises:
            RunStopped: the disk is full or failing; the journals stay.
        """
        assert self.complete, "a shard is sealed when every row has a final result"
        self.flush()
        tmp, totals = write_part(
            self._part,
            input_table,
            self.values(),
            sizes=self._sizes(),
            first_row=self.shard.first_row,
            prefix=self._manifest.prefix,
            expanded=self._manifest.expanded,
            vectors=self._manifest.vectors,
            mark=self._fence.mark,
        )
        self._fence.leave_if(self._journals.has_others)
        # a part that was noted and is not there is lost, unless the journals have all of it
        self._journals.sync()
        self._note(tmp, totals)
        if not self._fence.publish(tmp, self._part, replaces=self._had_part):
            # an attempt that had been given up was faster after all: its part is complete, and stays
            totals = part_totals(self._part)
            self._note(self._part, totals)
        self.close()
        self._journals.delete()
        self._publisher.sealed(self.shard.index)
        return totals

    def close(self) -> None:
        """Writes what was taken, syncs and closes the journals."""
        self.flush()
        self._journals.close()

    def _note(self, file: Path, totals: Totals) -> None:
        self._publisher.note(self._part.name, file_digest(file), file.stat().st_size, totals)

    def _queue(self, record: bytes, index: int | None = None) -> None:
        """Takes a record; `index` is the row whose result it holds, -1 when that is not to be kept."""
        self._queued.append((record, index))

    def _read_part(self, replay: Replay, found: Found, retry: RetryRule | None) -> None:
        for result in part_results(self._part, self._manifest.prefix, self._manifest.vectors):
            if retry is not None and is_wanting(result) and retry(result):
                replay.reopen(result)
            else:
                self._rows.mark(result.row_id - self.shard.first_row, result, retried=False)
                found.add(result)

    def _read_journal(self, path: Path, replay: Replay, found: Found, retry: RetryRule | None) -> None:
        for record, number in self._journals.read(path):
            result = replay.apply(record.data)
            if result is None:
                continue
            index = result.row_id - self.shard.first_row
            if not 0 <= index < self.shard.rows:
                raise CorruptRun(
                    f"{path}: holds a result for row {result.row_id}, which is not in its shard."
                )
            if not self._had_part and retry is not None and is_wanting(result) and retry(result):
                replay.reopen(result)
            elif self._rows.mark(index, result, retried=record.is_retried):
                found.add(result)
                self._rows.put(index, number, record.offset, record.length)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self._journals.drop()
