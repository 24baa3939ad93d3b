"""The journals of one shard: read, appended to, and deleted when it is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from batchlab.errors import CorruptRun
from batchlab.records import Result
from batchlab.run_end import RunStopped
from batchlab.store.disk.ballast import Ballast
from batchlab.store.disk.fence import AnyFence
from batchlab.store.disk.files import AppendFile, disk_errors, fsync_dir
from batchlab.store.disk.sync import SyncGroup
from batchlab.store.journals.due import NotedFile, Tally
from batchlab.store.journals.journal import (
    RESULT_KINDS,
    Record,
    ResultValues,
    decode,
    repaired_records,
    result_of,
)
from batchlab.store.journals.origin import origin, origin_record, strange_origin
from batchlab.store.layout import JournalName, Layout
from batchlab.store.manifest import Manifest
from batchlab.totals import Totals


class Journals:
    """The journals of a shard: those of earlier processes, and the one that this process writes.

    Attributes:
        tally: what the shard has come to, to be kept by who appends; its rows are told with `appended`.
    """

    def __init__(
        self,
        layout: Layout,
        shard: int,
        manifest: Manifest,
        group: SyncGroup,
        ballast: Ballast,
        fence: AnyFence,
    ) -> None:
        self.tally = Tally()
        self._layout = layout
        self._shard = shard
        self._manifest = manifest
        self._group = group
        self._ballast = ballast
        self._fence = fence
        self._files: list[AppendFile] = []
        self._writing: NotedFile | None = None

    def count_from(self, found: Totals) -> None:
        """This is what the shard had come to when all of them were read."""
        self.tally = Tally()
        self.tally.change(found)

    def read(self, path: Path) -> Iterator[tuple[Record, int]]:
        """Opens one of an earlier process: its records, and the number it has here. Raises CorruptRun."""
        if (why := strange_origin(path, self._manifest)) is not None:
            raise CorruptRun(f"{path}: {why}. Move it away to go on; its own may be in a backup.")
        number = len(self._files)
        for record in repaired_records(path):
            yield record, number
        self._files.append(AppendFile(path))

    def append(self, data: bytes) -> tuple[int, int]:
        """Writes whole records. Returns the number of their file, and where in it they begin.

        Raises:
            RunStopped: the disk is full or failing.
        """
        self._fence.check()
        try:
            offset = self._file().append(data)
        except RunStopped as stop:
            if not self._ballast.spend(stop):
                raise
            # a new file: the old one may be as large as it may get, or end in half a record
            self._writing = None
            offset = self._file().append(data)
        return len(self._files) - 1, offset

    def appended(self, *, records: int, results: int, rows: int) -> None:
        """So many records were: they are synced soon. Raises RunStopped when an earlier sync failed.

        Args:
            rows: of the shard, that have a result now.
        """
        file = self._writing
        assert file is not None, "they were written there"
        file.reached = file.size, self.tally.sums(rows)
        self._group.written(file, records=records, results=results)

    def result_at(self, number: int, offset: int, length: int) -> ResultValues:
        """The result that was written there. Raises CorruptRun when it is there no more."""
        return cast("ResultValues", self._data_at(number, offset, length)["v"])

    def recorded_at(self, number: int, offset: int, length: int) -> Result:
        """The same, read whole. Raises CorruptRun when it is there no more."""
        result = result_of(self._data_at(number, offset, length))
        assert result is not None, "what was written there was a result"
        return result

    def _data_at(self, number: int, offset: int, length: int) -> dict[str, Any]:
        file = self._files[number]
        data = decode(file.read(offset, length))
        if data is None or data.get("t") not in RESULT_KINDS:
            raise CorruptRun(f"{file.path}: changed while the run was going on.")
        return data

    def has_others(self) -> bool:
        """Whether another process has begun a journal of this shard since this one opened it."""
        return bool(set(self._layout.journal_files(self._shard)) - {file.path for file in self._files})

    def sync(self) -> None:
        """Makes all that is in them durable, of earlier processes as well. Raises RunStopped (disk)."""
        for file in self._files:
            with disk_errors(file.path):
                if file is not self._writing:
                    file.sync()
        if self._writing is not None:
            self._group.flush()

    def close(self) -> None:
        """Syncs what was written, and closes all. Raises RunStopped (disk)."""
        if self._writing is not None:
            self._group.flush()
        self.drop()
        self._writing = None

    def drop(self) -> None:
        """Closes all as they are."""
        for file in self._files:
            file.close()
        self._files.clear()

    def delete(self) -> None:
        """Deletes all journals of the shard. Raises RunStopped (disk)."""
        with disk_errors(self._layout.journals):
            # first what is due of them: the other way around, a crash would leave it to look like a loss
            for number in self._layout.due_numbers(self._shard).get(self._shard, ()):
                self._layout.due(self._shard, number).unlink(missing_ok=True)
            for path in self._layout.journal_files(self._shard):
                path.unlink()
            fsync_dir(self._layout.journals)

    def _file(self) -> NotedFile:
        """The file that is written to, made first if need be. Raises RunStopped (disk)."""
        if self._writing is None:
            taken = self._layout.journal_names(self._shard)
            number = taken[-1].number + 1 if taken else 1
            path = self._layout.journal(JournalName(self._shard, number))
            while not self._fence.claim(path):  # this moment, by a process that was given up
                number += 1
                path = self._layout.journal(JournalName(self._shard, number))
            file = NotedFile(path, self._layout.due(self._shard, number))
            try:
                file.append(origin_record(origin(self._manifest, self._shard, number)))
            except BaseException:  # the disk is full, or whatever it is; it goes on its way
                file.close()
                raise
            self._writing = file
            self._files.append(file)
        return self._writing
