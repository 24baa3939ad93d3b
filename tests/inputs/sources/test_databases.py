"""SQLite and DuckDB: read, and only read."""

from __future__ import annotations

import sqlite3

import duckdb
import pyarrow as pa
import pytest

from batchlab.inputs.sources.opening import open_source
from tests.inputs.sources.reading import read, refused


@pytest.fixture
def lite(tmp_path):
    path = tmp_path / "d.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE rows (id INTEGER PRIMARY KEY, prompt TEXT, score REAL, raw BLOB, any)"
        )
        connection.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
            [(1, "a", 1.5, b"\xff\x00", 7), (2, "é\n", None, None, "text"), (3, "c", 2.0, b"x", None)],
        )
    return path


@pytest.fixture
def duck(tmp_path):
    path = tmp_path / "d.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE rows AS SELECT range AS id, 'p' || range AS prompt, [range] AS tags, "
            "TIMESTAMP_NS '2026-01-01 00:00:00.123456789' AS at FROM range(5000)"
        )
    return path


def test_a_table_of_sqlite_is_rows_with_the_types_its_values_have(lite):
    plan, table, rows, _ = read(lite)

    assert table.schema.field("id").type == pa.int64()
    assert table.schema.field("score").type == pa.float64()
    assert table["raw"].to_pylist() == [b"\xff\x00", None, b"x"]
    assert table["any"].to_pylist() == ["7", '"text"', None]  # JSON text: no type holds both
    assert [row.values["any"] for row in rows] == [7, "text", None]
    assert plan.columns == ("id", "prompt", "score", "raw", "any")


@pytest.mark.parametrize(
    ("inside", "prompts"),
    [
        ("rows", ["a", "é\n", "c"]),
        ("SELECT prompt FROM rows WHERE id > 1", ["é\n", "c"]),
        ("select * from rows order by id desc", ["c", "é\n", "a"]),
        ("WITH x AS (SELECT prompt FROM rows) SELECT * FROM x", ["a", "é\n", "c"]),
    ],
)
def test_a_table_or_a_query_of_sqlite_is_named_after_two_colons(lite, inside, prompts):
    assert [row.values["prompt"] for row in read(f"{lite}::{inside}")[2]] == prompts


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("missing", "SQLite: no such table: missing"),
        ("SELECT nope FROM rows", "SQLite: no such column"),
        ("SELECT prompt, prompt FROM rows", "two columns are named 'prompt'"),
        ("WITH x AS (SELECT 1) DELETE FROM rows", "SQLite: attempt to write a readonly database"),
        ("SELECT * FROM rows ORDER BY random() + (SELECT 0)", "gives other rows each time"),
    ],
)
def test_what_cannot_be_asked_of_sqlite_is_one_line(lite, inside, said):
    if "random" in inside:
        with sqlite3.connect(lite) as connection:
            connection.executemany("INSERT INTO rows(prompt) VALUES (?)", [(str(n),) for n in range(200)])

    assert said in refused(f"{lite}::{inside}")


def test_several_tables_are_named_and_text_that_is_none_fails_its_row(lite):
    with sqlite3.connect(lite) as connection:
        connection.execute("CREATE TABLE other (a)")
        connection.execute("INSERT INTO rows(prompt) VALUES (CAST(x'ff61' AS TEXT))")

    assert "has the tables other, rows" in refused(lite)
    plan, table, _, _ = read(f"{lite}::rows")
    assert plan.malformed == ((4, "column 'prompt' is not UTF-8 text"),)
    assert table["prompt"].to_pylist() == ["a", "é\n", "c", None]


def test_what_a_writer_has_not_moved_into_the_file_yet_counts(lite):
    writer = sqlite3.connect(lite)
    writer.execute("PRAGMA journal_mode=WAL")
    plan = open_source(str(lite)).scan(10)
    writer.execute("INSERT INTO rows(prompt) VALUES ('new')")
    writer.commit()

    assert not open_source(str(lite)).unchanged(plan, racy_ok=True)
    assert open_source(str(lite)).scan(10).rows == 4
    writer.close()


def test_a_table_of_duckdb_keeps_its_types(duck):
    plan, table, _, _ = read(duck, shard_rows=1_999)

    with duckdb.connect(str(duck), read_only=True) as connection:
        assert table.equals(connection.sql("FROM rows").to_arrow_table())
    assert plan.schema.field("at").type == pa.timestamp("ns")
    assert plan.rows == 5_000


def test_a_query_of_duckdb(duck):
    query = f"{duck}::SELECT prompt FROM rows WHERE id % 2 = 0 ORDER BY id LIMIT 3;"
    assert [row.values["prompt"] for row in read(query)[2]] == ["p0", "p2", "p4"]


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("missing", "DuckDB: Catalog Error"),
        ("SELECT * FROM rows ORDER BY random()", "gives other rows each time"),
    ],
)
def test_what_cannot_be_asked_of_duckdb_is_one_line(duck, inside, said):
    assert said in refused(f"{duck}::{inside}", shard_rows=5_000)


def test_a_database_is_known_by_its_content(lite, duck, tmp_path):
    lite.rename(tmp_path / "one.data")
    duck.rename(tmp_path / "two.db")

    assert read(tmp_path / "one.data")[0].rows == 3
    assert read(tmp_path / "two.db", shard_rows=5_000)[0].rows == 5_000


def test_damage_is_one_line(tmp_path):
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    (tmp_path / "y.duckdb").write_bytes(b"12345678DUCK" + b"\xff" * 5_000)
    (tmp_path / "z.db").write_bytes(b"no database")

    assert "x.db: SQLite: " in refused(tmp_path / "x.db")
    assert "y.duckdb: DuckDB: " in refused(tmp_path / "y.duckdb")
    assert "z.db: is text, and no SQLite file. Name it .csv, .jsonl or .txt" in refused(tmp_path / "z.db")
    assert "is CSV, which has nothing inside" in refused(_csv(tmp_path))


def _csv(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    return f"{tmp_path}/x.csv::rows"
