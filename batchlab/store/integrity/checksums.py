"""checksums.log: what a run directory must hold, noted before, or as soon as, it does.

    {"part": NAME, "blake2b": DIGEST, "bytes": N, "totals": {…}}   a part, before it is published
    {"part": NAME, "blake2b": ""}                                  it is lost, and was given up (`losses`)
    {"shard": N, "journals": {"1": [BYTES, DIGEST]}, "totals": {…}}  how an open shard was left in order
    {"plan": DIGEST}                                               the plan in run.json

A later record takes the place of an earlier one of its kind. Earlier versions wrote parts only, without
`bytes`, and at first without totals.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from batchlab.store.disk.file_locks import alone_at
from batchlab.store.disk.files import AppendFile, disk_errors, file_content, plain_file
from batchlab.store.journals.journal import (
    JournalScan,
    Record,
    cut_torn_tail,
    encode,
    repaired_records,
    whole_lines,
)
from batchlab.store.layout import Layout, part_number
from batchlab.totals import Totals

GIVEN_UP = ""  # the digest of a part that is not to be there any more


@dataclass(slots=True)
class PartNotes:
    """What was noted of a part: each version that it had, and the last totals.

    Attributes:
        digests: of all versions, the last noted last; `GIVEN_UP` when it is not to be there.
        sizes: bytes of each version for which that was noted.
        totals: as a mapping of their fields; None in an older record.
    """

    digests: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    totals: Any = None

    @property
    def is_due(self) -> bool:
        """Whether it must be there."""
        return bool(self.digests) and self.digests[-1] != GIVEN_UP


@dataclass(frozen=True, slots=True)
class Left:
    """How an open shard was left by a process that ended in order.

    Attributes:
        journals: bytes and BLAKE2b of each, by its number.
        totals: what the shard had come to.
    """

    journals: Mapping[int, tuple[int, str]]
    totals: Totals


@dataclass(slots=True)
class Noted:
    """All of checksums.log: parts by name, open shards by number, and the digest of the plan."""

    parts: dict[str, PartNotes] = field(default_factory=dict)
    left: dict[int, Left] = field(default_factory=dict)
    plan: str | None = None

    def take(self, record: Mapping[str, Any]) -> None:
        """The next record. What is none of those above is of a later version, and says nothing here."""
        match record:
            case {"part": str(part), "blake2b": str(digest)}:
                notes = self.parts.setdefault(part, PartNotes())
                notes.digests.append(digest)
                notes.totals = record.get("totals", notes.totals if digest == GIVEN_UP else None)
                if isinstance(size := record.get("bytes"), int):
                    notes.sizes[digest] = size
                if (index := part_number(part)) is not None:
                    self.left.pop(index, None)  # it has been sealed since
            case {"shard": int(index), "journals": dict(journals), "totals": dict(totals)}:
                with contextlib.suppress(LookupError, TypeError, ValueError):
                    found = {int(number): (int(one[0]), str(one[1])) for number, one in journals.items()}
                    self.left[index] = Left(found, Totals.of(totals))
            case {"plan": str(digest)}:
                self.plan = digest


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

    def noted(self) -> Noted:
        """All that was noted."""
        noted = Noted()
        for record in self._records():
            noted.take(record.data)
        return noted

    def digests(self) -> dict[str, list[str]]:
        """Every digest a part ever had, the last noted last.

        A crash may come between writing a part and publishing it.
        """
        return {part: notes.digests for part, notes in self.noted().parts.items()}

    def totals(self) -> dict[str, Any]:
        """The totals noted last for each part, as a mapping of their fields; None in an older record."""
        return {part: notes.totals for part, notes in self.noted().parts.items()}

    def _records(self) -> Iterator[Record]:
        with contextlib.suppress(FileNotFoundError):
            yield from JournalScan(self._path).records()


class ChecksumLog(Checksums):
    """The same, to be added to. Processes of the run append in turn."""

    def note(self, part: str, digest: str, size: int, totals: Totals) -> None:
        """Appends a part's record: on disk when this returns. Raises RunStopped (disk)."""
        self.append(checksum_record(part, digest, size, totals))

    def append(self, *records: Mapping[str, Any]) -> None:
        """Appends records, such as `last` or another machine gave; see `note`."""
        append_records(self._path, records)

    def repair(self) -> None:
        """Cuts off what a crash has left half written. Raises CorruptRun for any other damage."""
        if self._path.exists():
            for _ in repaired_records(
                self._path, lost="a part whose record was lost is refused until it is noted again"
            ):
                pass


def damaged(path: Path) -> list[tuple[int, int]]:
    """(offset, length) of what is no record in a log, and no crash has left; nothing where it is no file."""
    scan = JournalScan(path)
    with contextlib.suppress(OSError):
        for _ in scan.records():
            pass
    return scan.damaged


def append_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Appends to a log of the run: on disk when this returns. Raises RunStopped (disk)."""
    with disk_errors(path), alone_at(path):
        file = AppendFile(path)
        with contextlib.closing(file):
            cut_torn_tail(file)  # of another process that was killed while it wrote
            file.append(b"".join(encode(json.dumps(record).encode()) for record in records))
            file.sync()


def checksum_record(part: str, digest: str, size: int, totals: Totals) -> dict[str, Any]:
    """What is noted of a part."""
    return {"part": part, "blake2b": digest, "bytes": size, "totals": asdict(totals)}


def given_up_record(part: str) -> dict[str, Any]:
    """A part is not to be there any more."""
    return {"part": part, "blake2b": GIVEN_UP}


def plan_record(digest: str) -> dict[str, Any]:
    """The plan in run.json."""
    return {"plan": digest}


def left_record(layout: Layout, shard: int, totals: Totals) -> dict[str, Any]:
    """How an open shard is left now: its journals are synced, and nobody writes to them."""
    journals = {}
    for name in layout.journal_names(shard):
        if not name.attempt:
            data = whole_lines(file_content(layout.journal(name)))
            journals[str(name.number)] = [len(data), prefix_digest(data)]
    return {"shard": shard, "journals": journals, "totals": asdict(totals)}


def holds(journal: Path, size: int, digest: str) -> bool:
    """Whether a journal begins as it was noted."""
    with contextlib.suppress(FileNotFoundError), plain_file(journal) as file:
        data = file.read(size)
        return len(data) == size and prefix_digest(data) == digest
    return False


def prefix_digest(data: bytes) -> str:
    """BLAKE2b of what a journal held."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
