"""What has come of a run with batches that was killed, held against its service's books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from batchlab.store.batches import read_batches
from batchlab.store.integrity.lost import lost_totals
from batchlab.store.layout import Layout, is_run
from batchlab.store.view import RunView
from batchlab.totals import Totals
from tests.canary import files_with_key
from tests.proofs.crash.batch_books import BY_BATCH, bills_by_row, compared, row_found, sent_lines
from tests.proofs.crash.batch_found import Found, Line
from tests.proofs.crash.batch_ground import Ground

VERIFIED_S = 90.0


class Judge:
    """Looks at one run that has ended.

    Args:
        line: of the step at which it died last.
        lost_at: how many bills there were when a directory was lost last.
        problem: told of each promise that was broken.
    """

    def __init__(
        self, ground: Ground, found: Found, line: Line, lost_at: int, problem: Callable[[str], None]
    ) -> None:
        self._ground = ground
        self._found = found
        self._line = line
        self._lost_at = lost_at
        self._problem = problem

    def look(self) -> None:
        """Compares the run with the service's books."""
        ground, counts, line = self._ground, self._found.counts, self._line
        ground.settled()
        books, ledger = ground.server.batches(), ground.server.ledger()
        killed = ground.here / "workers.killed"
        counts.update(
            Counter(
                {
                    "runs": 1,
                    "rows": ground.rows,
                    "batches": len(books["batches"]),
                    "cancelled": sum(one["state"] == "cancelled" for one in books["batches"]),
                    "workers killed": killed.read_text().count("\n") if killed.exists() else 0,
                }
            )
        )
        if twice := len(books["submitted_twice"]):
            line.twice += twice
            self._problem(f"{twice} lines were submitted twice")
        if not is_run(ground.path):
            self._problem("there is no run")
            return
        if said := ground.verified(VERIFIED_S):
            line.lost += 1
            self._problem(f"verify fails: {said[-1500:]}")
        counts["with a loss in their books"] += lost_totals(Layout(ground.path)) != Totals()
        totals = RunView.open(ground.path).totals()
        if totals.rows != ground.rows:
            line.lost += ground.rows - totals.rows
            self._problem(f"{totals.rows} of {ground.rows} rows have a result")
        self._rows(books)
        self._sums(totals, books, ledger)
        if leaks := files_with_key(ground.home):
            self._problem(f"the key is in {leaks[0]}")

    def _rows(self, books: Mapping[str, Any]) -> None:
        """Each row's bills, whatever lane they are of."""
        ground, counts = self._ground, self._found.counts
        strays = read_batches(ground.path).strays
        bills, strange = bills_by_row(ground.bills(), books, ground.contents, strays)
        counts["came late, and told"] += len(strays)
        if strange:
            self._problem(f"{strange} bills of nothing that was asked")
        for result in RunView.open(ground.path).all_results():
            of_row = bills.get(result.row_id, [])
            one = row_found(result, of_row, lost_at=self._lost_at)
            if one.unsaid:
                self._line.billed += one.unsaid
                self._problem(f"row {result.row_id}: {one.unsaid} bills that nothing tells of: {of_row}")
            if one.problem:
                self._problem(one.problem)
            counts["bills of live calls"] += sum(bill.tier != BY_BATCH for bill in of_row)
            counts["billed twice, as said"] += max(0, len(of_row) - 1 - one.unsaid)
            counts["said to be cut off"] += result.cut_off

    def _sums(self, totals: Totals, books: Mapping[str, Any], ledger: Mapping[str, Any]) -> None:
        """All of it; attempts only where no directory was lost, which had some that came to nothing."""
        ground, is_live = self._ground, self._found.way.is_live
        strays = read_batches(ground.path).strays
        pairs = {} if is_live else compared(totals, ledger)
        if strays:  # what they answered is no answer of ours
            pairs.pop("answers", None)
        if left := [one.id for one in strays.values() if not one.is_settled]:
            self._problem(f"of {left}, ordered once too often, nobody has told what they cost")
        if not ground.at_url:
            ours = read_batches(ground.path).by_key.values()
            known, back = {one.id for one in ours}, {one.id for one in ours if one.is_cancelled}
            sent = sent_lines(books, known, back)
            sent += sum(bill["tier"] != BY_BATCH for bill in ground.bills())
            most = totals.cut_off if is_live else 0  # of calls that were cut off, some had never left
            if not sent <= totals.attempts <= sent + most:
                pairs["attempts"] = totals.attempts, sent
        for what, (here, there) in pairs.items():
            if abs(here - there) > 1e-9 * max(1.0, abs(there)):
                self._problem(f"{what}: {here} in our books, {there} in the service's")
