"""Runs over inputs of every kind: what went in comes out, and the same command sends nothing twice."""

from __future__ import annotations

import json
import sqlite3

import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest


def make(kind, folder):
    """An input with the prompts a, b, c; what to name it by."""
    rows = [{"prompt": one, "n": number} for number, one in enumerate("abc")]
    match kind:
        case "json":
            (folder / "x.json").write_text(json.dumps({"data": rows}, indent=1))
            return "x.json"
        case "text":
            (folder / "x.txt").write_text("a\nb\nc\n")
            return "x.txt"
        case "sqlite":
            with sqlite3.connect(folder / "x.db") as connection:
                connection.execute("CREATE TABLE t (prompt, n)")
                connection.executemany("INSERT INTO t VALUES (:prompt, :n)", rows)
            return "x.db::SELECT * FROM t ORDER BY n"
        case "xlsx":
            pytest.importorskip("openpyxl")
            pd.DataFrame(rows).to_excel(folder / "x.xlsx", index=False)
            return "x.xlsx::Sheet1"
        case "arrow":
            feather.write_feather(pa.Table.from_pylist(rows), folder / "x.arrow")
            return "x.arrow"
        case "folders":
            pq.write_to_dataset(pa.Table.from_pylist(rows), folder / "d", partition_cols=["n"])
            return "d"
        case "csv":
            (folder / "x.csv").write_bytes("prompt;n\na;0\nb;1\nc;2\n".encode("utf-16"))
            return "x.csv"
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["json", "text", "sqlite", "xlsx", "arrow", "folders", "csv"])
def test_a_run_sends_each_row_once_and_the_same_command_sends_none(batchlab, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    named = make(kind, tmp_path)
    command = [
        "run",
        "-i",
        named,
        "-m",
        "m",
        "--base-url",
        "simulator",
        "--run-dir",
        "r",
        "-o",
        "out.parquet",
        "--shard-rows",
        "2",
        "--progress",
        "none",
    ]

    first = batchlab(*command)
    second = batchlab(*command)

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "3 requests" in first.err
    assert "0 requests" in second.err or "nothing" in second.err
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["prompt"].to_pylist() == ["a", "b", "c"]
    assert found["status"].to_pylist() == ["ok"] * 3
    assert batchlab("verify", "r").code == 0
    if kind != "text":
        assert [int(n) for n in found["n"].to_pylist()] == [0, 1, 2]


def test_categories_index_and_times_of_pandas_come_out_as_they_went_in(batchlab, tmp_path):
    frame = pd.DataFrame(
        {"prompt": ["a", "b", "c"], "kind": pd.Categorical(["x", "y", "x"])},
        index=pd.Index([7, 8, 9], name="key"),
    )
    frame["at"] = pd.to_datetime(["2026-01-01 00:00:00.123456789", None, "2026-01-01 00:00:00.5"]).astype(
        "datetime64[ns]"
    )
    frame.to_parquet(tmp_path / "x.parquet")
    out = str(tmp_path / "out.parquet")

    done = batchlab(
        "run",
        "-i",
        str(tmp_path / "x.parquet"),
        "-m",
        "m",
        "--base-url",
        "simulator",
        "--run-dir",
        str(tmp_path / "r"),
        "--shard-rows",
        "2",
        "-o",
        out,
        "--progress",
        "none",
    )

    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(pd.read_parquet(out)[list(frame.columns)], frame)
