"""What a run writes beside itself: read back by batchlab itself, with types, and what is said of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import batchlab as api

ODD = {
    "text": ["plain", "- a bullet\nof two lines", "=1+1", 'say "hi", she said;\ttab', "-5"],
    "score": [1.5, float("nan"), float("inf"), None, -0.25],
    "at": pa.array([1, 2**60, None, -1, 0], pa.timestamp("ns")),
    "word": pa.array(["a", "b", None, "a", "b"])
    .dictionary_encode()
    .cast(pa.dictionary(pa.int8(), pa.string())),
    "tags": [["x", None], [], None, ["y"], ["=z"]],
    "object": [
        {"a": 1, "b": None},
        None,
        {"a": None, "b": float("nan")},
        {"a": 2, "b": 0.5},
        {"a": 3, "b": 1.0},
    ],
}
WRITTEN = {
    "out.parquet": [],
    "out.csv": [],
    "out.jsonl": [],
    "out/": [],
    "batch.jsonl": ["--to", "openai-batch"],
}


@pytest.fixture
def rows(tmp_path) -> Path:
    schema_of = pa.table(ODD)
    schema = schema_of.schema.with_metadata({"mine": "yes"})
    schema = schema.set(0, schema.field(0).with_metadata({"unit": "words"}))
    pq.write_table(schema_of.cast(schema), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def words(server, *more: str | Path) -> list[str]:
    at = ["--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY", "--progress", "none"]
    return ["run", *map(str, more), "-m", "sim", *at]


@pytest.mark.parametrize("output", WRITTEN)
def test_what_batchlab_writes_batchlab_reads(here, simulator, rows, output):
    server = simulator()
    more = ["-p", "About {text}", "-o", output, *WRITTEN[output]]
    assert here(*words(server, rows, *more)).code == 0
    column = "custom_id" if "batch" in output else "text"

    again = here(*words(server, output, "-p", f"{{{column}}}", "--prefix", "second_", "--run-dir", "again"))

    assert again.code == 0, again.err
    assert "malformed" not in again.err
    frame = api.load("again")
    assert len(frame) == 5
    if column == "text":
        wanted = ODD["text"] if output != "out.csv" else [text.replace("=1", "'=1") for text in ODD["text"]]
        assert frame["text"].tolist() == wanted


def test_columns_with_types_and_metadata_come_out_as_they_went_in(here, simulator, rows, tmp_path):
    server, went_in = simulator(), pq.read_table(rows)
    assert here(*words(server, rows, "-p", "{text}", "-o", "out.parquet", "--shard-rows", "2")).code == 0
    assert here("export", "runs/rows", "-o", "out/").code == 0

    [shard] = (tmp_path / "out/data").iterdir()
    for path in (tmp_path / "out.parquet", shard):
        came_out = pq.read_table(path)
        assert came_out.schema.metadata[b"mine"] == b"yes"
        assert came_out.schema.field("text").metadata[b"unit"] == b"words"
        for name in ODD:
            kind = went_in.schema.field(name).type
            kind = kind.value_type if name == "word" and path == shard else kind
            assert came_out.schema.field(name).type == kind, (path, name)
            assert str(came_out[name].to_pylist()) == str(went_in[name].to_pylist()), (path, name)
    frame = api.load("runs/rows")
    assert frame["at"].dtype == pd.ArrowDtype(pa.timestamp("ns"))
    assert frame["word"].dtype == pd.ArrowDtype(went_in.schema.field("word").type)


def test_cells_that_got_a_quote_are_counted_at_the_end_and_left_alone_when_asked(
    here, simulator, rows, tmp_path
):
    server = simulator()

    done = here(*words(server, rows, "-p", "About {text}", "-o", "out.csv"))
    assert "made harmless: 1 cell of out.csv got a ' in front" in done.err
    assert "batchlab export runs/rows -o out.csv --csv-raw" in done.err
    exported = here("export", "runs/rows", "-o", "again.csv")
    assert "made harmless: 1 cell of again.csv" in exported.err

    for command in (
        words(server, rows, "-p", "About {text}", "-o", "raw.csv", "--csv-raw", "--run-dir", "raw"),
        ["export", "runs/rows", "-o", "raw.csv", "--csv-raw", "--overwrite"],
        ["export", "raw", "-o", "raw.csv", "--overwrite"],  # as its job says
    ):
        done = here(*command)
        assert done.code == 0
        assert "harmless" not in done.err
        with (tmp_path / "raw.csv").open(newline="", encoding="utf-8") as file:
            assert [row["text"] for row in csv.DictReader(file)] == ODD["text"]


def test_numbers_that_json_does_not_have_are_counted_at_the_end(here, simulator, rows, tmp_path):
    done = here(*words(simulator(), rows, "-p", "{text}", "-o", "out.jsonl"))

    assert "not in JSON: 3 numbers of out.jsonl are NaN or infinite, and null there" in done.err
    for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_python_has_the_same_setting_and_counts(simulator, rows, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", "canary-key-0123456789abcdef")
    common = {
        "model": "sim",
        "prompt": "{text}",
        "base_url": simulator().base_url,
        "api_key_env": "SIMULATOR_KEY",
    }

    plain = api.run(input=str(rows), output="out.csv", progress="none", quiet=True, **common)
    raw = api.run(input=str(rows), output="raw.csv", csv_raw=True, progress="none", quiet=True, **common)

    assert (plain.quoted_cells, raw.quoted_cells) == (1, 0)
