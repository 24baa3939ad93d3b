"""Rows of an Arrow batch, whose values become Python's when somebody asks for them, a column at a time.

A column that no prompt uses never leaves Arrow. What Python cannot hold becomes text by Arrow's own
cast; where that fails, too, the value is its row's trouble.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchlab.arrow import pa, pc
from batchlab.inputs.sources.arrow_files.recast import recast
from batchlab.inputs.sources.column_types import JSON_MARK
from batchlab.inputs.templates import RowFault

# what converting a value may raise: Arrow's own errors are among them, and datetime's and zoneinfo's
_TROUBLE = (ValueError, OverflowError, TypeError, KeyError, NotImplementedError, ImportError, AttributeError)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Stands for a value that is neither Python's nor text."""

    problem: str


class ArrowRow(Mapping[str, Any]):
    """One row; its structs have every field, so that one which is absent reads as null."""

    __slots__ = ("_columns", "_index")

    def __init__(self, columns: _Columns, index: int) -> None:
        self._columns = columns
        self._index = index

    def __getitem__(self, name: str) -> Any:
        value = self._columns[name][self._index]
        if type(value) is _Unreadable:
            raise RowFault(f"column {name!r}: {value.problem}")
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """As a dict has it. Raises RowFault where the value cannot be read."""
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        return name in self._columns.names

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.names)

    def __len__(self) -> int:
        return len(self._columns.names)


class _Columns(dict[str, list[Any]]):
    """The columns of a batch that were asked for, as Python values."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        super().__init__()
        self._batch = batch
        self.names = batch.schema.names

    def __missing__(self, name: str) -> list[Any]:
        if name not in self.names:
            raise KeyError(name)
        field = self._batch.schema.field(name)
        values = python_values(self._batch.column(name))
        if is_json(field):
            values = [_parsed(value) for value in values]
        self[name] = values
        return values


def arrow_rows(batch: pa.RecordBatch) -> Iterator[ArrowRow]:
    """The batch's rows; a column of JSON text gives the values that the text stands for."""
    columns = _Columns(batch)
    return (ArrowRow(columns, index) for index in range(batch.num_rows))


def is_json(field: pa.Field) -> bool:
    """Whether a column holds JSON text, as an export or a frame's file says."""
    return JSON_MARK.items() <= (field.metadata or {}).items()


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):  # text that is no JSON is itself
            return json.loads(value)
    return value


def python_values(array: pa.Array) -> list[Any]:
    """The array's values; an `_Unreadable` for one that cannot be had."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage if not _is_plain_extension(array.type) else array
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    try:
        if not has_nanoseconds(array.type):
            return list(array.to_pylist())
        # whole microseconds are what they would be in a column of microseconds
        return list(recast(array, _retyped(array.type, _in_microseconds)).to_pylist())
    except _TROUBLE:
        return [_one(array.slice(index, 1)) for index in range(len(array))]


def python_texts(array: pa.Array) -> list[str | None]:
    """Something for each of the array's values that tells it from others."""
    return [None if value is None else repr(value) for value in python_values(array)]


def _is_plain_extension(kind: pa.DataType) -> bool:
    """Whether Python values of an extension type are worth more than those of its storage: UUIDs."""
    return str(kind.extension_name) == "arrow.uuid"


def _one(array: pa.Array) -> Any:
    """The one value of an array of one."""
    exact = has_nanoseconds(array.type)
    for convert in (_in_microseconds if exact else None, _as_text):
        try:
            kind = array.type if convert is None else _retyped(array.type, convert)
            return recast(array, kind).to_pylist()[0]
        except _TROUBLE as error:
            problem = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _Unreadable(f"a value of type {array.type} cannot be read ({problem})")


def has_nanoseconds(kind: pa.DataType) -> bool:
    """Whether values of a type may be finer than Python's times are."""
    if _is_time(kind):
        return str(kind.unit) == "ns"
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return has_nanoseconds(kind.value_type)
    return any(has_nanoseconds(kind.field(index).type) for index in range(kind.num_fields))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_time64(kind) or pa.types.is_duration(kind))


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    if not _is_time(kind) or str(kind.unit) != "ns":
        return kind
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if pa.types.is_time64(kind) else pa.duration("us")


def _as_text(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_temporal(kind) else kind


def _retyped(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """A type with its innermost types changed."""
    types = pa.types
    if types.is_dictionary(kind):
        return _retyped(kind.value_type, change)
    if types.is_struct(kind):
        return pa.struct([_field(kind.field(index), change) for index in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(_retyped(kind.key_type, change), _retyped(kind.item_type, change))
    if types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field, change), kind.list_size)
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(_field(kind.value_field, change))
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(_field(kind.value_field, change))
    return change(kind)


def _field(field: pa.Field, change: Callable[[pa.DataType], pa.DataType]) -> pa.Field:
    return pa.field(field.name, _retyped(field.type, change), field.nullable)
