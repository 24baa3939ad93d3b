"""checksums.log: the BLAKE2b and the totals of every part, noted before the part is published."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batchlab.store.disk.file_locks import alone_at
from batchlab.store.disk.files import AppendFile, disk_errors
from batchlab.store.journal import JournalScan, Record, cut_torn_tail, encode, repaired_records
from batchlab.store.layout import Layout
from batchlab.totals import Totals


class Checksums:
    """The checksums of a run directory, for reading: that needs no lock."""

    def __init__(self, run: Path) -> None:
        self._path = Layout(run).checksums

    def last(self, part: str, digest: str) -> dict[str, Any] | None:
        """The record noted last for this version of a part, if there is one."""
        found = None
        for record in self._records():
            if (record.data.get("part"), record.data.get("blake2b")) == (part, digest):
                found = record.data
        return found

    def digests(self) -> dict[str, list[str]]:
        """Every digest a part ever had, the last noted last.

        A crash may come between writing a part and publishing it.
        """
        digests: dict[str, list[str]] = {}
        for record in self._records():
            digests.setdefault(str(record.data.get("part")), []).append(str(record.data.get("blake2b")))
        return digests

    def totals(self) -> dict[str, Any]:
        """The totals noted last for each part, as a mapping of their fields; None in an older record."""
        return {str(record.data.get("part")): record.data.get("totals") for record in self._records()}

    def _records(self) -> Iterator[Record]:
        with contextlib.suppress(FileNotFoundError):
            yield from JournalScan(self._path).records()


class ChecksumLog(Checksums):
    """The same, to be added to. Processes of the run append in turn."""

    def note(self, part: str, digest: str, totals: Totals) -> None:
        """Appends a part's record: on disk when this returns. Raises RunStopped (disk)."""
        self.append(checksum_record(part, digest, totals))

    def append(self, record: dict[str, Any]) -> None:
        """Appends a record that `last` or another machine gave; see `note`."""
        with disk_errors(self._path), alone_at(self._path):
            file = AppendFile(self._path)
            with contextlib.closing(file):
                cut_torn_tail(file)  # of another process that was killed while it wrote
                file.append(encode(json.dumps(record).encode()))
                file.sync()

    def repair(self) -> None:
        """Cuts off what a crash has left half written. Raises CorruptRun for any other damage."""
        if self._path.exists():
            for _ in repaired_records(self._path):
                pass


def checksum_record(part: str, digest: str, totals: Totals) -> dict[str, Any]:
    """What is noted of a part."""
    return {"part": part, "blake2b": digest, "totals": asdict(totals)}
