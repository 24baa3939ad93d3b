"""Every Arrow type, in a column that a prompt uses and in one that none does, with and without nulls."""

from __future__ import annotations

import contextlib
import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batchlab.errors import InputError
from batchlab.inputs.plan import plan_input
from batchlab.inputs.sources.arrow_files.recast import recast
from batchlab.inputs.sources.opening import open_source
from batchlab.inputs.templates import RowProblem
from batchlab.job.file import job_from
from batchlab.store.parts import part_schema

NS = 1_700_000_000_123_456_789
STRUCT = pa.struct([pa.field("at", pa.timestamp("ns")), pa.field("s", pa.string())])
ARRAYS = {
    "null": pa.nulls(3),
    "bool": pa.array([True, False, True]),
    **{f"int{bits}": pa.array([1, -2, 3], getattr(pa, f"int{bits}")()) for bits in (8, 16, 32, 64)},
    **{
        f"uint{bits}": pa.array([1, 2, 2**bits - 1], getattr(pa, f"uint{bits}")()) for bits in (8, 16, 32, 64)
    },
    "float16": pa.array([0.5, 1.5, 2.0], pa.float16()),
    "float32": pa.array([0.5, float("nan"), float("inf")], pa.float32()),
    "float64": pa.array([0.5, float("nan"), -1e300]),
    "string": pa.array(["a", "é", ""]),
    "large_string": pa.array(["a", "é", ""], pa.large_string()),
    "string_view": pa.array(["a", "é" * 20, ""], pa.string_view()),
    "binary": pa.array([b"a", b"\xff", b""]),
    "large_binary": pa.array([b"a", b"\xff", b""], pa.large_binary()),
    "binary_view": pa.array([b"a", b"\xff" * 20, b""], pa.binary_view()),
    "fixed_binary": pa.array([b"ab", b"\xff\xff", b"  "], pa.binary(2)),
    "date32": pa.array([1, 2, 3], pa.date32()),
    "date32_far": pa.array([1, 3_000_000, -3_000_000], pa.int32()).cast(pa.date32()),
    "date64": pa.array([86_400_000, 0, 86_400_000 * 3_000_000], pa.int64()).cast(pa.date64()),
    **{f"timestamp_{unit}": pa.array([1, 2, 3], pa.timestamp(unit)) for unit in ("s", "ms", "us")},
    "timestamp_ns": pa.array([NS, 1_000, 3], pa.timestamp("ns")),
    "timestamp_ns_utc": pa.array([NS, 1_000, 3], pa.timestamp("ns", "UTC")),
    "timestamp_far": pa.array([1, 2**60, -(2**60)], pa.int64()).cast(pa.timestamp("ms")),
    "timestamp_year_9999": pa.array([253402300800_000_000, 1, 2], pa.int64()).cast(pa.timestamp("us")),
    "timestamp_zone": pa.array([1, 2, 3], pa.timestamp("us", "Europe/Berlin")),
    "timestamp_offset": pa.array([1, 2, 3], pa.timestamp("us", "+05:30")),
    "timestamp_nowhere": pa.array([1, 2, 3], pa.timestamp("us", "Mars/Olympus_Mons")),
    "time32_s": pa.array([1, 2, 3], pa.time32("s")),
    "time32_ms": pa.array([1, 2, 3], pa.time32("ms")),
    "time64_us": pa.array([1, 2, 3], pa.time64("us")),
    "time64_ns": pa.array([1, 2_000, 3], pa.time64("ns")),
    **{f"duration_{unit}": pa.array([1, 2, 3], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")},
    "duration_far": pa.array([2**62, 1, 2], pa.duration("s")),
    **{
        f"decimal{bits}": pa.array([Decimal("1.50"), Decimal("-2.25"), Decimal("0.00")], kind)
        for bits, kind in {
            32: pa.decimal32(7, 2),
            64: pa.decimal64(15, 2),
            128: pa.decimal128(30, 2),
            256: pa.decimal256(60, 2),
        }.items()
    },
    "list": pa.array([[1], [], [2, None]]),
    "large_list": pa.array([[1], [], [2]], pa.large_list(pa.int8())),
    "fixed_list": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int8(), 2)),
    "list_view": pa.array([[1], [], [2]], pa.list_view(pa.int8())),
    "list_of_ns": pa.array([[NS], [], [1_000]], pa.list_(pa.timestamp("ns"))),
    "struct": pa.array([{"a": 1}, {"a": None}, {"a": 3}]),
    "struct_of_ns": pa.array(
        [{"at": NS, "s": "x"}, {"at": 1_000, "s": None}, {"at": None, "s": "y"}], STRUCT
    ),
    "map": pa.array([[("k", 1)], [], [("l", 2)]], pa.map_(pa.string(), pa.int64())),
    "map_of_ns": pa.array([[("k", NS)], [], [("l", 2)]], pa.map_(pa.string(), pa.timestamp("ns"))),
    "dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
    "dictionary_ordered": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 0]), pa.array(["lo", "hi"]), ordered=True
    ),
    "dictionary_of_ns": pa.array([NS, 1, NS], pa.timestamp("ns")).dictionary_encode(),
    "run_end": pc.run_end_encode(pa.array(["a", "a", "b"])),
    "run_end_of_ns": pc.run_end_encode(pa.array([NS, NS, 1], pa.timestamp("ns"))),
    "interval": pa.array([(1, 2, 3)] * 3, pa.month_day_nano_interval()),
    "union": pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    ),
    "uuid": pa.array([b"a" * 16, b"b" * 16, b"c" * 16], pa.binary(16)).cast(pa.uuid()),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', "[]", "null"])),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, 1], pa.int8())),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(__import__("numpy").ones((3, 2), "float32")),
}
NOT_IN_PARQUET = {"interval", "union"}
# what Parquet gives back as another type that holds the same
RESTORED = {
    "run_end": pa.string(),
    "run_end_of_ns": pa.timestamp("ns"),
    "timestamp_s": pa.timestamp("ms"),
    "time32_s": pa.time32("ms"),
    "date64": pa.date32(),
    "dictionary_of_ns": pa.timestamp("ns"),
}


def with_nulls(array):
    if pa.types.is_union(array.type) or pa.types.is_run_end_encoded(array.type):
        return array
    return pa.concat_arrays([array.slice(0, 1), pa.nulls(1, array.type), array.slice(2)])


@pytest.mark.parametrize("nulls", [False, True], ids=["full", "nulls"])
@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("name", ARRAYS)
def test_no_type_ends_a_run_and_each_comes_out_as_it_went_in(tmp_path, name, used, nulls):
    array = with_nulls(ARRAYS[name]) if nulls else ARRAYS[name]
    table = pa.table({"prompt": ["a", "b", "c"], "x": array})
    path = tmp_path / "x.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    prompt = "{prompt} {x}" if used else "{prompt}"
    job = job_from(
        {"input": {"path": str(path), "null_as": "-"}, "request": {"model": "m", "prompt": prompt}}
    )
    source = open_source(str(path))

    if name in NOT_IN_PARQUET:
        with pytest.raises(InputError, match="column 'x' is .* which Parquet, and so a run, cannot hold"):
            plan_input(job, source)
        return
    planned = plan_input(job, source)
    plan = planned.plan

    expected = RESTORED.get(name, ARRAYS[name].type)
    assert plan.schema.field("x").type == expected
    (shard,) = plan.shards
    found = source.table(shard, plan)
    pq.write_table(found, tmp_path / "part.parquet")
    again = pq.read_table(tmp_path / "part.parquet")
    for one in (found, again):
        assert one.schema.field("x").type == expected
        want = plain_values(pa.chunked_array([array]))
        assert plain_values(one["x"]).equals(want.cast(plain_values(one["x"]).type))
    for row in source.rows(shard, plan):
        if planned.builder is not None:
            with contextlib.suppress(RowProblem):
                planned.builder.build(row)


def plain_values(column):
    """Without NaN, which equals nothing, and without what extension types and runs of a value add."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    array = pc.run_end_decode(array) if pa.types.is_run_end_encoded(array.type) else array
    if pa.types.is_floating(array.type):
        array = array.cast(pa.float64())
        return pc.if_else(pc.is_nan(array), 0.0, array)
    return array


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([NS], pa.timestamp("ns")), "2023-11-14 22:13:20.123456789"),
        (pa.array([NS - 789], pa.timestamp("ns")), "2023-11-14T22:13:20.123456"),  # what microseconds hold
        (pa.array([NS - 789], pa.timestamp("ns")).cast(pa.timestamp("us")), "2023-11-14T22:13:20.123456"),
        (pa.array([NS], pa.timestamp("ns", "UTC")), "2023-11-14 22:13:20.123456789Z"),
        (pa.array([3_000_000], pa.int32()).cast(pa.date32()), "10183-09-21"),
        (pa.array([1], pa.time64("ns")), "00:00:00.000000001"),
        (pa.array([2_000], pa.duration("ns")), "0:00:00.000002"),
        (pa.array([Decimal("1.50")], pa.decimal256(60, 2)), "1.50"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([[NS]], pa.list_(pa.timestamp("ns"))), '["2023-11-14 22:13:20.123456789"]'),
        (pa.array([{"at": NS, "s": "x"}], STRUCT), '{"at":"2023-11-14 22:13:20.123456789","s":"x"}'),
        (pa.array([b"a" * 16], pa.binary(16)).cast(pa.uuid()), "61616161-6161-6161-6161-616161616161"),
    ],
)
def test_what_python_cannot_hold_is_text_as_arrow_writes_it(tmp_path, array, text):
    pq.write_table(pa.table({"x": array}), tmp_path / "x.parquet")
    job = job_from(
        {"input": {"path": str(tmp_path / "x.parquet")}, "request": {"model": "m", "prompt": "{x}"}}
    )
    source = open_source(job.input.path)
    planned = plan_input(job, source)
    (row,) = source.rows(planned.plan.shards[0], planned.plan)

    assert planned.ready_builder.build(row).body["messages"][0]["content"] == text


def test_one_value_that_cannot_be_read_fails_its_row_alone(tmp_path):
    at = pa.array([1, None, 3], pa.timestamp("us", "Mars/Olympus_Mons"))
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "at": at}), path)
    job = job_from(
        {"input": {"path": str(path), "null_as": "-"}, "request": {"model": "m", "prompt": "{prompt} {at}"}}
    )

    planned = plan_input(job, open_source(str(path)))

    assert planned.problems == []
    assert [number for number, _ in planned.plan.malformed] == [1, 3]
    assert (
        "column 'at': a value of type timestamp[us, tz=Mars/Olympus_Mons] cannot be read"
        in planned.plan.malformed[0][1]
    )


def test_a_string_that_is_no_utf8_fails_its_row_whether_it_is_used_or_not(tmp_path):
    bad = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffc")]
    )
    path = tmp_path / "x.parquet"
    schema = pa.schema([pa.field("prompt", pa.string()), pa.field("other", pa.string(), nullable=False)])
    pq.write_table(pa.table([["x", "y", "z"], bad], schema=schema), path)
    job = job_from({"input": {"path": str(path)}, "request": {"model": "m", "prompt": "{prompt}"}})
    source = open_source(str(path))

    plan = plan_input(job, source).plan

    assert plan.malformed == ((2, "column 'other' is not UTF-8 text"),)
    assert [row.problem is None for row in source.rows(plan.shards[0], plan)] == [True, False, True]
    table = source.table(plan.shards[0], plan)
    assert table["other"].to_pylist() == ["a", None, "c"]
    table.validate(full=True)


def test_a_part_carries_the_metadata_of_its_input():
    schema = pa.schema([pa.field("a", pa.int8(), metadata={"k": "v"})], metadata={"pandas": "{}"})

    found = part_schema(schema, "")

    assert found.metadata == {b"pandas": b"{}"}
    assert found.field("a").metadata == {b"k": b"v"}


def test_a_column_that_no_prompt_uses_never_leaves_arrow(tmp_path, monkeypatch):
    from batchlab.inputs.sources.arrow_files import rows as arrow_rows

    asked = []
    real = arrow_rows.python_values
    monkeypatch.setattr(arrow_rows, "python_values", lambda array: asked.append(array.type) or real(array))
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"prompt": ["a"], "at": pa.array([NS], pa.timestamp("ns"))}), path)
    (tmp_path / "p.j2").write_text("{{ prompt }}")
    for request in ({"prompt": "{prompt}"}, {}, {"prompt_file": str(tmp_path / "p.j2")}):
        job = job_from({"input": {"path": str(path)}, "request": {"model": "m", **request}})
        assert plan_input(job, open_source(str(path))).problems == []

    assert set(asked) == {pa.string()}


def test_times_are_what_they_are_without_pandas(tmp_path):
    import subprocess
    import sys

    pq.write_table(pa.table({"x": pa.array([NS, 1_000, None], pa.timestamp("ns"))}), tmp_path / "x.parquet")
    program = (
        "from batchlab.arrow import without_pandas; without_pandas()\n"
        "from batchlab.inputs.sources.opening import open_source\n"
        f"s = open_source({str(tmp_path / 'x.parquet')!r}); p = s.scan(10)\n"
        "print([r.values['x'] for r in s.rows(p.shards[0], p)])\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert eval(out, {"datetime": dt}) == [
        "2023-11-14 22:13:20.123456789",
        dt.datetime(1970, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001
        None,
    ]


VIEW, TEXT = pa.string_view(), pa.large_string()


@pytest.mark.parametrize(
    ("kind", "wanted", "value"),
    [
        (pa.struct([("a", VIEW)]), pa.struct([("a", TEXT)]), {"a": "x" * 20}),
        (pa.list_(pa.struct([("a", VIEW)])), pa.list_(pa.struct([("a", TEXT)])), [{"a": "x" * 20}]),
        (pa.struct([("a", pa.list_(VIEW))]), pa.struct([("a", pa.list_(TEXT))]), {"a": ["x"]}),
        (
            pa.struct([("a", pa.map_(VIEW, pa.binary_view()))]),
            pa.struct([("a", pa.map_(TEXT, pa.large_binary()))]),
            {"a": [("x", b"y")]},
        ),
        (pa.list_(VIEW, 1), pa.list_(VIEW, 1), ["x"]),
        (pa.map_(VIEW, VIEW), pa.map_(VIEW, VIEW), [("x", "y")]),
    ],
)
def test_views_inside_of_structs_are_text_as_some_rows_of_them_cannot_be_written(
    tmp_path, kind, wanted, value
):
    """Such are polars' files and frames. Before, sealing ended in a traceback, with the answers paid for."""
    table = pa.table({"x": pa.array([value, None, value, value], kind)})
    path = tmp_path / "x.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    source = open_source(str(path))
    plan = source.scan(4)

    found = source.table(plan.shards[0], plan)

    assert found.schema.field("x").type == wanted
    for start in range(4):
        pq.write_table(found.slice(start, 2), tmp_path / "part.parquet")
    assert found["x"].to_pylist() == table["x"].to_pylist()


@pytest.mark.parametrize("make", [pa.list_view, pa.large_list_view])
@pytest.mark.parametrize("inside", [False, True])
def test_a_list_view_becomes_a_whole_list(make, inside):
    """Arrow's own cast makes offsets that are one too few."""
    plain = pa.list_(pa.int64()) if make is pa.list_view else pa.large_list(pa.int64())
    kind, wanted = make(pa.int8()), plain
    values = [[1, 2], None, [], [3]]
    if inside:
        kind, wanted, values = (
            pa.struct([("a", kind)]),
            pa.struct([("a", wanted)]),
            [{"a": one} for one in values],
        )
    array = pa.array(values, kind)

    for part in (array, array.slice(1), array.slice(1, 2), array.slice(3), array.slice(4)):
        found = recast(part, wanted)
        found.validate(full=True)
        assert found.type == wanted
        assert found.to_pylist() == part.to_pylist()
