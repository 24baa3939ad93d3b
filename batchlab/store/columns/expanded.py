"""Typed columns of a schema's top-level properties, beside the `parsed` text.

The types come from the schema when the run is planned, never from the answers: nested objects are
structs, arrays are lists, text that may only be one of a few words is a dictionary. What no Arrow type
holds without loss (unions, maps, recursion, any value) is carried as JSON text. Dates stay text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from batchlab.arrow import pa
from batchlab.protocol.schema import resolved, top_properties

MAX_LEVELS = 16
MAX_STRUCT_FIELDS = 256
INT64 = range(-(2**63), 2**63)

_JSON_MARK = {b"batchlab.json": b"1"}
_SCALARS = ("string", "integer", "number", "boolean")
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def expanded_schema(schema: Mapping[str, Any], prefix: str) -> pa.Schema:
    """The columns of a JSON Schema, in its order; each can be null."""
    fields = []
    for name, one in top_properties(schema).items():
        field = _field(prefix + name, one, schema, 0)
        if pa.types.is_string(field.type) and "enum" in _not_null(resolved(one, schema), schema):
            field = field.with_type(pa.dictionary(pa.int32(), pa.string()))
        metadata = {**(field.metadata or {}), b"batchlab.parsed": name.encode()}
        fields.append(field.with_metadata(metadata))
    return pa.schema(fields)


def to_text(schema: pa.Schema) -> str:
    """For run.json."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def of_text(text: str | None) -> pa.Schema | None:
    """The columns that `to_text` wrote; None for a run without them."""
    return None if text is None else pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def expanded_columns(texts: Sequence[str | None], schema: pa.Schema) -> list[pa.Array]:
    """A column for each field, from rows' `parsed` texts; null where a row has no value."""
    # json and not orjson: a whole number past 64 bits must not become a float
    rows = [json.loads(text) if text is not None else {} for text in texts]
    columns = []
    for field in schema:
        name = field.metadata[b"batchlab.parsed"].decode()
        values = [_fitted(row.get(name), field) if isinstance(row, dict) else None for row in rows]
        columns.append(pa.array(values, type=field.type))
    return columns


def _field(name: str, schema: Any, root: Mapping[str, Any], level: int) -> pa.Field:
    """A field that holds every value that fits `schema`; marked when it holds JSON text."""
    kind = _arrow_type(schema, root, level)
    if kind is None:
        return pa.field(name, pa.large_string(), metadata=_JSON_MARK)
    return pa.field(name, kind)


def _arrow_type(schema: Any, root: Mapping[str, Any], level: int) -> pa.DataType | None:
    """The Arrow type of every value that fits `schema`; None when only JSON text holds them all."""
    one = _not_null(resolved(schema, root), root)
    if not one or level > MAX_LEVELS or one.keys() & {"$ref", "anyOf", "oneOf", "allOf", "not", "if"}:
        return None
    kind = one.get("type")
    if kind is None and ("enum" in one or "const" in one):
        kind = _type_of([value for value in one.get("enum", [one.get("const")]) if value is not None])
    if isinstance(kind, list):
        kinds = [word for word in kind if word != "null"]
        kind = kinds[0] if len(kinds) == 1 else "number" if set(kinds) == {"integer", "number"} else None
    if kind == "array":
        if "items" not in one or "prefixItems" in one:
            return None
        return pa.list_(_field("element", one["items"], root, level + 1))
    if kind == "object":
        members = one.get("properties", {})
        if not 0 < len(members) <= MAX_STRUCT_FIELDS:
            return None
        return pa.struct([_field(name, inner, root, level + 1) for name, inner in members.items()])
    if kind not in _SCALARS:
        return None
    return {"string": pa.string, "integer": pa.int64, "number": pa.float64}.get(kind, pa.bool_)()


def _not_null(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """`schema` without the choice of null: `anyOf` or `oneOf` of one schema and null is that schema."""
    if not isinstance(schema, Mapping):
        return {}
    for keyword in ("anyOf", "oneOf", "allOf"):
        choices = schema.get(keyword)
        if isinstance(choices, list) and not schema.keys() & {"type", "properties", "enum"}:
            others = [one for one in choices if keyword == "allOf" or one != {"type": "null"}]
            if len(others) == 1:
                return _not_null(resolved(others[0], root), root)
    return schema


def _type_of(values: Sequence[Any]) -> str | None:
    """The JSON type that all the values have; None when they differ."""
    for name, types in _PYTHON_TYPES.items():
        if values and all(type(value) in types for value in values):
            return name
    return None


def _fitted(value: Any, field: pa.Field) -> Any:
    """`value` as Arrow takes it; None when it does not, such as a whole number past 64 bits."""
    kind = field.type
    if value is None:
        return None
    if (field.metadata or {}).get(b"batchlab.json") == b"1":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if pa.types.is_struct(kind):
        if not isinstance(value, dict):
            return None
        return {inner.name: _fitted(value.get(inner.name), inner) for inner in kind}
    if pa.types.is_list(kind):
        return [_fitted(item, kind.value_field) for item in value] if isinstance(value, list) else None
    if pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if pa.types.is_integer(kind):
        return _int64(value)
    if pa.types.is_floating(kind):
        return _float64(value)
    return value if isinstance(value, str) else None


def _int64(value: Any) -> int | None:
    """JSON Schema takes 3.0 for a whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value in INT64 else None


def _float64(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None
