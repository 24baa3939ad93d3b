"""How totals, money, counts and times are said to a person who pays."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from batchlab.counts import counted
from batchlab.shell import command_line
from batchlab.totals import OTHERS, Totals, WordCounts

UNKNOWN = "?"  # never 0 for what nobody knows
SHOWN_WORDS = 3  # of the finish reasons that nobody knows


def answers_text(totals: Totals) -> str:
    """What the answers are: `20 ok + 3 truncated; 2 of the ok are empty`."""
    words = ("ok", "truncated", "filtered", "invalid")
    counts = [f"{count:,} {word}" for word in words if (count := getattr(totals, word))]
    text = " + ".join(counts)
    return text + (f"; {totals.empty:,} of them empty" if totals.empty else "")


def notes(totals: Totals) -> list[str]:
    """What the states of the rows do not say, and nobody should find out later: a line at most."""
    return [f"{finish_text(totals.unknown_finish)}; kept as ok"] if totals.unknown_finish else []


def finish_text(words: WordCounts) -> str:
    """`unknown finish reasons: 3 rows "weird"`; the most frequent ones are named."""
    named = sorted((word for word in words if word != OTHERS), key=lambda word: -words[word])[:SHOWN_WORDS]
    rest = words.rows - sum(words[word] for word in named)
    said = [f"{counted(words[word], 'row')} {json.dumps(word, ensure_ascii=False)}" for word in named]
    said += [f"{counted(rest, 'row')} with others"] if rest else []
    return f"unknown finish reasons: {', '.join(said)}"


def tokens_text(totals: Totals) -> str:
    """Token sums of a run, and how many rows reported none."""
    text = f"{totals.prompt_tokens:,} prompt + {totals.completion_tokens:,} completion"
    wasted = totals.wasted_prompt_tokens + totals.wasted_completion_tokens
    if wasted:
        text += f", {wasted:,} more paid and not kept"
    if totals.rows_without_usage:
        text += f" ({counted(totals.rows_without_usage, 'row')} reported no usage)"
    return text


def cost_text(totals: Totals, run: str) -> str:
    """What a run has cost: `?` where nobody knows, and beside what is known how much is not.

    Args:
        run: where it is, for the command that tries a price: one that the job names later is for later rows.
    """
    if totals.spent_usd is None:
        why = f"no price was known; to try one: {price_command([run])}"
        return f"? ({'no row reported its usage' if totals.is_silent else why})"
    text = money(totals.kept_usd)
    if totals.cost_wasted_usd:
        text += f" + {money(totals.wasted_usd)} not kept"
    unknown = []
    if totals.rows_without_cost:
        unknown.append(f"{counted(totals.rows_without_cost, 'row')} of unknown cost")
    if totals.waste_without_cost:
        unknown.append(f"unknown cost not kept of {counted(totals.waste_without_cost, 'row')}")
    return " and ".join([text, *unknown])


def price_command(runs: Sequence[str], models: Sequence[str] = ("*",)) -> str:
    """What to type to see what answers come to whose price nobody knew: USD per 1M tokens."""
    # every shell takes the star in these quotes as it stands
    priced = ['"*=IN,OUT"' if model == "*" else shlex.quote(f"{model}=IN,OUT") for model in models]
    return " ".join(["batchlab cost", *runs, *(word for one in priced for word in ("--price", one))])


def changed_in_output(run_dir: str, output: str, *, quoted: int, nulled: int) -> list[str]:
    """What an output file holds otherwise than the run does, for a person."""
    lines = []
    if quoted:
        lines.append(
            f"made harmless: {counted(quoted, 'cell')} of {output} got a ' in front, as a spreadsheet would "
            f"run them; as they are: {command_line('export', run_dir)} -o {output} --csv-raw"
        )
    if nulled:
        are = "is" if nulled == 1 else "are"
        lines.append(
            f"not in JSON: {counted(nulled, 'number')} of {output} {are} NaN or infinite, and null there; a "
            ".parquet file has them"
        )
    return lines


def money(usd: float | None) -> str:
    """US dollars, with enough digits for a small run; `?` when they are not known."""
    if usd is None:
        return UNKNOWN
    usd = round(usd, 9)  # the same sum, added up in another order, is told by the same digits
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.6f}".rstrip("0").rstrip(".") if usd else "$0"


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 05 s`, `7 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
