"""A Hugging Face data set directory, read by the library that it is for."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.errors import UsageError
from batchlab.looking.export import Target, export_tables
from batchlab.looking.export.dataset import CARD, DatasetDirectory
from batchlab.records import Failure
from batchlab.store.parts import with_results

LOAD = """
import json, sys
from datasets import load_dataset
data = load_dataset(sys.argv[1], cache_dir=sys.argv[2])
rows = data["train"]
print(json.dumps({
    "splits": list(data), "rows": len(rows), "ids": rows["custom_id"][:],
    "types": {name: str(getattr(kind, "dtype", kind)) for name, kind in rows.features.items()},
    "first": {name: rows[0][name] for name in ("nested", "status", "attempts", "completion")},
}, default=str))
"""


def table(first: int, rows: int) -> pa.Table:
    inputs = pa.table({"nested": [[{"role": "user", "n": 1.5}]] * rows, "body": ['{"a":1}'] * rows})
    results = [Failure(row, f"id-{row}", "timeout", "x", request_hash=b"h" * 16, attempts=2) for row in
               range(first, first + rows)]  # fmt: skip
    return with_results(inputs, results, first, "")


def test_load_dataset_reads_every_row_in_order_with_the_columns_types(tmp_path):
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("needs the datasets package: pip install datasets")
    export_tables(Target(f"{tmp_path}/ds/", "hf"), lambda: iter([table(0, 5), table(5, 3)]))

    done = subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path / "ds", tmp_path / "cache"],
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert (loaded["splits"], loaded["rows"]) == (["train"], 8)
    assert loaded["ids"] == [f"id-{row}" for row in range(8)]
    assert loaded["first"] == {
        "nested": [{"role": "user", "n": 1.5}],
        "status": "failed",
        "attempts": 2,
        "completion": None,
    }
    types = loaded["types"]
    assert (types["status"], types["error_class"], types["completion"]) == (
        "string",
        "string",
        "large_string",
    )
    assert (types["row_id"], types["attempts"], types["latency_ms"]) == ("int64", "int16", "float32")
    assert (types["started_at"], types["request_hash"]) == ("timestamp[us, tz=UTC]", "binary")


CATEGORIES = """
import sys
from datasets import ClassLabel, load_dataset
straight, ours = (
    load_dataset("parquet", data_files=path, cache_dir=sys.argv[3])["train"] for path in sys.argv[1:3]
)
ours = ours.select_columns(straight.column_names)
types = [str(one.features).replace("large_string", "string") for one in (ours, straight)]
assert types[0] == types[1], types
assert ours[:] == straight[:], (ours[:], straight[:])
labelled = ours.class_encode_column("word")
assert isinstance(labelled.features["word"], ClassLabel)
assert labelled.features["word"].int2str(labelled["word"][:]) == ["b", "a", "b"]
"""


def test_categories_are_what_datasets_itself_makes_of_them(tmp_path):
    """Plain values, of the type of the categories; from which a ClassLabel is one call."""
    frame = pd.DataFrame(
        {
            "word": pd.Categorical(["b", "a", "b"], categories=["b", "never", "a"]),
            "ordered": pd.Categorical(["lo", None, "hi"], categories=["lo", "hi"], ordered=True),
            "number": pd.Categorical([7, 8, 7]),
            "day": pd.Categorical(pd.to_datetime(["2026-01-02", "2026-01-03", None])),
        }
    )
    inputs = pa.Table.from_pandas(frame)
    pq.write_table(inputs, tmp_path / "straight.parquet")
    results = [Failure(row, str(row), "timeout", "x", request_hash=b"h" * 16, attempts=1) for row in range(3)]
    whole = with_results(inputs, results, 0, "")
    export_tables(Target(f"{tmp_path}/ds/", "hf"), lambda: iter([whole]))
    (ours,) = (tmp_path / "ds/data").iterdir()

    found = pd.read_parquet(ours)
    for name in frame:
        assert found[name].astype(object).where(found[name].notna(), None).tolist() == (
            frame[name].astype(object).where(frame[name].notna(), None).tolist()
        )
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("needs the datasets package: pip install datasets")
    done = subprocess.run(
        [sys.executable, "-c", CATEGORIES, tmp_path / "straight.parquet", ours, tmp_path / "cache"],
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_large_run_is_cut_into_numbered_files(tmp_path):
    writer = DatasetDirectory(tmp_path / "ds", table(0, 1).schema, shard_bytes=100)
    for first in (0, 2, 4):
        writer.write(table(first, 2))
    writer.commit()

    names = sorted(path.name for path in (tmp_path / "ds/data").iterdir())
    assert names == [f"train-0000{number}-of-00003.parquet" for number in range(3)]
    whole = pq.read_table([tmp_path / "ds/data" / name for name in names])
    assert whole["row_id"].to_pylist() == list(range(6))
    assert (tmp_path / "ds/README.md").read_text() == CARD


def files(path: Path) -> set[str]:
    return {one.relative_to(path).as_posix() for one in path.rglob("*")}


def test_an_earlier_export_is_replaced_whole_and_nothing_else_ever_is(tmp_path):
    target = Target(str(tmp_path / "ds"), "hf")
    (tmp_path / "ds").mkdir()
    export_tables(target, lambda: iter([table(0, 5)]))
    export_tables(target, lambda: iter([table(0, 2)]))
    assert pq.read_table(tmp_path / "ds/data")["row_id"].to_pylist() == [0, 1]
    assert files(tmp_path) == {"ds", "ds/README.md", "ds/data", "ds/data/train-00000-of-00001.parquet"}

    (tmp_path / "ds/README.md").write_text(CARD + "What I have found out about these rows.")
    with pytest.raises(UsageError, match="not an earlier export"):
        export_tables(target, lambda: iter([table(0, 1)]))
    assert pq.read_table(tmp_path / "ds/data").num_rows == 2


def test_an_export_that_fails_leaves_the_old_data_set(tmp_path):
    target = Target(str(tmp_path / "ds"), "hf")
    export_tables(target, lambda: iter([table(0, 5)]))
    before = files(tmp_path)

    def tables():
        yield table(0, 1)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        export_tables(target, tables)
    assert files(tmp_path) == before
    assert pq.read_table(tmp_path / "ds/data").num_rows == 5
