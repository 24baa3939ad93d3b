"""What a run has paid for results that it has not, in words."""

from __future__ import annotations

from batchlab.counts import counted
from batchlab.looking.phrases import money
from batchlab.store.integrity.lost import beside_totals, lost_at_most, lost_totals
from batchlab.store.layout import Layout


def given_up_lines(layout: Layout) -> list[str]:
    """Lines, where there is anything: it is in the run's cost, and in no row's, lane's or receipt's."""
    beside = beside_totals(layout)
    totals, twice = lost_totals(layout) - beside, beside.cost_wasted_usd
    said = [money(totals.cost_wasted_usd)] if totals.cost_wasted_usd else []
    if rows := totals.waste_without_cost:
        at_most = lost_at_most(layout)[0]
        most = f"at most {money(at_most)}" if at_most else "of which nobody knows how much"
        said.append(f"what {counted(rows, 'row')} may have been billed, {most}")
    lines = [f"lost: {' and '.join(said)}, for results that are not here; in no row's cost"] if said else []
    if twice or beside.waste_without_cost:
        sum_ = money(twice) if not beside.waste_without_cost else "a sum of which not all is known"
        lines.append(f"billed twice: {sum_}, by batches that were ordered once too often; in no row's cost")
    return lines
