"""The last lines of a run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from batchlab.counts import counted
from batchlab.looking.not_ok import Cause, what_to_do
from batchlab.looking.phrases import changed_in_output, cost_text, duration, notes, tokens_text
from batchlab.progress.out import counted_batches
from batchlab.run_end import RunSummary, StopReason
from batchlab.shell import command_line
from batchlab.store.layout import PARTS


def last_lines(
    summary: RunSummary,
    command: str,
    why: Sequence[Cause] = (),
    max_tokens: int | None = None,
    *,
    receipt: Sequence[str] = (),
    asked_again: bool = False,
) -> list[str]:
    """What happened, what it cost, where it is, and what to type next.

    Args:
        why: rows failed, the commonest cause first.
        max_tokens: what answers were allowed, if that was the same for all.
        receipt: what lanes came to.
    """
    totals = summary.totals
    out = min(summary.rows_out, summary.pending)  # of rows that are asked again there may be more
    counts = [f"{totals.ok:,} ok"]
    counts += [
        f"{count:,} {word}"
        for word, count in (
            ("truncated", totals.truncated),
            ("filtered", totals.filtered),
            ("invalid", totals.invalid),
            ("failed", totals.failed),
            ("out in batches", out),
            ("pending", summary.pending - out),
        )
        if count
    ]
    head = "stopped" if summary.stopped else "done"
    if summary.stopped is StopReason.DETACHED:
        head = "detached"
    # what batches have brought was sent by an earlier invocation
    came = f"{counted(summary.came, 'row')} came"
    sent = counted(summary.sent, "request") if summary.sent or not summary.came else ""
    sent = f"{sent or came} in {duration(summary.elapsed_s)}"
    lines = [f"{head}: {counted(summary.input_rows, 'row')} = {' + '.join(counts)} ({sent})"]
    lines += notes(totals)
    lines.append(f"tokens: {tokens_text(totals)}")
    lines.append(f"cost: {cost_text(totals, summary.remote or summary.run_dir)}")
    lines += receipt
    if totals.reused:
        lines.append(
            f"reused: {counted(totals.reused, 'row')} got the answer to an identical request, unpaid"
        )
    if summary.insecure:
        lines.append(f"insecure: TLS certificates of {', '.join(summary.insecure)} were not verified")
    if totals.cut_off:
        count = counted(totals.cut_off, "request")
        lines.append(f"cut off: the answers to {count} were lost on the way; each may have been billed")
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
        return lines + _lines_of_stopped(summary, command)
    lines += what_to_do(totals, summary.run_dir, why, max_tokens, asked_again=asked_again)
    return lines + _next_lines(summary)


def _lines_of_stopped(summary: RunSummary, command: str) -> list[str]:
    """Why, what is still out, and how to come back."""
    run = summary.remote or summary.run_dir
    lines = [] if summary.stopped is StopReason.DETACHED else [f"why: {summary.message}"]
    if not summary.batches_out:
        return [*lines, f"to go on: {command}"]
    batches = counted_batches(summary.batches_out)
    then = "they go on at the service, and none is lost or ordered twice"
    if summary.stopped is StopReason.BATCH:
        then = "nothing of them is ordered, and paid, again unless you say so"
    lines.append(f"out: {batches} of {counted(summary.rows_out, 'row')}; {then}")
    lines.append(f"to take home what has ended: {command_line('collect', run)}")
    if summary.stopped is StopReason.DETACHED and sys.platform != "win32":
        lines.append(
            f"or by cron: */15 * * * * cd {shlex.quote(str(Path.cwd()))} && {command_line('collect', run)} -q"
        )
    return [*lines, f"to go on, and wait: {command}"]


NEXT = "next: "  # before it there is room for an answer


def _next_lines(summary: RunSummary) -> list[str]:
    """What to look at, and why it ended so."""
    totals, lines = summary.totals, []
    if totals.failed or totals.invalid:
        only = ",".join(word for word in ("failed", "invalid") if getattr(totals, word))
        lines.append(f"{NEXT}{command_line('show', summary.run_dir)} --status {only}")
    came = [f"{count:,} {word}" for word in summary.fail_on if (count := getattr(totals, word))]
    if came:
        lines.append(f"exit code {summary.exit_code}: {{output.fail_on}} names {' and '.join(came)}")
    if not totals.failed and not totals.invalid and summary.is_news:
        lines.append(f"{NEXT}{command_line('show', summary.run_dir)}")
        lines.append(f"to prove that it is whole: {command_line('verify', summary.run_dir)}")
    return lines
