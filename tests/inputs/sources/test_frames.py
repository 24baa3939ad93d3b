"""Rows that a program holds: what pandas and Arrow values become, and what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.errors import InputError
from batchlab.inputs.sources.arrow_files.parquet import ParquetSource
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.frames import arrow_table, frame_table, index_columns, json_row, table_digest
from batchlab.inputs.sources.source import Reading
from batchlab.inputs.templates import value_text


def prompt_values(frame: pd.DataFrame, tmp_path) -> list[dict]:
    """The rows as a template sees them, after the way through a Parquet file."""
    path = tmp_path / "rows.parquet"
    pq.write_table(frame_table(frame), path)
    source = ParquetSource([DataFile(path)], "rows", Reading())
    plan = source.scan(10_000)
    return [row.values for row in source.rows(plan.shards[0], plan)]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, "a", None, 2.5], ["1", "a", None, "2.5"]),
        ([float("nan"), 1.0], [None, "1.0"]),
        (pd.array([1, None], dtype="Int64"), ["1", None]),
        (pd.array([True, None], dtype="boolean"), ["true", None]),
        (pd.Categorical(["x", None, "x"]), ["x", None, "x"]),
        (pd.Categorical([7, None]), ["7", None]),
        (pd.to_datetime(["2026-01-02 03:04:05", None]), ["2026-01-02T03:04:05", None]),
        (
            pd.to_datetime(["2026-01-02"]).tz_localize("Europe/Berlin"),
            ["2026-01-02T00:00:00+01:00"],
        ),
        ([dt.date(2026, 1, 2), None], ["2026-01-02", None]),
        ([decimal.Decimal("1.50"), None], ["1.50", None]),
        ([{"a": 1}, {"b": [1, 2]}, None, {}], ['{"a":1}', '{"b":[1,2]}', None, "{}"]),
        ([[1], [2, 3], [], None], ["[1]", "[2,3]", "[]", None]),
        ([np.array([1, 2]), np.array([3])], ["[1,2]", "[3]"]),
        ([{"x": float("nan")}], ['{"x":null}']),
        ([uuid.UUID(int=1)], ["00000000-0000-0000-0000-000000000001"]),
        ([pd.NA, pd.NaT, None, "x"], [None, None, None, "x"]),
        ([np.float32(1.5), np.int8(3)], ["1.5", "3.0"]),
        ([2**70, 1], [str(2**70), "1"]),
    ],
)
def test_a_frame_s_values_read_in_a_prompt_as_they_would_from_json_lines(values, texts, tmp_path):
    frame = pd.DataFrame({"x": values if not isinstance(values, list) else pd.Series(values, dtype=object)})

    found = [row["x"] for row in prompt_values(frame, tmp_path)]

    assert [None if value is None else value_text(value) for value in found] == texts


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "rows: two columns are named 'a'. Rename one."),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "rows: two columns are named '1'. Rename one."),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "columns have several levels"),
        (pd.DataFrame({"a": ["x", object()]}), "rows:2: column 'a' holds a value of type object"),
        (pd.DataFrame({"a": pd.interval_range(0, 2)}), "rows:1: column 'a' holds a value of type Interval"),
        (pd.DataFrame({"a": [1j]}), "column 'a' holds a value of type complex"),
        (pd.DataFrame({"a": ["\ud800"]}, dtype=object), "column 'a' holds text that is not Unicode"),
    ],
)
def test_what_a_frame_cannot_hold_is_one_line_with_the_column(frame, said):
    with pytest.raises(InputError) as refused:
        frame_table(frame)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_value_nested_too_deep_for_arrow_is_carried_as_json_text():
    deep: list = []
    for _ in range(100):
        deep = [deep]

    assert frame_table(pd.DataFrame({"a": [deep]})).column("a").to_pylist() == ["[" * 101 + "]" * 101]


def test_a_value_inside_itself_is_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(InputError, match="column 'a' holds a value inside itself"):
        frame_table(pd.DataFrame({"a": [loop]}))


def test_a_plain_index_is_no_column_and_any_other_is_kept():
    plain = pd.DataFrame({"a": [1, 2]})
    named = plain.set_axis(pd.Index(["x", "x"], name="key"))
    clash = plain.set_axis(pd.Index([5, 6], name="a"))
    levels = plain.set_axis(pd.MultiIndex.from_tuples([("u", 1), ("v", 2)], names=["k", None]))

    assert index_columns(frame_table(plain).schema) == ([], [])
    assert frame_table(named).column("key").to_pylist() == ["x", "x"]
    assert index_columns(frame_table(clash).schema) == (["__index_level_0__"], ["a"])
    assert index_columns(frame_table(levels).schema) == (["k", "__index_level_1__"], ["k", None])


def test_the_digest_tells_values_names_types_and_index_apart():
    tables = [
        frame_table(pd.DataFrame({"a": [1, 2]})),
        frame_table(pd.DataFrame({"a": [1, 3]})),
        frame_table(pd.DataFrame({"b": [1, 2]})),
        frame_table(pd.DataFrame({"a": [1.0, 2.0]})),
        frame_table(pd.DataFrame({"a": [1, 2]}, index=[1, 0])),
    ]

    assert len({table_digest(table) for table in tables}) == len(tables)
    assert table_digest(tables[0]) == table_digest(frame_table(pd.DataFrame({"a": [1, 2]})))


def test_the_digest_of_categories_is_that_of_their_values():
    """A run of an earlier batchlab, which had the values, is found again."""
    frame = pd.DataFrame({"a": pd.Categorical(["x", None, "y"])})

    assert table_digest(frame_table(frame)) == table_digest(frame_table(frame.astype(object)))


def test_what_python_does_not_hold_has_a_digest():
    far = [
        pa.table({"a": pa.array([moment], pa.int64()).cast(pa.timestamp("ms"))})
        for moment in (2**60, 2**60 + 1)
    ]

    assert table_digest(arrow_table(far[0])) != table_digest(arrow_table(far[1]))
    assert table_digest(arrow_table(far[0])) == table_digest(arrow_table(far[0]))


def test_an_arrow_table_keeps_its_types_and_metadata():
    schema = pa.schema(
        [pa.field("a", pa.dictionary(pa.int8(), pa.string()), metadata={"k": "v"})], metadata={"mine": "yes"}
    )
    given = pa.table([pa.array(["x", None, "x"]).dictionary_encode().cast(schema[0].type)], schema=schema)

    assert arrow_table(given).equals(given, check_metadata=True)


def test_types_that_parquet_does_not_have_become_those_it_has_or_are_refused():
    views = pa.array(["x", None, "y"]).dictionary_encode()
    views = pa.DictionaryArray.from_arrays(views.indices, views.dictionary.cast(pa.string_view()))
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], ["x", "y"])

    found = arrow_table(pa.table({"views": views, "runs": runs}))

    assert pa.types.is_dictionary(found.schema.field("views").type)
    assert found.to_pydict() == {"views": ["x", None, "y"], "runs": ["x", "x", "y"]}
    interval = pa.table({"a": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    with pytest.raises(InputError, match="column 'a' is month_day_nano_interval, which Parquet"):
        arrow_table(interval)


def test_what_is_no_table_of_arrow_s_is_refused():
    with pytest.raises(InputError, match="two columns are named 'a'"):
        arrow_table(pa.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(InputError, match="type Series is no table"):
        arrow_table(pd.Series([1]))


def test_dicts_and_prompts_become_json_lines():
    assert json.loads(json_row("Say hello.", 1)) == {"prompt": "Say hello."}
    assert json.loads(json_row({"n": np.int64(3), "when": dt.date(2026, 1, 2), "none": float("nan")}, 1)) == {
        "n": 3,
        "when": "2026-01-02",
        "none": None,
    }
    assert json.loads(json_row({"n": 2**70}, 1)) == {"n": 2**70}
    with pytest.raises(InputError, match="rows:4: type int is no row"):
        json_row(7, 4)
    with pytest.raises(InputError, match="rows:4: column 'x' holds a value of type object"):
        json_row({"x": object()}, 4)
