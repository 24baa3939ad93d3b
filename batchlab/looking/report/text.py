"""A table as aligned text for a terminal: money with enough digits, counts with separators."""

from __future__ import annotations

import math

import pandas as pd

UNKNOWN = "?"  # never 0 for what nobody knows


# shown only where there is something to show
_QUIET = (
    "failed", "reused", "cached_tokens", "reasoning_tokens", "cached_savings_usd", "rows_without_usage",
    "rows_without_cost",
)  # fmt: skip


def table_text(table: pd.DataFrame) -> list[str]:
    """One line a row under a line of names; numbers to the right, words to the left."""
    table = table.drop(columns=[name for name in _QUIET if name in table and not table[name].fillna(0).any()])
    columns = [[str(name), *(_cell(str(name), value) for value in table[name])] for name in table.columns]
    widths = [max(map(len, column)) for column in columns]
    left = [not pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    lines = []
    for cells in zip(*columns, strict=True):
        padded = [
            cell.ljust(width) if words else cell.rjust(width)
            for cell, width, words in zip(cells, widths, left, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def _cell(name: str, value: object) -> str:
    if isinstance(value, float) and math.isnan(value):
        return UNKNOWN
    if isinstance(value, int | float):
        return f"{value:,.6f}" if name.endswith("_usd") else f"{value:,.0f}"
    return str(value)
