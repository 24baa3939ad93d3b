"""Files that other people's writers make: what is read equals what they wrote, by Arrow's own comparison."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sqlite3

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from tests.inputs.sources.reading import read, refused

TABLE = pa.table(
    {
        "id": pa.array(range(25), pa.int32()),
        "prompt": [f'row {n}, "quoted"; é\n🧣' if n % 3 else f"plain {n}" for n in range(25)],
        "score": [n / 4 if n % 5 else None for n in range(25)],
        "day": [dt.date(2026, 1, 1 + n) for n in range(25)],
        "tags": [["a", str(n)] if n % 2 else [] for n in range(25)],
    }
)
FRAME = TABLE.to_pandas(types_mapper=pd.ArrowDtype)
FLAT = TABLE.select(["id", "prompt", "score"])


def table_of(path, **options):
    return read(path, shard_rows=7, **options)[1]


def same(path, expected=TABLE, **options):
    found = table_of(path, **options)
    assert found.schema.equals(expected.schema), f"{found.schema}\n{expected.schema}"
    assert found.equals(expected)


def as_text(table):
    return [
        {name: None if value is None else str(value) for name, value in row.items()}
        for row in table.to_pylist()
    ]


# Parquet and Arrow, by each of them


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 4},
        {"compression": "zstd"},
        {"data_page_version": "2.0"},
        {"use_dictionary": False, "compression": "none"},
    ],
)
def test_pyarrow_s_parquet(tmp_path, options):
    pq.write_table(TABLE, tmp_path / "x.pq", **options)
    same(tmp_path / "x.pq")


def test_pyarrow_s_dataset_of_parquet_by_key(tmp_path):
    ds.write_dataset(
        TABLE,
        tmp_path / "d",
        format="parquet",
        partitioning=["id"],
        partitioning_flavor="hive",
        max_partitions=100,
    )
    found = table_of(tmp_path / "d").sort_by("id")
    expected = TABLE.select(["prompt", "score", "day", "tags", "id"])
    assert found.equals(expected.cast(found.schema))


@pytest.mark.parametrize("kind", ["feather", "arrow", "ipc"])
@pytest.mark.parametrize("compression", ["lz4", "zstd", "uncompressed"])
def test_pyarrow_s_feather(tmp_path, kind, compression):
    feather.write_feather(TABLE, tmp_path / f"x.{kind}", compression=compression)
    same(tmp_path / f"x.{kind}")


def test_pyarrow_s_stream(tmp_path):
    with pa.ipc.new_stream(tmp_path / "x.arrow", TABLE.schema) as writer:
        for batch in TABLE.to_batches(max_chunksize=4):
            writer.write_batch(batch)
    same(tmp_path / "x.arrow")


def test_pandas_parquet_with_its_index_and_categories(tmp_path):
    frame = pd.DataFrame(
        {"prompt": ["a", "b"], "kind": pd.Categorical(["x", "y"])}, index=pd.Index([7, 9], name="key")
    )
    frame["at"] = pd.to_datetime(["2026-01-01 00:00:00.123456789", None]).astype("datetime64[ns]")
    frame.to_parquet(tmp_path / "x.parquet")

    found = table_of(tmp_path / "x.parquet")

    assert found.schema.equals(pq.read_schema(tmp_path / "x.parquet"), check_metadata=True)
    pd.testing.assert_frame_equal(found.to_pandas(), frame)


def test_pandas_feather(tmp_path):
    FRAME.to_feather(tmp_path / "x.feather")
    same(tmp_path / "x.feather", feather.read_table(tmp_path / "x.feather"))


def test_duckdb_s_parquet(tmp_path):
    duckdb.sql(f"COPY (SELECT range AS n, 'p' || range AS prompt FROM range(5000)) TO '{tmp_path}/x.parquet'")
    same(tmp_path / "x.parquet", pq.read_table(tmp_path / "x.parquet"))


def test_duckdb_s_folders(tmp_path):
    duckdb.sql(
        f"COPY (SELECT range AS n, 'p' || range AS prompt, range % 3 AS k FROM range(50)) TO '{tmp_path}/d' "
        "(FORMAT parquet, PARTITION_BY (k))"
    )
    found = table_of(tmp_path / "d")
    expected = duckdb.sql(f"SELECT n, prompt, k FROM '{tmp_path}/d/**/*.parquet' ORDER BY n").to_arrow_table()
    assert found.sort_by("n").equals(expected.cast(found.schema))


def test_polars_writers(tmp_path):
    pl = pytest.importorskip("polars")
    frame = pl.from_arrow(TABLE)
    frame.write_parquet(tmp_path / "x.parquet")
    same(tmp_path / "x.parquet", pq.read_table(tmp_path / "x.parquet"))
    frame.write_ipc(tmp_path / "x.arrow")
    same(tmp_path / "x.arrow", pa.ipc.open_file(tmp_path / "x.arrow").read_all())
    frame.write_ndjson(tmp_path / "x.ndjson")
    assert table_of(tmp_path / "x.ndjson").num_rows == 25
    frame.write_json(tmp_path / "x.json")
    assert table_of(tmp_path / "x.json").equals(table_of(tmp_path / "x.ndjson"))
    pl.from_arrow(FLAT).write_csv(tmp_path / "x.csv", separator=";")
    assert table_of(tmp_path / "x.csv")["prompt"].to_pylist() == TABLE["prompt"].to_pylist()


@pytest.mark.parametrize("rows", [25, 1])
def test_hugging_face_s_folders(tmp_path, rows):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    made = datasets.Dataset(TABLE.slice(0, rows)).cast_column("id", datasets.Value("int64"))
    made.save_to_disk(tmp_path / "d", num_shards=min(rows, 3))

    found = table_of(tmp_path / "d")

    assert found.equals(made.data.table.cast(found.schema))
    assert b"huggingface" in found.schema.metadata
    assert datasets.Features.from_arrow_schema(found.schema) == made.features

    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "one")
    assert table_of(tmp_path / "one").equals(found)
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(tmp_path / "two")
    assert table_of(tmp_path / "two/test").equals(found)
    assert "the splits train, test" in refused(tmp_path / "two")
    made.to_json(tmp_path / "x.json")
    assert table_of(tmp_path / "x.json")["prompt"].to_pylist() == TABLE["prompt"].to_pylist()[:rows]


# text, by each of them


@pytest.mark.parametrize(
    "options", [{"lines": True}, {}, {"indent": 2}, {"lines": True, "compression": "gzip"}]
)
def test_pandas_json(tmp_path, options):
    FRAME.drop(columns=["day"]).to_json(tmp_path / "x.json", orient="records", **options)
    found = table_of(tmp_path / "x.json")
    assert found.to_pylist() == json.loads(FRAME.drop(columns=["day"]).to_json(orient="records"))


def test_pandas_json_by_columns_is_refused_with_the_way_to_write_it(tmp_path):
    FRAME.drop(columns=["day"]).to_json(tmp_path / "x.json")
    assert 'orient="records", lines=True' in refused(tmp_path / "x.json")


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_pandas_csv(tmp_path, sep, encoding):
    FLAT.to_pandas(types_mapper=pd.ArrowDtype).to_csv(
        tmp_path / "x.csv", index=False, sep=sep, encoding=encoding
    )
    found = table_of(tmp_path / "x.csv")
    assert found["prompt"].to_pylist() == FLAT["prompt"].to_pylist()
    assert found.column_names == FLAT.column_names


def test_pyarrow_s_and_duckdb_s_csv(tmp_path):
    pyarrow.csv.write_csv(FLAT, tmp_path / "x.csv")
    duckdb.sql("COPY FLAT TO '" + str(tmp_path / "y.csv") + "' (HEADER, DELIMITER '|')")
    expected = [row | {"score": row["score"] or ""} for row in as_text(FLAT)]
    found = [table_of(tmp_path / name).to_pylist() for name in ("x.csv", "y.csv")]
    assert [[row["prompt"] for row in rows] for rows in found] == [[row["prompt"] for row in expected]] * 2


@pytest.mark.parametrize("dialect", csv.list_dialects())
def test_python_s_csv_in_each_dialect(tmp_path, dialect):
    name = "x.tsv" if "tab" in dialect else "x.csv"
    with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FLAT.column_names, dialect=dialect)
        writer.writeheader()
        writer.writerows(FLAT.to_pylist())
    assert table_of(tmp_path / name)["prompt"].to_pylist() == FLAT["prompt"].to_pylist()


def test_spark_s_csv_with_leavings(tmp_path):
    (tmp_path / "d").mkdir()
    for number in range(3):
        pyarrow.csv.write_csv(FLAT.slice(number * 9, 9), tmp_path / f"d/part-0000{number}-9c.c000.csv")
        (tmp_path / f"d/.part-0000{number}-9c.c000.csv.crc").write_bytes(b"crc\0")
    (tmp_path / "d/_SUCCESS").touch()
    assert table_of(tmp_path / "d")["prompt"].to_pylist() == FLAT["prompt"].to_pylist()


def test_duckdb_s_json(tmp_path):
    for array in ("false", "true"):
        duckdb.sql(f"COPY (SELECT id, prompt FROM FLAT) TO '{tmp_path}/x.json' (ARRAY {array})")
        assert table_of(tmp_path / "x.json")["prompt"].to_pylist() == FLAT["prompt"].to_pylist()


# tables of their own


def test_pandas_excel(tmp_path):
    pytest.importorskip("openpyxl")
    FLAT.to_pandas().to_excel(tmp_path / "x.xlsx", index=False)
    found = table_of(tmp_path / "x.xlsx")
    assert found.to_pylist() == FLAT.to_pylist()


def test_pandas_and_sqlite(tmp_path):
    connection = sqlite3.connect(tmp_path / "x.sqlite")
    FLAT.to_pandas().to_sql("rows", connection, index=False)
    connection.close()
    assert table_of(tmp_path / "x.sqlite").to_pylist() == FLAT.to_pylist()


def test_duckdb_s_own(tmp_path):
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.register("made", TABLE)
        connection.execute("CREATE TABLE rows AS FROM made")
    same(tmp_path / "x.duckdb")
