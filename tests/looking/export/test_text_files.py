"""CSV and JSON Lines: values of every Arrow type as text, valid JSON, and what is told of what was changed."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batchlab.looking.export import Exported, Target, export_tables

NAN, INF = float("nan"), float("inf")
FAR = 253_402_300_800_000_000  # µs: the first moment of the year 10000


def only_json(text: str) -> list[dict]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def exported(tmp_path, table: pa.Table, to: str, **options) -> tuple[str, Exported]:
    path = tmp_path / f"out.{to}"
    made = export_tables(Target(str(path), to, **options), lambda: iter([table]))
    return path.read_bytes().decode(), made


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines(keepends=True)))


TIMES = {
    "ns": pa.array([1, None, -1], pa.timestamp("ns")),
    "far": pa.array([FAR, None, -FAR], pa.timestamp("us", "UTC")),
    "zone": pa.array([0, None, 1], pa.timestamp("s", "Europe/Berlin")),
    "date": pa.array([5_000_000, None, 0], pa.date32()),
    "ms": pa.array([86_400_000 * 4_000_000, None, 0], pa.date64()),
    "time": pa.array([1, None, 86_399_999_999_999], pa.time64("ns")),
    "took": pa.array([1, None, 2**62], pa.duration("ns")),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("to", ["csv", "jsonl"])
def test_times_that_python_does_not_hold_are_written_as_arrow_casts_them(tmp_path, name, to):
    text, _ = exported(tmp_path, pa.table({"x": TIMES[name], "y": ["a", "b", "c"]}), to)

    wanted = pc.cast(TIMES[name], pa.string()).to_pylist()
    if to == "csv":
        assert [row["x"] or None for row in csv_rows(text)] == wanted
    else:
        assert [row["x"] for row in only_json(text)] == wanted


def test_a_zone_that_is_not_known_here_is_written_in_utc(tmp_path):
    table = pa.table({"x": pa.array([0], pa.timestamp("s", "Nowhere/Land"))})

    assert only_json(exported(tmp_path, table, "jsonl")[0]) == [{"x": "1970-01-01 00:00:00Z"}]


def test_times_of_the_results_stay_in_iso_8601(tmp_path):
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    table = pa.table({"b_started_at": pa.array([at], pa.timestamp("us", "UTC"))})

    text, _ = exported(tmp_path, table, "csv", prefix="b_")

    assert csv_rows(text) == [{"b_started_at": at.isoformat()}]


def nested(values: pa.Array) -> dict[str, pa.Array]:
    """A column of every type that holds others, of three values and a null among them."""
    offsets = pa.array([0, 2, 2, 3], pa.int32())
    wide = pa.array([0, 2, 2, 3], pa.int64())
    mask = pa.array([False, True, False])
    return {
        "list": pa.ListArray.from_arrays(offsets, values, mask=mask),
        "large_list": pa.LargeListArray.from_arrays(wide, values, mask=mask),
        "fixed": pa.FixedSizeListArray.from_arrays(values, 1, mask=mask),
        "struct": pa.StructArray.from_arrays([values], ["a"], mask=mask),
        "map": pa.MapArray.from_arrays(offsets, pa.array(["k", "l", "m"]), values),
        "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, None, 2]), values),
        "runs": pa.RunEndEncodedArray.from_arrays([1, 2, 3], values),
    }


@pytest.mark.parametrize("inner", ["words", *TIMES])
def test_what_is_inside_of_other_values_is_written_alike(tmp_path, inner):
    values = TIMES.get(inner, pa.array(["a", None, "c"]))
    a, none, c = pc.cast(values, pa.string()).to_pylist()

    [first, second, third] = only_json(exported(tmp_path, pa.table(nested(values)), "jsonl")[0])

    assert first == {
        "list": [a, none], "large_list": [a, none], "fixed": [a], "struct": {"a": a},
        "map": [["k", a], ["l", none]], "dictionary": a, "runs": a,
    }  # fmt: skip
    assert second == {**dict.fromkeys(first), "map": []}
    assert third == {
        "list": [c], "large_list": [c], "fixed": [c], "struct": {"a": c}, "map": [["m", c]], "dictionary": c,
        "runs": c,
    }  # fmt: skip


def test_a_slice_of_a_column_is_that_slice(tmp_path):
    """A batch of a file is often a slice of a larger array."""
    table = pa.table(nested(TIMES["ns"])).slice(2)

    [row] = only_json(exported(tmp_path, table, "jsonl")[0])

    assert (row["list"], row["struct"], row["map"]) == (
        ["1969-12-31 23:59:59.999999999"],
        {"a": "1969-12-31 23:59:59.999999999"},
        [["m", "1969-12-31 23:59:59.999999999"]],
    )


def test_no_json_has_nan_or_infinity_and_it_is_said_how_many_became_null(tmp_path):
    table = pa.table(
        {
            "x": [1.5, NAN, INF],
            "list": [[NAN, 1.0], None, [-INF]],
            "struct": [{"a": {"b": NAN}}, {"a": {"b": 2.0}}, None],
            "half": pa.array([1.5, NAN, None], pa.float16()),
            "json": pa.array(["[NaN, 1e999]", "[1]", "no JSON"]),
        }
    )
    marked = table.schema.field("json").with_metadata({"batchlab.json": "1"})
    table = table.cast(table.schema.set(4, marked))

    text, made = exported(tmp_path, table, "jsonl")

    assert only_json(text) == [
        {"x": 1.5, "list": [None, 1.0], "struct": {"a": {"b": None}}, "half": 1.5, "json": [None, None]},
        {"x": None, "list": None, "struct": {"a": {"b": 2.0}}, "half": None, "json": [1]},
        {"x": None, "list": [None], "struct": None, "half": None, "json": "no JSON"},
    ]
    assert made.nulled == 8
    cells, made = exported(tmp_path, table, "csv")
    assert [json.loads(row["list"]) if row["list"] else None for row in csv_rows(cells)] == [
        [None, 1.0],
        None,
        [None],
    ]
    assert [row["x"] for row in csv_rows(cells)] == ["1.5", "nan", "inf"]


def test_a_cell_gets_a_quote_only_where_it_must_and_it_is_said_how_many_did(tmp_path):
    table = pa.table(
        {
            "=name": ["-5", "=1+1", "- item"],
            "number": [-5, -6, -7],
            "money": [Decimal("-1.10"), None, Decimal(-2)],
            "day": [date(2026, 1, 1), None, date(2026, 1, 2)],
            "raw": [b"-", b"=", b""],
        }
    )

    text, made = exported(tmp_path, table, "csv")

    assert [row["'=name"] for row in csv_rows(text)] == ["-5", "'=1+1", "- item"]
    assert [row["number"] for row in csv_rows(text)] == ["-5", "-6", "-7"]
    assert [row["money"] for row in csv_rows(text)] == ["-1.10", "", "-2.00"]
    assert [row["raw"] for row in csv_rows(text)] == ["2d", "3d", ""]
    assert made.quoted == 2
    raw, made = exported(tmp_path, table, "csv", csv_raw=True)
    assert [row["=name"] for row in csv_rows(raw)] == ["-5", "=1+1", "- item"]
    assert made.quoted == 0
