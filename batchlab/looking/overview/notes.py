"""What a person should know of a run's figures: what they do not hold. Sentences."""

from __future__ import annotations

from batchlab.counts import counted
from batchlab.looking.phrases import finish_text
from batchlab.totals import Totals


def notes_of(
    totals: Totals, planned: int, *, runs: bool, has_history: bool, shares_requests: bool = False
) -> list[str]:
    """What is missing, unknown, or not as it seems.

    Args:
        planned: rows of the input.
        runs: whether it runs: then nobody wonders at rows without a result.
        shares_requests: whether several rows may be in one request.
    """
    said = []
    if totals.rows < planned and not runs:
        left = counted(planned - totals.rows, "row")
        said.append(f"{left} of {planned:,} have no final result yet.")
    if not totals.answered:
        said.extend([] if runs else ["No row has an answer."])
    elif totals.rows_without_usage:
        said.append(
            f"{counted(totals.rows_without_usage, 'row')} reported no token usage: "
            "tokens and cost are those of the others."
        )
    unpriced = totals.rows_without_cost - totals.rows_without_usage
    if unpriced > 0:
        said.append(
            f"{counted(unpriced, 'row')} have no known price: cost is that of the others. "
            "Set [price] in the job to know it from the start; batchlab cost tries prices afterwards."
        )
    if totals.waste_without_cost:
        said.append(
            f"{counted(totals.waste_without_cost, 'row')} had attempts that were paid and not kept, at an "
            "unknown cost: it is in no sum."
        )
    if totals.cut_off:
        said.append(
            f"A crash cut off {counted(totals.cut_off, 'request')}: they may be billed, and are in no sum."
        )
    if totals.unknown_finish:
        said.append(f"Some answers ended for {finish_text(totals.unknown_finish)}; they are kept as ok.")
    if shares_requests and totals.attempts:
        said.append("Requests are counted by row: those that shared one count one each.")
    if totals.rows and not has_history:
        said.append("The run left no history of window and rate limits.")
    return said
