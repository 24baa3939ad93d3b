"""Caps hold over batches, each counted at its worst case until it has ended; books are the ledger's."""

from __future__ import annotations

import dataclasses
import json

import pytest

from batchlab.store.batches import Step

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

MORE = ("--max-tokens", "500", "--shard-rows", "10")


@pytest.mark.parametrize("dialect", ["openai", "openrouter", "mistral"])
def test_a_cap_is_never_passed_and_a_shard_is_ordered_as_far_as_the_money_reaches(lane, rows_file, dialect):
    """A row may cost $0.001 at batch price, so that four fit at first; what they leave buys others."""
    at = lane(dialect)
    spent, rows = [], rows_file(40)

    done = at.run(rows, *MORE, "--max-cost", "0.0045")

    assert done.code == 3, done.err
    assert "--max-cost" in done.err
    spent.append(at.server.ledger()["usd"])
    assert 0.003 < spent[0] <= 0.0045
    assert len(at.sizes()) > 2
    assert max(at.sizes()) <= 4
    for cap in ("0.006", "1"):
        done = at.run(rows, *MORE, "--max-cost", cap)
        assert at.server.ledger()["usd"] <= float(cap)
    assert done.code == 0, done.err
    at.check()


def test_batches_that_are_out_keep_what_they_may_cost(lane, rows_file):
    at, rows = lane("openai", batch={"seconds": 3}), rows_file(20)
    first = at.run(rows, *MORE, "--max-cost", "0.0125", "--deadline", "1s")
    assert first.code == 3, first.err
    out = at.log().out
    assert sum(one.lines for one in out) == 12

    again = at.run(rows, *MORE, "--max-cost", "0.0125", "--deadline", "0.6s")

    assert again.code == 3, again.err
    assert [one.key for one in at.log().out] == [one.key for one in out]
    whole = at.run(rows, *MORE, "--max-cost", "0.0125")
    assert at.server.ledger()["usd"] <= 0.0125
    assert whole.code in (0, 3), whole.err
    at.run(rows, *MORE)
    at.check()


def test_batches_that_found_no_room_cost_the_cap_nothing(lane, rows_file):
    """One that sets nearly all of it aside is refused, because it is too much for the queue."""
    at = lane("openai", batch={"enqueued_tokens": 60, "seconds": 0.3})

    done = at.run(rows_file(10), *MORE, "--max-cost", "0.0105")

    assert done.code == 0, done.err
    assert "its queue is full" in done.err
    at.check(answered=10)


def test_a_cap_on_tokens(lane, rows_file):
    at = lane("openai")

    done = at.run(rows_file(40), *MORE, "--max-tokens-total", "3000")

    assert done.code == 3, done.err
    assert "--max-tokens-total" in done.err
    ledger = at.server.ledger()
    assert ledger["prompt_tokens"] + ledger["completion_tokens"] <= 3000


def test_a_price_that_nobody_states_is_counted_as_live_and_that_is_said_once(lane, rows_file):
    at = lane("openai")
    unpriced = dataclasses.replace(at, words=at.words[:-2])

    done = unpriced.run(rows_file(30), *MORE, "--max-cost", "0.009")

    assert done.code == 3, done.err
    assert done.err.count("price of a batch of sim: stated by nobody") == 1
    paid = sum(one or 0.0 for one in at.columns("cost_usd")["cost_usd"])
    assert at.server.ledger()["usd"] * 2 == pytest.approx(paid)
    assert paid <= 0.009


def test_lines_that_are_paid_and_give_no_answer_are_in_the_books(lane, rows_file):
    """An empty answer is billed; the row is asked again, and both are booked."""
    body = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
    fault = {"kind": "answer", "rows": ["The 3th remark"], "times": 1, "body": json.dumps(body)}
    at = lane("openai", faults=[fault])

    done = at.run(rows_file(10), "--max-tokens", "4000")

    assert done.code == 0, done.err
    found = at.columns("status", "attempts", "cost_wasted_usd")
    assert found["status"] == ["ok"] * 10
    assert found["attempts"][3] == 2
    assert found["cost_wasted_usd"][3] == pytest.approx((7 * 0.5 + 3 * 2) / 1e6)


def test_rows_without_an_answer_at_all_are_no_charge(lane, rows_file):
    at = lane("openai", {"kind": "batch_all_fail"})

    done = at.run(rows_file(5), *MORE, "--max-attempts", "2", "--max-cost", "0.006")

    assert done.code == 1, done.err
    assert at.server.ledger()["usd"] == 0
    assert sum(one or 0.0 for one in at.columns("cost_usd")["cost_usd"]) == 0


def test_what_may_have_been_paid_unseen_is_charged_to_the_cap(lane, rows_file):
    """Lines that are missing may have been billed: they use up their worst case."""
    at = lane("openai", {"kind": "batch_missing", "count": 4, "first": 1})

    done = at.run(rows_file(5), *MORE, "--max-cost", "0.0057")

    assert done.code == 3, done.err
    assert "--max-cost" in done.err
    assert at.sizes()[-1] == 5  # what the answer left buys one more row, or two
    assert sum(at.sizes()) < 9
    assert {one.step for one in at.log().by_key.values()} == {Step.MERGED}
