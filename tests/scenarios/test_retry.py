"""Rows that failed, or whose answers are not good, are asked again when told: by name, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tests.provider import chat_reply, providing

BAD = {"bad": 400, "gone": 404}


class Provider:
    """Answers by the first word of a prompt, and by max_tokens; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self.breaks: set[str] = set()  # kinds that are refused from now on
        self.holds: set[int] = set()  # which requests wait for `released` before they are answered
        self.released = threading.Event()

    def __call__(self, body: dict) -> tuple[int, dict]:
        kind, most = body["messages"][-1]["content"].split()[0], body.get("max_tokens")
        self.asked.append((kind, most))
        if len(self.asked) in self.holds:
            self.released.wait(60)
        if kind in BAD or kind in self.breaks:
            return BAD.get(kind, 400), {"error": {"message": "not this one"}}
        is_short = kind == "long" and (most or 999) < 64
        reply = chat_reply("" if kind == "empty" else "Yes.")
        reply["choices"][0]["finish_reason"] = (
            "length" if is_short else "content_filter" if kind == "filtered" else "stop"
        )
        return 200, reply


@pytest.fixture
def asked(here, tmp_path):
    provider = Provider()
    with providing(provider) as server:
        provider.here = here
        provider.at = ["-m", "m", "--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY",
                       "--price-in", "1", "--price-out", "1", "--run-dir", "run", "--progress", "none"]  # fmt: skip
        yield provider


@pytest.fixture
def run(asked, here, tmp_path):
    """A run of these kinds of rows, then retried."""

    def start(*kinds: str, more: tuple[str, ...] = ()):
        lines = [json.dumps({"id": f"{kind}-{n}", "prompt": f"{kind} {n}"}) for n, kind in enumerate(kinds)]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
        done = here("run", "rows.jsonl", *asked.at, "--max-tokens", "16", *more)
        first, asked.asked = asked.asked, []
        return done, first

    return start


def retried(here, *words: str):
    return here("retry", "run", "--progress", "none", *words)


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def states(here, tmp_path) -> list[str]:
    assert here("export", "run", "-o", "now.jsonl").code == 0
    return [json.loads(line)["status"] for line in (tmp_path / "now.jsonl").read_text().splitlines()]


ALL = ("good", "long", "long", "filtered", "empty", "bad", "gone")


@pytest.mark.parametrize(
    ("words", "kinds", "most"),
    [
        ((), {"bad", "gone"}, 16),
        (("--rows", "0-5"), {"bad"}, 16),
        (("--rows", "6,0,1"), {"gone"}, 16),
        (("--rows", "2-4", "--only", "filtered,empty"), {"filtered", "empty"}, 16),
        (("--rows", "100-200"), set(), 16),
        (("--only", "truncated", "--max-tokens", "64"), {"long"}, 64),
        (("--only", "filtered"), {"filtered"}, 16),
        (("--only", "empty"), {"empty"}, 16),
        (("--only", "filtered,400"), {"filtered", "bad"}, 16),
        (("--only", "not_found", "--only", "truncated", "--max-tokens", "100"), {"gone", "long"}, 100),
        (("--only", "429"), set(), 16),
    ],
)
def test_a_retry_asks_the_rows_that_are_named_and_no_others(run, asked, here, tmp_path, words, kinds, most):
    run(*ALL)

    done = retried(here, *words)

    assert {kind for kind, _ in asked.asked} == kinds
    assert {cap for _, cap in asked.asked} <= {most}
    count = sum(kind in kinds for kind in ALL)
    said = (
        f"retry: {count} row{'s' if count != 1 else ''} asked again"
        if count
        else "retry: no row is to be asked"
    )
    assert said in done.err, done.err
    assert ("at most $0.000" in done.err) == bool(count)
    if "long" in kinds:
        assert states(here, tmp_path).count("truncated") == 0
        before = len(asked.asked)
        assert here("run", "rows.jsonl", *asked.at, "--max-tokens", "16").code == 1
        assert len(asked.asked) == before, "the run goes on, and its answers are as asked"


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ("0", "again: of those named 1 ok"),
        ("0-3", "of those named 2 truncated, 1 ok, 1 filtered; asked again only where the word is named: "),
        ("100-200", "none of those named has a result; the input has 7 rows"),
    ],
)
def test_rows_that_are_named_and_not_asked_are_told_of(run, asked, here, rows, why):
    run(*ALL)

    done = retried(here, "--rows", rows)

    assert asked.asked == []
    assert why in done.err, done.err


@pytest.mark.parametrize("word", ["nonsense", "ok", "4xx", "99", "600", "truncated,Empty"])
def test_words_that_name_no_rows_are_refused_before_anything_is_sent(run, asked, here, word):
    run("good", "long")

    done = retried(here, "--only", word)

    assert (done.code, asked.asked) == (2, [])
    assert "truncated, filtered, empty, invalid" in done.err
    assert repr(word.split(",")[-1]) in done.err


def test_a_row_that_fails_now_keeps_the_answer_it_had_and_the_books_have_both(run, asked, here, tmp_path):
    run("good", "long")
    asked.breaks.add("long")

    done = retried(here, "--only", "truncated", "--max-tokens", "64")

    assert (done.code, states(here, tmp_path)) == (0, ["ok", "truncated"])
    assert asked.asked == [("long", 64)]
    last = json.loads((tmp_path / "now.jsonl").read_text().splitlines()[1])
    assert last["attempts"] == 2
    assert here("verify", "run").code == 0


def test_a_plain_start_says_what_failed_before_and_does_not_ask_it(run, asked, here):
    run("good", "bad")

    again, sent = run("good", "bad")

    assert sent == []
    assert "1 row failed before, and is asked again by batchlab retry run only" in again.err


def test_an_edited_input_says_apart_what_is_new_edited_and_failed_before(run, asked, here, tmp_path):
    run("good", "bad", "long", more=("--id-column", "id"))
    rows = [
        ("good-0", "good 0"),
        ("bad-1", "bad 1"),
        ("long-2", "good, now"),
        ("x", "good x"),
        ("y", "good y"),
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"id": i, "prompt": p}) + "\n" for i, p in rows))

    done = here("run", "rows.jsonl", *asked.at, "--max-tokens", "16", "--id-column", "id")

    assert "1 of 5 rows are answered and kept; 3 to send (2 new, 1 edited); 1 failed before" in done.err
    assert sorted(kind for kind, _ in asked.asked) == ["good", "good", "good,"]
    asked.asked.clear()
    retried(here)
    assert [kind for kind, _ in asked.asked] == ["bad"]


def test_a_limit_says_what_becomes_of_the_others_and_takes_nothing_from_them(run, asked, here):
    first, _ = run("good", "good", "bad", "long", more=("-n", "4"))
    fewer, sent_now = run("good", "good", "bad", "long", more=("-n", "2"))
    whole, sent_then = run("good", "good", "bad", "long")

    assert "the run has the first 4 rows of the input" in first.err
    assert "1 answered row beyond the 2 of the limit" in fewer.err
    assert sent_now == sent_then == []
    assert "1 failed before" in whole.err


def test_a_retry_that_is_killed_has_paid_for_what_came_and_a_plain_start_asks_nothing(
    run, asked, here, tmp_path
):
    """The provider answers the first long row, and never the second; then SIGKILL."""
    run("good", "long", "long", "long", more=("-c", "1", "--shard-rows", "2"))
    asked.holds.add(2)

    words = [sys.executable, "-m", "batchlab", "retry", "run", "--only", "truncated", "--max-tokens", "64"]
    retry = subprocess.Popen([*words, "--progress", "none"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(asked.asked) == 2)
    retry.kill()
    retry.wait()
    asked.holds.clear()

    last, _ = run("good", "long", "long", "long", more=("-c", "1"))
    assert (len(asked.asked), last.code) == (0, 0), "a plain start asks no truncated row again"
    assert "1 request in flight" in last.err
    assert here("verify", "run").code == 0
    here("export", "run", "-o", "now.jsonl", "--overwrite")
    rows = [json.loads(line) for line in (tmp_path / "now.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "ok", "truncated", "truncated"]
    assert [(row["attempts"], row["cut_off"]) for row in rows] == [(1, 0), (2, 0), (2, 1), (1, 0)]
    assert rows[1]["wasted_completion_tokens"] == rows[0]["completion_tokens"] > 0

    again = retried(here, "--only", "truncated", "--max-tokens", "64", "--overwrite")
    assert "retry: 2 rows asked again (2 truncated) with max_tokens 64" in again.err
    assert states(here, tmp_path) == ["ok"] * 4
    assert len(asked.asked) == 2
    asked.released.set()
