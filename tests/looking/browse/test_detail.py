"""One row, whole."""

from __future__ import annotations

import json
import math
import time
from datetime import date

import pytest

from batchlab.errors import UsageError
from batchlab.looking.browse.detail import MOST_MARKDOWN, _choices
from batchlab.looking.browse.plain import MOST_CHARS, MOST_DEPTH, json_value, plain
from tests.conftest import simulating
from tests.looking.browse.runs import HOSTILE, made, page


def test_a_row_has_its_request_its_answer_and_what_it_took(browser):
    told = browser.row(8).json()

    assert told["row_id"] == 8
    assert told["custom_id"] == "8"
    assert told["asked"] == [
        {"place": 1, "role": "user", "text": "Say it shorter: The 8th remark, about parcel 8.", "parts": []}
    ]
    assert told["shared"] == {
        "messages": [{"place": 0, "role": "system", "text": "Be brief.", "parts": []}],
        "params": {"model": "sim"},
    }
    assert told["as_sent"] is True
    assert told["inputs"] == {
        "n": 8,
        "topic": "c",
        "at": "2026-01-09",
        "text": "The 8th remark, about parcel 8.",
        "tags": [{"name": "tag8"}],
    }
    assert told["answer"]["tree"][0] == "div"
    assert (
        told["usage_raw"]["total_tokens"]
        == told["total_tokens"]
        == told["prompt_tokens"] + told["completion_tokens"]
    )
    assert (told["attempts"], told["lane"], told["problem"]) == (1, "live", "")
    assert abs(told["finished_at"] - time.time()) < 3600
    assert told["latency_ms"] >= 0
    json.dumps(told, allow_nan=False)


def test_a_failed_row_says_why_and_how_to_ask_again(browser):
    told = browser.row(3).json()

    assert (told["status"], told["error_class"], told["error_code"], told["answer"]) == (
        "failed",
        "bad_request",
        400,
        None,
    )
    assert "curl" in told["curl"]


def test_a_hostile_row_is_data(browser):
    told = browser.row(5).json()

    assert told["asked"][0]["text"] == f"Say it shorter: {HOSTILE}"
    assert told["inputs"]["text"] == HOSTILE


@pytest.mark.parametrize("row", [-1, 45, 10**12])
def test_a_row_that_is_not_there_is_said(browser, row):
    with pytest.raises(UsageError, match="the run has 45"):
        browser.row(row)


def test_what_templates_say_to_all_rows_is_told_from_what_is_a_rows_own(tmp_path, browse):
    rows = [{"text": "the same", "k": '{"temperature": 0.5}' if n else None, "who": "Ann"} for n in range(3)]
    request = {
        "prompt": None,
        "system": None,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "I am {who}."},
            {"role": "user", "content": "{text}"},
        ],
        "max_tokens": 50,
    }
    with simulating() as server:
        run = made(tmp_path, server.base_url, rows, request=request, input={"row_params": "k"})

    told = browse(run).row(1).json()

    # although all rows say the same here, it is of their columns
    assert [one["place"] for one in told["shared"]["messages"]] == [0]
    assert [one["place"] for one in told["asked"]] == [1, 2]
    assert told["params"] == {"temperature": 0.5}
    assert told["shared"]["params"] == {"model": "sim", "max_tokens": 50}


def test_a_template_that_has_changed_is_said(tmp_path, browse):
    (tmp_path / "p.j2").write_text("Say: {{ text }}")
    request = {"prompt": None, "prompt_file": str(tmp_path / "p.j2")}
    with simulating() as server:
        run = made(tmp_path, server.base_url, [{"text": "a"}], request=request)
    assert browse(run).row(0).json()["as_sent"] is True

    (tmp_path / "p.j2").write_text("Shout: {{ text }}")
    assert browse(run).row(0).json()["as_sent"] is False

    (tmp_path / "p.j2").unlink()
    browser = browse(run)
    told = browser.row(0).json()
    assert told["asked"] == []
    assert told["answer"]["text"]
    assert "p.j2" in told["problem"]
    assert "p.j2" in browser.problems[0]
    [line] = page(browser).lines
    assert (line.custom_id, line.texts.asked) == ("0", None)
    assert line.texts.answer.text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (math.nan, "nan"),
        (True, True),
        (b"\x89PNG\r\n\x1a\n", {"bytes": 8, "media": "image/png"}),
        (b"what", {"bytes": 4, "media": None}),
        (date(2026, 1, 2), "2026-01-02"),
        ({"a": [1, (2,)]}, {"a": [1, [2]]}),
        ("\ud800", "\ufffd"),
    ],
)
def test_values_are_plain_and_exact(value, expected):
    assert plain(value) == expected


def test_values_have_bounds():
    deep: list = []
    for _ in range(200):
        deep = [deep]

    assert len(plain("x" * (MOST_CHARS + 5))) < MOST_CHARS + 50
    assert plain(list(range(20_000)))[-1] == "… 10,000 more"
    assert json.dumps(plain(deep)).count("[") == MOST_DEPTH
    assert json_value("[" * 100_000) is None
    assert json_value('{"a": 1') is None
    assert json_value("7") is None
    assert json_value('{"n": 12345678901234567890}') == {"n": "12345678901234567890"}


def test_rows_that_are_all_asked_the_same_are_shown(tmp_path, browse):
    request = {"prompt": "Say something.", "same_prompt": True}
    with simulating() as server:
        run = made(tmp_path, server.base_url, [{"n": n} for n in range(3)], request=request)
    browser = browse(run)

    assert [line.texts.asked.text for line in page(browser).lines] == ["Say something."] * 3
    assert [one["text"] for one in browser.row(1).json()["shared"]["messages"]] == [
        "Be brief.",
        "Say something.",
    ]
    assert page(browser, q="something", in_="prompt").lines == ()


def test_of_hundreds_of_answers_to_one_row_only_the_first_texts_are_drawn():
    """A table of 200 columns takes a second to read; nobody may have the page wait for hundreds of them."""
    long = "word " * 4_000
    made = _choices(json.dumps([{"message": {"content": long}, "finish_reason": "stop"}] * 40)) or ()

    assert [one["text"] for one in made] == [long] * 40
    assert sum(one["tree"] is not None for one in made) * len(long) <= MOST_MARKDOWN + len(long)
    assert made[0]["tree"]
    few = _choices(json.dumps([{"message": {"content": "*a*"}}] * 90)) or ()
    assert all(one["tree"] for one in few)
