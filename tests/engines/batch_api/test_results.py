"""Results that are not as they should be: the rows that have one keep it, the others are asked again."""

from __future__ import annotations

import json

import pytest

from batchlab.protocol.batches.table import DIALECTS

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

MORE = ("--max-tokens", "4000")
ALL = sorted(DIALECTS)


@pytest.mark.parametrize("dialect", ALL)
def test_lines_that_fail_are_asked_again_in_another_batch(lane, rows_file, dialect):
    at = lane(dialect, {"kind": "batch_line_errors", "share": 0.4, "status": 503, "first": 1})

    done = at.run(rows_file(20), *MORE)

    assert done.code == 0, done.err
    assert "asked again" in done.err
    assert set(at.columns("attempts")["attempts"]) == {1, 2}
    at.check(answered=20)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_lines_that_are_refused_for_good_fail(lane, rows_file, dialect):
    at = lane(dialect, {"kind": "batch_line_errors", "share": 0.4, "status": 400})

    done = at.run(rows_file(20), *MORE)

    assert done.code == 1, done.err
    found = at.columns("status", "error_code", "attempts")
    assert set(found["status"]) == {"ok", "failed"}
    assert set(found["attempts"]) == {1}
    assert len(at.sizes()) == 1
    at.check()


@pytest.mark.parametrize("dialect", ALL)
def test_attempts_come_to_an_end(lane, rows_file, dialect):
    at = lane(dialect, {"kind": "batch_all_fail"})

    done = at.run(rows_file(5), *MORE, "--max-attempts", "3")

    assert done.code == 1, done.err
    assert set(at.columns("attempts")["attempts"]) == {3}
    assert at.sizes() == [5, 5, 5]
    at.check()


@pytest.mark.parametrize("dialect", ALL)
def test_an_expired_batch_keeps_what_it_has_and_the_rest_is_asked_again(lane, rows_file, dialect):
    at = lane(dialect, {"kind": "batch_expires", "share": 0.4, "first": 1})

    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    assert at.sizes() == ([10, 10] if dialect == "openrouter" else [6, 10])
    at.check(answered=10)


@pytest.mark.parametrize("kind", ["batch_foreign", "batch_doubled"])
@pytest.mark.parametrize("dialect", ["openai", "openrouter", "anthropic", "mistral"])
def test_lines_that_are_nobodys_are_left_out(lane, rows_file, dialect, kind):
    at = lane(dialect, {"kind": kind, "count": 3})

    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    assert "3 foreign, doubled or cut lines left out" in done.err
    at.check(answered=10)


@pytest.mark.parametrize("kind", ["batch_missing", "batch_cut", "batch_truncated"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "mistral"])
def test_answers_that_were_paid_and_are_not_there_are_asked_again_and_that_is_said(
    lane, rows_file, dialect, kind
):
    at = lane(dialect, {"kind": kind, "count": 3, "share": 0.5, "first": 1})

    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    assert "may be billed twice" in done.err
    assert at.columns("status")["status"] == ["ok"] * 10
    lost = len(at.server.batches()["billed_twice"])
    assert lost >= 3
    assert at.columns("cut_off")["cut_off"].count(1) == lost


def test_results_are_fetched_once_more_before_that(lane, rows_file, monkeypatch):
    from batchlab.dispatch.http.batch_service import BatchService

    at, fetched, whole = lane("openai"), [], BatchService.fetch

    async def cut_at_first(self, file, to):
        await whole(self, file, to)
        fetched.append(file)
        if len(fetched) == 1:
            to.write_bytes(to.read_bytes()[:2_000])

    monkeypatch.setattr(BatchService, "fetch", cut_at_first)
    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    assert len(fetched) == 2
    at.check(answered=10)


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "mistral", "siliconflow"])
def test_results_that_were_deleted_stop_the_run_until_that_is_accepted(lane, rows_file, dialect):
    at, rows = lane(dialect, {"kind": "batch_results_gone", "first": 1}), rows_file(10)

    stopped = at.run(rows, *MORE)
    again = at.run(rows, *MORE)

    assert (stopped.code, again.code) == (3, 3), stopped.err
    said = "names no results" if dialect == "anthropic" else "has deleted its results"
    assert said in stopped.err
    assert "--accept-lost-parts" in stopped.err
    assert len(at.sizes()) == 1
    accepted = at.run(rows, *MORE, "--accept-lost-parts")
    assert accepted.code == 0, accepted.err
    assert "given up, as you said" in accepted.err
    assert at.columns("status")["status"] == ["ok"] * 10
    assert len(at.sizes()) == 2


def test_a_completed_batch_that_names_no_results_is_not_taken_for_one_without_any(
    lane, rows_file, monkeypatch, quick
):
    from dataclasses import replace

    spoken = quick["openai"]
    quick["openai"] = replace(spoken, state=lambda data: replace(spoken.state(data), files=()))
    at = lane("openai")

    done = at.run(rows_file(5), *MORE)

    assert done.code == 3, done.err
    assert "names no results" in done.err
    assert len(at.sizes()) == 1


def test_unknown_words_for_a_state_are_waited_for(lane, rows_file, quick):
    from dataclasses import replace

    spoken, seen = quick["openai"], []

    def state(data):
        seen.append(1)
        return spoken.state({**data, "status": "daydreaming"} if len(seen) < 5 else data)

    quick["openai"] = replace(spoken, state=state)
    at = lane("openai")

    assert at.run(rows_file(5), *MORE).code == 0
    at.check(answered=5)


def test_odd_bytes_and_values_in_lines(lane, rows_file, monkeypatch):
    from batchlab.dispatch.http.batch_service import BatchService

    at, whole = lane("openai"), BatchService.fetch

    async def odd(self, file, to):
        await whole(self, file, to)
        lines = [json.loads(line) for line in to.read_bytes().splitlines()]
        bodies = [line["response"]["body"] for line in lines]
        bodies[0]["choices"][0]["message"]["content"] = "lone \ud800 half"
        bodies[1]["created"] = 10**40
        bodies[2]["created"] = float("nan")
        raw = [json.dumps(line).encode() for line in lines]
        raw[3] = raw[3].replace(b'"content": "', b'"content": "\xff\xfe ')
        noise = [
            b"",
            b"\x00" * 50,
            b"[1, 2]",
            b"null",
            b'"a"',
            b"{}",
            b'{"custom_id": 5}',
            b"\xef\xbb\xbf" + raw[4],
        ]
        to.write_bytes(b"\r\n".join([*noise, *raw[:4], *raw[5:]]))

    monkeypatch.setattr(BatchService, "fetch", odd)
    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    assert at.columns("status")["status"] == ["ok"] * 10


def test_a_stuck_batch_is_left_out_at_the_deadline_and_taken_up_later(lane, rows_file):
    at, rows = lane("openai", {"kind": "batch_stuck", "share": 0.5, "first": 1}), rows_file(10)

    done = at.run(rows, *MORE, "--deadline", "1s")

    assert done.code == 3, done.err
    assert "0 ok + 10 out in batches" in done.err
    assert [one.step for one in at.log().out] == ["created"]
    again = at.run(rows, *MORE, "--deadline", "1s")
    assert again.code == 3, again.err
    assert at.sizes() == [10]


@pytest.mark.parametrize("dialect", [name for name in ALL if name != "openrouter"])
def test_a_batch_that_somebody_else_cancelled_stops_the_run(lane, rows_file, dialect):
    at, rows = lane(dialect, {"kind": "batch_cancelled", "share": 0.3, "first": 1}), rows_file(10)

    done = at.run(rows, *MORE)

    assert done.code == 3, done.err
    assert "and not by this run" in done.err
    assert at.run(rows, *MORE).code == 0
    assert at.sizes() == [7, 10]
    at.check(answered=10)
