"""Two runs side by side: pairs, what differs, sums of both, and which answer is better."""

from __future__ import annotations

import json

import pytest

import batchlab
from batchlab.errors import UsageError
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.compare.comparison import Comparison
from batchlab.looking.compare.matching import matched
from batchlab.looking.labels.review import Review
from batchlab.looking.opening import open_run
from tests.provider import chat_reply, providing

ROWS = 12
REFUSED = {5}  # of the model `other`


def answer(body: dict) -> tuple[int, dict]:
    """The model `same` says the same to all; `other` says something else of every third row."""
    said = body["messages"][-1]["content"]
    number = int(said.split()[-1])
    if body["model"] == "other" and number in REFUSED:
        return 400, {"error": {"message": "no"}}
    extra = " Indeed." if body["model"] == "other" and number % 3 == 0 else ""
    reply = chat_reply(f"Of {number}.{extra}")
    reply["usage"] = {
        "prompt_tokens": 10,
        "completion_tokens": 2 + len(extra),
        "total_tokens": 12 + len(extra),
    }
    return 200, reply


@pytest.fixture
def ran(here, tmp_path):
    """Runs some rows by a model, in shards of five."""
    with providing(answer) as server:

        def run(model: str, name: str, rows: list[dict], *more: str) -> None:
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            at = [
                "-m",
                model,
                "-p",
                "Say {n}",
                "--base-url",
                server.base_url,
                "--api-key-env",
                "SIMULATOR_KEY",
            ]
            price = ["--price-in", "1", "--price-out", "2", "--shard-rows", "5", "--progress", "none"]
            said = here("run", str(path), *at, *price, "--run-dir", f"runs/{name}", *more)
            assert said.code in {0, 1}, said.err

        yield run


def opened(*names: str) -> list[RowIndex]:
    found = []
    for name in names:
        index = RowIndex(open_run(f"runs/{name}"))
        index.refresh()
        found.append(index)
    return found


def compared(a: str = "a", b: str = "b") -> Comparison:
    one, other = opened(a, b)
    return Comparison(one, other, (Review(one.run), Review(other.run)))


@pytest.fixture
def two(ran):
    rows = [{"n": n, "key": f"k{n}"} for n in range(ROWS)]
    ran("same", "a", rows)
    ran("other", "b", rows)


def test_pairs_are_all_rows_of_the_same_input_and_different_only_those_that_differ(two):
    page = compared().page(different=False, offset=0, limit=50).json()

    assert (page["joined_by"], page["total"], page["only_a"], page["only_b"]) == ("row", ROWS, 0, 0)
    assert page["done"]
    assert page["searched"] == ROWS
    assert page["different"] == 5
    assert [pair["row"] for pair in page["pairs"]] == list(range(ROWS))
    assert page["pairs"][3]["asked"] == "Say 3"
    assert (page["pairs"][3]["a"]["text"], page["pairs"][3]["b"]["text"]) == ("Of 3.", "Of 3. Indeed.")
    assert page["pairs"][1]["same"]
    assert page["problems"] == []

    page = compared().page(different=True, offset=1, limit=2).json()
    assert page["matched"] == 5
    assert [pair["row"] for pair in page["pairs"]] == [3, 5]
    failed = page["pairs"][1]["b"]
    assert (failed["status"], failed["text"], failed["error_class"]) == ("failed", None, "bad_request")
    assert "no" in failed["error_message"]


def test_the_sides_have_the_sums_of_the_rows_they_share(two):
    page = compared().page(different=False, offset=0, limit=1).json()

    a, b = page["a"], page["b"]
    assert (a["model"], a["rows"], a["ok"]) == ("same", ROWS, ROWS)
    assert (b["model"], b["rows"], b["ok"]) == ("other", ROWS, ROWS - 1)
    assert a["prompt_tokens"] == 10 * ROWS
    assert a["completion_tokens"] == 2 * ROWS
    assert a["cost_usd"] == pytest.approx((10 * ROWS + 2 * 2 * ROWS) / 1e6)
    assert b["completion_tokens"] > a["completion_tokens"]
    assert 0 < a["p50_ms"] <= a["p90_ms"]


def test_rows_in_another_order_are_matched_by_their_ids(ran):
    rows = [{"n": n, "key": f"k{n}"} for n in range(ROWS)]
    ran("same", "a", rows, "--id-column", "key")
    ran("other", "b", [*rows[:6][::-1], {"n": 99, "key": "new"}, *rows[8:]], "--id-column", "key")

    page = compared().page(different=False, offset=0, limit=50).json()
    assert page["joined_by"] == "custom_id"
    assert (page["total"], page["only_a"], page["only_b"]) == (10, 2, 1)
    for pair in page["pairs"]:
        assert pair["a"]["text"].split(".")[0] == (pair["b"]["text"] or pair["a"]["text"]).split(".")[0]
    assert {pair["row"]: pair["row_b"] for pair in page["pairs"]}[0] == 5
    backwards = matched(*opened("b", "a"))
    assert sorted(zip(backwards.b.tolist(), backwards.a.tolist(), strict=True)) == [
        (pair["row"], pair["row_b"]) for pair in page["pairs"]
    ]


def test_inputs_that_differ_without_ids_are_matched_by_place_which_is_said(ran):
    ran("same", "a", [{"n": n} for n in range(4)])
    ran("same", "b", [{"n": n + 10, "more": 1} for n in range(3)])

    page = compared().page(different=False, offset=0, limit=50).json()
    assert (page["joined_by"], page["total"], page["only_a"]) == ("row", 3, 1)
    assert "may ask about others" in page["problems"][0]


def test_a_choice_is_kept_both_ways_round_and_shares_have_their_interval(two):
    comparison = compared()
    for row, choice in ((0, "b"), (3, "b"), (6, "a"), (1, "same")):
        assert comparison.prefer(row, choice) == choice

    page = compared().page(different=False, offset=0, limit=50).json()
    assert page["choices"] == {"a": 1, "b": 2, "same": 1}
    assert (page["share"]["k"], page["share"]["n"]) == (2, 3)
    assert 0 < page["share"]["low"] < 2 / 3 < page["share"]["high"] < 1
    assert [pair["choice"] for pair in page["pairs"]][:4] == ["b", "same", None, "b"]

    turned = compared("b", "a")
    assert turned.page(different=False, offset=0, limit=50).json()["choices"] == {"a": 2, "b": 1, "same": 1}
    turned.prefer(3, "b")  # the last word counts, in whichever run it is kept
    assert compared().page(different=False, offset=0, limit=50).json()["choices"] == {
        "a": 2,
        "b": 1,
        "same": 1,
    }
    assert compared().prefer(3, None) is None
    assert compared().page(different=False, offset=0, limit=50).json()["choices"] == {
        "a": 1,
        "b": 1,
        "same": 1,
    }
    assert "label" not in batchlab.load("runs/a").columns  # a choice is no label


def test_a_choice_about_an_answer_that_is_there_no_more_does_not_count(two, here, monkeypatch):
    compared().prefer(5, "a")
    assert compared().page(different=False, offset=0, limit=50).json()["choices"]["a"] == 1

    monkeypatch.setattr("tests.looking.compare.test_compare.REFUSED", set())
    assert here("retry", "runs/b", "--progress", "none").code == 0
    assert compared().page(different=False, offset=0, limit=50).json()["choices"]["a"] == 0


@pytest.mark.parametrize(
    ("row", "choice", "said"), [(0, "c", "expected a, b, same"), (99, "a", "do not share it")]
)
def test_what_is_no_choice_is_one_line(two, row, choice, said):
    with pytest.raises(UsageError, match=said):
        compared().prefer(row, choice)


def test_what_is_not_read_yet_is_told(two):
    comparison = compared()

    first = comparison.page(different=True, offset=0, limit=50, seconds=0.0).json()
    assert (first["done"], first["searched"]) == (False, 0)
    assert comparison.page(different=True, offset=0, limit=50).json()["done"]


def test_a_damaged_part_leaves_the_other_pairs(two):
    open_run("runs/b").layout.part(1).write_bytes(b"PAR1 no more PAR1")

    page = compared().page(different=False, offset=0, limit=50).json()
    assert page["total"] == ROWS - 5
    assert any("part-000001.parquet" in problem for problem in page["problems"])


def test_the_page_asks_and_keeps(two, tmp_path):
    from tests.page.conftest import serving

    with serving(tmp_path / "runs") as page:
        found = page.get("compare", a="a", b="b", different=1, limit=3)
        assert (found["a"]["id"], found["b"]["id"], found["different"]) == ("a", "b", 5)
        assert len(found["pairs"]) == 3
        told = page.send("prefer", {"a": "a", "b": "b", "row": 3, "choice": "b"}).json()
        assert (told["choice"], told["choices"]["b"], told["share"]["n"]) == ("b", 1, 1)
        taken = page.send("prefer", {"a": "a", "b": "b", "row": 3, "choice": None, "seen": "a"})
        assert "another has said something of it since" in taken.error
        assert page.get("compare", a="a", b="b")["choices"]["b"] == 1
        assert page.send("prefer", {"a": "a", "b": "b", "row": "3", "choice": "b"}).status == 400
        assert page.ask("/api/compare?a=a&b=a").error == "name two runs to compare."
        assert page.ask("/api/compare?a=a&b=zzz").status == 404
