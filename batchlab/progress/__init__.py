"""Showing a run's progress: a tqdm bar, plain lines, JSON lines, or nothing. On standard error.

In a notebook it is one output that is replaced as the run goes on: no carriage returns, no widgets
to install, and what it said last is still there when the notebook is opened again.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from batchlab.finite import strict_json
from batchlab.progress.line import SEPARATOR, bar_fields, line_fields, line_within, tail
from batchlab.progress.speed import Rates, Speed
from batchlab.progress.terminal import columns, erased, is_dumb, width, with_trouble_in_red
from batchlab.protocol.redact import printable, redact
from batchlab.run_state import RunState

__all__ = ["Progress", "conversation", "notebook_display", "open_progress"]

PLAIN_EVERY_S = 30.0
NOTEBOOK_LINES = 20  # messages that stay above a notebook's bar
WIDE_COLUMNS = 60  # from here on there is room for a bar
UNKNOWN_COLUMNS = 100
LAST_COLUMN = 1  # tqdm cuts off what is written there, be it the last digit of a cost
_WIDE_BAR, _NARROW_BAR = "{percentage:3.0f}%|{bar:12}| {desc}", "{percentage:3.0f}% {desc}"


class Progress(Protocol):
    """Where a run's progress goes."""

    def update(self, state: RunState) -> None:
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
        self._speed = Speed()

    def update(self, state: RunState) -> None:
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
        self._last: tuple[RunState, Rates] | None = None

    def update(self, state: RunState) -> None:
        """See `Progress`."""
        self._last = state, self._speed.rates(state)
        self._draw(*self._last)

    def _draw(self, state: RunState, rates: Rates) -> None:
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
        self._bar.n = min(state.totals.rows, state.rows)
        self._bar.total = state.rows
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

    def update(self, state: RunState) -> None:
        """See `Progress`."""
        self._saved, self._total = min(state.saved, state.rows), state.rows
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

    def update(self, state: RunState) -> None:
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
        self._last: RunState | None = None

    def update(self, state: RunState) -> None:
        """See `Progress`."""
        self._last = state
        if self._clock() < self._next:
            return
        self._next = self._clock() + 1.0
        self._write(state)

    def message(self, text: str) -> None:
        """See `Progress`."""
        print(strict_json({"message": text}), file=self._stream, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._last is not None:
            self._write(self._last)

    def _write(self, state: RunState) -> None:
        line = {**_as_json(state), **asdict(self._speed.rates(state))}
        print(strict_json(line), file=self._stream, flush=True)


def _as_json(state: RunState) -> dict[str, Any]:
    """What `--progress json` says; programs read these names."""
    totals = state.totals
    return {
        "saved": state.saved,
        "total": state.rows,
        "ok": totals.ok,
        "failed": totals.failed,
        "retried": state.attempts.retried,
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "cost_usd": totals.spent_usd,
        "window": state.window,
        "in_flight": state.in_flight,
        "why": state.why,
        "silent_s": round(state.silent_s, 1),
        "last_error": printable(redact(state.attempts.last_error)),
        "elapsed_s": state.elapsed_s,
        "oldest": tail(state),
        "copied": totals.reused,
        "copies": state.copies,
        "truncated": totals.truncated,
        "filtered": totals.filtered,
        "invalid": totals.invalid,
        "empty": totals.empty,
        "unpriced": totals.unpriced,
        "batches": [asdict(one) for one in state.batches],
    }


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
