"""A text that stands partly in what a template says to all rows and partly in what is a row's own.

Rows are looked through by their own columns. Whoever takes a text from a prompt as it was sent may have taken
some words of the template along: then what was sent is put together again, for these searches alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from batchlab.arrow import pa, pc

_NOTHING = "\0"  # in place of what cannot be put together; nobody looks for it


@dataclass(frozen=True, slots=True)
class Frame:
    """A template: literal, column, literal, column, …, literal."""

    parts: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Those whose values it holds."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    def says(self, text: str) -> bool:
        """Whether what it says to all rows has a text, in any case."""
        return any(text.lower() in literal.lower() for literal in self.parts[::2])

    def may_be_across(self, text: str) -> bool:
        """Whether a text may begin in what it says and end in what a row does, or the other way round."""
        low = text.lower()
        literals = [literal.lower() for literal in self.parts[::2]]
        starts = [low[:size] for size in range(1, len(low))]
        return (
            any(literal.endswith(start) for literal in literals[:-1] for start in starts)
            or any(literal.startswith(low[len(start) :]) for literal in literals[1:] for start in starts)
            or any(literal in low for literal in literals[1:-1])  # between two columns; also ""
        )

    def texts(self, table: pa.Table) -> pa.ChunkedArray:
        """What was sent, of each row of a table."""
        pieces = [
            _as_text(table, part) if place % 2 else pa.scalar(part, pa.large_string())
            for place, part in enumerate(self.parts)
        ]
        return pc.binary_join_element_wise(*pieces, pa.scalar("", pa.large_string()))


def across(frames: Iterable[Frame], text: str) -> tuple[Frame, ...]:
    """The templates in whose prompts a text may stand that no column has whole.

    One that says it to all rows is none of them: it would find every row.
    """
    return tuple(one for one in frames if one.columns and not one.says(text) and one.may_be_across(text))


def _as_text(table: pa.Table, name: str) -> pa.ChunkedArray:
    count = len(table)
    if name not in table.column_names:
        return pa.chunked_array([pa.array([_NOTHING] * count, pa.large_string())])
    column = table[name]
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.chunked_array([pa.array([_NOTHING] * count, pa.large_string())])
    return pc.fill_null(column.cast(pa.large_string()), _NOTHING)
