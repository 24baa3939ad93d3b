"""Orders that are refused, unseen, or not answered: each batch is ordered once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchlab.dispatch.http import batch_service
from batchlab.protocol.batches.table import DIALECTS
from batchlab.store.batches import Step

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

MORE = ("--max-tokens", "4000")
ALL = sorted(DIALECTS)
LOST = [
    {"kind": "batch_reset_after", "step": "create", "first": 1},
    {"kind": "batch_error_after", "step": "create", "first": 1},
]
REFUSED = [
    {"kind": "batch_reset", "step": "create", "first": 1},
    {"kind": "batch_error", "step": "create", "first": 1},
    {"kind": "batch_error", "step": "create", "first": 1, "status": 429},
]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault["kind"])
@pytest.mark.parametrize("dialect", ALL)
def test_a_batch_whose_order_was_not_answered_is_found(lane, rows_file, dialect, fault):
    at = lane(dialect, fault)

    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    assert "asking whether it arrived" in done.err
    assert at.sizes() == [10]
    at.check(answered=10)


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: f"{fault['kind']}-{fault.get('status', 503)}")
@pytest.mark.parametrize("dialect", ALL)
def test_an_order_that_did_not_arrive_is_placed_again(lane, rows_file, dialect, fault):
    at = lane(dialect, fault)

    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    at.check(answered=10)


@pytest.mark.parametrize("dialect", [name for name in ALL if name not in ("openrouter", "anthropic")])
def test_a_batch_that_the_list_shows_late_is_waited_for(lane, rows_file, dialect, quick):
    quick[dialect] = replace(quick[dialect], visible_s=5.0)
    at = lane(dialect, *LOST[:1], {"kind": "batch_unlisted", "seconds": 1.0})

    assert at.run(rows_file(10), *MORE).code == 0
    assert at.sizes() == [10]
    at.check(answered=10)


@pytest.mark.parametrize("dialect", ["openai", "mistral"])
def test_labels_that_are_not_told_do_not_make_it_another_batch(lane, rows_file, dialect):
    at = lane(dialect, LOST[0], {"kind": "batch_no_metadata"})

    assert at.run(rows_file(10), *MORE).code == 0
    at.check(answered=10)


@pytest.mark.parametrize("dialect", ["openai", "mistral", "together", "alibaba", "anthropic", "openrouter"])
def test_it_is_found_among_many_others(lane, rows_file, dialect, monkeypatch):
    """Others of the account have batches of as many lines; the list has several pages."""
    monkeypatch.setattr(batch_service, "PAGE", 5)
    at = lane(dialect, {"kind": "batch_reset_after", "step": "create", "every": 13})
    one = rows_file(12, "others.jsonl")
    assert at.run(one, *MORE, "--shard-rows", "1", "--run-dir", "runs/others").code == 0

    done = at.run(rows_file(1), *MORE, "--overwrite", "--run-dir", "runs/rows", "--system", "Shout.")

    assert done.code == 0, done.err
    assert "asking whether it arrived" in done.err
    assert len(at.sizes()) == 13
    assert at.server.batches()["submitted_twice"] == {}


@pytest.mark.parametrize("dialect", ["openrouter", "anthropic"])
def test_what_cannot_be_told_apart_stops_and_says_what_to_look_for(
    lane, rows_file, dialect, quick, monkeypatch
):
    at = lane(dialect, LOST[0], {"kind": "batch_all_fail" if dialect == "anthropic" else "batch_expires"})
    if dialect == "openrouter":  # it counts no lines, so that some may have been answered
        silent = replace(quick[dialect], state=lambda data: replace(DIALECTS[dialect].state(data), done=None))
        quick[dialect] = silent
    if dialect == "anthropic":
        from batchlab.dispatch.http.batch_service import BatchService

        async def empty(self, file, to):
            to.write_bytes(b"")

        monkeypatch.setattr(BatchService, "fetch", empty)
    rows = rows_file(10)

    done, again = at.run(rows, *MORE), at.run(rows, *MORE)

    assert (done.code, again.code) == (3, 3), done.err
    assert "custom_ids begin with bl0-" in done.err
    assert at.sizes() == [10]
    assert [one.step for one in at.log().out] == [Step.ORDERING]


def test_a_list_that_is_not_whole_is_no_answer(lane, rows_file, quick, monkeypatch):
    monkeypatch.setattr(batch_service, "PAGE", 5)
    quick["openrouter"] = replace(
        quick["openrouter"], state=lambda data: replace(DIALECTS["openrouter"].state(data), created_at=None)
    )
    at = lane("openrouter", {"kind": "batch_reset", "step": "create", "every": 13})
    assert at.run(rows_file(12, "others.jsonl"), *MORE, "--shard-rows", "1", "--run-dir", "runs/o").code == 0

    done = at.run(rows_file(2), *MORE, "--overwrite", "--run-dir", "runs/rows")

    assert done.code == 3, done.err
    assert "not told to the end" in done.err
    accepted = at.run(rows_file(2), *MORE, "--overwrite", "--run-dir", "runs/rows", "--accept-lost-parts")
    assert accepted.code == 0, accepted.err


@pytest.mark.parametrize("dialect", [name for name in ALL if DIALECTS[name].files])
def test_a_file_that_is_not_to_be_seen_yet_is_waited_for(lane, rows_file, dialect, quick):
    quick[dialect] = replace(quick[dialect], visible_s=5.0)
    at = lane(dialect, batch={"file_hidden_s": 0.5})

    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    at.check(answered=10)


@pytest.mark.parametrize("step", ["upload", "state", "download", "list"])
@pytest.mark.parametrize("kind", ["batch_reset", "batch_error", "batch_reset_after", "batch_error_after"])
def test_calls_that_cost_nothing_are_tried_again(lane, rows_file, step, kind):
    more = LOST[:1] if step == "list" else []
    at = lane("openai", {"kind": kind, "step": step, "first": 2}, *more)

    done = at.run(rows_file(10), *MORE)

    assert done.code == 0, done.err
    assert at.sizes() == [10]
    at.check(answered=10)


@pytest.mark.parametrize("dialect", ["groq", "openai", "anthropic"])
def test_an_account_without_the_plan_is_told_once_before_more_is_uploaded(lane, rows_file, dialect):
    at = lane(dialect, batch={"entitled": False})

    done = at.run(rows_file(50), *MORE, "--shard-rows", "5")

    assert done.code == 3, done.err
    assert "not available for your plan" in done.err
    assert at.server.batches()["batches"] == []
    assert at.log().out == []
    refused = [one for one in at.log().by_key.values() if one.step is Step.DROPPED]
    assert len(refused) == 1


def test_a_key_that_changed_stops_the_run_and_the_batches_stay(lane, rows_file, monkeypatch):
    at, rows = lane("openai", batch={"seconds": 1.0}), rows_file(10)
    assert at.run(rows, *MORE, "--deadline", "0.5s").code == 3

    monkeypatch.setenv("SIMULATOR_KEY", "another-key")
    refused = at.run(rows, *MORE)

    assert refused.code == 3, refused.err
    assert "key" in refused.err
    assert len(at.log().out) == 1
    monkeypatch.undo()


def test_a_batch_that_the_service_does_not_know_is_not_ordered_again_unsaid(lane, rows_file):
    at, rows = lane("openai", batch={"seconds": 60}), rows_file(10)
    assert at.run(rows, *MORE, "--deadline", "0.5s").code == 3
    at.server.reset()  # another account, or a batch that was deleted

    lost = at.run(rows, *MORE)

    assert lost.code == 3, lost.err
    assert "does not know the batch" in lost.err
    assert "--accept-lost-parts" in lost.err
    assert at.server.batches()["batches"] == []


def test_lines_that_are_refused_fail_and_the_others_go_out_again(lane, rows_file):
    at = lane("openai", {"kind": "batch_invalid", "count": 3, "first": 1})

    done = at.run(rows_file(10), *MORE)

    assert done.code == 1, done.err
    found = at.columns("status", "error_message", "attempts")
    assert found["status"] == ["failed"] * 3 + ["ok"] * 7
    assert "not parseable" in found["error_message"][0]
    assert sorted(len(one["lines"]) for one in at.server.batches()["batches"]) == [7, 10]
    at.check(answered=7)


def test_a_batch_that_is_refused_as_a_whole_stops_the_run(lane, rows_file):
    at = lane("openai", {"kind": "batch_invalid", "count": 1_000})

    done = at.run(rows_file(200), *MORE)

    assert done.code == 3, done.err
    assert "refused batch" in done.err
    assert "line 1: This line is not parseable" in done.err
    assert len(at.server.batches()["batches"]) < 20


def test_one_row_that_is_refused_fails_alone(lane, rows_file):
    at = lane("openai", {"kind": "batch_invalid", "count": 1, "first": 1})

    done = at.run(rows_file(1), *MORE)

    assert done.code == 1, done.err
    assert at.columns("status")["status"] == ["failed"]


def test_a_full_queue_is_fed_as_room_comes(lane, rows_file):
    at = lane("openai", batch={"enqueued_tokens": 300})

    done = at.run(rows_file(60), *MORE, "--shard-rows", "10")

    assert done.code == 0, done.err
    assert "its queue is full" in done.err
    at.check(answered=60)


def test_a_batch_that_is_larger_than_the_queue_is_cut(lane, rows_file):
    at = lane("openai", batch={"enqueued_tokens": 60})

    done = at.run(rows_file(20), *MORE)

    assert done.code == 0, done.err
    assert "smaller batches from now on" in done.err
    at.check(answered=20)


@pytest.mark.parametrize("step", ["upload", "create", "state"])
def test_a_service_that_is_gone_beyond_the_outage_stops_the_run(lane, rows_file, step):
    at = lane("openai", {"kind": "batch_error", "step": step})

    done = at.run(rows_file(10), *MORE, "--max-outage", "1s")

    assert done.code == 3, done.err
    assert "no answer for" in done.err
    assert len(at.log().out) == (1 if step == "state" else 0)


def test_an_order_whose_fate_cannot_be_asked_stays_open(lane, rows_file):
    """The reply was lost, and the service went away with it: nothing is ordered again before it is asked."""
    at = lane("openai", LOST[0], {"kind": "batch_error", "step": "list", "most": 40})
    rows = rows_file(10)

    done = at.run(rows, *MORE, "--max-outage", "0.6s")

    assert done.code == 3, done.err
    assert [one.step for one in at.log().out] == [Step.ORDERING]
    for _ in range(40):
        if (done := at.run(rows, *MORE, "--max-outage", "0.6s")).code == 0:
            break
    assert done.code == 0, done.err
    at.check(answered=10)
