"""Pages of the rows of a run that has ended."""

from __future__ import annotations

import json

import pytest

from batchlab.errors import UsageError
from batchlab.looking.browse.query import RowQuery
from batchlab.looking.browse.search import scan
from batchlab.looking.rows.asked import Asked
from batchlab.looking.show import Wanted, shown_rows
from tests.looking.browse.runs import ids, page


def test_rows_come_in_the_order_of_the_input_a_page_at_a_time(browser):
    first, last = page(browser, limit=20), page(browser, offset=40, limit=20)

    assert ids(first) == list(range(20))
    assert ids(last) == list(range(40, 45))
    assert (first.total, first.matched, first.searched) == (45, 45, 45)
    assert page(browser, offset=90).lines == ()


def test_a_line_says_what_show_says_of_the_row(browser, finished):
    shown = {row.row_id: row for row in shown_rows(finished, Wanted(), Asked(finished))}

    for line in page(browser).lines:
        told, row = line.json(), shown[line.row_id]
        results = row.results
        for name in (
            "status",
            "error_class",
            "finish_reason",
            "lane",
            "prompt_tokens",
            "attempts",
            "cost_usd",
        ):
            assert told[name] == results[name], name
        assert told["custom_id"] == row.custom_id
        assert told["latency_ms"] == pytest.approx(results["latency_ms"])
        said = " ".join(row.asked[-1][1].split())
        assert told["asked"] == said
        assert (told["answer"] or "").removesuffix("…") == " ".join(row.answer.split())[:239]
        assert told["error_message"] == results["error_message"]
    json.dumps(page(browser).json())


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"status": "failed"}, [3, 17]),
        ({"error": "none", "rows": "0-5"}, [0, 1, 2, 4, 5]),
        ({"error": "bad_request"}, [3, 17]),
        ({"finish": "none"}, [3, 17]),
        ({"lane": "batch"}, []),
        ({"rows": "2,40-"}, [2, 40, 41, 42, 43, 44]),
        ({"where": "n>42"}, [43, 44]),
        ({"where": ["topic=b", "row_id<9"]}, [1, 4, 7]),
        ({"where": "topic=b", "status": "failed"}, []),
        ({"where": "status=failed"}, [3, 17]),
        ({"where": "error_message~simulat", "status": "ok"}, []),
        ({"where": "error_code=400"}, [3, 17]),
        ({"where": "cost_usd="}, [3, 17]),
        ({"where": "custom_id=9"}, [9]),
        ({"q": "PARCEL 1"}, [1, 10, 11, 13, 14, 15, 16, 17, 18, 19]),
        ({"q": "grüne paket"}, [12]),
        ({"q": "remark, about parcel 7.", "in": "prompt"}, [7]),
        ({"q": "Say it shorter", "in": "prompt"}, []),  # every row is asked that: it tells none from another
        ({"q": "tag7"}, []),  # no prompt has it
        ({"q": "</SCRIPT><script>", "in": "prompt"}, [5]),
        ({"q": "\u202egnp", "in": "prompt"}, [5]),
        ({"q": "nowhere at all"}, []),
        ({"q": ".*"}, []),  # a text, no pattern
        ({"odd": "1", "rows": "0-20", "first": "4"}, [3, 17, 0, 1]),
        ({"sort": "-row", "first": "3"}, [44, 43, 42]),
    ],
)
def test_rows_are_chosen_by_what_they_are_and_by_what_they_say(browser, params, expected):
    assert ids(page(browser, RowQuery.of(params))) == expected


def test_a_text_is_found_in_answers_and_its_places_are_told_as_a_script_counts(browser):
    answers = {line.row_id: line.texts.answer.text for line in page(browser).lines if line.texts.answer}
    word = answers[8].split()[2]

    found = page(browser, q=word, in_="answer")

    assert set(ids(found)) >= {8}
    for line in found.lines:
        told = line.json()
        for start, end in told["hits"]["answer"]:
            units = told["answer"].encode("utf-16-le")
            assert units[2 * start : 2 * end].decode("utf-16-le").lower() == word.lower()


def test_a_snippet_shows_where_the_text_is_however_far_from_the_beginning(browser):
    told = page(browser, q="end", in_="prompt", rows="5").lines[0].json()

    [start, end] = told["hits"]["asked"][-1]
    assert told["asked"].encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le") == "end"


@pytest.mark.parametrize(
    "name", ["latency_ms", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd"]
)
def test_rows_are_sorted_both_ways_and_those_without_the_value_come_last(browser, finished, name):
    value = {row.row_id: row.results[name] for row in shown_rows(finished, Wanted())}
    known = [row for row in range(45) if value[row] is not None]

    up = ids(page(browser, sort=name))
    down = ids(page(browser, sort=f"-{name}"))

    assert [value[row] for row in up[: len(known)]] == sorted(value[row] for row in known)
    assert [value[row] for row in down[: len(known)]] == sorted((value[row] for row in known), reverse=True)
    assert set(up[len(known) :]) == set(down[len(known) :]) == set(range(45)) - set(known)


def test_a_row_has_a_place_among_those_that_are_meant(browser):
    query = RowQuery.of({"where": "topic=b"})
    page(browser, query)

    assert browser.place(query, 4).json() == {"position": 2, "matched": 15, "previous": 1, "next": 7}
    assert browser.place(query, 5).json() == {"position": None, "matched": 15, "previous": None, "next": None}
    assert browser.place(query, 1).previous is None
    assert browser.place(query, 43).next is None


def test_facets_count_all_rows(browser):
    page(browser)

    found = browser.facets()

    assert found["status"] == [{"value": "ok", "rows": 43}, {"value": "failed", "rows": 2}]
    assert found["error_class"] == [{"value": None, "rows": 43}, {"value": "bad_request", "rows": 2}]
    assert found["lane"] == [{"value": "live", "rows": 45}]


def test_labels_are_shown_chosen_by_and_counted(finished, browse):
    labels = {3: ("fail", None), 8: ("pass", "good"), 9: (None, "a note alone")}
    browser = browse(finished, labels=lambda: labels)

    lines = {line.row_id: line for line in page(browser).lines}

    assert [(lines[row].label, lines[row].note) for row in (3, 8, 9, 10)] == [
        ("fail", False),
        ("pass", True),
        (None, True),
        (None, False),
    ]
    assert ids(page(browser, label="pass,fail")) == [3, 8]
    assert len(page(browser, label="none").lines) == 43
    assert browser.facets()["label"] == [{"value": "fail", "rows": 1}, {"value": "pass", "rows": 1}]
    labels[10] = ("pass", None)
    assert ids(page(browser, label="pass")) == [8, 10]


def test_all_rows_that_are_meant_are_given_once_all_were_looked_at(browser):
    assert browser.matching(RowQuery.of({"q": "parcel 2", "first": "3"})) == [2, 20, 21]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"where": "nn>3"}, "no column 'nn'"),
        ({"where": "n>x"}, "n holds numbers"),
        ({"where": "n"}, "expected COLUMN=VALUE"),
    ],
)
def test_a_condition_that_cannot_be_asked_is_said(browser, params, said):
    with pytest.raises(UsageError, match=said):
        browser.rows(RowQuery.of(params))


def test_a_search_that_nobody_waits_for_any_more_stops(browser, monkeypatch):
    page(browser)
    looked = []
    look = scan.Scan._look

    def slow(self, piece):
        looked.append(self)
        look(self, piece)

    monkeypatch.setattr(scan.Scan, "_look", slow)
    first = RowQuery.of({"q": "first"})
    monkeypatch.setattr("batchlab.looking.browse.pages.WAIT_S", 0.0)
    browser.rows(first)

    found = page(browser, q="second")

    assert found.is_done
    before = len(looked)
    page(browser, q="second")
    assert len(looked) == before  # what was looked at is remembered
