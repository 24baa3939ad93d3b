"""Compressed files: known by their content, read to their very end."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import pytest
import zstandard

from tests.inputs.sources.reading import read, refused

ROWS = [{"n": n, "prompt": f"row {n} " + str(hash((n, "x")) % 10**9)} for n in range(2_000)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = ("n,prompt\n" + "".join(f"{row['n']},{row['prompt']}\n" for row in ROWS)).encode()
TEXT = "".join(f"{row['prompt']}\n" for row in ROWS).encode()
PACK = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}
EACH = pytest.mark.parametrize("packing", PACK)


@EACH
@pytest.mark.parametrize(
    ("ending", "data"), [("jsonl", JSONL), ("csv", CSV), ("txt", TEXT), ("json", json.dumps(ROWS).encode())]
)
def test_every_format_of_text_may_be_packed_in_every_way(tmp_path, packing, ending, data):
    path = tmp_path / f"x.{ending}.{packing}"
    path.write_bytes(PACK[packing](data))

    _, table, _, _ = read(path, shard_rows=700)

    assert table["prompt"].to_pylist() == [row["prompt"] for row in ROWS]


@EACH
def test_a_file_of_several_streams_is_one_file(tmp_path, packing):
    lines = JSONL.splitlines(keepends=True)
    path = tmp_path / f"x.jsonl.{packing}"
    path.write_bytes(
        b"".join(PACK[packing](b"".join(lines[start : start + 500])) for start in range(0, 2_000, 500))
    )

    assert read(path, shard_rows=600)[0].rows == 2_000


@EACH
def test_content_counts_and_not_the_ending(tmp_path, packing):
    path = tmp_path / "x.jsonl"
    path.write_bytes(PACK[packing](JSONL))
    assert read(path, shard_rows=999)[0].rows == 2_000

    path = tmp_path / f"y.jsonl.{packing}"  # as a browser leaves it that unpacks by itself
    path.write_bytes(JSONL)
    assert read(path, shard_rows=999)[0].rows == 2_000


@EACH
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.5, 0.99, -1])
def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path, packing, keep):
    data = PACK[packing](JSONL)
    path = tmp_path / f"x.jsonl.{packing}"
    path.write_bytes(data[: int(len(data) * keep)] if keep > 0 else data[:keep])

    assert "cut-off" in refused(path, shard_rows=500)


@EACH
def test_a_cut_second_stream_is_refused(tmp_path, packing):
    path = tmp_path / f"x.jsonl.{packing}"
    path.write_bytes(PACK[packing](JSONL) + PACK[packing](JSONL)[:-3])

    assert "cut-off" in refused(path, shard_rows=500)


@EACH
def test_what_follows_the_end_is_not_passed_over(tmp_path, packing):
    path = tmp_path / f"x.jsonl.{packing}"
    path.write_bytes(PACK[packing](JSONL) + b'{"prompt": "one more"}\n')
    assert f"x.jsonl.{packing}: damaged" in refused(path, shard_rows=500)

    path.write_bytes(PACK[packing](JSONL) + b"\0" * 512)  # a tape's or a disk's block
    assert read(path, shard_rows=999)[0].rows == 2_000


@pytest.mark.proof  # takes its time
@EACH
def test_a_small_file_that_grows_beyond_measure_does_not_take_the_memory(tmp_path, packing):
    import tracemalloc

    path = tmp_path / f"x.csv.{packing}"
    row = b'1,"' + b"a" * 100 + b'"\n'
    path.write_bytes(PACK[packing](b"n,prompt\n" + row * 300_000))  # 32 MB
    tracemalloc.start()
    from batchlab.inputs.sources.opening import open_source

    assert open_source(str(path)).scan(100_000).rows == 300_000
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert used < 16_000_000


def test_a_text_that_begins_like_a_packed_file_is_a_text(tmp_path):
    for name, text in {"x.txt": "BZhang says hello\n", "y.csv": "ORC,prompt\n1,a\n"}.items():
        (tmp_path / name).write_text(text)
        assert read(tmp_path / name)[0].rows == 1


def test_a_packed_table_is_refused_with_the_command_that_unpacks_it(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    (tmp_path / "x.parquet.gz").write_bytes(gzip.compress((tmp_path / "x.parquet").read_bytes()))

    assert "gunzip -k" in refused(tmp_path / "x.parquet.gz")
