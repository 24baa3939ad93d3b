"""What the end of a run tells the person who pays for it."""

from __future__ import annotations

from batchlab.run_summary import RunSummary


def summary_lines(summary: RunSummary, command: str) -> list[str]:
    """What happened, what it cost, where it is, and what to type next."""
    totals = summary.totals
    pending = summary.input_rows - totals.rows
    counts = [f"{totals.ok:,} ok"]
    counts += [
        f"{count:,} {word}"
        for word, count in (
            ("truncated", totals.truncated),
            ("filtered", totals.filtered),
            ("invalid", totals.invalid),
            ("failed", totals.failed),
            ("pending", pending),
        )
        if count
    ]
    head = "stopped" if summary.stopped else "done"
    sent = f"{counted(summary.sent, 'request')} in {duration(summary.elapsed_s)}"
    lines = [f"{head}: {counted(summary.input_rows, 'row')} = {' + '.join(counts)} ({sent})"]
    lines.append(f"tokens: {tokens_line(summary)}")
    lines.append(f"cost: {cost_line(summary)}")
    if totals.reused:
        lines.append(
            f"reused: {counted(totals.reused, 'row')} got the answer to an identical request, unpaid"
        )
    if summary.insecure:
        lines.append(f"insecure: TLS certificates of {', '.join(summary.insecure)} were not verified")
    if totals.cut_off:
        count = counted(totals.cut_off, "request")
        lines.append(f"cut off: the answers to {count} were lost by a crash; each may have been billed")
    places = [f"{summary.remote or summary.run_dir}/completions", summary.output, summary.errors_file]
    lines.append(f"results: {' and '.join(place for place in places if place)}")
    if summary.left_out:
        lines.append(
            f"left out: {counted(summary.left_out, 'pending row')} without a line in {summary.output}"
        )
    if summary.stopped:
        lines.append(f"why: {summary.message}")
        lines.append(f"to go on: {command}")
    elif totals.failed and totals.failed == totals.bad_input:
        lines.append("the failed rows were never sent: error_message says what is wrong with each")
    elif totals.failed:
        lines.append(f"to ask again for failed rows: batchlab retry {summary.run_dir}")
    if not summary.stopped and totals.invalid:
        lines.append(
            "invalid answers do not fit the schema (error_message says why); to ask again for them: "
            f"batchlab retry {summary.run_dir} --only invalid"
        )
    elif not summary.stopped and not totals.failed:
        lines.append(f"next: batchlab verify {summary.run_dir}")
    return lines


def tokens_line(summary: RunSummary) -> str:
    """Token sums of a run, and how many rows reported none."""
    totals = summary.totals
    text = f"{totals.prompt_tokens:,} prompt + {totals.completion_tokens:,} completion"
    wasted = totals.wasted_prompt_tokens + totals.wasted_completion_tokens
    if wasted:
        text += f", {wasted:,} more paid and not kept"
    if totals.rows_without_usage:
        text += f" ({counted(totals.rows_without_usage, 'row')} reported no usage)"
    return text


def cost_line(summary: RunSummary) -> str:
    """Cost of a run; never a silent $0 for an unknown price."""
    totals = summary.totals
    if totals.spent_usd is None:
        return "unknown (no price for this model; set [price] input and output)"
    text = money(totals.cost_usd)
    if totals.cost_wasted_usd:
        text += f" + {money(totals.cost_wasted_usd)} not kept"
    if totals.rows_without_cost:
        text += f" and {counted(totals.rows_without_cost, 'row')} of unknown cost"
    return text


def counted(count: int, word: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def money(usd: float) -> str:
    """US dollars, with enough digits for a small run."""
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.6f}".rstrip("0").rstrip(".") if usd else "$0"


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 05 s`, `7 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
