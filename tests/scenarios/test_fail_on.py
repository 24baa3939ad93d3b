"""Answers that a user cannot use turn the exit code to 1, if asked: in each way to run, and on each resume."""

from __future__ import annotations

import json

import pytest

import batchlab
from batchlab.job.file import job_from
from tests.page.reports import page_data
from tests.provider import chat_reply, providing


def answer(body: dict) -> tuple[int, dict]:
    kind = body["messages"][-1]["content"].split()[0]
    reply = chat_reply("" if kind == "empty" else "Yes.")
    finish = {"truncated": "length", "filtered": "content_filter", "odd": "odd"}.get(kind, "stop")
    reply["choices"][0]["finish_reason"] = finish
    return (200, reply) if kind != "failed" else (400, {"error": {"message": "no"}})


@pytest.fixture
def ran(here, tmp_path):
    """Runs three rows, of which the first is of a kind."""

    with providing(answer) as server:
        at = ["-m", "m", "--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY"]

        def run(kind: str, *words: str, progress: str = "none"):
            rows = [kind + " 0", "whole 1", "whole 2"]
            (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
            return here("run", "rows.jsonl", *at, "--run-dir", f"runs/{kind}", "--progress", progress, *words)

        yield run


@pytest.mark.parametrize(
    ("kind", "fail_on", "code"),
    [
        ("truncated", None, 0),
        ("truncated", "truncated", 1),
        ("truncated", "filtered,empty", 0),
        ("filtered", None, 0),
        ("filtered", "truncated, filtered", 1),
        ("empty", None, 0),
        ("empty", "empty", 1),
        ("whole", "truncated,filtered,empty", 0),
        ("odd", "truncated,filtered,empty", 0),
        ("failed", None, 1),
        ("failed", "", 1),
    ],
)
def test_the_exit_code_says_what_was_asked_of_it_also_when_nothing_is_left_to_do(ran, kind, fail_on, code):
    words = () if fail_on is None else ("--fail-on", fail_on)
    first = ran(kind, *words)
    again = ran(kind, *words)

    assert (first.code, again.code) == (code, code), first.err
    named = "exit code 1: --fail-on names 1 " + kind
    assert (named in first.err) == (named in again.err) == (code == 1 and kind != "failed")


def test_it_may_change_from_start_to_start_because_it_asks_nothing(ran, here):
    assert ran("truncated").code == 0
    assert ran("truncated", "--fail-on", "truncated").code == 1
    assert ran("truncated", "--fail-on", "empty").code == 0
    assert here("verify", "runs/truncated").code == 0


def test_in_python_the_summary_has_the_exit_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", "abcdefgh")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "empty 0"}\n')
    with providing(answer) as server:
        at = {"model": "m", "base_url": server.base_url, "api_key_env": "SIMULATOR_KEY", "progress": "none"}
        summary = batchlab.run(input="rows.jsonl", fail_on=["empty"], **at)
        frame = batchlab.run(["truncated 0"], fail_on="truncated", quiet=True, **at)

    assert (summary.exit_code, summary.totals.empty, summary.spent_usd) == (1, 1, None)
    assert frame.attrs["batchlab"]["exit_code"] == 1
    assert frame.attrs["batchlab"]["fail_on"] == ("truncated",)


@pytest.mark.parametrize(
    ("value", "taken"),
    [("truncated,empty", ("truncated", "empty")), (["filtered"], ("filtered",)), (" empty , ", ("empty",)), ("", ())],
)  # fmt: skip
def test_words_come_as_a_list_or_with_commas(value, taken):
    job = job_from({"input": {"path": "a.csv"}, "request": {"model": "m"}, "output": {"fail_on": value}})

    assert job.output.fail_on == taken
    assert type(job).from_dict(json.loads(json.dumps(job.to_dict()))) == job
    assert not any("fail_on" in name for name in job.request_settings())


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trunc", "--fail-on: no answers are called 'trunc'; the words are truncated, filtered, empty"),
        ("invalid", "invalid rows always make the exit code 1; the words are truncated, filtered, empty"),
        ("empty,failed", "failed rows always make the exit code 1; the words are"),
    ],
)
def test_a_wrong_word_is_one_line_before_anything_is_sent(ran, word, said):
    done = ran("whole", "--fail-on", word)

    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_each_state_has_its_own_count_while_the_run_goes_on(ran):
    for kind in ("truncated", "filtered", "empty"):
        done = ran(kind, progress="json")
        last = [json.loads(line) for line in done.err.splitlines() if line.startswith('{"saved')][-1]
        assert last[kind] == 1
        assert last["ok"] == (3 if kind == "empty" else 2)


def test_a_finish_reason_that_nobody_knows_is_named_wherever_the_run_is_looked_at(ran, here, tmp_path):
    done = ran("odd", "--log-file", "run.log", "--metrics-file", "run.prom")

    said = 'unknown finish reasons: 1 row "odd"'
    assert said in done.err
    assert said in here("status", "runs/odd").out
    here("report", "runs/odd", "-o", "r.html")
    page = page_data(tmp_path / "r.html")
    assert {"what": "unknown finish", "word": "odd", "rows": 1} in page["charts"]["odd"]
    assert any('1 row "odd"' in note for note in page["run"]["notes"])
    events = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert [one["finish_reason"] for one in events if one["event"] == "unknown_finish"] == ["odd"]
    assert events[-1]["totals"]["unknown_finish"] == {"odd": 1}
    assert "batchlab_unknown_finish_rows{" in (tmp_path / "run.prom").read_text()
