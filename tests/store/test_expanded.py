"""Typed columns made of a schema: types from the schema, values from any answer that fits it."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.store.columns.expanded import expanded_columns, expanded_schema, of_text, to_text

STRING, INT, FLOAT, BOOL = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
NULL = {"type": "null"}
WORD = pa.dictionary(pa.int32(), pa.string())


def columns(**properties) -> dict:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "kind", "good", "unfit"),
    [
        (STRING, pa.string(), "a", 1),
        ({"type": "string", "format": "date-time"}, pa.string(), "2026-01-01T00:00:00Z", None),
        (INT, pa.int64(), 2**63 - 1, 2**63),
        (INT, pa.int64(), -(2**63), True),
        (FLOAT, pa.float64(), 1.5, 10**400),
        (BOOL, pa.bool_(), False, 0),
        ({"type": ["integer", "null"]}, pa.int64(), 7, "7"),
        ({"type": ["integer", "number"]}, pa.float64(), 7.0, None),
        ({"anyOf": [BOOL, NULL]}, pa.bool_(), True, None),
        ({"enum": ["a", "b"]}, WORD, "a", 1),
        ({"type": "string", "enum": ["a", None]}, WORD, "a", None),
        ({"anyOf": [{"enum": ["a"]}, NULL]}, WORD, "a", None),
        ({"enum": [1, 2]}, pa.int64(), 1, "1"),
        ({"const": "x"}, pa.string(), "x", None),
        ({"type": "array", "items": STRING}, pa.list_(pa.field("element", pa.string())), ["a", None], {}),
        (columns(a=INT, b=columns(c=BOOL)), pa.struct([("a", pa.int64()), ("b", pa.struct([("c", pa.bool_())]))]), {"a": 1, "b": {"c": True}}, []),
        ({"$ref": "#/$defs/Mood"}, WORD, "calm", None),
        ({"allOf": [{"$ref": "#/$defs/Mood"}]}, WORD, "calm", None),
    ],
)  # fmt: skip
def test_a_property_becomes_a_column_of_its_type_and_a_value_that_does_not_fit_a_null(
    schema, kind, good, unfit
):
    whole = columns(x=schema) | {"$defs": {"Mood": {"enum": ["calm"]}}}
    made = expanded_schema(whole, "")

    assert made.field("x").type == kind
    texts = [json.dumps({"x": good}), None, "{}", json.dumps({"x": None}), json.dumps({"x": unfit})]
    (column,) = expanded_columns(texts, made)
    assert column.to_pylist() == [good, None, None, None, None]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": ["string", "integer"]},
        {"anyOf": [STRING, INT]},
        {"enum": ["a", 1]},
        {"type": "object"},
        {"type": "object", "additionalProperties": INT},
        {"type": "array"},
        {"type": "array", "prefixItems": [STRING, INT]},
        {"$ref": "#/$defs/Node"},
        {"$ref": "elsewhere.json"},
        {"properties": {"a": INT}},
        {"not": STRING},
    ],
)
def test_what_no_type_holds_is_json_text(schema):
    node = columns(next={"$ref": "#/$defs/Node"})
    made = expanded_schema(columns(x=schema) | {"$defs": {"Node": node}}, "p_")

    # a recursion ends somewhere in JSON text; everything else is JSON text at once
    field = made.field("p_x")
    if pa.types.is_struct(field.type):
        assert "large_string" in str(field.type)
        return
    assert field.metadata[b"batchlab.json"] == b"1"
    (column,) = expanded_columns(['{"x": {"b": [1, 123456789012345678901]}}', '{"x": null}'], made)
    assert column.to_pylist() == ['{"b":[1,123456789012345678901]}', None]


def test_json_text_inside_a_struct_or_list_is_text_there():
    made = expanded_schema(columns(x=columns(a=INT, b={}), y={"type": "array", "items": {}}), "")

    one, two = expanded_columns(['{"x": {"a": 1, "b": [2]}, "y": [{}, 3]}', "[]"], made)

    assert one.to_pylist() == [{"a": 1, "b": "[2]"}, None]
    assert two.to_pylist() == [["{}", "3"], None]


def test_the_types_survive_run_json_and_parquet(tmp_path):
    whole = columns(a={"enum": ["x"]}, b={"type": "array", "items": columns(c=FLOAT)}, d={})
    made = expanded_schema(whole, "p_")

    again = of_text(to_text(made))
    assert again.equals(made, check_metadata=True)
    table = pa.Table.from_arrays(
        expanded_columns(['{"a": "x", "b": [{"c": 1}], "d": 1}'], again), schema=again
    )
    pq.write_table(table, tmp_path / "x.parquet")
    read = pq.read_table(tmp_path / "x.parquet")
    assert read.schema.equals(made)
    both = pa.concat_tables([read, table]).to_pylist()
    assert both == [{"p_a": "x", "p_b": [{"c": 1.0}], "p_d": "1"}] * 2
    assert of_text(None) is None
