"""Arrow types for JSON values, found in one pass and fixed for the whole file.

A column whose type changes in mid-file, or that no Arrow type holds without loss, is carried
as JSON text and marked "batchlab.json", so that an export can write the JSON it was.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import orjson

from batchlab.arrow import pa
from batchlab.finite import json_and_nulls

MAX_STRUCT_FIELDS = 256
MAX_DEPTH = 40  # Arrow reads no schema that is nested deeper than 64
INT64_MAX = 2**63 - 1
EXACT_FLOAT = 2**53

JSON_MARK = {b"batchlab.json": b"1"}

# null · bool · int · float · str · bytes · json, or a list ("list", item), or a struct {name: kind}
Kind: TypeAlias = "str | tuple[str, Kind] | dict[str, Kind]"

# bytes come from databases only
_SCALARS = {bool: "bool", int: "int", float: "float", str: "str", bytes: "bytes"}
_PLAIN = frozenset({*_SCALARS, type(None)})
_BOTH = {
    ("int", "float"): "float",
    ("float", "int"): "float",
    ("int", "long"): "long",
    ("long", "int"): "long",
}
MAX_SHAPES = 1_000  # n columns that may be left out or null make up to 3^n of them


def widened(kind: Kind, value: Any) -> Kind:
    """The narrowest kind that holds both `kind` and `value`; "json" when none does.

    "long" is an "int" that has held more than a float does: a float after it makes it "json".
    """
    if kind == "json" or value is None:
        return kind
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return _with_scalar(kind, scalar, value)
    if isinstance(value, list):
        if kind == "null":
            kind = ("list", "null")
        if not isinstance(kind, tuple):
            return "json"
        item = kind[1]
        for element in value:
            item = widened(item, element)
        return "json" if item == "json" else ("list", item)
    if isinstance(value, dict):
        if kind == "null":
            kind = {}
        if not isinstance(kind, dict):
            return "json"
        merged = dict(kind)
        for name, element in value.items():
            merged[name] = widened(merged.get(name, "null"), element)
            if merged[name] == "json":
                return "json"
        return "json" if len(merged) > MAX_STRUCT_FIELDS or not merged else merged
    return "json"


def _with_scalar(kind: Kind, scalar: str, value: Any) -> Kind:
    if scalar == "int" and not -INT64_MAX - 1 <= value <= INT64_MAX:
        return "json"
    if scalar == "int" and abs(value) > EXACT_FLOAT:
        scalar = "long"
    if kind in ("null", scalar):
        return scalar
    return _BOTH.get((kind, scalar), "json") if isinstance(kind, str) else "json"


def settled(kind: Kind) -> Kind:
    """A kind that takes in no more values: whether ints were larger than a float holds no longer counts."""
    if isinstance(kind, tuple):
        return (kind[0], settled(kind[1]))
    if isinstance(kind, dict):
        return {name: settled(inner) for name, inner in kind.items()}
    return "int" if kind == "long" else kind


def arrow_type(kind: Kind) -> pa.DataType:
    """The Arrow type of a kind. An all-null column reads as text."""
    if isinstance(kind, tuple):
        return pa.list_(arrow_type(kind[1]))
    if isinstance(kind, dict):
        return pa.struct([pa.field(name, arrow_type(inner)) for name, inner in kind.items()])
    if kind == "bytes":
        return pa.large_binary()
    return {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}.get(kind, pa.large_string())


def schema_of(kinds: Mapping[str, Kind]) -> pa.Schema:
    """The Arrow schema of columns of these kinds."""
    return pa.schema(
        [
            pa.field(name, arrow_type(kind), metadata=JSON_MARK if kind == "json" else None)
            for name, kind in kinds.items()
        ]
    )


def kind_of_key(kind: Kind, value: str | int | None) -> Kind:
    """The narrowest kind that holds both `kind` and what a folder's name says."""
    return settled(widened(kind, value))


def kind_of_json(data: Any) -> Kind:
    """A kind that has been through JSON, where a list's is a list."""
    if isinstance(data, list):
        return ("list", kind_of_json(data[1]))
    if isinstance(data, dict):
        return {name: kind_of_json(kind) for name, kind in data.items()}
    return str(data)


def too_deep(kind: Kind, room: int = MAX_DEPTH) -> bool:
    """Whether a kind is nested deeper than Arrow reads a schema."""
    if isinstance(kind, tuple):
        return room == 0 or too_deep(kind[1], room - 1)
    return isinstance(kind, dict) and (room == 0 or any(too_deep(inner, room - 1) for inner in kind.values()))


class ColumnTypes:
    """Columns in order of first appearance, each with the kind that holds every value so far.

    Args:
        as_json: columns that are carried as JSON text whatever they hold.
    """

    def __init__(self, as_json: Collection[str] = ()) -> None:
        self._as_json = as_json
        self._kinds: dict[str, Kind] = {}
        # (names, value types) of rows without lists and objects: their columns with numbers
        self._shapes: dict[tuple[object, ...], tuple[str, ...]] = {}

    def knows(self, values: Mapping[str, Any]) -> bool:
        """Whether a row can change no column's type, because one of its shape has been seen.

        True says, too, that each of its numbers is one that a float holds exactly. A type that
        took in a str, a bool or such a number once takes in every other one.
        """
        numbers = self._shapes.get((*values, *map(type, values.values())))
        if numbers is None:
            return False
        for name in numbers:  # noqa: SIM110 - all() takes twice the time on a few columns
            if not -EXACT_FLOAT <= values[name] <= EXACT_FLOAT:
                return False
        return True

    def see(self, values: Mapping[str, Any]) -> None:
        """Takes in one row."""
        for name, value in values.items():
            first = "json" if name in self._as_json else "null"
            self._kinds[name] = widened(self._kinds.get(name, first), value)
        types = [*map(type, values.values())]
        if len(self._shapes) < MAX_SHAPES and _PLAIN.issuperset(types):
            numbers = tuple(name for name, value in values.items() if type(value) in (int, float))
            self._shapes[*values, *types] = numbers

    def kinds(self) -> dict[str, Kind]:
        """The columns seen, in order of first appearance, and the kind of each."""
        return {name: "json" if too_deep(kind) else settled(kind) for name, kind in self._kinds.items()}


def column_array(field: pa.Field, values: list[Any]) -> pa.Array:
    """The values of one column in the plan's type."""
    if (field.metadata or {}).get(b"batchlab.json") == b"1":
        return pa.array([None if value is None else json_text(value) for value in values], type=field.type)
    return pa.array(values, type=field.type)


def json_text(value: Any) -> str:
    """`value` as compact JSON text, whole numbers of any size included."""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        return json_and_nulls(value, separators=(",", ":"), default=_as_text)[0]


def _as_text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
