"""Showing a run's progress: a tqdm bar, plain lines, JSON lines, or nothing. On standard error.

In a notebook it is one output that is replaced as the run goes on: no carriage returns, no widgets
to install, and what it said last is still there when the notebook is opened again.
"""

from __future__ import annotations

import html
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from batchlab.terminal import columns, erased, is_dumb, width, with_trouble_in_red

PLAIN_EVERY_S = 30.0
NOTEBOOK_LINES = 20  # messages that stay above a notebook's bar
TAIL_AGE_S = 5.0  # the last rows are named when the oldest is at least this old
FORECAST_ROWS = 20  # fewer say nothing about the cost of the others
LONG_S = 600.0  # a run that takes longer has its end named by the clock
SEPARATOR = " · "
WIDE_COLUMNS = 60  # from here on there is room for a bar
UNKNOWN_COLUMNS = 100
LAST_COLUMN = 1  # tqdm cuts off what is written there, be it the last digit of a cost
_WIDE_BAR, _NARROW_BAR = "{percentage:3.0f}%|{bar:12}| {desc}", "{percentage:3.0f}% {desc}"
RATE_WINDOW_S = 30.0  # rows/s and tokens/s are those of the last half minute


@dataclass(frozen=True, slots=True)
class ProgressState:
    """Where a run stands. `saved` rows have a final result that is synced to disk.

    Attributes:
        ok, truncated, filtered, invalid, failed: rows by their status; `empty` is of those that are answered.
        cost_usd: so far, waste included; None when it is not known (`Totals.spent_usd`).
        unpriced: rows that cost something more, and nobody knows how much.
        oldest: id and age (s) of the oldest of the last rows, once no other is left to begin.
        copied: rows that got the answer to an identical request, unpaid; `copies` will have, as far as known.
        window: requests that may be in flight; `why` says what holds it down, "" if nothing.
    """

    saved: int
    total: int
    ok: int
    failed: int
    retried: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    window: int
    in_flight: int
    why: str
    elapsed_s: float
    oldest: tuple[tuple[str, float], ...] = ()
    copied: int = 0
    copies: int = 0
    truncated: int = 0
    filtered: int = 0
    invalid: int = 0
    empty: int = 0
    unpriced: int = 0

    @property
    def answered(self) -> int:
        """Rows with an answer of any status."""
        return self.ok + self.truncated + self.filtered + self.invalid


@dataclass(frozen=True, slots=True)
class Rates:
    """Rows and tokens a second of late, the seconds left at that pace, and what all rows will cost.

    `eta_s` and `final_cost_usd` are None while they are not known.
    """

    rows_per_s: float
    tokens_per_s: float
    eta_s: float | None
    final_cost_usd: float | None = None


class _Speed:
    """Rates over the last half minute; rows saved by earlier runs do not count."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int, int]] = deque()

    def rates(self, state: ProgressState) -> Rates:
        tokens = state.prompt_tokens + state.completion_tokens
        self._points.append((state.elapsed_s, state.saved, tokens))
        while len(self._points) > 2 and state.elapsed_s - self._points[0][0] > RATE_WINDOW_S:
            self._points.popleft()
        began, saved, tokens_then = self._points[0]
        seconds = state.elapsed_s - began
        if seconds <= 0:
            return Rates(0.0, 0.0, None, final_cost(state))
        rows = max(0.0, (state.saved - saved) / seconds)
        eta = (state.total - state.saved) / rows if rows else None
        return Rates(rows, max(0.0, (tokens - tokens_then) / seconds), eta, final_cost(state))


def final_cost(state: ProgressState) -> float | None:
    """What the whole run will cost if the other rows cost what those before them did; None if unknown."""
    done = state.answered + state.failed - state.copied
    if state.cost_usd is None or state.unpriced or done < FORECAST_ROWS:
        return None
    return state.cost_usd * (state.total - max(state.copied, state.copies)) / done


class Progress(Protocol):
    """Where a run's progress goes."""

    def update(self, state: ProgressState) -> None:
        """Shows the state; called a few times a second."""
        ...

    def message(self, text: str) -> None:
        """Shows one line that stays."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class _Base:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._speed = _Speed()

    def update(self, state: ProgressState) -> None:
        """See `Progress`."""

    def message(self, text: str) -> None:
        """See `Progress`."""
        print(text, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _Silent(_Base):
    """Nothing but messages that matter to a person are shown by the caller."""

    def message(self, text: str) -> None:
        del text


class _Bar(_Base):
    """One tqdm line, never longer than the terminal is wide, also after it was resized."""

    def __init__(self, stream: TextIO, total: int) -> None:
        super().__init__(stream)
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            file=stream,
            dynamic_ncols=True,
            bar_format=_WIDE_BAR if self._columns() >= WIDE_COLUMNS else _NARROW_BAR,
            mininterval=0.1,
        )
        self._drawn_columns, self._drawn_width = self._columns(), 0
        self._last: tuple[ProgressState, Rates] | None = None

    def update(self, state: ProgressState) -> None:
        """See `Progress`."""
        self._last = state, self._speed.rates(state)
        self._draw(*self._last)

    def _draw(self, state: ProgressState, rates: Rates) -> None:
        columns = self._columns()
        wide = columns >= WIDE_COLUMNS
        bar_format, taken = (_WIDE_BAR, 19) if wide else (_NARROW_BAR, 5)
        fields = line_fields(state, rates)
        text = line_within(fields, columns - taken - LAST_COLUMN, SEPARATOR if wide else " ")
        if columns < self._drawn_columns and self._stream.isatty() and not is_dumb():
            self._stream.write(erased(self._drawn_width, columns))
            self._bar.sp = self._bar.status_printer(self._stream)  # else it pads to the old length
        self._drawn_columns, self._drawn_width = columns, taken + width(text)
        self._bar.bar_format = bar_format
        self._bar.n = min(state.saved, state.total)
        self._bar.total = state.total
        self._bar.set_description_str(with_trouble_in_red(text, self._stream), refresh=False)
        self._bar.refresh()

    def _columns(self) -> int:
        return columns(self._stream) or UNKNOWN_COLUMNS

    def message(self, text: str) -> None:
        """See `Progress`."""
        self._redraw_if_resized()  # tqdm would clear, and draw again, a line of the old length
        self._bar.write(text, file=self._stream)

    def __exit__(self, *_: object) -> None:
        self._redraw_if_resized()
        self._bar.close()

    def _redraw_if_resized(self) -> None:
        if self._last is not None and self._columns() != self._drawn_columns:
            self._draw(*self._last)


class _Notebook(_Base):
    """One display of a notebook cell, replaced a few times a second."""

    def __init__(self, stream: TextIO, total: int, display: Callable[..., Any]) -> None:
        super().__init__(stream)
        self._total = total
        self._lines: list[str] = []
        self._fields: list[str] = []
        self._saved = 0
        self._handle = display(self._bundle(), raw=True, display_id=True)

    def update(self, state: ProgressState) -> None:
        """See `Progress`."""
        self._saved, self._total = min(state.saved, state.total), state.total
        self._fields = bar_fields(state, self._speed.rates(state))
        self._handle.update(self._bundle(), raw=True)

    def message(self, text: str) -> None:
        """See `Progress`."""
        self._lines = [*self._lines, text][-NOTEBOOK_LINES:]
        self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        """The display as HTML, and as text for what shows none."""
        said = " · ".join(self._fields) or f"0/{self._total:,}"
        percent = 100 * self._saved // max(self._total, 1)
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in self._lines)
        bar = (
            f'<progress value="{self._saved}" max="{self._total}" style="vertical-align: middle"></progress>'
        )
        return {
            "text/plain": "\n".join([*self._lines, f"{percent:3d}% {said}"]),
            "text/html": (
                f'<div style="font-variant-numeric: tabular-nums">{lines}{bar} {percent}% '
                f"{html.escape(said)}</div>"
            ),
        }


class _Plain(_Base):
    """A line every 30 s, for logs."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        super().__init__(stream)
        self._clock = clock
        self._next = clock() + PLAIN_EVERY_S

    def update(self, state: ProgressState) -> None:
        """See `Progress`."""
        rates = self._speed.rates(state)
        if self._clock() < self._next:
            return
        self._next = self._clock() + PLAIN_EVERY_S
        room = columns(self._stream) if self._stream.isatty() else None
        self.message(line_within(line_fields(state, rates), room))


class _Json(_Base):
    """One JSON object a line: at most one a second, and the last state at the end."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        super().__init__(stream)
        self._clock = clock
        self._next = clock()
        self._last: ProgressState | None = None

    def update(self, state: ProgressState) -> None:
        """See `Progress`."""
        self._last = state
        if self._clock() < self._next:
            return
        self._next = self._clock() + 1.0
        self._write(state)

    def message(self, text: str) -> None:
        """See `Progress`."""
        print(json.dumps({"message": text}), file=self._stream, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._last is not None:
            self._write(self._last)

    def _write(self, state: ProgressState) -> None:
        line = {**asdict(state), **asdict(self._speed.rates(state))}
        print(json.dumps(line), file=self._stream, flush=True)


@dataclass(frozen=True, slots=True)
class Field:
    """One part of the progress line.

    Attributes:
        short: says the same on a narrow terminal.
        rank: the lower, the longer it stays when there is little room.
    """

    text: str
    short: str
    rank: int


_FAILED, _COST, _ETA, _WHY, _SAVED, _WAITING, _SPARE = range(7)  # ranks


def bar_fields(state: ProgressState, rates: Rates) -> list[str]:
    """What the progress line says where there is room for all of it."""
    return [field.text for field in line_fields(state, rates)]


def line_fields(state: ProgressState, rates: Rates) -> list[Field]:
    """The parts of the progress line, from left to right."""
    saved = f"{state.saved:,}/{state.total:,}"
    fields = [Field(saved, saved, _SAVED)]
    failed = f"{state.failed:,} failed" if state.failed else ""
    others = ("truncated", "filtered", "invalid", "empty", "failed", "retried")
    counts = [
        f"{state.ok:,} ok",
        *(f"{count:,} {name}" for name in others if (count := getattr(state, name))),
    ]
    fields.append(Field(", ".join(counts), failed, _FAILED if failed else _SPARE))
    if state.oldest and state.oldest[0][1] >= TAIL_AGE_S:
        rows = [f"{name} {clock_time(age)}" for name, age in state.oldest]
        fields.append(Field(f"waiting for {', '.join(rows)}", rows[0], _WAITING))
    limit = f"limit {state.window}"
    if state.why:
        fields.append(Field(f"{limit} {state.why}", state.why.partition(" (")[0], _WHY))
    else:
        fields.append(Field(limit, limit, _SPARE))
    if rates.eta_s is not None and state.saved < state.total:
        end = time.strftime("%H:%M", time.localtime(time.time() + rates.eta_s))
        left = f"{clock_time(rates.eta_s)} left"
        fields.append(Field(left + (f", ends {end}" if rates.eta_s > LONG_S else ""), left, _ETA))
    fields.append(_cost(state, rates))
    rows_per_s = f"{rates.rows_per_s:.1f} rows/s"
    fields.append(Field(rows_per_s, rows_per_s, _SPARE))
    tokens_per_s = f"{rates.tokens_per_s:,.0f} tokens/s"
    fields.append(Field(tokens_per_s, tokens_per_s, _SPARE))
    return fields


def line_within(fields: Sequence[Field], room: int | None, separator: str = SEPARATOR) -> str:
    """As much of the line as fits `room` columns: spare parts go first, from the right, then the
    least important ones are said shorter, then they go too.
    """
    shown = {index: field.text for index, field in enumerate(fields)}
    by_rank = sorted(shown, key=lambda index: (fields[index].rank, index), reverse=True)
    spare = [index for index in by_rank if fields[index].rank == _SPARE]
    steps = [(index, "") for index in spare]
    steps += [(index, fields[index].short) for index in by_rank if index not in spare]
    steps += [(index, "") for index in by_rank[:-1] if index not in spare]
    for index, text in steps:
        if room is None or width(separator.join(filter(None, shown.values()))) <= room:
            break
        shown[index] = text
    return separator.join(filter(None, shown.values()))


def _cost(state: ProgressState, rates: Rates) -> Field:
    if state.cost_usd is None:
        return Field("cost ?", "$?", _COST)
    spent = f"${state.cost_usd:.4f}"
    short = f"${state.cost_usd:.2f}" if state.cost_usd >= 0.1 else spent
    if state.unpriced:
        return Field(f"{spent} + ? of {state.unpriced:,} rows", f"{short}+?", _COST)
    if rates.final_cost_usd and state.saved < state.total:
        spent += f" of about ${rates.final_cost_usd:.{2 if rates.final_cost_usd >= 1 else 4}f}"
    return Field(spent, short, _COST)


def clock_time(seconds: float) -> str:
    """`0:07`, `12:30`, `7:05:00`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def notebook_display() -> Callable[..., Any] | None:
    """IPython's `display`, when this process is a notebook's kernel; imports nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    display: Callable[..., Any] = sys.modules["IPython.display"].display
    return display


def conversation() -> TextIO:
    """Where lines for a person go: standard error; in a notebook, which shows that as an error, output."""
    return sys.stderr if notebook_display() is None else sys.stdout


def open_progress(
    mode: str, total: int, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """The progress display of a run.

    `auto` is one display in a notebook, a bar on a terminal, and plain lines elsewhere: a
    dumb terminal (TERM=dumb) cannot write over a line.
    """
    stream = stream or sys.stderr
    if mode == "auto":
        display = notebook_display()
        if display is not None:
            return _Notebook(stream, total, display)
        mode = "bar" if stream.isatty() and not is_dumb() else "plain"
    match mode:
        case "bar":
            return _Bar(stream, total)
        case "plain":
            return _Plain(stream, clock)
        case "json":
            return _Json(stream, clock)
    return _Silent(stream)
