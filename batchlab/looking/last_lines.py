"""The last lines of a run."""

from __future__ import annotations

from collections.abc import Sequence

from batchlab.counts import counted
from batchlab.looking.not_ok import Cause, what_to_do
from batchlab.looking.phrases import changed_in_output, cost_text, duration, notes, tokens_text
from batchlab.run_end import RunSummary
from batchlab.store.layout import PARTS


def last_lines(
    summary: RunSummary,
    command: str,
    why: Sequence[Cause] = (),
    max_tokens: int | None = None,
    *,
    asked_again: bool = False,
) -> list[str]:
    """What happened, what it cost, where it is, and what to type next.

    Args:
        why: rows failed, the commonest cause first.
        max_tokens: what answers were allowed, if that was the same for all.
    """
    totals = summary.totals
    counts = [f"{totals.ok:,} ok"]
    counts += [
        f"{count:,} {word}"
        for word, count in (
            ("truncated", totals.truncated),
            ("filtered", totals.filtered),
            ("invalid", totals.invalid),
            ("failed", totals.failed),
            ("pending", summary.pending),
        )
        if count
    ]
    head = "stopped" if summary.stopped else "done"
    sent = f"{counted(summary.sent, 'request')} in {duration(summary.elapsed_s)}"
    lines = [f"{head}: {counted(summary.input_rows, 'row')} = {' + '.join(counts)} ({sent})"]
    lines += notes(totals)
    lines.append(f"tokens: {tokens_text(totals)}")
    lines.append(f"cost: {cost_text(totals, summary.remote or summary.run_dir)}")
    if totals.reused:
        lines.append(
            f"reused: {counted(totals.reused, 'row')} got the answer to an identical request, unpaid"
        )
    if summary.insecure:
        lines.append(f"insecure: TLS certificates of {', '.join(summary.insecure)} were not verified")
    if totals.cut_off:
        count = counted(totals.cut_off, "request")
        lines.append(f"cut off: the answers to {count} were lost by a crash; each may have been billed")
    places = [f"{summary.remote or summary.run_dir}/{PARTS}", summary.output, summary.errors_file]
    lines.append(f"results: {' and '.join(place for place in places if place)}")
    if summary.left_out:
        lines.append(
            f"left out: {counted(summary.left_out, 'pending row')} without a line in {summary.output}"
        )
    if summary.output:
        lines += changed_in_output(
            summary.run_dir, summary.output, quoted=summary.quoted_cells, nulled=summary.nulled_values
        )
    if summary.stopped:
        return [*lines, f"why: {summary.message}", f"to go on: {command}"]
    return (
        lines
        + what_to_do(summary.totals, summary.run_dir, why, max_tokens, asked_again=asked_again)
        + _next_lines(summary)
    )


NEXT = "next: "  # before it there is room for an answer


def _next_lines(summary: RunSummary) -> list[str]:
    """What to look at, and why it ended so."""
    totals, lines = summary.totals, []
    if totals.failed or totals.invalid:
        only = ",".join(word for word in ("failed", "invalid") if getattr(totals, word))
        lines.append(f"{NEXT}batchlab show {summary.run_dir} --status {only}")
    came = [f"{count:,} {word}" for word in summary.fail_on if (count := getattr(totals, word))]
    if came:
        lines.append(f"exit code {summary.exit_code}: {{output.fail_on}} names {' and '.join(came)}")
    if not totals.failed and not totals.invalid and summary.is_news:
        lines.append(f"{NEXT}batchlab show {summary.run_dir}")
        lines.append(f"to prove that it is whole: batchlab verify {summary.run_dir}")
    return lines
