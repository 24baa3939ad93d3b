"""A table as aligned text for a terminal: money with enough digits, counts with separators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from batchlab.progress.terminal import width
from batchlab.protocol.redact import MAX_MESSAGE_CHARS, printable

UNKNOWN = "?"  # never 0 for what nobody knows
LEAST_KEY = 12  # columns that a value has by which rows are grouped, in a terminal however narrow


# shown only where there is something to show
_QUIET = (
    "failed", "reused", "cached_tokens", "reasoning_tokens", "cached_savings_usd", "rows_without_usage",
    "rows_without_cost",
)  # fmt: skip
_GAP = 2  # columns between two of the table's


def table_text(table: pd.DataFrame, *, room: int | None = None, keys: int = 0) -> list[str]:
    """One line a row under a line of names; numbers to the right, words to the left.

    In a terminal that is too narrow no figure is left out or cut: a single row stands as a line for each
    figure, several as tables below each other.

    Args:
        room: columns of the terminal; None for a file or a pipe, where a row is one line however long.
        keys: how many of the first columns say what a row is of; each of the tables has them.
    """
    table = table.drop(columns=[name for name in _QUIET if name in table and not table[name].fillna(0).any()])
    most = MAX_MESSAGE_CHARS if room is None else max(LEAST_KEY, room // (2 * max(1, keys)))
    columns = [
        [str(name), *(_cell(str(name), value, most) for value in table[name])] for name in table.columns
    ]
    padded = [
        _padded(column, left=not pd.api.types.is_numeric_dtype(table[name]))
        for column, name in zip(columns, table.columns, strict=True)
    ]
    if room is None or _wide(padded) <= room:
        return _lines(padded)
    if len(table) == 1 and not keys:
        names, values = _padded([one[0] for one in columns], left=True), [one[1] for one in columns]
        return _lines([names, _padded(values, left=False)])
    heads, lines = padded[:keys], []
    block: list[Sequence[str]] = []
    for column in padded[keys:]:
        if block and _wide([*heads, *block, column]) > room:
            lines += [*_lines([*heads, *block]), ""]
            block = []
        block.append(column)
    return [*lines, *_lines([*heads, *block])]


def _padded(column: Sequence[str], *, left: bool) -> list[str]:
    wide = max(map(width, column))
    return [
        cell + " " * (wide - width(cell)) if left else " " * (wide - width(cell)) + cell for cell in column
    ]


def _wide(padded: Sequence[Sequence[str]]) -> int:
    return sum(width(column[0]) + _GAP for column in padded) - _GAP


def _lines(padded: Sequence[Sequence[str]]) -> list[str]:
    return [(" " * _GAP).join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _cell(name: str, value: object, most: int) -> str:
    if isinstance(value, float) and math.isnan(value):
        return UNKNOWN
    if isinstance(value, int | float):
        return f"{value:,.6f}" if name.endswith("_usd") else f"{value:,.0f}"
    word = printable(str(value), most)
    while width(word) > most:  # signs that take two columns
        word = word[:-2] + "…"
    return word
