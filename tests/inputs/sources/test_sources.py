"""Every kind of input: what goes in comes out, a shard in the middle is the slice of the whole."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from batchlab.errors import InputError
from batchlab.inputs.sources import hashing
from batchlab.inputs.sources.opening import open_source, spool_stdin
from batchlab.inputs.sources.source import InputPlan

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)


def jsonl(rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read(path, shard_rows=3, **options):
    """(plan, whole table, all rows) of an input."""
    source = open_source(str(path), **options)
    plan = source.scan(shard_rows)
    tables = [source.table(shard, plan) for shard in plan.shards]
    rows = [row for shard in plan.shards for row in source.rows(shard, plan)]
    return plan, pa.concat_tables(tables), rows


ROWS = [
    {"n": number, "text": f"line {number} é\n🧣", "tags": ["a", str(number)], "score": number / 2}
    for number in range(10)
]


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson", "x.jsonl.gz", "x.jsonl.zst", "x.ndjson.zst"])
def test_json_lines_plain_and_compressed(tmp_path, name):
    data = jsonl(ROWS)
    packed = {"gz": gzip.compress, "st": zstandard.compress}.get(name[-2:], lambda raw: raw)(data)
    (tmp_path / name).write_bytes(packed)

    plan, table, rows = read(tmp_path / name)

    assert table.to_pylist() == ROWS
    assert [row.values for row in rows] == ROWS
    assert [row.row_id for row in rows] == list(range(10))
    assert [shard.rows for shard in plan.shards] == [3, 3, 3, 1]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.tsv"])
def test_csv_keeps_every_cell_as_it_is_written(tmp_path, name):
    rows = [{"id": f"00{number}", "text": 'quoted "word",\nnext; line\t', "empty": ""} for number in range(7)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0], delimiter="\t" if name.endswith("tsv") else ",")
    writer.writeheader()
    writer.writerows(rows)
    data = b"\xef\xbb\xbf" + buffer.getvalue().encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)

    _, table, read_rows = read(tmp_path / name)

    assert table.to_pylist() == rows
    assert [row.values for row in read_rows] == rows


def test_any_delimiter_by_flag(tmp_path):
    (tmp_path / "x.csv").write_text("a;b\n1;2,5\n")

    _, table, _ = read(tmp_path / "x.csv", delimiter=";")

    assert table.to_pylist() == [{"a": "1", "b": "2,5"}]


def test_quotes_may_be_plain_text(tmp_path):
    (tmp_path / "x.tsv").write_text('a\tb\n"half\t2\nx"y\t"z"\n')

    plan, table, _ = read(tmp_path / "x.tsv", quotes=False)

    assert plan.malformed_count == 0
    assert table.to_pylist() == [{"a": '"half', "b": "2"}, {"a": 'x"y', "b": '"z"'}]


def test_parquet_keeps_types_also_over_several_files_and_row_groups(tmp_path):
    schema = pa.schema(
        [
            ("n", pa.int16()),
            ("when", pa.timestamp("ms")),
            ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ]
    )
    whole = pa.table(
        {
            "n": range(20),
            "when": range(20),
            "messages": [[{"role": "user", "content": str(number)}] for number in range(20)],
        },
        schema=schema,
    )
    pq.write_table(whole.slice(0, 9), tmp_path / "a.parquet", row_group_size=4)
    pq.write_table(whole.slice(9), tmp_path / "b.parquet", row_group_size=5)

    for path in (tmp_path, tmp_path / "*.parquet"):
        plan, table, rows = read(path, shard_rows=7)
        assert table.equals(whole)
        assert plan.schema.equals(schema)
        assert [row.values for row in rows] == whole.to_pylist()


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON_VALUES, min_size=1), min_size=1, max_size=8
    )
)
def test_whatever_json_goes_in_the_plan_holds_it(tmp_path_factory, rows):
    """Types may change in mid-file: such a column is carried as JSON text, and nothing raises."""
    path = tmp_path_factory.mktemp("json") / "x.jsonl"
    path.write_bytes(jsonl(rows))

    plan, table, _ = read(path)

    assert table.num_rows == len(rows)
    for name in plan.columns:
        field = plan.schema.field(name)
        if (field.metadata or {}).get(b"batchlab.json"):
            for value, row in zip(table[name].to_pylist(), rows, strict=True):
                assert (None if value is None else json.loads(value)) == row.get(name)


@given(
    rows=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), TEXT, st.booleans()), min_size=1, max_size=12),
    size=st.integers(1, 5),
)
def test_plain_columns_come_back_equal_whatever_the_shard(tmp_path_factory, rows, size):
    path = tmp_path_factory.mktemp("json") / "x.jsonl"
    expected = [{"n": number, "t": text, "b": flag} for number, text, flag in rows]
    path.write_bytes(jsonl(expected))

    _, table, read_rows = read(path, shard_rows=size)

    assert table.to_pylist() == expected
    assert [row.values for row in read_rows] == expected


@given(
    rows=st.lists(
        st.lists(
            st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"), max_size=10),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=8,
    ),
    size=st.integers(1, 4),
)
def test_csv_cells_come_back_equal_whatever_the_shard(tmp_path_factory, rows, size):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])

    _, table, _ = read(path, shard_rows=size)

    assert [list(row.values()) for row in table.to_pylist()] == rows


def test_a_shard_in_the_middle_is_read_without_the_ones_before(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(jsonl(ROWS))
    source = open_source(str(tmp_path / "x.jsonl"))
    plan = InputPlan.from_json(json.loads(json.dumps(source.scan(4).to_json())))

    again = open_source(str(tmp_path / "x.jsonl"))

    assert [row.values for row in again.rows(plan.shards[1], plan)] == ROWS[4:8]
    assert again.table(plan.shards[2], plan).to_pylist() == ROWS[8:]
    again.close()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": ', "not JSON"),
        (b"[1, 2]", "expected a JSON object"),
        (b'"text"', "expected a JSON object"),
        (b'{"text": NaN}', "not a JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b"\0\0\0\0", "not JSON"),
    ],
)
def test_a_malformed_line_is_that_row_s_problem_only(tmp_path, line, problem):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a"}\n\n' + line + b'\n{"text": "c"}\n')

    plan, table, rows = read(tmp_path / "x.jsonl")

    assert plan.malformed_count == 1
    assert plan.malformed[0][0] == 3  # as an editor counts, the blank line included
    assert problem in plan.malformed[0][1]
    assert table["text"].to_pylist() == ["a", None, "c"]
    assert [row.problem is None for row in rows] == [True, False, True]


def test_a_lone_surrogate_is_replaced_and_a_huge_number_keeps_its_digits(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"t": "a\\ud800b", "n": 123456789012345678901234567890}\n')

    _, table, _ = read(tmp_path / "x.jsonl")

    assert table.to_pylist() == [{"t": "a\ufffdb", "n": "123456789012345678901234567890"}]


@pytest.mark.parametrize(
    ("content", "row", "problem"),
    [("a,b\n1\n2,3\n", 2, "1 cell, but the header has 2"), ('a,b\n"x"y,2\n3,4\n', 2, "not valid CSV")],
)
def test_a_ragged_or_broken_csv_line_is_that_row_s_problem_only(tmp_path, content, row, problem):
    (tmp_path / "x.csv").write_text(content)

    plan, table, _ = read(tmp_path / "x.csv")

    assert (plan.malformed[0][0], problem in plan.malformed[0][1]) == (row, True)
    assert table.num_rows == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", b"a,a\n1,2\n", "two columns are named 'a'"),
        ("x.csv", b"", "no header line"),
        ("x.csv", "na\xefve,b\na,x\n".encode("cp1252"), "not UTF-8"),
        ("x.jsonl.gz", b"not gzip", "damaged"),
        ("x.jsonl.gz", gzip.compress(jsonl(ROWS) * 100)[:-20], "cut-off"),
        ("x.jsonl.zst", b"not zstd", "damaged"),
        ("x.parquet", b"PAR1 no", "not a Parquet file"),
        ("x.xlsx", b"", "is empty"),
        ("x.parquet.gz", b"", "is empty"),
        ("x.weird", b"", "unknown kind of input"),
    ],
)
def test_an_input_that_cannot_be_read_is_one_line_with_its_name(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path / name)

    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.jsonl", "nothing-*.parquet"])
def test_a_missing_input_is_one_line(tmp_path, name):
    with pytest.raises(InputError, match=r"missing|nothing"):
        read(tmp_path / name)


def test_standard_input_is_kept_so_that_it_can_be_read_again(tmp_path):
    spool_stdin(tmp_path / "stdin.jsonl", io.BytesIO(jsonl(ROWS)))
    source = open_source("-", spool=tmp_path / "stdin.jsonl")

    plan = source.scan(100)

    assert source.path == "<stdin>"
    assert plan.rows == 10
    assert (tmp_path / "stdin.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_limit_takes_the_first_rows_only(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(jsonl(ROWS))
    source = open_source(str(tmp_path / "x.jsonl"))

    plan = source.scan(3, limit=4)

    assert plan.rows == 4
    assert [shard.rows for shard in plan.shards] == [3, 1]
    assert plan.content_hash != source.scan(3).content_hash


def test_no_reader_holds_the_file(tmp_path, monkeypatch):
    """Ten times the rows, the same memory."""
    import tracemalloc

    monkeypatch.setattr(hashing, "HASH_BYTES", 1)

    def peak(rows: int, name: str) -> int:
        path = tmp_path / name
        with path.open("w") as file:
            if name.endswith("csv"):
                file.write("n,text\n")
            for number in range(rows):
                file.write(
                    f"{number},{'x' * 200}\n"
                    if name.endswith("csv")
                    else f'{{"n": {number}, "text": "{"x" * 200}"}}\n'
                )
        source = open_source(str(path))
        tracemalloc.start()
        plan = source.scan(100)
        for shard in plan.shards:
            for _ in source.rows(shard, plan):
                pass
            source.table(shard, plan)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    for kind in ("jsonl", "csv"):
        small, large = peak(500, f"small.{kind}"), peak(5_000, f"large.{kind}")
        assert large < small + 400_000, kind
