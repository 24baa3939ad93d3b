"""Directories and globs, as Spark, Hive and people leave them."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.inputs.sources.reading import read, refused


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def prompts(path, **options):
    return [row.values.get("prompt") for row in read(path, **options)[2]]


def test_leavings_of_spark_are_no_rows(tmp_path):
    write(tmp_path / "d/part-00001.snappy.parquet", prompt=["c"])
    write(tmp_path / "d/part-00000.snappy.parquet", prompt=["a", "b"])
    write(tmp_path / "d/_temporary/0/task_01/part-00001.parquet", prompt=["half"])
    write(tmp_path / "d/.part-00001.parquet", prompt=["hidden"])
    write(tmp_path / "d/_metadata.parquet", prompt=["summary"])
    (tmp_path / "d/_SUCCESS").touch()
    (tmp_path / "d/.part-00000.snappy.parquet.crc").write_bytes(b"crc")

    for path in (tmp_path / "d", tmp_path / "d/*", tmp_path / "d/**/*.parquet", tmp_path / "*"):
        assert prompts(path) == ["a", "b", "c"] == ds.dataset(tmp_path / "d").to_table()["prompt"].to_pylist()
    assert prompts(tmp_path / "d/_temporary/*/*/*.parquet") == ["half"]  # asked for by name


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_folders_that_are_keys_become_columns(tmp_path, kind):
    for folder, rows in {
        "lang=de/n=1": ["a"],
        "lang=fr/n=2": ["b", "c"],
        "lang=x%2Fy/n=10": ["d"],
        "lang=__HIVE_DEFAULT_PARTITION__/n=3": ["e"],
    }.items():
        where = tmp_path / "d" / folder / f"p.{kind}"
        where.parent.mkdir(parents=True)
        if kind == "parquet":
            pq.write_table(pa.table({"prompt": rows}), where)
        elif kind == "csv":
            where.write_text("prompt\n" + "".join(f"{row}\n" for row in rows))
        else:
            where.write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))

    plan, table, rows, _ = read(tmp_path / "d", shard_rows=2)

    expected = [
        {"prompt": "e", "lang": None, "n": 3},
        {"prompt": "a", "lang": "de", "n": 1},
        {"prompt": "b", "lang": "fr", "n": 2},
        {"prompt": "c", "lang": "fr", "n": 2},
        {"prompt": "d", "lang": "x/y", "n": 10},
    ]
    assert table.to_pylist() == expected
    assert [dict(row.values) for row in rows] == expected
    assert plan.columns == ("prompt", "lang", "n")


def test_a_key_with_leading_zeros_is_text(tmp_path):
    write(tmp_path / "d/zip=01234/p.parquet", prompt=["a"])
    write(tmp_path / "d/zip=99999/p.parquet", prompt=["b"])

    assert read(tmp_path / "d")[1]["zip"].to_pylist() == ["01234", "99999"]


def dictionary(values):
    return pa.array(values).dictionary_encode()


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (pa.array([1], pa.int32()), pa.array([2**40], pa.int64()), pa.int64()),
        (pa.array([1.5], pa.float32()), pa.array([2.5], pa.float64()), pa.float64()),
        (pa.nulls(1), pa.array(["x"]), pa.string()),
        (pa.array(["x"]), pa.nulls(1), pa.string()),
        (pa.array(["x"]), pa.array(["y"], pa.large_string()), pa.large_string()),
        (dictionary(["x"]), pa.array(["y"]), pa.string()),
        (dictionary(["x"]), dictionary(["y"]), pa.dictionary(pa.int32(), pa.string())),
        (pa.array([1]), pa.array([2.5]), pa.float64()),
        (pa.array([1], pa.timestamp("ms")), pa.array([2], pa.timestamp("us")), pa.timestamp("us")),
        (pa.array([[]], pa.list_(pa.null())), pa.array([["x"]]), pa.list_(pa.string())),
        (
            pa.array([{"a": 1}]),
            pa.array([{"b": "x"}]),
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
        ),
    ],
)
def test_files_whose_types_differ_in_width_are_one_table(tmp_path, first, second, kind):
    write(tmp_path / "d/p0.parquet", prompt=["a"], x=first)
    write(tmp_path / "d/p1.parquet", x=second, prompt=["b"])

    plan, table, rows, _ = read(tmp_path / "d", shard_rows=1)

    assert plan.schema.field("x").type == kind
    assert table["x"].to_pylist() == pa.concat_arrays([first.cast(kind), second.cast(kind)]).to_pylist()
    assert [row.values["prompt"] for row in rows] == ["a", "b"]


def test_a_missing_column_is_null_and_what_may_be_null_counts(tmp_path):
    strict = pa.schema(
        [pa.field("prompt", pa.string(), nullable=False), pa.field("n", pa.int64(), nullable=False)]
    )
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"prompt": ["a"], "n": [1]}, schema=strict), tmp_path / "d/p0.parquet")
    write(tmp_path / "d/p1.parquet", prompt=["b"])

    plan, table, _, _ = read(tmp_path / "d")

    assert table["n"].to_pylist() == [1, None]
    assert plan.schema.field("n").nullable


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([1]), pa.array(["x"])),
        (pa.array(["x"]), pa.array([b"x"])),
        (pa.array([True]), pa.array([1])),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
    ],
)
def test_types_that_nothing_holds_name_file_and_column(tmp_path, first, second):
    write(tmp_path / "d/p0.parquet", x=first)
    write(tmp_path / "d/p1.parquet", x=second)

    said = refused(tmp_path / "d")

    assert "p1.parquet: column 'x' is" in said
    assert "p0.parquet" in said


def test_a_number_that_the_wider_type_does_not_hold_is_refused_before_the_start(tmp_path):
    write(tmp_path / "d/p0.parquet", x=pa.array([0.5]))
    write(tmp_path / "d/p1.parquet", x=pa.array([2**60 + 1]))

    assert "p1.parquet: column 'x'" in refused(tmp_path / "d")


def test_a_directory_of_csv_is_one_table_by_its_names(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/b.csv").write_text("prompt,n\nb,2\n")
    (tmp_path / "d/a.csv").write_text("n,prompt\n1,a\n7\n")
    (tmp_path / "d/c.csv").write_text("prompt\nc\n")
    (tmp_path / "d/empty.csv").touch()
    (tmp_path / "d/README.md").write_text("# about")

    plan, table, rows, notes = read(tmp_path / "d", shard_rows=2)

    assert table.to_pylist() == [
        {"n": "1", "prompt": "a"},
        {"n": None, "prompt": None},
        {"n": "2", "prompt": "b"},
        {"n": None, "prompt": "c"},
    ]
    assert [row.problem is None for row in rows] == [True, False, True, True]
    assert plan.malformed == ((2, f"{tmp_path}/d/a.csv:3: 1 cell, but the header has 2"),)
    assert "left out: empty.csv, README.md" in notes[0] or "left out: README.md, empty.csv" in notes[0]


def test_a_directory_of_json_lines_in_all_packings_is_one_input(tmp_path):
    import bz2
    import gzip

    (tmp_path / "d").mkdir()
    for name, pack in {
        "a.jsonl": bytes,
        "b.jsonl.gz": gzip.compress,
        "c.json": bytes,
        "d.jsonl.bz2": bz2.compress,
    }.items():
        lines = "".join(json.dumps({"prompt": f"{name[0]}{n}", name[0]: n}) + "\n" for n in range(3))
        (tmp_path / "d" / name).write_bytes(pack(lines.encode()))
    (tmp_path / "d/c.json").rename(tmp_path / "d/c.ndjson")

    assert prompts(tmp_path / "d", shard_rows=4) == [f"{name}{n}" for name in "abcd" for n in range(3)]


def test_spark_s_json_is_json_lines(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/part-00000-x.json").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    (tmp_path / "d/part-00001-x.json").write_text('{"prompt": "c"}\n')

    assert prompts(tmp_path / "d") == ["a", "b", "c"]


def test_a_table_beside_notes_is_the_table_and_two_tables_are_refused(tmp_path):
    write(tmp_path / "d/rows.parquet", prompt=["a"])
    (tmp_path / "d/notes.txt").write_text("about\n")
    (tmp_path / "d/schema.json").write_text("{}")
    assert prompts(tmp_path / "d") == ["a"]

    (tmp_path / "d/more.csv").write_text("prompt\nb\n")
    said = refused(tmp_path / "d")
    assert "more.csv is CSV" in said
    assert "rows.parquet is Parquet" in said


@pytest.mark.parametrize(("name", "said"), [("_delta_log", "Delta table"), (".hoodie", "Hudi table")])
def test_a_table_with_a_log_is_more_than_its_files(tmp_path, name, said):
    write(tmp_path / "d/p.parquet", prompt=["a", "deleted"])
    (tmp_path / "d" / name).mkdir()

    assert said in refused(tmp_path / "d")


def test_an_empty_directory_is_said_to_be_so(tmp_path):
    (tmp_path / "d").mkdir()

    assert "no file with rows there" in refused(tmp_path / "d")
    assert "no file with rows there" in refused(tmp_path / "d/*.csv")


def test_a_new_file_in_a_directory_is_a_change(tmp_path):
    from batchlab.inputs.sources.opening import open_source

    write(tmp_path / "d/a.parquet", prompt=["a"])
    plan = open_source(str(tmp_path / "d")).scan(10)
    write(tmp_path / "d/b.parquet", prompt=["b"])

    assert not open_source(str(tmp_path / "d")).unchanged(plan, racy_ok=True)


def test_metadata_of_the_schema_and_of_columns_stay(tmp_path):
    field = pa.field("prompt", pa.string(), metadata={"unit": "words"})
    schema = pa.schema([field], metadata={"pandas": "{}", "huggingface": "{}"})
    pq.write_table(pa.table({"prompt": ["a"]}, schema=schema), tmp_path / "x.parquet")

    plan, table, _, _ = read(tmp_path / "x.parquet")

    assert plan.schema.equals(schema, check_metadata=True)
    assert table.schema.equals(schema, check_metadata=True)
