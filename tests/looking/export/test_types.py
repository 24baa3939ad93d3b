"""Columns of the input come out as they went in: in parts, in files with types, and in a frame."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.inputs.sources.source import InputPlan
from batchlab.job import Job
from batchlab.looking import load
from batchlab.looking.export import Target, export_tables
from batchlab.looking.rows.tables import run_tables
from batchlab.records import Failure, Shard
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest
from batchlab.store.view import RunView

WORDS = pa.array(["a", "b", None, "a"])
COLUMNS = {
    "words": WORDS.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())),
    "ordered": pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), ["lo", "hi"], ordered=True),
    "large": WORDS.cast(pa.large_string()).dictionary_encode(),
    "numbers": pa.array([7, 8, None, 7]).dictionary_encode(),
    "ns": pa.array([1, 2**62, None, -1], pa.timestamp("ns")),
    "far": pa.array([2**60, 0, None, -(2**60)], pa.timestamp("us", "UTC")),
    "zone": pa.array([1, 2, None, 3], pa.timestamp("ms", "Europe/Berlin")),
    "day": pa.array([10**7, 0, None, 1], pa.date32()),
    "time": pa.array([1, 2, None, 3], pa.time64("ns")),
    "took": pa.array([1, 2, None, 3], pa.duration("ns")),
    "money": pa.array([Decimal("1.10"), Decimal("-2.25"), None, Decimal("0.00")], pa.decimal128(38, 2)),
    "text": WORDS.cast(pa.large_string()),
    "view": WORDS.cast(pa.string_view()),
    "bytes": WORDS.cast(pa.binary()),
    "nan": pa.array([float("nan"), float("inf"), None, -0.0]),
    "half": pa.array([1.5, 2.5, None, 0.0], pa.float16()),
    "list": pa.array([[1], [], None, [2, None]], pa.large_list(pa.int16())),
    "fixed": pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int8(), 2)),
    "struct": pa.array([{"a": {"b": [1]}}, None, {"a": None}, {"a": {"b": None}}]),
    "map": pa.array([[("k", 1)], [], None, [("l", None)]], pa.map_(pa.string(), pa.int8())),
    "words inside": pa.array([["a"], [], None, ["b"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
}


def inputs() -> pa.Table:
    """A table of every such column, with what writers say in metadata."""
    fields = [
        pa.field(name, column.type, metadata={"unit": name, "PARQUET:field_id": str(number)})
        for number, (name, column) in enumerate(COLUMNS.items())
    ]
    schema = pa.schema(fields, metadata={"huggingface": '{"info": {}}', "mine": "yes"})
    return pa.Table.from_arrays(list(COLUMNS.values()), schema=schema)


@pytest.fixture
def run(tmp_path) -> RunView:
    """One shard sealed, the next with a row that has failed and one that has no result."""
    table, shards = inputs(), (Shard(0, 0, 2), Shard(1, 2, 2))
    types = table.schema.serialize().to_pybytes()
    plan = InputPlan(4, shards, tuple(COLUMNS), types, "", (), 0.0)
    store = LockedRun.create(tmp_path / "run", Manifest(Job(), {}, plan, 1))
    for shard in shards:
        opened = store.open_shard(shard)
        for row in range(shard.first_row, 3):
            if row in range(shard.first_row, shard.first_row + shard.rows):
                opened.append(Failure(row, str(row), "bad_request", "no", request_hash=b"h" * 16, attempts=1))
        if shard.index == 0:
            opened.seal(table.slice(0, 2))
        else:
            opened.flush()
            opened.close()
    store.close()
    return RunView.open(tmp_path / "run")


class Held:
    """A source that holds its table."""

    def table(self, shard: Shard, plan: InputPlan) -> pa.Table:
        return inputs().slice(shard.first_row, shard.rows)


def tables(run: RunView) -> list[pa.Table]:
    return list(run_tables(run, Held))  # type: ignore[arg-type]


def assert_same(read: pa.Table, wanted: pa.Table) -> None:
    for name in wanted.column_names:
        if name == "nan":  # which no NaN is equal to
            assert str(read[name].to_pylist()) == str(wanted[name].to_pylist())
        else:
            assert read[name].equals(wanted[name]), name


def test_sealed_or_not_a_shard_has_the_columns_types_and_metadata_of_the_input(run):
    for number, table in enumerate(tables(run)):
        mine = table.select(list(COLUMNS))
        assert mine.schema.equals(inputs().schema, check_metadata=True)
        assert table.column_names == [*COLUMNS, *RESULT_COLUMNS]
        assert_same(mine, inputs().slice(2 * number, 2))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_parquet_output_has_the_type_that_parquet_has_for_it(run, tmp_path, name):
    """Which is the column's own, but for dictionaries of what is no text, which Parquet does not have."""
    pq.write_table(inputs().select([name]), tmp_path / "straight.parquet")
    export_tables(Target(str(tmp_path / "out.parquet"), "parquet"), lambda: iter(tables(run)))

    read, straight = pq.read_table(tmp_path / "out.parquet"), pq.read_table(tmp_path / "straight.parquet")
    assert read.schema.field(name).type == straight.schema.field(name).type
    assert read.schema.field(name).metadata[b"unit"] == name.encode()
    assert read.schema.metadata[b"mine"] == b"yes"
    assert b"batchlab.totals" not in read.schema.metadata
    assert_same(read, straight)
    assert pa.types.is_string(read.schema.field("status").type)


def test_a_data_set_has_the_metadata_and_no_dictionaries(run, tmp_path):
    export_tables(Target(f"{tmp_path}/ds/", "hf"), lambda: iter(tables(run)))

    [file] = (tmp_path / "ds/data").iterdir()
    schema = pq.read_schema(file)
    assert schema.metadata[b"huggingface"] == b'{"info": {}}'
    assert schema.field("words").type == pa.string()
    assert schema.field("ns").type == pa.timestamp("ns")


def test_a_frame_has_the_types(run, monkeypatch):
    monkeypatch.setattr(load, "input_of", lambda _: Held())

    frame = load.load_run(run.path)

    assert len(frame) == 4
    for name, column in COLUMNS.items():
        assert frame[name].dtype == pd.ArrowDtype(column.type), name


@pytest.mark.parametrize("kept", [None, True], ids=["range", "column"])
def test_the_index_that_pandas_wrote_is_the_index_again(tmp_path, kept):
    frame = pd.DataFrame({"text": ["a", "b"]}, index=pd.Index(["x", "y"], name="key") if kept else None)
    table = pa.Table.from_pandas(frame)
    plan = InputPlan(2, (Shard(0, 0, 2),), tuple(table.column_names), table.schema.serialize().to_pybytes(), "", (),
                     0.0)  # fmt: skip
    store = LockedRun.create(tmp_path / "run", Manifest(Job(), {}, plan, 1))
    opened = store.open_shard(plan.shards[0])
    for row in range(2):
        opened.append(Failure(row, str(row), "bad_request", "no", request_hash=b"h" * 16, attempts=1))
    opened.seal(table)
    store.close()
    run = RunView.open(tmp_path / "run")
    export_tables(Target(str(tmp_path / "out.parquet"), "parquet"), lambda: run_tables(run, Held))

    for back in (pd.read_parquet(tmp_path / "out.parquet"), load.load_run(run.path)):
        assert back.index.tolist() == frame.index.tolist()
        assert back.index.name == frame.index.name
        assert list(back.columns[:2]) == ["text", "row_id"]
        assert back["text"].tolist() == ["a", "b"]
