"""The pass over an input takes short cuts; what it finds is what the long way finds."""

from __future__ import annotations

import gzip
import hashlib
import json
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchlab.inputs.plan import plan_input
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.column_types import settled, widened
from batchlab.inputs.sources.json_files import lines as jsonl
from batchlab.inputs.sources.json_files.values import parse_line
from batchlab.inputs.sources.opening import open_source
from batchlab.inputs.sources.source import InputPlan
from batchlab.inputs.templates import RowProblem
from batchlab.job.file import job_from
from batchlab.records import Row

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False)
    | st.text("aé", max_size=3)
)
VALUE = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.sampled_from("xy"), PLAIN, max_size=2)
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), VALUE, max_size=3), min_size=1, max_size=12)

# every kind of line that a file may hold, with the last one left open
LINES = (
    b'\xef\xbb\xbf{"id": "a", "text": "first"}\r\n',
    b"\n",
    b'{"id": "b", "text": "caf\xc3\xa9 ' + b"x" * 60 + b'"}\n',
    b'{"id": "c", "text": \n',
    b" \t \n",
    b"[1]\n",
    b'{"id": "d", "text": 18446744073709551616}\n',
    b'{"id": "e", "text": "\xff"}\n',
    b'{"id": "f"}\n',
    b'{"id": "b", "text": "again"}\n',
    b'{"id": "g", "text": "first"}',
)


def planned(path, **input_keys):
    job = job_from(
        {
            "input": {"path": str(path), **input_keys},
            "request": {"model": "m", "prompt": "Say {text}"},
            "output": {"shard_rows": 2},
        }
    )
    return plan_input(job, open_source(str(path)), details=True)


@settings(max_examples=60)
@given(ROWS)
def test_a_column_s_type_is_the_one_that_holds_each_of_its_values(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("kinds") / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * 2))

    source = open_source(str(path))
    plan = source.scan(5)

    read = [parse_line(json.dumps(row).encode())[0] for row in rows]
    names = list(dict.fromkeys(name for row in read for name in row))
    assert plan.types == {
        name: settled(reduce(widened, [row[name] for row in read if name in row], "null")) for name in names
    }
    for shard in plan.shards:
        source.table(shard, plan)


@pytest.mark.parametrize(
    "values",
    [[2**53 + 1, 0.5], [0.5, 2**53 + 1], [1, 2**53 + 1, 0.5], [2**53 + 1, 1, 0.5], [[2**53 + 1, 0.5]]],
)
def test_a_number_that_no_float_holds_keeps_its_digits_beside_floats(tmp_path, values):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"a": value}) + "\n" for value in values))
    source = open_source(str(path))
    plan = source.scan(5)

    [shard] = plan.shards

    assert [json.loads(text) for text in source.table(shard, plan)["a"].to_pylist()] == values


@pytest.mark.parametrize("block", [1, 7, 64, 100, 1 << 20])
@pytest.mark.parametrize("limit", [None, 1, 4, 8, 99])
def test_where_a_block_ends_makes_no_difference(tmp_path, monkeypatch, block, limit):
    (tmp_path / "x.jsonl").write_bytes(b"".join(LINES))
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b"".join(LINES)))
    whole = planned(tmp_path / "x.jsonl", **({"limit": limit} if limit else {}))
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", block)

    for name in ("x.jsonl", "x.jsonl.gz"):
        again = planned(tmp_path / name, **({"limit": limit} if limit else {}))

        assert again.plan.shards == whole.plan.shards
        assert (again.plan.types, again.plan.malformed) == (whole.plan.types, whole.plan.malformed)
        assert again.plan.content_hash == whole.plan.content_hash
        assert again.lengths == whole.lengths
        # what is said is the same, but for the file's name
        assert [str(one).split(": ", 1)[1] for one in again.problems] == [
            str(one).split(": ", 1)[1] for one in whole.problems
        ]


def test_a_pass_finds_every_malformed_line_template_error_and_double_id(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"".join(LINES))

    found = planned(tmp_path / "x.jsonl", id="id")

    assert found.plan.rows == 9
    assert [number for number, _ in found.plan.malformed] == [4, 6, 8]
    assert f"{tmp_path}/x.jsonl:9: column 'text' is null" in str(found.problems[0])
    assert any("have the same id" in str(problem) for problem in found.problems)
    assert found.plan.content_hash == hashlib.blake2b(b"".join(LINES), digest_size=16).hexdigest()
    data = b"".join(LINES)
    assert [shard.position["offset"] for shard in found.plan.shards] == [
        0, data.index(LINES[3]), data.index(LINES[6]), data.index(LINES[8]), data.index(LINES[10]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "request_keys",
    [
        {"prompt": "Say {text}"},
        {"prompt": "{text} and {more}", "system": "You are {more}."},
        {"prompt_column": "text", "system": "S"},
    ],
)
def test_a_row_is_measured_as_its_request_is_built(request_keys):
    job = job_from({"input": {"path": "x.jsonl"}, "request": {"model": "m", **request_keys}})
    builder = RequestBuilder(job, ["text", "more"])
    texts = ["a", "é🧣", "", 7, 1.5, True, ["a", 1], {"b": None}, "{more}"]
    rows = [{"text": one, "more": other} for one in texts for other in ("x", "é")]

    built = [builder.build(Row(number, row)) for number, row in enumerate(rows)]
    measured = [builder.measured(row) for row in rows]

    assert [size for size, _ in measured] == [request.prompt_bytes for request in built]
    assert len({what for _, what in measured}) == len({request.request_hash for request in built})
    with pytest.raises(RowProblem, match="null"):
        builder.measured({"text": None, "more": "x"})


def test_a_parameter_that_json_cannot_hold_is_found_by_the_plan(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    job = job_from(
        {
            "input": {"path": str(tmp_path / "x.jsonl")},
            "request": {"model": "m", "prompt": "{text}", "seed": 2**70},
        }
    )

    found = plan_input(job, open_source(job.input.path))

    assert "cannot be written as JSON" in str(found.problems[0])


def test_half_a_surrogate_pair_is_the_row_s_problem(tmp_path):
    (tmp_path / "t.j2").write_text("{{ '\\ud800' }}{{ text }}")
    job = job_from(
        {
            "input": {"path": "x.jsonl"},
            "request": {"model": "m", "prompt_file": str(tmp_path / "t.j2")},
        }
    )
    builder = RequestBuilder(job, ["text"])

    for make in (lambda: builder.measured({"text": "a"}), lambda: builder.build(Row(0, {"text": "a"}))):
        with pytest.raises(RowProblem, match="surrogate"):
            make()


def test_a_value_nested_deeper_than_arrow_reads_is_carried_as_json_text(tmp_path):
    deep = "[" * 100 + "1" + "]" * 100
    (tmp_path / "x.jsonl").write_text(f'{{"text": "a", "deep": {deep}}}\n')
    source = open_source(str(tmp_path / "x.jsonl"))

    plan = InputPlan.from_json(json.loads(json.dumps(source.scan(3).to_json())))

    assert source.table(plan.shards[0], plan).to_pylist() == [{"text": "a", "deep": deep}]


def test_a_plan_of_format_1_which_had_arrow_types_is_still_read(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a", "tags": ["b"], "at": {"x": 1.5}, "n": 3, "any": null}\n')
    plan = open_source(str(tmp_path / "x.jsonl")).scan(3)
    new = plan.to_json()
    import base64

    schema = base64.b64encode(plan.schema.serialize().to_pybytes()).decode()
    old = {**{key: value for key, value in new.items() if key != "kinds"}, "schema": schema}

    assert InputPlan.from_json(json.loads(json.dumps(old))).schema == plan.schema
    assert InputPlan.from_json(json.loads(json.dumps(new))).schema == plan.schema
