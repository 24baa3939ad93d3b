"""What a run must hold and does not: a part or a journal that is gone, cut, or another one's.

A part is noted in `checksums.log` before it is published, and an open shard when a process leaves it in
order. What is there no more was paid, and would be paid again: a run is refused until it is restored, or
given up. Then it stays in the run's books, in `lost.log`, through every generation.

Nothing is read but names, sizes, and the journals of open shards; `verify` reads the rest.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from batchlab.counts import counted
from batchlab.records import Shard
from batchlab.store.checksums import (
    GIVEN_UP,
    ChecksumLog,
    PartNotes,
    append_records,
    given_up_record,
    holds,
    left_record,
)
from batchlab.store.disk.files import disk_errors, moved
from batchlab.store.layout import JOURNALS, JournalName, Layout, part_key, part_name
from batchlab.store.parts import file_digest
from batchlab.store.view import RunView
from batchlab.totals import Totals

_MARK, _LEAST_BYTES = b"PAR1", 12  # at both ends of a Parquet file


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that was paid for, and is not there as it was.

    Attributes:
        name: of the file, below the run directory.
        why: what is wrong, in a few words.
        rows: whose results are there no more.
        waste: what they had come to, as paid and not kept.
        digest: of the version that was noted last; "" of a stranger.
        is_strange: the file is there, and nothing says that it is this run's.
    """

    shard: int
    name: str
    why: str
    rows: int = 0
    waste: Totals = field(default_factory=Totals)
    digest: str = ""
    is_strange: bool = False

    @property
    def is_part(self) -> bool:
        """Whether it is a part, and no journal."""
        return self.name == part_key(self.shard)


def loss_text(loss: Loss) -> str:
    """`completions/part-000001.parquet: gone (2 rows, $0.0012)`."""
    if loss.is_strange:
        return f"{loss.name}: {loss.why}"
    usd = loss.waste.spent_usd
    cost = "of unknown cost" if usd is None else f"${usd:,.6f}".rstrip("0").rstrip(".")
    return f"{loss.name}: {loss.why} ({counted(loss.rows, 'row')}, {cost})"


def find_losses(run: RunView) -> list[Loss]:
    """All that a run has lost. Another process may be at work on it."""
    found = list(_losses(run))
    if not found:
        return []
    # a shard that was being sealed while we looked is not lost the second time
    again = {(loss.name, loss.why) for loss in _losses(run)}
    return [loss for loss in found if (loss.name, loss.why) in again]


def give_up(run: RunView, losses: Sequence[Loss]) -> None:
    """Goes on without what is lost: its rows have no result any more, its cost stays in the books.

    A file in its place is kept beside it as `NAME.damaged`. Raises RunStopped (disk).
    """
    layout, generation = run.layout, run.manifest.generation
    # the books first: a crash in between leaves a loss that is found, and counted, once
    records = [
        {
            "generation": generation,
            "name": loss.name,
            "blake2b": loss.digest,
            "rows": loss.rows,
            "at": time.time(),
            "totals": asdict(loss.waste),
        }
        for loss in losses
    ]
    append_records(layout.lost, records)
    notes = []
    for loss in losses:
        path = layout.root / loss.name
        if not loss.is_part:
            notes.append(left_record(layout, loss.shard, run.shard_books(loss.shard)[0]))
            continue
        if path.exists():
            with disk_errors(path):
                moved(path, _beside(path))
        notes.append(given_up_record(path.name))
    ChecksumLog(run.path).append(*notes)


def take_back(run: RunView) -> list[str]:
    """Names of parts that were given up, and are there again as they were: they are kept, and no loss."""
    log = ChecksumLog(run.path)
    noted, found = log.noted(), []
    open_shards = run.unsealed()
    for index in sorted(run.part_sizes().keys() - open_shards):
        notes = noted.parts.get(part_name(index))
        if notes is None or notes.is_due:
            continue
        digest = file_digest(run.part(index))
        if (record := log.last(part_name(index), digest)) is None:
            continue
        key = {"generation": run.manifest.generation, "name": part_key(index), "blake2b": digest}
        append_records(run.layout.lost, [{**key, "rows": 0, "totals": asdict(Totals())}])
        log.append(record)
        found.append(part_key(index))
    return found


def _losses(run: RunView) -> Iterator[Loss]:
    noted, sizes = run.noted(), run.part_sizes()
    for shard in run.manifest.plan.shards:
        notes = noted.parts.get(part_name(shard.index))
        if notes is not None and notes.is_due and shard.index not in sizes:
            yield from _gone(run, shard, notes)
        elif shard.index in sizes and (why := _strange(run, shard, notes, sizes[shard.index])):
            known = notes is not None and any(notes.digests)
            yield _lost_part(shard, notes, why) if known else _stranger(shard, why)
        if shard.index in noted.left:
            left = noted.left[shard.index]
            for number, (size, digest) in sorted(left.journals.items()):
                if size and (why := _journal_problem(run.layout, shard.index, number, size, digest)):
                    there = run.shard_books(shard.index)[0]
                    name = f"{JOURNALS}/{JournalName(shard.index, number).file_name}"
                    rows = max(0, left.totals.rows - there.rows)
                    yield Loss(shard.index, name, why, rows, (left.totals - there).as_waste(), digest)
                    break  # the totals are of the shard


def _gone(run: RunView, shard: Shard, notes: PartNotes) -> Iterator[Loss]:
    """The part is not there. After a crash before it was published, the journals have all of it."""
    if len(run.open_results(shard.index).by_row) < shard.rows:
        yield _lost_part(shard, notes, "gone", there=run.open_results(shard.index).totals())


def _strange(run: RunView, shard: Shard, notes: PartNotes | None, size: int | None) -> str | None:
    """Why a part that is there cannot be the one that was written; None when it can."""
    if notes is None or not any(notes.digests):
        return "nothing in checksums.log says that it is a part of this run"
    if size is None:  # at a URL, where each look costs a request
        return None
    versions = {digest for digest in notes.digests if digest != GIVEN_UP}
    if versions <= notes.sizes.keys() and size not in notes.sizes.values():
        return f"not the part that was written: {size:,} bytes, not {notes.sizes[_last(notes)]:,}"
    part = run.part(shard.index)
    if isinstance(part, Path) and not _is_parquet(part):
        return f"not the part that was written: {size:,} bytes that are no whole Parquet file"
    return None


def _lost_part(shard: Shard, notes: PartNotes | None, why: str, there: Totals | None = None) -> Loss:
    assert notes is not None, "asked of a part that was noted"
    there = there or Totals()
    rows = max(0, shard.rows - there.rows)
    waste = Totals(waste_without_cost=rows)  # an earlier version noted no totals
    with contextlib.suppress(TypeError, ValueError):
        waste = (Totals.of(notes.totals) - there).as_waste()
    return Loss(shard.index, part_key(shard.index), why, rows, waste, _last(notes))


def _last(notes: PartNotes) -> str:
    """The digest of the version that was noted last, given up or not."""
    return [digest for digest in notes.digests if digest != GIVEN_UP][-1]


def _stranger(shard: Shard, why: str) -> Loss:
    return Loss(shard.index, part_key(shard.index), why, is_strange=True)


def _journal_problem(layout: Layout, shard: int, number: int, size: int, digest: str) -> str | None:
    """What is wrong with a journal that was left in order; None when nothing is."""
    names = [name for name in layout.journal_names(shard) if name.number == number]
    if any(holds(layout, name, size, digest) for name in names):
        return None
    path = layout.journal(JournalName(shard, number))
    if path.with_name(f"{path.name}.damaged").exists():
        return None  # it was mended, and that was said
    if not names:
        return "gone"
    return f"not the journal that was written: its first {size:,} bytes are others, or not there"


def _is_parquet(path: Path) -> bool:
    """Whether a file begins and ends as Parquet does: not one that was cut off."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if path.stat().st_size < _LEAST_BYTES or file.read(len(_MARK)) != _MARK:
            return False
        file.seek(-len(_MARK), 2)
        return file.read() == _MARK
    return False


def _beside(path: Path) -> Path:
    """A free name for a file that is kept, and is not what it was."""
    number = 0
    while True:
        kept = path.with_name(f"{path.name}.damaged{f'.{number}' if number else ''}")
        if not kept.exists():
            return kept
        number += 1
