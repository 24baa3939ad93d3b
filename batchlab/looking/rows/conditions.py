"""Which rows somebody asks for: `--status` and `--where`, as masks over tables of a run's rows.

A condition is COLUMN, one of = != < <= > >= ~, and a value. It is compared as the column's type is; `~` finds
text in any case. A null is equal to the empty value only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from batchlab.arrow import pa, pc
from batchlab.errors import UsageError
from batchlab.job.values import nearest
from batchlab.looking.rows.text_mask import text_mask
from batchlab.result_columns import RESULT_COLUMNS

STATUSES = ("ok", "truncated", "filtered", "invalid", "failed", "pending")
_SIGNS = {
    "=": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
_CONDITION = re.compile(
    r"\s*(?P<column>[^=!<>~]+?)\s*(?P<sign>!=|<=|>=|==|=|<|>|~)\s*(?P<value>.*)", re.DOTALL
)
_AFTER_COLUMN = re.compile(r"\s*(?P<sign>!=|<=|>=|==|=|<|>|~)\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one column of a run.

    Attributes:
        column: its name in the run's tables.
        value: of the column's type; None for the empty value.
    """

    column: str
    sign: str
    value: Any

    def mask(self, table: pa.Table) -> pa.ChunkedArray:
        """Which rows of a table fulfil it."""
        column = _plain(table[self.column])
        if self.sign == "~" and pa.types.is_nested(column.type):
            return pa.chunked_array([pa.array(text_mask(column, [self.value]))])
        if self.sign == "~":
            found = pc.match_substring(column.cast(pa.large_string()), self.value, ignore_case=True)
            return pc.fill_null(found, False)
        if self.value is None:
            empty = pc.is_null(column)
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                empty = pc.or_(empty, pc.equal(pc.fill_null(column, ""), ""))
            return empty if self.sign == "=" else pc.invert(empty)
        column, value = _comparable(column, self.value)
        found = getattr(pc, _SIGNS[self.sign])(column, value)
        return pc.fill_null(found, self.sign == "!=")


def condition_of(text: str, schema: pa.Schema, prefix: str) -> Condition:
    """What `--where` says of a run whose rows have that schema. Raises UsageError.

    Args:
        prefix: of the result columns, which may be named without it.
    """
    name, sign, value = _parts_of(text, schema.names)
    column = column_named(name, schema.names, prefix, where="condition")
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if value == "" and sign in {"=", "!="}:
        return Condition(column, sign, None)
    if sign == "~":
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise UsageError(f"condition {text}: {name} holds {kind}, which has no text to look for.")
        return Condition(column, sign, value)
    try:
        return Condition(column, sign, _value(value, kind))
    except ValueError as error:
        raise UsageError(f"condition {text}: {name} holds {error}.") from None


def _parts_of(text: str, names: Sequence[str]) -> tuple[str, str, str]:
    """Column, sign and value. A column may have a sign in its name, such as `a=b`: of those with which the
    condition begins, the longest is meant."""
    for name in sorted(filter(text.startswith, names), key=len, reverse=True):
        if found := _AFTER_COLUMN.fullmatch(text, len(name)):
            return name, found["sign"].replace("==", "="), found["value"]
    if found := _CONDITION.fullmatch(text):
        return found["column"], found["sign"].replace("==", "="), found["value"]
    raise UsageError(
        f"condition {text}: expected COLUMN=VALUE, or !=, <, <=, >, >= or ~ (has the text) in place of =."
    )


def column_named(name: str, names: Sequence[str], prefix: str, *, where: str) -> str:
    """The column of that name; a result column also without its prefix.

    Raises:
        UsageError: there is none; `where` says who asked.
    """
    if name in names:
        return name
    if name in RESULT_COLUMNS and prefix + name in names:
        return prefix + name
    raise UsageError(f"{where}: no column {name!r}{nearest(name, list(names))}")


def checked_statuses(words: Sequence[str]) -> frozenset[str]:
    """The states that `--status` names, several of them joined by commas. Raises UsageError."""
    named = [word.strip() for text in words for word in text.split(",") if word.strip()]
    for word in named:
        if word not in STATUSES:
            close = difflib.get_close_matches(word, STATUSES, n=1)
            near = f"did you mean {close[0]}?" if close else f"there are {', '.join(STATUSES)}."
            raise UsageError(f"status {word}: no status of a row; {near}")
    return frozenset(named)


def status_mask(table: pa.Table, column: str, statuses: frozenset[str]) -> pa.ChunkedArray:
    """Which rows of a table have one of the states."""
    return pc.is_in(_plain(table[column]), value_set=pa.array(sorted(statuses), type=pa.string()))


def _comparable(column: pa.ChunkedArray, value: Any) -> tuple[pa.ChunkedArray, pa.Scalar]:
    """A column and a value as Arrow compares them. It makes no fraction of a whole number beyond 2^53, and no
    other type of one beyond its own: these are compared as near as a fraction is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return column, pa.scalar(value)
    if pa.types.is_integer(column.type):
        try:
            if isinstance(value, int):
                return column, pa.scalar(value, column.type)
        except (pa.ArrowInvalid, OverflowError):
            pass
        column = column.cast(pa.float64(), safe=False)
    try:
        return column, pa.scalar(value if pa.types.is_decimal(column.type) else float(value))
    except OverflowError:
        return column, pa.scalar(float(value))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _value(text: str, kind: pa.DataType) -> Any:
    """A value as a column of that type is compared with it. Raises ValueError, which says what it holds."""
    if pa.types.is_boolean(kind):
        if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        raise ValueError(f"true or false, not {text!r}")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        try:
            is_whole = re.fullmatch(r"[+-]?\d{1,20}", text)
            return int(text) if is_whole and not pa.types.is_floating(kind) else float(text)
        except ValueError:
            raise ValueError(f"numbers, and {text!r} is none") from None
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"times, such as 2026-01-31T23:00, and {text!r} is none") from None
        if pa.types.is_date(kind):
            return at.date()
        return (at if at.tzinfo else at.replace(tzinfo=UTC)) if kind.tz else at.replace(tzinfo=None)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return text
    raise ValueError(f"{kind}, which cannot be compared")
