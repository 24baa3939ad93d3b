"""JSON that is no JSON Lines."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.inputs.sources.json_files import items as json_items
from batchlab.inputs.sources.json_files.items import Item
from tests.inputs.sources.reading import read, refused

ROWS = [{"id": n, "prompt": f'p{n} "[{{" é\n', "tags": ["a", {"b": n}]} for n in range(10)]


def values_of(path, **options):
    return [dict(row.values) for row in read(path, **options)[2]]


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.ndjson", "x.txt"])
def test_a_list_of_objects_is_rows_whatever_it_is_called(tmp_path, name, indent):
    (tmp_path / name).write_text(json.dumps(ROWS, indent=indent, ensure_ascii=False))

    assert values_of(tmp_path / name) == ROWS


@pytest.mark.parametrize("separator", ["\n", "", " ", ",\n", "\n\x1e"])
@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_objects_over_several_lines_are_rows(tmp_path, name, separator):
    (tmp_path / name).write_text(separator.join(json.dumps(row, indent=2) for row in ROWS))

    assert values_of(tmp_path / name) == ROWS


def test_two_objects_in_a_line_are_two_rows(tmp_path):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) for row in ROWS))

    assert values_of(tmp_path / "x.jsonl") == ROWS


def test_json_lines_that_are_called_json_are_lines(tmp_path):
    (tmp_path / "x.json").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    assert values_of(tmp_path / "x.json") == ROWS


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", [{}, {"version": "1.1", "info": {"rows": [1, 2]}}])
@pytest.mark.parametrize("after", [{}, {"count": 10, "next": None}])
def test_one_object_with_a_list_of_rows_is_that_list(tmp_path, indent, before, after):
    (tmp_path / "x.json").write_text(json.dumps({**before, "data": ROWS, **after}, indent=indent))

    plan, _, rows, notes = read(tmp_path / "x.json")

    assert [row.values for row in rows] == ROWS
    assert notes == [f"{tmp_path}/x.json: the rows are the list 'data' of its one object"]
    assert plan.rows == 10


def test_one_object_with_messages_is_one_row(tmp_path):
    row = {"id": 1, "messages": [{"role": "user", "content": "hi"}]}
    (tmp_path / "x.json").write_text(json.dumps(row, indent=2))

    assert values_of(tmp_path / "x.json") == [row]


def test_a_list_of_texts_is_a_prompt_each(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(["a", 'b "c"\n', "\ud800"]))

    assert values_of(tmp_path / "x.json") == [{"prompt": "a"}, {"prompt": 'b "c"\n'}, {"prompt": "\ufffd"}]


def test_a_bad_byte_or_a_value_that_is_no_row_fails_its_row_alone(tmp_path):
    (tmp_path / "x.json").write_bytes(b'[{"a": "1"}, {"a": "\xff"}, 7, {"a": NaN}, [1], {"a": "2"}]')

    plan, table, rows, _ = read(tmp_path / "x.json")

    assert [row.problem is None for row in rows] == [True, False, False, False, False, True]
    assert table["a"].to_pylist() == ["1", None, None, None, None, "2"]
    assert [number for number, _ in plan.malformed] == [2, 3, 4, 5]
    assert "not UTF-8" in plan.malformed[0][1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1}, {"a": 2}', "cut off"),
        ('[{"a": 1}, {"a": ', "cut off"),
        ('{"data": [{"a": 1}, {"a": 2}]', "cut off"),
        ('[{"a": 1}] [{"a": 2}]', "something follows"),
        ('[{"a": 1},\n {"a": nope}]', ":2: not JSON"),
        ('[{"a": 1},\n {"a": "x "y" z"}]', ":2: not JSON"),
        ('{"a": [{"x": 1}], "b": [{"y": 2}]}', "several lists of rows: 'a', 'b'"),
        ('{"prompt": {"0": "a", "1": "b"}, "n": {"0": 1, "1": 2}}', 'orient="records"'),
        ("", "has no row"),
    ],
)
def test_a_document_that_is_no_rows_is_refused_in_a_line(tmp_path, text, said):
    (tmp_path / "x.json").write_text(text)

    if not text:
        assert read(tmp_path / "x.json")[0].rows == 0
    else:
        assert said in refused(tmp_path / "x.json")


def test_a_second_list_far_behind_the_first_is_not_passed_over(tmp_path):
    rows = [{"prompt": "x" * 1_000} for _ in range(3_000)]
    (tmp_path / "x.json").write_text(json.dumps({"train": rows, "test": rows[:2]}))

    assert "'train', 'test'" in refused(tmp_path / "x.json", shard_rows=1_000)


def test_replaced_halves_of_surrogate_pairs_are_counted(tmp_path):
    lines = [b'{"t": "a"}', b'{"t": "\\ud800"}', b'{"t": "\\udc00x"}', b'{"t": "\\ud83d\\ude00"}']
    for name, text in {"x.jsonl": b"\n".join(lines), "x.json": b"[" + b",".join(lines) + b"]"}.items():
        (tmp_path / name).write_bytes(text)
        _, _, rows, notes = read(tmp_path / name)
        assert [row.values["t"] for row in rows] == ["a", "\ufffd", "\ufffdx", "😀"]
        assert len(notes) == 1
        assert "2 rows (the first: 2)" in notes[0]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(values=st.lists(JSON, max_size=8), indent=st.sampled_from([None, 1]), block=st.integers(1, 40))
def test_the_items_of_a_list_are_its_values_however_it_is_cut_into_blocks(values, indent, block):
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(block)

    text = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    file = Slow(text)
    io.BytesIO.read(file, 1)

    *items, end = json_items.json_items(file, 1, inside=True)

    assert [json.loads(item.text) for item in items] == values
    assert all(text[item.offset :].startswith(item.text) for item in items if isinstance(item, Item))
    assert end.offset == len(text)


@pytest.mark.proof  # takes its time
def test_a_large_list_is_not_held(tmp_path):
    import tracemalloc

    from batchlab.inputs.sources.opening import open_source

    path = tmp_path / "x.json"
    with path.open("w") as file:
        file.write("[")
        for number in range(40_000):
            file.write(("," if number else "") + json.dumps({"n": number, "text": "y" * 300}))
        file.write("]")
    source = open_source(str(path))
    tracemalloc.start()
    plan = source.scan(5_000)
    assert sum(1 for shard in plan.shards for _ in source.rows(shard, plan)) == 40_000
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert used < 4_000_000  # of 13 MB


@pytest.mark.parametrize("orient", [None, "split"])
def test_columns_apart_from_rows_are_refused_with_the_way_to_write_rows(tmp_path, orient):
    import pandas as pd

    pd.DataFrame(ROWS[:3]).drop(columns="tags").to_json(tmp_path / "x.json", orient=orient)

    assert 'orient="records", lines=True' in str(refused(tmp_path / "x.json"))
