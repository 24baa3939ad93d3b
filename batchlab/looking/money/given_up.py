"""What a run has paid for results that it has not, in words."""

from __future__ import annotations

from batchlab.counts import counted
from batchlab.looking.phrases import money
from batchlab.store.integrity.lost import lost_at_most, lost_totals
from batchlab.store.layout import Layout


def given_up_lines(layout: Layout) -> list[str]:
    """A line, where there is anything: it is in the run's cost, and in no row's, lane's or receipt's."""
    totals = lost_totals(layout)
    said = [money(totals.cost_wasted_usd)] if totals.cost_wasted_usd else []
    if rows := totals.waste_without_cost:
        at_most = lost_at_most(layout)[0]
        most = f"at most {money(at_most)}" if at_most else "of which nobody knows how much"
        said.append(f"what {counted(rows, 'row')} may have been billed, {most}")
    return [f"lost: {' and '.join(said)}, for results that are not here; in no row's cost"] if said else []
