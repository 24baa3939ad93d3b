"""Results that a run had and has lost: fetched again, unpaid, and in its books once; or given up."""

from __future__ import annotations

import shutil
import signal

import pytest

from batchlab.engines.batch_api import shards
from batchlab.store.integrity import lost
from tests.engines.batch_api.test_crashes import die, die_at, forked
from tests.engines.batch_api.test_stopping import interrupt_at

MORE = ("--max-tokens", "4000", "--shard-rows", "10")
ACCEPT = "--accept-lost-parts"
SOME_FAIL = {"kind": "batch_line_errors", "share": 0.4, "status": 503, "first": 1}


def agree(at) -> None:
    """The run's books are the ledger's, to the request."""
    books, ledger = at.books(), at.server.ledger()
    assert books["spent_usd"] == pytest.approx(ledger["usd"])
    assert books["prompt_tokens"] + books["wasted_prompt_tokens"] == ledger["prompt_tokens"]
    assert books["completion_tokens"] + books["wasted_completion_tokens"] == ledger["completion_tokens"]
    assert books["attempts"] == sum(at.sizes())


def delete_part(at, index: int = 1) -> None:
    (at.directory / f"completions/part-{index:06}.parquet").unlink()


def test_a_part_that_was_given_up_comes_again_from_its_batches(lane, rows_file):
    at, rows = lane("openai"), rows_file(25)
    assert at.run(rows, *MORE).code == 0
    delete_part(at)
    assert at.run(rows, *MORE).code == 2

    done = at.run(rows, *MORE, ACCEPT)

    assert done.code == 0, done.err
    assert len(at.sizes()) == 3
    at.check(answered=25)
    agree(at)
    assert at.books()["cost_wasted_usd"] == 0
    assert "lost" not in at.command("cost", str(at.directory)).out


@pytest.mark.proof
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "openrouter", "mistral"])
def test_lines_that_had_failed_before_are_counted_once_as_well(lane, rows_file, dialect):
    """Of the lost part, rows were asked in two batches, in which lines were refused, or paid in vain."""
    at = lane(dialect, {"kind": "batch_line_errors", "share": 0.4, "status": 503, "first": 2})
    rows = rows_file(25)
    assert at.run(rows, *MORE).code == 0
    ordered = len(at.sizes())
    delete_part(at)

    done = at.run(rows, *MORE, ACCEPT)

    assert done.code == 0, done.err
    assert len(at.sizes()) == ordered
    at.check(answered=25)
    agree(at)


@pytest.mark.proof
@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_around_the_note_that_it_is_no_loss(lane, rows_file, monkeypatch, where):
    at, rows = lane("openai"), rows_file(25)
    assert at.run(rows, *MORE).code == 0
    delete_part(at)

    def dies(*given):
        if where == "after":
            lost.came_again(*given)
        die()

    with monkeypatch.context() as patched:
        patched.setattr(shards, "came_again", dies)
        assert forked(at.words_of(rows, *MORE, ACCEPT)) == -signal.SIGKILL
    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    assert len(at.sizes()) == 3
    at.check(answered=25)
    agree(at)


@pytest.mark.proof
def test_answers_of_a_retry_come_again_with_those_that_they_replaced(lane, rows_file):
    """The first batch's failures must not keep out what its retry was paid for."""
    at = lane("openai", {"kind": "batch_line_errors", "share": 0.5, "status": 400, "first": 1})
    rows = rows_file(10)
    assert at.run(rows, *MORE).code == 1
    retried = at.command("retry", str(at.directory), "--progress", "none")
    assert retried.code == 0, retried.err
    assert len(at.sizes()) == 2
    delete_part(at, 0)

    done = at.run(rows, *MORE, ACCEPT)

    assert done.code == 0, done.err
    assert len(at.sizes()) == 2
    at.check(answered=10)
    agree(at)


@pytest.mark.proof
def test_a_journal_that_was_given_up_comes_again(lane, rows_file, monkeypatch):
    """A batch has been merged when the run is interrupted, and of its shard rows are to be asked again."""
    at, rows = lane("openai", SOME_FAIL), rows_file(10)
    with monkeypatch.context() as patched:
        interrupt_at(patched, "merged", 1)
        assert forked(at.words_of(rows, *MORE)) == 130
    shutil.rmtree(at.directory / "journal")

    done = at.run(rows, *MORE, ACCEPT)

    assert done.code == 0, done.err
    assert len(at.sizes()) == 2
    at.check(answered=10)
    agree(at)


@pytest.mark.proof
def test_results_that_are_gone_at_the_service_too_stay_lost(lane, rows_file):
    """What they had cost is known from before, and is counted once; their rows are paid again."""
    at, rows = lane("mistral"), rows_file(10)
    assert at.run(rows, *MORE).code == 0
    spent = at.books()["spent_usd"]
    delete_part(at, 0)
    at.server.forward(2 * 86_400)

    done = at.run(rows, *MORE, ACCEPT)

    assert done.code == 0, done.err
    assert len(at.sizes()) == 2
    assert at.books()["cost_wasted_usd"] == pytest.approx(spent)
    agree(at)


@pytest.mark.proof
@pytest.mark.parametrize("dialect", ["openai", "mistral"])
def test_results_that_nobody_has_are_said_to_be_lost_and_stay_in_the_cap(lane, rows_file, dialect):
    """Ten lines were billed, as the ledger says, and nobody knows what: $0.02 at the most."""
    at, rows = lane(dialect, {"kind": "batch_results_gone", "first": 1}), rows_file(10)
    assert at.run(rows, *MORE, "--max-tokens", "1000").code == 3
    most = at.log().out[0].usd

    capped = at.run(rows, *MORE, "--max-tokens", "1000", ACCEPT, "--max-cost", str(1.05 * most))

    assert capped.code == 3, capped.err
    assert at.server.ledger()["usd"] <= 1.05 * most
    again = at.run(rows, *MORE, "--max-tokens", "1000", "--max-cost", str(1.05 * most))
    assert "--max-cost" in again.err
    assert at.server.ledger()["usd"] <= 1.05 * most
    done = at.run(rows, *MORE, "--max-tokens", "1000", "--max-cost", "1")
    assert done.code == 0, done.err
    said = f"lost: what 10 rows may have been billed, at most ${most:.6f}".rstrip("0")
    for out in (
        done.err,
        at.command("cost", str(at.directory)).err,
        at.command("verify", str(at.directory)).out,
    ):
        assert said in out
    assert "crash" not in done.err
    assert "unknown cost not kept of 10 rows" in done.err
    books = at.books()
    assert (books["waste_without_cost"], books["attempts"], books["cut_off"]) == (10, 20, 10)
    kept = sum(one or 0.0 for one in at.columns("cost_usd")["cost_usd"])
    assert books["spent_usd"] == pytest.approx(kept)
    assert kept < at.server.ledger()["usd"]


@pytest.mark.proof
def test_lines_without_a_result_stay_in_the_cap_of_the_next_run(lane, rows_file):
    at, rows = lane("openai", {"kind": "batch_missing", "count": 4, "first": 1}), rows_file(10)
    words = ("--max-tokens", "500", "--shard-rows", "10", "--max-attempts", "1")
    first = at.run(rows, *words)
    assert first.code == 1, first.err
    assert "lost: what 4 rows may have been billed, at most $0.004" in first.err
    spent = at.books()["spent_usd"]

    assert at.run(rows, *words, "--max-cost", str(spent + 0.005)).code == 1  # which a retry keeps to

    again = at.command("retry", str(at.directory), "--progress", "none")

    assert again.code == 3, again.err
    assert "0.005" in again.err
    assert at.sizes() == [10]


@pytest.mark.proof
def test_what_went_live_of_a_lost_part_stays_lost(lane, rows_file, monkeypatch):
    """A part of both lanes: of the batch's rows nothing is paid again, of the others all."""
    at, rows = lane("openai", SOME_FAIL), rows_file(10)
    with monkeypatch.context() as patched:
        die_at(patched, "meant", "before", nth=2)
        assert forked(at.words_of(rows, *MORE)) == -signal.SIGKILL
    live = at.run(rows, *MORE, "--lane", "live")
    assert live.code == 0, live.err
    went_live = at.columns("lane", "cost_usd")
    paid_live = sum(
        usd for lane, usd in zip(went_live["lane"], went_live["cost_usd"], strict=True) if lane == "live"
    )
    assert paid_live > 0
    delete_part(at, 0)

    done = at.run(rows, *MORE, ACCEPT)

    assert done.code == 0, done.err
    books, ledger = at.books(), at.server.ledger()
    assert books["cost_wasted_usd"] == pytest.approx(paid_live)
    assert books["spent_usd"] == pytest.approx(ledger["usd"])
    assert len(at.sizes()) == 2
