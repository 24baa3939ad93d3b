"""What a run must hold and does not: a part or a journal that is gone, cut, or another one's.

A part is noted in `checksums.log` before it is published, and an open shard when a process leaves it in
order; how far a journal goes is noted whenever it was synced (`due`), for processes that are killed. What is
there no more was paid, and would be paid again: a run is refused until it is restored, or given up. Then it
stays in the run's books, in `lost.log`, through every generation.

Nothing is read but names, sizes, and the journals of open shards; `verify` reads the rest.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchlab.counts import counted
from batchlab.records import Shard
from batchlab.store.batches import Batch, Step, read_batches
from batchlab.store.disk.files import disk_errors, moved, plain_file
from batchlab.store.integrity.checksums import (
    GIVEN_UP,
    ChecksumLog,
    Left,
    PartNotes,
    append_records,
    given_up_record,
    holds,
    left_record,
)
from batchlab.store.integrity.lost import lost_record
from batchlab.store.journals.due import Due, read_due
from batchlab.store.journals.origin import strange_origin
from batchlab.store.layout import JOURNALS, JournalName, part_key, part_name
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
    batches = _batches_of(run)
    # the books first: a crash in between leaves a loss that is found, and counted, once
    records = [
        lost_record(
            generation=generation,
            name=loss.name,
            digest=loss.digest,
            rows=loss.rows,
            totals=loss.waste,
            batches=[one.key for one in batches.get(loss.shard, ()) if _is_in(one, loss)],
        )
        for loss in losses
    ]
    append_records(layout.lost, records)
    notes = []
    for loss in losses:
        path = layout.root / loss.name
        if path.exists() and (loss.is_part or strange_origin(path, run.manifest)):
            with disk_errors(path):
                moved(path, _beside(path))
        if loss.is_part:
            notes.append(given_up_record(path.name))
        else:
            for number in layout.due_numbers(loss.shard).get(loss.shard, ()):
                layout.due(loss.shard, number).unlink(missing_ok=True)
            notes.append(left_record(layout, loss.shard, run.shard_books(loss.shard)[0]))
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
        generation, name = run.manifest.generation, part_key(index)
        nothing = lost_record(generation=generation, name=name, digest=digest, rows=0, totals=Totals())
        append_records(run.layout.lost, [nothing])
        log.append(record)
        found.append(part_key(index))
    return found


def _batches_of(run: RunView) -> dict[int, list[Batch]]:
    """The batches of this generation of a run, by shard. Raises CorruptRun."""
    found: defaultdict[int, list[Batch]] = defaultdict(list)
    for batch in read_batches(run.path).by_key.values():
        if batch.generation == run.manifest.generation:
            found[batch.shard].append(batch)
    return found


def _is_in(batch: Batch, loss: Loss) -> bool:
    """Whether the results of a batch of its shard are among what is lost.

    A part has those of all that were ordered before it was sealed, also where the log that says so of them
    was lost with it.
    """
    return batch.step is Step.MERGED or (loss.is_part and batch.is_out and not batch.is_retry)


def _losses(run: RunView) -> Iterator[Loss]:
    # what is due first: a journal that is being written may only be further by then
    all_dues = {
        shard: {number: due for number in numbers if (due := read_due(run.layout.due(shard, number)))}
        for shard, numbers in run.layout.due_numbers().items()
    }
    noted, sizes, with_journals = run.noted(), run.part_sizes(), run.unsealed()
    for shard in run.manifest.plan.shards:
        notes = noted.parts.get(part_name(shard.index))
        if notes is not None and notes.is_due and shard.index not in sizes:
            yield from _gone(run, shard, notes)
        elif shard.index in sizes and (why := _strange(run, shard, notes, sizes[shard.index])):
            known = notes is not None and any(notes.digests)
            yield _lost_part(shard, notes, why) if known else _stranger(shard, why)
        dues, left = all_dues.get(shard.index), noted.left.get(shard.index)
        if dues or left or shard.index in with_journals:
            yield from _lost_journals(run, shard, dues or {}, left)


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


def _lost_journals(run: RunView, shard: Shard, dues: Mapping[int, Due], left: Left | None) -> Iterator[Loss]:
    """What is wrong with the journals of a shard: one loss for all that they lack, and the strangers."""
    layout, names = run.layout, run.layout.journal_names(shard.index)
    strange = {
        name.number: (name, why)
        for name in names
        if (why := strange_origin(layout.journal(name), run.manifest)) is not None
    }
    there = run.shard_books(shard.index)[0] if left or dues else Totals()
    # what the shard had come to when that was noted last
    had = max(
        [due.tally.totals for due in dues.values()] + ([left.totals] if left else []),
        key=lambda one: (one.attempts, one.rows),
        default=Totals(),
    )
    for number in sorted({*dues, *(left.journals if left else ())}):
        name = JournalName(shard.index, number)
        paths = [layout.journal(one) for one in names if one.number == number and number not in strange]
        due, noted = dues.get(number), left.journals.get(number) if left else None
        if noted is not None and noted[0] and not any(holds(path, *noted) for path in paths):
            size, digest = noted
        elif due is not None and not any(map(due.is_met_by, paths)):
            size, digest = due.size, due.end
            if not paths and there.rows >= due.tally.rows and there.attempts >= due.tally.attempts:
                continue  # its shard was sealed, and only the note was left behind
        else:
            continue
        path = layout.journal(name)
        if path.with_name(f"{path.name}.damaged").exists():
            continue  # it was mended, and that was said
        why = _cut_text(size, paths)
        if number in strange:
            name, why = strange.pop(number)
        rows, waste = max(0, had.rows - there.rows), (had - there).as_waste()
        yield Loss(shard.index, f"{JOURNALS}/{name.file_name}", why, rows, waste, digest)
        break  # the sums are of the shard
    for name, why in strange.values():
        yield Loss(shard.index, f"{JOURNALS}/{name.file_name}", why, is_strange=True)


def _cut_text(size: int, paths: Sequence[Path]) -> str:
    """Why none of what is there is the journal of which so many bytes were written."""
    if not paths:
        return "gone"
    there = max(path.stat().st_size for path in paths)
    if there < size:
        return f"ends after {there:,} bytes, and {size:,} were written"
    return f"not the journal that was written: its first {size:,} bytes are others"


def _is_parquet(path: Path) -> bool:
    """Whether a file begins and ends as Parquet does: not one that was cut off."""
    with contextlib.suppress(OSError), plain_file(path) as file:
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
