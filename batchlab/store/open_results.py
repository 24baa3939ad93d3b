"""The results of a shard that is not sealed, for a reader: it takes no lock and repairs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchlab.records import Result, is_replaceable
from batchlab.store.journal import JournalScan
from batchlab.store.open_shard import journal_paths, part_path
from batchlab.store.parts import part_results
from batchlab.store.replay import Replay
from batchlab.totals import Totals, sum_of, totals_of


@dataclass(frozen=True, slots=True)
class OpenResults:
    """What an open shard holds.

    Attributes:
        by_row: final results by row_id.
        replay: what requests of the other rows have come to.
    """

    by_row: dict[int, Result]
    replay: Replay

    def totals(self) -> Totals:
        """Sums over the results, and what was sent and paid for rows without one."""
        pending = (one.counted() for row, one in self.replay.earlier.items() if row not in self.by_row)
        return totals_of(self.by_row.values()) + sum_of(pending)


def open_results(root: Path, index: int, prefix: str, vectors: Sequence[str] = ()) -> OpenResults:
    """The results of a shard that has journals: these over its part, if it has one.

    Args:
        root: the run directory.
        prefix, vectors: as the run's parts have them.
    """
    results: dict[int, Result] = {}
    replay = Replay()
    part = part_path(root, index)
    if part.exists():
        results = {result.row_id: result for result in part_results(part, prefix, vectors)}
    for path in journal_paths(root, index):
        with contextlib.suppress(FileNotFoundError):  # sealed while we read
            for record in JournalScan(path).records():
                result = replay.apply(record.data)
                if result is None:
                    continue
                old = results.get(result.row_id)
                if old is None or is_replaceable(old):
                    results[result.row_id] = result
    replay.end()
    return OpenResults(results, replay)
