"""Proving that a run is whole: everything it holds is read, and checked against the plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from batchlab.errors import CorruptRun
from batchlab.records import Shard
from batchlab.store.journal import JournalScan
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
    sealed, with_journal = run.sealed(), run.unsealed()
    known = {shard.index for shard in shards}
    for index in sorted((sealed | with_journal) - known):
        report.problems.append(f"shard {index}: results that no input row belongs to")
    digests = run.digests()
    for shard in shards:
        try:
            if shard.index in sealed:
                part = run.part(shard.index)
                if file_digest(part) not in digests.get(part.name, ()):
                    report.problems.append(f"{part}: not the file that was written (checksum differs)")
                _verify_part(run, shard, report)
            else:
                _verify_open(run, shard, report)
        except CorruptRun as error:
            report.problems.append(str(error))
    return report


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
        report.problems.append(f"{path}: {expected - shard.first_row} rows, the plan has {shard.rows}")
    if not _same_totals(*stated_totals(path), totals):
        report.problems.append(f"{path}: the footer's totals differ from the sum of its rows")
    report.totals += totals


def _verify_open(run: RunView, shard: Shard, report: VerifyReport) -> None:
    results = run.open_results(shard.index).by_row
    for path in run.layout.journal_files(shard.index):
        scan = JournalScan(path)
        for _ in scan.records():
            pass
        report.problems += [f"{path}: {length} damaged bytes at {offset}" for offset, length in scan.damaged]
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
