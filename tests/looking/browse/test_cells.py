"""Texts of a Parquet column read by hand: what Arrow reads, or nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.looking.browse.cells import Chunk, Unknown, texts_at

LONG = [f"{n} " + "Zürich 😀 ".encode().decode() * (n % 90) for n in range(3_000)]
COLUMNS = {
    "each another": LONG,
    "few": ["live", "batch", "flex"] * 1_000,
    "one": ["same"] * 3_000,
    "nulls among": [None if n % 7 == 3 else text for n, text in enumerate(LONG)],
    "few and nulls": [None if n % 3 else "a" * (n % 5) for n in range(3_000)],
    "mostly null": [text if n == 1_777 else None for n, text in enumerate(LONG)],
    "all null": [None] * 3_000,
    "empty": [""] * 3_000,
}
WRITTEN = {
    "as parts are": {"compression": "zstd", "write_page_checksum": True},
    "without a dictionary": {"compression": "zstd", "use_dictionary": False},
    "small pages": {"compression": "snappy", "data_page_size": 900, "write_page_checksum": True},
    "a small dictionary": {"compression": "none", "dictionary_pagesize_limit": 2_000},
    "gzip": {"compression": "gzip"},
    "large statistics": {"compression": "zstd", "write_page_index": True},
}


def written(path: Path, columns: dict[str, list[str | None]], **how: object) -> pq.FileMetaData:
    kinds = {name: pa.string() for name in columns}
    kinds["few"] = pa.dictionary(pa.int8(), pa.string())
    table = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
    pq.write_table(table, path, row_group_size=2_000, **how)
    return pq.read_metadata(path)


def read(
    path: Path, metadata: pq.FileMetaData, column: int, group: int, places: list[int]
) -> list[str | None]:
    chunk = Chunk.of(metadata.row_group(group), column, metadata.schema.column(column))
    assert chunk is not None
    with path.open("rb") as file:
        return texts_at(file.fileno(), chunk, places)


@pytest.mark.parametrize("how", WRITTEN)
def test_texts_are_those_that_arrow_reads(tmp_path: Path, how: str):
    path, rng = tmp_path / "a.parquet", random.Random(how)
    metadata = written(path, COLUMNS, **WRITTEN[how])

    for column, values in enumerate(COLUMNS.values()):
        for group, whole in ((0, values[:2_000]), (1, values[2_000:])):
            some = sorted(rng.sample(range(len(whole)), 40))
            for places in ([0], [len(whole) - 1], some, list(range(len(whole)))):
                assert read(path, metadata, column, group, places) == [whole[place] for place in places]


@pytest.mark.parametrize(
    "how",
    [
        {"data_page_version": "2.0", "use_dictionary": False},
        {"use_dictionary": False, "column_encoding": {"each another": "DELTA_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"each another": "DELTA_LENGTH_BYTE_ARRAY"}},
    ],
)
def test_what_is_written_in_another_way_is_left_to_arrow(tmp_path: Path, how: dict[str, object]):
    metadata = written(tmp_path / "a.parquet", {"each another": LONG}, **how)

    with pytest.raises(Unknown):
        read(tmp_path / "a.parquet", metadata, 0, 0, [1_500])


def test_columns_of_other_kinds_are_none_of_texts(tmp_path: Path):
    table = pa.table(
        {
            "number": [1, 2],
            "bytes": pa.array([b"a", b"b"]),
            "list": pa.array([["a"], []]),
            "inside": pa.array([{"text": "a"}, None]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    metadata = pq.read_metadata(tmp_path / "a.parquet")

    assert [Chunk.of(metadata.row_group(0), one, metadata.schema.column(one)) for one in range(4)] == [
        None
    ] * 4


def test_damage_gives_the_text_or_nothing(tmp_path: Path):
    """Whatever a bit makes of the file: never another text, never an endless loop, nothing else raised."""
    path, rng = tmp_path / "a.parquet", random.Random(7)
    metadata = written(path, COLUMNS, **WRITTEN["as parts are"])
    good = path.read_bytes()
    names, unknown = list(COLUMNS), 0
    for _ in range(500):
        column, place = rng.randrange(len(names)), rng.randrange(2_000)
        found = metadata.row_group(0).column(column)
        start = found.dictionary_page_offset or found.data_page_offset
        at = start + rng.choice([rng.randrange(40), rng.randrange(found.total_compressed_size)])
        bad = bytearray(good)
        bad[min(at, len(bad) - 1)] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            assert read(path, metadata, column, 0, [place]) == [COLUMNS[names[column]][place]], (column, at)
        except Unknown:
            unknown += 1
    assert unknown > 100
