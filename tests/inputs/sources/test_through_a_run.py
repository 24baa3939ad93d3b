"""What other people's writers made goes through a whole run and out again in every format, and is what went in.

"What went in" is what the writer's own library reads, written once more by Arrow: every reader must find in
the output's columns what it finds in that file.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import batchlab
from batchlab.errors import UsageError
from batchlab.inputs.sources.arrow_files.schema import writable
from batchlab.looking.output import export_run as export
from tests.conftest import CANARY, simulating
from tests.inputs.sources.test_arrow_types import ARRAYS, NOT_IN_PARQUET, RESTORED, plain_values, with_nulls

NS = 1_700_000_000_123_456_789
FIELDS = {
    "prompt": pa.array(["a\nb", 'say "é"; 🧣', "=1+1", "-5"]),
    "id": pa.array([1, 2, 3, 2**31 - 1], pa.int32()),
    "words": pa.array(["x", None, "y", "x"]).dictionary_encode(),
    "ordered": pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), ["lo", "hi"], ordered=True),
    "ns": pa.array([NS, None, -1, 0], pa.timestamp("ns")),
    "zone": pa.array([NS // 1000, None, -1, 0], pa.timestamp("us", "Europe/Berlin")),
    "far": pa.array([2**60, None, -(2**60), 0], pa.timestamp("us")),
    "day": pa.array([10_000_000, None, 0, 1], pa.date32()),
    "time": pa.array([1, None, 0, 3], pa.time64("ns")),
    "took": pa.array([NS, None, -1, 0], pa.duration("ns")),
    "money": pa.array([Decimal("1.10"), None, Decimal("-2.25"), Decimal("0.00")], pa.decimal128(38, 2)),
    "large": pa.array(["a", None, "", "é"], pa.large_string()),
    "view": pa.array(["a" * 20, None, "", "é"], pa.string_view()),
    "bytes": pa.array([b"a", None, b"", b"\xff"]),
    "fixed bytes": pa.array([b"ab", None, b"\0\0", b"\xff\xff"], pa.binary(2)),
    "float": pa.array([0.1, None, -0.25, 1e300]),
    "minus zero": pa.array([0.0, None, -0.0, 5e-324]),
    "half": pa.array([0.5, None, 2.0, 0.0], pa.float32()),
    "u64": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
    "flag": pa.array([True, None, False, True]),
    "list": pa.array([[1], None, [], [2, None]], pa.large_list(pa.int16())),
    "struct": pa.array([{"a": {"b": ["x"]}}, None, {"a": None}, {"a": {"b": []}}]),
    "map": pa.array([[("k", 1)], None, [], [("l", None)]], pa.map_(pa.string(), pa.int8())),
    "nothing": pa.nulls(4),
    "no text": pa.nulls(4, pa.string()),
    "a.b": pa.array([1, 2, 3, 4]),
    "ü ñ": pa.array(["1", "2", "3", "4"]),
    "Prompt": pa.array(["other", "case", "is", "kept"]),
}
RICH = pa.Table.from_arrays(
    list(FIELDS.values()),
    schema=pa.schema(
        [pa.field(name, array.type, metadata={"about": name}) for name, array in FIELDS.items()],
        metadata={"mine": "yes"},
    ),
)
# what the other libraries hold, and tell apart by case
PLAIN = RICH.drop_columns(["Prompt", "nothing"])
FLAT = RICH.select(["id", "prompt", "large", "float"])
AS_CSV = pa.table({name: RICH[name].cast(pa.large_string()).fill_null("") for name in FLAT.column_names})
AS_JSON = FLAT.cast(
    pa.schema(
        [
            ("id", pa.int64()),
            ("prompt", pa.large_string()),
            ("large", pa.large_string()),
            ("float", pa.float64()),
        ]
    )
)

Made = tuple[Path, pa.Table]
MAKERS: dict[str, Callable[[Path], Made]] = {}


def maker(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
    MAKERS[make.__name__] = make
    return make


@maker
def pyarrow_parquet(home):
    pq.write_table(RICH, home / "x.parquet", row_group_size=3)
    return home / "x.parquet", RICH


@maker
def pyarrow_feather(home):
    feather.write_feather(RICH, home / "x.feather", compression="zstd")
    return home / "x.feather", RICH


@maker
def pyarrow_stream(home):
    with pa.ipc.new_stream(home / "x.arrows", RICH.schema) as writer:
        writer.write_table(RICH, max_chunksize=2)
    return home / "x.arrows", RICH


@maker
def pyarrow_folders(home):
    table = FLAT.append_column("k", pa.array(["a/b", "a/b", "c", "c"]))
    ds.write_dataset(table, home / "d", format="parquet", partitioning=["k"], partitioning_flavor="hive")
    return home / "d", table


@maker
def spark_folder(home):
    (home / "d/_temporary/0").mkdir(parents=True)
    for number in (0, 1):
        pq.write_table(RICH.slice(2 * number, 2), home / f"d/part-0000{number}-9c.c000.snappy.parquet")
        (home / f"d/.part-0000{number}-9c.c000.snappy.parquet.crc").write_bytes(b"crc\0")
    pq.write_table(RICH, home / "d/_temporary/0/part-00000.parquet")
    (home / "d/_SUCCESS").touch()
    return home / "d", RICH


@maker
def pandas_parquet(home):
    frame = pd.DataFrame({"prompt": ["a", "b"], "kind": pd.Categorical(["x", None], ordered=True)})
    frame["at"] = pd.to_datetime(["2026-01-01 00:00:00.123456789", None]).astype("datetime64[ns]")
    frame["took"] = pd.to_timedelta([1, None], unit="ns")
    frame["n"] = pd.array([1, None], dtype="Int64")
    frame["objects"] = [{"a": [1]}, None]
    frame.index = pd.Index([7, 9], name="key")
    frame.to_parquet(home / "x.parquet")
    return home / "x.parquet", pq.read_table(home / "x.parquet")


@maker
def polars_parquet(home):
    pl = pytest.importorskip("polars")
    pl.from_arrow(PLAIN).write_parquet(home / "x.parquet")
    return home / "x.parquet", pq.read_table(home / "x.parquet")


@maker
def polars_ipc(home):
    pl = pytest.importorskip("polars")
    frame = pl.from_arrow(PLAIN).with_columns(
        enum=pl.Series(["a", "b", "a", None], dtype=pl.Enum(["b", "a"]))
    )
    frame.write_ipc(home / "x.arrow")
    table = pa.ipc.open_file(home / "x.arrow").read_all()
    for name in ("words", "ordered", "enum"):  # of string views, which a Parquet file holds in no dictionary
        at, field = table.schema.get_field_index(name), table.schema.field(name)
        (chunk,) = table[name].chunks
        column = pa.DictionaryArray.from_arrays(
            chunk.indices, chunk.dictionary.cast(pa.large_string()), ordered=field.type.ordered
        )
        table = table.set_column(at, field.with_type(column.type), column)
    return home / "x.arrow", table


@maker
def duckdb_parquet(home):
    duckdb.sql(
        "COPY (SELECT 'p' || range AS prompt, range::HUGEINT AS h, 'x'::ENUM('x', 'y') AS e, uuid() AS u, "
        "[range] AS l, {'a': range} AS s, map {'k': range} AS m, '1 day'::INTERVAL::VARCHAR AS i, "
        f"range::DECIMAL(38, 10) AS d, TIME '10:00' AS t FROM range(4)) TO '{home}/x.parquet'"
    )
    return home / "x.parquet", pq.read_table(home / "x.parquet")


@maker
def duckdb_database(home):
    with duckdb.connect(str(home / "x.duckdb")) as connection:
        connection.register("made", PLAIN.drop_columns(["took", "ordered", "words", "view"]))
        connection.execute("CREATE TABLE rows AS SELECT *, 'x'::ENUM('x', 'y') AS e FROM made")
        return home / "x.duckdb", connection.sql("FROM rows").to_arrow_table()


@maker
def sqlite_database(home):
    connection = sqlite3.connect(home / "x.db")
    FLAT.to_pandas().to_sql("rows", connection, index=False)
    connection.close()
    return home / "x.db", AS_JSON


@maker
def hugging_face_folder(home):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    made = datasets.Dataset(FLAT.append_column("label", pa.array([0, 1, 0, 1])))
    made = made.cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
    made.save_to_disk(home / "d", num_shards=2)
    return home / "d", datasets.load_from_disk(home / "d").data.table


@maker
def openpyxl_book(home):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["id", "prompt", "day"], [1, "a\nb", dt.date(2026, 1, 2)], [2, "é", None]):
        book.active.append(row)
    book.save(home / "x.xlsx")
    text = pa.large_string()
    return home / "x.xlsx", pa.table(
        {"id": [1, 2], "prompt": pa.array(["a\nb", "é"], text), "day": pa.array(["2026-01-02", None], text)}
    )


@maker
def pandas_csv(home):
    FLAT.to_pandas().to_csv(home / "x.csv", index=False, sep=";")
    return home / "x.csv", AS_CSV


@maker
def polars_csv(home):
    pl = pytest.importorskip("polars")
    pl.from_arrow(FLAT).write_csv(home / "x.csv.gz", compression="gzip")
    return home / "x.csv.gz", AS_CSV


@maker
def duckdb_csv(home):
    duckdb.sql(f"COPY (SELECT * FROM FLAT) TO '{home}/x.tsv' (HEADER, DELIMITER '\t', QUOTE '\"')")
    return home / "x.tsv", AS_CSV


@maker
def pyarrow_csv(home):
    (home / "d").mkdir()
    for number in (0, 1):
        pyarrow.csv.write_csv(FLAT.slice(2 * number, 2), home / f"d/{number}.csv")
    return home / "d", AS_CSV


@maker
def pandas_json(home):
    FLAT.to_pandas().to_json(home / "x.json", orient="records", indent=1, double_precision=15)
    return home / "x.json", AS_JSON


@maker
def polars_json(home):
    pl = pytest.importorskip("polars")
    pl.from_arrow(FLAT).write_ndjson(home / "x.ndjson")
    return home / "x.ndjson", AS_JSON


@maker
def duckdb_json(home):
    duckdb.sql(f"COPY FLAT TO '{home}/x.jsonl' (FORMAT json)")
    return home / "x.jsonl", AS_JSON


@pytest.fixture(scope="module")
def address():
    with simulating() as server:
        yield server.base_url


@pytest.fixture
def run(address, tmp_path, monkeypatch):
    """Runs an input in this process, and returns the run's directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)

    def start(rows=None, **keywords):
        batchlab.run(
            rows,
            **{
                "model": "sim", "base_url": address, "api_key_env": "SIMULATOR_KEY", "progress": "none",
                "run_dir": "run", "prefix": "out_", "quiet": True, "shard_rows": 3, **keywords,
            },
        )  # fmt: skip
        return "run"

    return start


def as_text(table):
    """Each column as the guide says CSV and JSON Lines hold it, by Arrow's casts."""
    found = {}
    for name in table.column_names:
        kind = table.schema.field(name).type
        if pa.types.is_boolean(kind) or pa.types.is_nested(kind):
            continue
        column = table[name]
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        if "binary" in str(kind):
            texts = [None if value is None else value.hex() for value in column.to_pylist()]
        elif isinstance(kind, pa.BaseExtensionType):
            texts = [None if value is None else str(value) for value in column.to_pylist()]
        elif pa.types.is_floating(kind):  # Arrow writes 1e+300, and Python 1e+300, but 0 and 0.0
            texts = [None if value is None else repr(value) for value in column.to_pylist()]
        else:
            texts = column.cast(pa.string()).to_pylist()
        found[name] = texts
    return found


def readers():
    """How the others read a Parquet file."""
    found = {
        # whose own comparison takes fewer types than it holds
        "pandas": lambda path, names: pa.Table.from_pandas(
            pd.read_parquet(path, columns=names, dtype_backend="pyarrow")
        ),
        "duckdb": lambda path, names: duckdb.sql(
            "SELECT " + ", ".join(f'"{name}"' for name in names) + f" FROM '{path}'"
        ).to_arrow_table(),
    }
    try:
        import polars as pl
    except ImportError:
        pass
    else:
        found["polars"] = lambda path, names: pl.read_parquet(path, columns=names)
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_what_goes_in_comes_out(name, run, tmp_path):
    path, went_in = MAKERS[name](tmp_path)
    went_in = went_in.cast(writable(went_in.schema))  # views inside of structs are text
    names = went_in.column_names

    run(input=str(path), prompt="{prompt}")

    # Parquet: types, values and metadata, by Arrow's own comparison
    export("run", "out.parquet")
    pq.write_table(went_in, "straight.parquet")
    straight, out = pq.read_table("straight.parquet"), pq.read_table("out.parquet")
    assert out["out_status"].to_pylist() == ["ok"] * went_in.num_rows
    ours = out.select(names)
    assert ours.schema.equals(straight.schema), f"{ours.schema}\n{straight.schema}"
    assert ours.equals(straight)
    assert {key: out.schema.metadata[key] for key in straight.schema.metadata or {}} == (
        straight.schema.metadata or {}
    )
    for field in went_in.schema:
        for key, value in (field.metadata or {}).items():
            assert ours.schema.field(field.name).metadata[key] == value

    # and as others read it
    for reader, read in readers().items():
        alike = names if reader != "duckdb" else _told_apart_without_case(names)
        assert read("out.parquet", alike).equals(read("straight.parquet", alike)), reader

    # a data set
    export("run", "hf", to="hf")
    (file,) = Path("hf/data").glob("*.parquet")
    in_set = pq.read_table(file).select(names)
    for column in names:
        wanted = in_datasets(straight[column])
        assert in_set[column].cast(wanted.type).equals(wanted), column

    _same_in_datasets("hf", straight)

    # text
    export("run", "out.jsonl")
    export("run", "out.csv", csv_raw=True)
    lines = [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]
    with open("out.csv", encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [[*line][: len(names)] for line in lines] == [names] * went_in.num_rows
    for column, texts in as_text(went_in).items():
        assert [row[column] for row in cells] == [text or "" for text in texts], column
        found = [line[column] for line in lines]
        kind = went_in.schema.field(column).type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            assert found == went_in[column].to_pylist(), column
        else:
            assert found == texts, column
    for reader, texts in csv_readers("out.csv").items():
        assert texts == {column: [row[column] for row in cells] for column in texts}, reader

    # batch lines
    export("run", "out.batch.jsonl", to="openai-batch")
    batch = [json.loads(line) for line in Path("out.batch.jsonl").read_text("utf-8").splitlines()]
    assert [line["response"]["status_code"] for line in batch] == [200] * went_in.num_rows
    assert [line["custom_id"] for line in batch] == out["out_custom_id"].to_pylist()


def _loads(folder):
    try:
        import datasets
    except ImportError:
        return
    datasets.disable_progress_bars()
    assert datasets.load_dataset(folder, cache_dir="cache", split="train").num_rows == 3


def _same_in_datasets(folder, straight):
    """The columns as the library that the folder is for loads them."""
    try:
        import datasets
    except ImportError:
        return
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(folder, cache_dir="cache", split="train").data.table
    for column in straight.column_names:
        wanted = in_datasets(straight[column])
        assert loaded[column].cast(wanted.type).equals(wanted), column


def csv_readers(path):
    """Columns as texts, as the others read a CSV file."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    found = {"pandas": {name: frame[name].tolist() for name in frame}}
    try:
        import polars as pl
    except ImportError:
        return found
    table = pl.read_csv(path, infer_schema=False)
    found["polars"] = {name: table[name].fill_null("").to_list() for name in table.columns}
    return found


def _told_apart_without_case(names):
    seen = [name.lower() for name in names]
    return [name for index, name in enumerate(names) if name.lower() not in seen[:index]]


def in_datasets(column):
    """The column in the type that a data set has for it, as the guide says."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type)
    if pa.types.is_map(kind):
        return column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    if isinstance(kind, pa.BaseExtensionType):
        return pa.chunked_array([[None if one is None else str(one) for one in column.to_pylist()]])
    return column.cast(pa.binary()) if pa.types.is_fixed_size_binary(kind) else column


# what a program holds


def pandas_frame():
    return pd.DataFrame(
        {
            "prompt": ["a", "b", "c"],
            "kind": pd.Categorical(["x", None, "y"]),
            "size": pd.Categorical(["lo", "hi", "lo"], categories=["hi", "lo"], ordered=True),
            "year": pd.Categorical([2025, 2026, None]),
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "at": pd.to_datetime([NS, NS + 1, None], unit="ns", utc=True),
        }
    )


def polars_frame():
    pl = pytest.importorskip("polars")
    return pl.from_arrow(PLAIN).with_columns(enum=pl.Series(["a", "b", "a", None], dtype=pl.Enum(["b", "a"])))


@pytest.mark.parametrize(
    "make", [pandas_frame, polars_frame, lambda: RICH], ids=["pandas", "polars", "arrow"]
)
def test_rows_of_a_program_come_out_with_their_types(make, run):
    rows = make()

    run(rows, prompt="{prompt}")
    export("run", "out.parquet")

    out = pq.read_table("out.parquet")
    if rows is RICH:
        assert out.select(RICH.column_names).equals(RICH)
        assert out.schema.metadata[b"mine"] == b"yes"
        assert out.schema.field("words").metadata[b"about"] == b"words"
    elif isinstance(rows, pd.DataFrame):
        found = pd.read_parquet("out.parquet")
        for name in ("kind", "size"):
            assert found[name].dtype == rows[name].dtype
            assert found[name].equals(rows[name])
        assert out["at"].type == pa.timestamp("ns", "UTC")
        assert out["whole"].to_pylist() == [1, None, 3]
        assert out["year"].to_pylist() == [2025, 2026, None]
    else:
        found = type(rows)(out)  # as polars reads what Arrow holds
        assert found.select(rows.columns).equals(rows)
        assert found.select(rows.columns).schema == rows.schema


# every type that Arrow has

# of which a prompt holds no value
BYTES = {"binary", "large_binary", "binary_view", "fixed_binary"}
UNUSABLE = {*BYTES, "timestamp_nowhere"}


@pytest.mark.parametrize("nulls", [False, True], ids=["full", "nulls"])
@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_every_type_goes_through_a_run(run, used, nulls):
    arrays = {
        name: with_nulls(array) if nulls else array
        for name, array in ARRAYS.items()
        if name not in NOT_IN_PARQUET
    }
    table = pa.table({"prompt": ["a", "b", "c"], **arrays})
    with pa.ipc.new_file("in.arrow", table.schema) as writer:
        writer.write_table(table)
    prompt = "{prompt} " + " ".join(f"{{{name}}}" for name in arrays if used and name not in UNUSABLE)

    run(input="in.arrow", prompt=prompt, null_as="-")
    for to in ("parquet", "csv", "jsonl", "hf"):
        export("run", f"out.{to}", to=to)

    out = pq.read_table("out.parquet")
    assert out["out_status"].to_pylist() == ["ok"] * 3
    for name, array in arrays.items():
        kind = RESTORED.get(name, array.type)
        assert out.schema.field(name).type == kind, name
        want = plain_values(pa.chunked_array([array]))
        assert plain_values(out[name]).equals(want.cast(plain_values(out[name]).type)), name
    _loads("out.hf")
    again = [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]
    assert [[*line][: len(arrays) + 1] for line in again] == [table.column_names] * 3


@pytest.mark.parametrize("name", sorted(BYTES))
def test_bytes_in_a_prompt_are_refused_in_one_line_each(run, name):
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "x": with_nulls(ARRAYS[name])}), "in.parquet")

    with pytest.raises(UsageError) as refused:
        run(input="in.parquet", prompt="{prompt} {x}", null_as="-")

    assert str(refused.value).splitlines() == [
        f"in.parquet:{row}: a binary value cannot be put into a prompt." for row in (1, 3)
    ]


def test_a_value_that_cannot_be_read_fails_its_row_and_comes_out_all_the_same(run):
    table = pa.table({"prompt": ["a", "b", "c"], "x": with_nulls(ARRAYS["timestamp_nowhere"])})
    pq.write_table(table, "in.parquet")

    run(input="in.parquet", prompt="{prompt} {x}", null_as="-")
    export("run", "out.parquet")

    out = pq.read_table("out.parquet")
    assert out["out_status"].to_pylist() == ["failed", "ok", "failed"]
    assert out["x"].equals(pq.read_table("in.parquet")["x"])
