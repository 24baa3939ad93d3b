"""The progress line: as much of what there is to say as fits the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from batchlab.counts import counted
from batchlab.progress.out import next_look_text, out_text
from batchlab.progress.speed import Rates
from batchlab.progress.terminal import width
from batchlab.protocol.redact import printable, redact
from batchlab.run_state import RunState
from batchlab.totals import Totals

TAIL_ROWS, NAME_CHARS = 3, 40  # the oldest of the last rows are named, in so many characters
ERROR_CHARS = 80  # of the last error
TAIL_AGE_S = 5.0  # the last rows are named when the oldest is at least this old
LONG_S = 600.0  # a run that takes longer has its end named by the clock
SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class Field:
    """One part of the progress line.

    Attributes:
        short: says the same on a narrow terminal.
        middle: says it in fewer words, where there is room for these.
        rank: the lower, the longer it stays when there is little room.
        counts_rows: says how many rows have a result, which, or how many are out.
    """

    text: str
    short: str
    rank: int
    middle: str = ""
    counts_rows: bool = False


_SAVED, _FAILED, _WAITS, _COST, _ETA, _WHY, _WAITING, _SPARE = range(8)  # ranks


def bar_fields(state: RunState, rates: Rates) -> list[str]:
    """What the progress line says where there is room for all of it."""
    return [field.text for field in line_fields(state, rates)]


def line_fields(state: RunState, rates: Rates) -> list[Field]:
    """The parts of the progress line, from left to right. What is still nothing is not said."""
    totals, left = state.totals, state.rows - state.saved
    # those that the words beside it count: a few may not be synced to disk yet
    done = f"{min(totals.rows, state.rows):,}/{state.rows:,}"
    fields = [Field(done, done, _SAVED, counts_rows=True)]
    others = {
        "truncated": totals.truncated,
        "filtered": totals.filtered,
        "invalid": totals.invalid,
        "empty": totals.empty,
        "failed": totals.failed,
        "retried": state.attempts.retried,
    }
    counts = [f"{totals.ok:,} ok"] if totals.rows else []
    counts += [f"{count:,} {name}" for name, count in others.items() if count]
    bad = ", ".join(f"{count:,} {name}" for name, count in others.items() if count and name != "retried")
    fields.append(Field(", ".join(counts), bad, _FAILED if bad else _SPARE, counts_rows=True))
    if state.oldest and state.oldest[0][1] >= TAIL_AGE_S:
        rows = [f"{name} {clock_time(age)}" for name, age in tail(state)]
        fields.append(Field(f"waiting for {', '.join(rows)}", rows[0], _WAITING))
    if state.batches:
        out, look = out_text(state.batches), next_look_text(state.batches)
        few = f"{len(state.batches):,} out"
        fields.append(Field(f"{out}, {look}" if look else out, few, _WAITS, out, counts_rows=True))
    at_once = f"{state.window:,} at once"
    if state.why:
        waits = state.paused or state.silent_s > 0
        said, why = ("" if waits else f"{at_once}, "), state.why.partition(" (")[0]
        short = why.replace(" by the provider", "").replace(" for the provider", "")
        rank = _WAITS if state.silent_s > 0 else _WHY
        fields.append(Field(f"{said}{state.why}", short, rank, f"{said}{why}"))
    elif state.window:
        fields.append(Field(at_once, at_once, _SPARE))
    if rates.eta_s is not None and left > 0:
        end = time.strftime("%H:%M", time.localtime(time.time() + rates.eta_s))
        time_left = f"{clock_time(rates.eta_s)} left"
        long = f"{time_left}, ends {end}" if rates.eta_s > LONG_S else time_left
        fields.append(Field(long, time_left, _ETA))
    if totals.rows or totals.spent_usd != 0:
        fields.append(_cost(totals, rates.final_cost_usd if left > 0 else None))
    is_quiet = state.batches and not state.in_flight  # a batch that ends brings all its rows at once
    if not is_quiet:
        # rows that are asked again had a result before: they are no pace
        paces = [f"{rates.rows_per_s:.1f} rows/s"] if rates.rows_per_s else []
        paces += [f"{rates.tokens_per_s:,.0f} tokens/s"] if rates.tokens_per_s else []
        fields += [Field(pace, pace, _SPARE) for pace in paces]
    error = state.attempts.last_error
    if error and (state.why or totals.failed) and error not in state.why:
        fields.append(Field(f"last error: {printable(redact(error), ERROR_CHARS)}", "", _SPARE))
    return [field for field in fields if field.text]


def line_within(fields: Sequence[Field], room: int | None, separator: str = SEPARATOR) -> str:
    """As much of the line as fits `room` columns: spare parts go first, from the right, then the
    least important ones are said shorter, then they go too.
    """
    shown = {index: field.text for index, field in enumerate(fields)}
    by_rank = sorted(shown, key=lambda index: (fields[index].rank, index), reverse=True)
    spare = [index for index in by_rank if fields[index].rank == _SPARE]
    steps = [(index, "") for index in spare]
    steps += [(index, fields[index].middle) for index in by_rank if fields[index].middle]
    steps += [(index, fields[index].short) for index in by_rank if index not in spare]
    steps += [(index, "") for index in by_rank[:-1] if index not in spare]
    for index, text in steps:
        if room is None or width(separator.join(filter(None, shown.values()))) <= room:
            break
        shown[index] = text
    return separator.join(filter(None, shown.values()))


def tail(state: RunState) -> list[tuple[str, float]]:
    """Name and age (s) of the rows that all others have left behind, as they can be shown."""
    return [(printable(name, NAME_CHARS), age) for name, age in state.oldest[:TAIL_ROWS]]


def _cost(totals: Totals, final_usd: float | None) -> Field:
    usd = totals.spent_usd
    if usd is None:
        return Field("cost ?", "$?", _COST)
    spent = f"${usd:.4f}"
    short = f"${usd:.2f}" if usd >= 0.1 else spent
    if totals.unpriced:
        return Field(f"{spent} + ? of {counted(totals.unpriced, 'row')}", f"{short}+?", _COST)
    if final_usd:
        spent += f" of about ${final_usd:.{2 if final_usd >= 1 else 4}f}"
    return Field(spent, short, _COST)


def clock_time(seconds: float) -> str:
    """`0:07`, `12:30`, `7:05:00`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
