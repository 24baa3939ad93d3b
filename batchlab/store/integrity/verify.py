"""Proving that a run is whole: everything it holds is read, and checked against the plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from batchlab.counts import counted
from batchlab.errors import CorruptRun
from batchlab.records import Shard
from batchlab.store.integrity.checksums import PartNotes
from batchlab.store.integrity.losses import find_losses, loss_text
from batchlab.store.journals.journal import JournalScan
from batchlab.store.layout import MANIFEST, part_key, part_name
from batchlab.store.manifest import plan_digest
from batchlab.store.parts import file_digest, part_results, part_tables, stated_totals
from batchlab.store.view import RunView
from batchlab.totals import Totals, totals_of


@dataclass(slots=True)
class VerifyReport:
    """What a run holds, and everything found wrong with it."""

    totals: Totals = field(default_factory=Totals)
    pending: int = 0
    problems: list[str] = field(default_factory=list)


def verify(run: RunView, shards: Sequence[Shard]) -> VerifyReport:
    """Reads all of a run and checks it against the plan's shards. Damage is a problem, and raises nothing."""
    report = VerifyReport()
    parts, with_journal = set(run.part_sizes()), run.unsealed()
    known = {shard.index for shard in shards}
    for index in sorted((parts | with_journal) - known):
        report.problems.append(f"shard {index}: results that no input row belongs to")
    noted = run.noted()
    report.problems += run.damaged_notes()
    if noted.plan not in (None, plan_digest(run.manifest.plan)):
        report.problems.append(f"{run.place}/{MANIFEST}: its plan is not the one that was written")
    losses = find_losses(run)
    report.problems += [f"{run.place}/{loss_text(loss)}" for loss in losses]
    lost = {loss.name for loss in losses}
    for shard in shards:
        try:
            if shard.index in parts and part_key(shard.index) not in lost:
                _verify_noted(run, shard, noted.parts.get(part_name(shard.index), PartNotes()), report)
            if shard.index in parts - with_journal:
                _verify_part(run, shard, report)
            else:
                _verify_open(run, shard, report)
        except CorruptRun as error:
            report.problems.append(str(error))
    return report


def _verify_noted(run: RunView, shard: Shard, notes: PartNotes, report: VerifyReport) -> None:
    """Whether a part is the one that was written, and counts for what was noted of it."""
    part = run.part(shard.index)
    digest = file_digest(part)
    if digest not in notes.digests:
        report.problems.append(f"{part}: not the file that was written (checksum differs)")
    elif not notes.is_due:
        report.problems.append(f"{part}: was given up as lost, and is there again; the next run keeps it")
    elif digest == notes.digests[-1] and isinstance(notes.totals, dict):
        stated, names = stated_totals(part)
        try:
            is_same = _same_totals(Totals.of(notes.totals), set(names) & notes.totals.keys(), stated)
        except TypeError:
            is_same = False
        if not is_same:
            report.problems.append(f"{part}: checksums.log notes other totals of it")


def _verify_part(run: RunView, shard: Shard, report: VerifyReport) -> None:
    path, manifest = run.part(shard.index), run.manifest
    expected = shard.first_row
    totals = Totals()
    for table in part_tables(path):  # every column, so that every page's checksum is verified
        if manifest.prefix + "row_id" not in table.column_names:
            raise CorruptRun(f"{path}: damaged (its columns are not those of a part).")
        ids = table.column(manifest.prefix + "row_id").to_pylist()
        if ids != list(range(expected, expected + len(ids))):
            report.problems.append(f"{path}: rows are missing, doubled or out of order near row {expected}")
            return
        expected += len(ids)
    for result in part_results(path, manifest.prefix, manifest.vectors):
        totals += totals_of([result])
    if expected != shard.first_row + shard.rows:
        report.problems.append(
            f"{path}: {counted(expected - shard.first_row, 'row')}, the plan has {shard.rows}"
        )
    if not _same_totals(*stated_totals(path), totals):
        report.problems.append(f"{path}: the footer's totals differ from the sum of its rows")
    report.totals += totals


def _verify_open(run: RunView, shard: Shard, report: VerifyReport) -> None:
    for path in run.layout.journal_files(shard.index):
        scan = JournalScan(path)
        for _ in scan.records():
            pass
        report.problems += [f"{path}: {length} damaged bytes at {offset}" for offset, length in scan.damaged]
    results = run.open_results(shard.index).by_row
    outside = [row for row in results if not shard.first_row <= row < shard.first_row + shard.rows]
    if outside:
        report.problems.append(f"shard {shard.index}: a result for row {outside[0]}, which is not in it")
    for result in results.values():
        report.totals += totals_of([result])
    report.pending += shard.rows - len(results)


def _same_totals(stated: Totals, names: Collection[str], found: Totals) -> bool:
    for name in names:
        left, right = getattr(stated, name), getattr(found, name)
        if isinstance(left, float) or isinstance(right, float):
            if abs(left - right) > 1e-9 * max(1.0, abs(left)):
                return False
        elif left != right:
            return False
    return True
