"""Files as they are found on people's disks: right rows, or one line that says what is wrong with this file."""

from __future__ import annotations

import gzip
import os
import sqlite3
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.errors import InputError
from batchlab.inputs.plan import plan_input
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from tests.inputs.sources.reading import read, refused

ROWS = pa.table({"prompt": ["a", "b"], "n": [1, 2]})


def rows_of(path):
    return [dict(row.values) if row.problem is None else row.problem for row in read(path, shard_rows=2)[2]]


def problems(path):
    job = job_from({"input": {"path": str(path)}, "request": {"model": "m", "prompt": "{prompt}"}})
    return [str(one) for one in plan_input(job, open_source(str(path))).problems]


A, B = {"prompt": "a", "n": "1"}, {"prompt": "b", "n": "2"}


@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [
        ("prompt,n\na,1,\nb,2,\n", [A, B], "each row ends in a delimiter"),
        ("prompt,n,,\na,1,,\nb,2\n", [A, B], "left out for want of a name: the last 2 columns"),
        ("prompt;n;;\na;1;;\nb;2;;\n", [A, B], "the last 2 columns"),
        ("sep=;\nprompt;n\na;1;\nb;2;\n", [A, B], "each row ends in a delimiter"),
        ("prompt,n,,\na,1,,\nb,2,,x\n", [A, "4 cells, but the header has 2"], "the last 2 columns"),
        ("prompt,n\na,1,\nb,2\n", ["3 cells, but the header has 2", B], ""),
        ("prompt,n\na,1,x\nb,2,\n", ["3 cells, but the header has 2"] * 2, ""),
        (
            "prompt,n\na,1\n\ufeffprompt,n\nb,2\n",
            [A, "the header again: two files were put one after the other", B],
            "",
        ),
        ("prompt,n\r\na,1\nb,2\r\n", [A, B], ""),
        (
            "prompt,n\na,1\nb\r,2\n",
            [A, "not valid CSV (a CR that ends no line is in a cell without quotes)"],
            "",
        ),
        ('prompt,n\r\n"a\r\nb",1\r\n', [{"prompt": "a\r\nb", "n": "1"}], "1 row has several lines"),
        ('prompt,n\na,"1,234"\n', [{"prompt": "a", "n": "1,234"}], ""),
        ("Prompt,PROMPT,prompt\na,b,c\n", [{"Prompt": "a", "PROMPT": "b", "prompt": "c"}], ""),
        ("prompt,n\na\0b,1\n", [{"prompt": "a\0b", "n": "1"}], ""),
    ],
)
def test_csv(tmp_path, text, rows, said):
    (tmp_path / "x.csv").write_bytes(text.encode())
    source = open_source(str(tmp_path / "x.csv"))
    source.scan(2)

    assert rows_of(tmp_path / "x.csv") == rows
    assert said in " ".join(source.notes)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('{"prompt":"a"}\r{"prompt":"b"}\r', [{"prompt": "a"}, {"prompt": "b"}]),
        ('{"prompt":"a"}\n\ufeff{"prompt":"b"}\n', [{"prompt": "a"}, {"prompt": "b"}]),
        ('{"prompt":"a"},\n{"prompt":"b"},\n', [{"prompt": "a"}, {"prompt": "b"}]),
        (
            '{"x":1e999}\n{"x":[-1e999]}\n{"x":1}\n',
            [*["holds a number that is larger than any that can be read"] * 2, {"x": 1}],
        ),
        ('{"x":' + "9" * 30 + '}\n{"x":1}\n', [{"x": int("9" * 30)}, {"x": 1}]),
    ],
)
def test_json_lines(tmp_path, text, rows):
    (tmp_path / "x.jsonl").write_text(text, encoding="utf-8")

    assert rows_of(tmp_path / "x.jsonl") == rows


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("zeros.csv", b"\0" * 99, "holds nothing but zero bytes: its content was lost. Copy or download"),
        (
            "x.csv.gz",
            gzip.compress(gzip.compress(b"prompt\na\n", mtime=0), mtime=0),
            "is a gzip file inside of a gzip file. Unpack",
        ),
        (
            "x.xlsx.gz",
            gzip.compress(b"PK\x03\x04", mtime=0),
            "is an Excel file inside of a gzip file. Unpack it first: gunzip",
        ),
        (
            "x.parquet",
            b"prompt\na\n",
            "is text, and no Parquet file. Name it .csv, .jsonl or .txt, as it is.",
        ),
        ("x.xlsx", "prompt,n\né,1\n".encode(), "is text, and no Excel file. Name it"),
        ("~$x.xlsx", b"\x05me" + b" " * 50, "not an Excel file."),
        ("x.parquet", b"PAR1" + b"\0" * 99, "Copy or download it again."),
    ],
)
def test_a_file_that_is_no_such_file_says_what_it_is(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)

    assert said in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "x.jsonl",
            "{'prompt': 'a'}\n",
            "x.jsonl:1: no row can be read; the first: not JSON: Expecting property name",
        ),
        (
            "x.jsonl",
            '"a"\n"b"\n',
            "x.jsonl:1: no row can be read; the first: expected a JSON object, found str.",
        ),
        ("x.json", '[{"x": NaN}]', "no row can be read; the first: not JSON: NaN is not a JSON number."),
        (
            "x.csv",
            "prompt,n\na\nb\n",
            "x.csv:2: no row can be read; the first: 1 cell, but the header has 2.",
        ),
    ],
)
def test_a_file_without_a_good_row_is_refused_with_what_is_wrong_with_the_first(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)

    (problem,) = problems(tmp_path / name)
    assert said in problem


# databases


def database(path, *statements, **options):
    connection = sqlite3.connect(path, **options)
    for one in statements:
        connection.execute(one)
    connection.commit()
    return connection


MADE = ("CREATE TABLE rows (prompt, n)", "INSERT INTO rows VALUES ('a', 1), ('b', 2)")


def test_a_database_whose_copy_broke_off_is_refused_and_not_read_as_nulls(tmp_path):
    database(tmp_path / "x.db", *MADE).close()
    whole = (tmp_path / "x.db").read_bytes()
    (tmp_path / "x.db").write_bytes(whole[: len(whole) - 3_000])

    assert "cut-off SQLite file: it ends before its last page." in refused(tmp_path / "x.db")


def test_a_database_without_its_log_says_where_the_tables_may_be(tmp_path):
    connection = database(tmp_path / "x.db", "PRAGMA journal_mode=wal", *MADE)
    (tmp_path / "copy.db").write_bytes((tmp_path / "x.db").read_bytes())

    assert rows_of(tmp_path / "x.db") == [{"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}]
    assert "they may be in its log, copy.db-wal. Copy that beside it, too." in refused(tmp_path / "copy.db")
    connection.close()


def test_a_table_of_another_schema_is_found_and_what_arrow_does_not_hold_is_said(tmp_path):
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE SCHEMA s; CREATE TABLE s.rows AS SELECT 'a' AS prompt")
    for path in ("x.duckdb", "x.duckdb::s.rows", "x.duckdb::FROM s.rows"):
        assert rows_of(tmp_path / path) == [{"prompt": "a"}]

    with duckdb.connect(str(tmp_path / "y.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE rows AS SELECT 170141183460469231731687303715884105727::HUGEINT AS n"
        )
    assert "holds a value that Arrow does not (Decimal value 1701" in refused(tmp_path / "y.duckdb")


def test_errors_in_a_sheet_are_counted(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["prompt", "n"], ["a", "#N/A"], ["b", 1]):
        book.active.append(row)
    book.save(tmp_path / "x.xlsx")
    source = open_source(str(tmp_path / "x.xlsx"))
    source.scan(10)

    assert source.notes == [f"{tmp_path}/x.xlsx: cells hold an error of Excel's, such as #N/A (1 row)"]


# files and folders


def test_links_are_followed_and_one_that_leads_back_is_not(tmp_path):
    for folder in ("d/real", "elsewhere", "other"):
        (tmp_path / folder).mkdir(parents=True)
    pq.write_table(ROWS, tmp_path / "d/real/x.parquet")
    pq.write_table(ROWS, tmp_path / "elsewhere/y.parquet")
    (tmp_path / "d/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "d/real/up").symlink_to("..")
    (tmp_path / "elsewhere/to").symlink_to(tmp_path / "other")
    (tmp_path / "other/back").symlink_to(tmp_path / "elsewhere")

    assert [row["prompt"] for row in rows_of(tmp_path / "d")] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("name", ["gone.parquet", "gone.json"])
def test_a_link_to_a_file_that_is_gone_is_no_file_less(tmp_path, name):
    (tmp_path / "d").mkdir()
    pq.write_table(ROWS, tmp_path / f"d/x{Path(name).suffix}") if "parquet" in name else None
    (tmp_path / "d/x.json").write_text('{"prompt": "a"}\n') if "json" in name else None
    (tmp_path / "d" / name).symlink_to("nowhere")

    assert f"{name}: cannot be read: No such file or directory" in refused(tmp_path / "d")


def test_what_windows_and_office_leave_in_a_folder_is_no_input(tmp_path):
    (tmp_path / "d").mkdir()
    pq.write_table(ROWS, tmp_path / "d/x.parquet")
    for name in ("Thumbs.db", "desktop.ini", "~$x.xlsx", ".DS_Store", "._x.parquet"):
        (tmp_path / "d" / name).write_bytes(b"\0\5")

    assert len(rows_of(tmp_path / "d")) == 2


@pytest.mark.parametrize("name", ["[1].csv", "a*b?.csv", "x::y.csv", "[2026] ü/x.csv"])
def test_a_name_that_looks_like_a_glob_is_a_name(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("prompt\na\n")

    assert rows_of(tmp_path / name) == [{"prompt": "a"}]
    assert rows_of((tmp_path / name).parent / "*.csv") == [{"prompt": "a"}]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_can_be_read_only_once_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jsonl")

    said = refused(tmp_path / "x.jsonl")

    assert (
        f"can be read only once, and a resume reads it again. Put it into a file first; JSON Lines may be given by {{input.path=-}} < {tmp_path}/x.jsonl."
        in said
    )
    with pytest.raises(InputError, match="may be given by {input.path=-}"):
        open_source("/dev/stdin")


def test_a_path_with_a_zero_byte_is_no_path():
    with pytest.raises(InputError, match="is no path"):
        open_source("a\0b.csv")


def test_an_arrow_file_whose_inner_names_are_no_text_is_damaged(tmp_path):
    table = pa.table({"x": pa.array([{"qqqqq": 1}])})
    with pa.ipc.new_stream(tmp_path / "x.arrow", table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "x.arrow").write_bytes((tmp_path / "x.arrow").read_bytes().replace(b"qqqqq", b"qq\xffqq"))

    assert "damaged" in refused(tmp_path / "x.arrow")
