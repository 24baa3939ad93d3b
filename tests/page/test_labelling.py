"""Labels through the page: said, taken back, filtered by, sampled, and what they come to."""

from __future__ import annotations

import shutil

import pytest

from batchlab.looking.labels.share import share


@pytest.fixture
def page(served, runs, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    return served(folder)


def answered(page) -> list[int]:
    return [one["row_id"] for one in page.rows(run="night", status="ok", limit=100)["rows"]]


def label(page, row: int, said: str | None, note: str | None = None) -> dict:
    got = page.send("label", {"run": "night", "row": row, "label": said, "note": note})
    assert got.status == 200, got.body
    return got.json()


def test_a_label_is_kept_shown_filtered_by_and_taken_back(page):
    first, second, *_ = answered(page)

    told = label(page, first, "fail", "made up")
    label(page, second, "pass")

    assert (told["row"], told["label"], told["note"]) == (first, "fail", "made up")
    rows = page.rows(run="night", label="fail")
    assert [(one["row_id"], one["label"], one["note"]) for one in rows["rows"]] == [(first, "fail", True)]
    assert page.get("facets", run="night")["label"] == [
        {"value": "fail", "rows": 1},
        {"value": "pass", "rows": 1},
    ]
    undone = page.send("label", {"run": "night", "undo": told["undo"]}).json()
    assert (undone["row"], undone["label"], undone["note"]) == (first, None, None)
    assert page.rows(run="night", label="fail")["matched"] == 0
    again = page.send("label", {"run": "night", "undo": told["undo"]})
    assert again.status == 400
    assert "nothing to undo" in again.error


@pytest.mark.parametrize("said", ["good, but long", "100%", "%2C"])
def test_rows_are_filtered_by_whatever_a_label_is_called(page, said):
    """As the front writes it: a comma within a value is %2C, and a % is %25."""
    row = answered(page)[0]
    label(page, row, said)

    written = said.replace("%", "%25").replace(",", "%2C")
    assert [one["row_id"] for one in page.rows(run="night", label=f"{written},fail")["rows"]] == [row]


def test_shares_have_their_intervals_by_a_column_too(page):
    rows = answered(page)
    for number, row in enumerate(rows):
        label(page, row, ("pass", "pass", "fail", "unsure")[number % 4])

    found = page.get("labels", run="night", by="status")
    k, n = (sum(number % 4 in kinds for number in range(len(rows))) for kinds in ((0, 1), (0, 1, 2)))
    wanted = share(k, n)
    assert wanted is not None
    assert found["share"] == wanted.json()
    assert found["names"] == ["pass", "fail", "unsure"]
    assert found["counts"]["pass"] == k
    assert [(one["value"], one["n"]) for one in found["by"]] == [("ok", n)]


def test_names_are_chosen_and_come_back(page):
    assert page.send("labels", {"run": "night", "names": ["good", "bad"]}).status == 200
    assert page.get("labels", run="night")["names"] == ["good", "bad"]
    assert page.send("labels", {"run": "night", "names": []}).status == 200
    assert page.get("labels", run="night")["names"] == ["pass", "fail", "unsure"]


def test_a_sample_is_of_rows_with_an_answer_and_the_same_again(page):
    rows = set(answered(page))
    first = page.get("sample", run="night", n=5, seed=3)

    assert len(first["rows"]) == 5
    assert set(first["rows"]) <= rows
    assert first == page.get("sample", run="night", n=5, seed=3)
    assert first["rows"] != page.get("sample", run="night", n=5, seed=4)["rows"]
    failed = page.get("sample", run="night", n=5, seed=3, status="failed")["rows"]
    assert failed
    assert not set(failed) & rows


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"row": "7"}, "row: expected a number"),
        ({"row": True}, "row: expected a number"),
        ({"row": 10_000, "label": "pass"}, "row 10000: the run has"),
        ({"row": 0, "label": 7}, "label: expected a text"),
        ({"row": 0, "label": "x" * 41}, "a label has 1 to 40 characters"),
        ({"row": 0, "note": "x" * 10_001}, "a note has 10,000 characters at most"),
    ],
)
def test_what_is_no_label_is_one_line(page, body, said):
    got = page.send("label", {"run": "night", **body})

    assert got.status == 400
    assert said in got.error


def test_a_write_needs_the_token(page):
    got = page.send("label", {"run": "night", "row": 0, "label": "pass"}, X_Batchlab_Token="wrong")

    assert got.status == 403


def test_labels_that_cannot_be_read_keep_nobody_from_rows(page, tmp_path):
    (tmp_path / "runs/night/labels.parquet").write_bytes(b"nothing")

    assert page.rows(run="night")["matched"] > 0
    got = page.ask("/api/labels?run=night")
    assert got.status == 400
    assert "no whole file of labels" in got.error
