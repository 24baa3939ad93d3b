"""`--lane cheapest`: batches when there is time for them, flex where that is cheaper, live when there is not."""

from __future__ import annotations

import json
from collections import Counter

import pytest

CHEAPEST = ("--lane", "cheapest", "--shard-rows", "20")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """What other runs have seen of queues is not ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_without_a_deadline_all_of_it_goes_by_batches_and_the_receipt_says_so(lane, rows_file):
    at = lane("openai")

    done = at.run(rows_file(60), *CHEAPEST)

    assert done.code == 0, done.err
    at.check(answered=60)
    assert set(at.columns("lane")["lane"]) == {"batch"}
    assert "saved $" in done.err
    assert "by lane: batch 60 rows" in done.err


def test_with_little_time_and_a_queue_that_does_not_move_it_goes_live(lane, rows_file):
    at = lane("openai", batch={"seconds": 3_000})

    done = at.run(rows_file(60), *CHEAPEST, "--deadline", "40s")

    assert done.code == 0, done.err
    at.check(answered=60)
    assert set(at.columns("lane")["lane"]) == {"live"}
    assert "lanes: live from now on" in done.err
    assert "the deadline cost $" in done.err


def test_a_batch_that_is_no_cheaper_is_not_waited_for(lane, rows_file):
    at = lane("openai")

    done = at.run(rows_file(40), *CHEAPEST, "--price-batch", "1")

    assert done.code == 0, done.err
    assert set(at.columns("lane")["lane"]) == {"live"}


def test_an_unknown_price_is_called_neither_cheap_nor_dear(lane, rows_file):
    at = lane("openai")
    words = [word for word in at.words_of(rows_file(40), *CHEAPEST) if not word.startswith("--price")]
    plain = [word for word in words if word not in {"1", "4", "0.5"}]

    done = at.command(*plain)

    assert done.code == 0, done.err
    assert set(at.columns("lane")["lane"]) == {"live"}
    assert "the price at" in done.err


def test_how_long_batches_took_is_kept_for_the_next_run(lane, rows_file, tmp_path):
    at = lane("openai")

    assert at.run(rows_file(60), *CHEAPEST).code == 0

    seen = (tmp_path / "cache/batchlab/queue-times.jsonl").read_text().splitlines()
    assert Counter(len(line) > 20 for line in seen) == {True: 3}


NEAR = ("--lane", "cheapest", "--deadline", "20m", "-c", "4", "--max-tokens", "300")


def test_a_short_run_with_a_near_deadline_tries_some_calls_and_leaves_the_rest_to_batches(lane, rows_file):
    """Before a call was seen they might take so long that all would have to go live at once."""
    at = lane("openai", batch={"seconds": 1.0}, latency_median_s=0.5)

    done = at.run(rows_file(300), *NEAR)

    assert done.code == 0, done.err
    at.check(answered=300)
    assert Counter(at.columns("lane")["lane"]) == {"live": 16, "batch": 284}
    assert "the deadline cost $" in done.err
    assert "16 rows were not left to wait" in done.err


def test_how_long_calls_took_is_kept_and_the_next_run_asks_none_first(lane, rows_file, tmp_path):
    at = lane("openai", batch={"seconds": 1.0}, latency_median_s=0.5)

    first = at.run(rows_file(300), *NEAR, "--run-dir", "runs/first")
    then = at.run(rows_file(300), *NEAR, "--run-dir", "runs/then", "--overwrite")

    assert (first.code, then.code) == (0, 0), first.err + then.err
    (seen,) = (tmp_path / "cache/batchlab/call-times.jsonl").read_text().splitlines()
    assert json.loads(seen)["seconds"] == pytest.approx(0.5, rel=0.4)
    assert "16 rows go live first" in first.err
    assert "16 rows go live first" not in then.err
    assert set(at.columns("lane")["lane"]) == {"batch"}


def test_what_went_live_because_nothing_was_cheaper_is_no_cost_of_the_deadline(lane, rows_file):
    at = lane("openai", batch={"seconds": 0.1})

    done = at.run(rows_file(40), *CHEAPEST, "--price-batch", "1", "--deadline", "10m")

    assert done.code == 0, done.err
    assert {one.why for one in at.log().live} == {"cheapest"}
    assert "the deadline cost" not in done.err


def test_rows_that_the_service_failed_at_are_no_cost_of_the_deadline(lane, rows_file):
    """A batch gave them back by itself; with a deadline they are not put into another."""
    fault = {"kind": "status_error", "status": 500, "rows": ["The 3th remark", "The 9th remark"], "times": 1}
    at = lane("openai", batch={"seconds": 0.3}, faults=[fault])

    done = at.run(rows_file(40), *CHEAPEST, "--deadline", "2h")

    assert done.code == 0, done.err
    lanes = Counter(at.columns("lane")["lane"])
    assert lanes["batch"] == 38
    assert "the deadline cost" not in done.err


WHOLE = [
    ("groq", ("--task", "embeddings"), "groq takes no embeddings in a batch"),
    ("anthropic", ("--max-tokens", "50", "--param", "n=2"), "n: the Messages API has no such parameter"),
    ("anthropic", (), "max_tokens: the Messages API needs it"),
]


@pytest.mark.parametrize(("dialect", "words", "why"), WHOLE)
def test_what_no_batch_of_a_service_can_carry_goes_live_and_plan_knows(lane, rows_file, dialect, words, why):
    """It is a choice among lanes: one that cannot carry the rows is none of them."""
    at = lane(dialect)
    asked = (*CHEAPEST, "--deadline", "30m", *words)

    plan = at.command("plan", *at.words_of(rows_file(40), *asked)[1:])
    done = at.run(rows_file(40), *asked)

    assert plan.code == 0, plan.err
    assert f"none: row 0 is not to be asked in one: {why}" in plan.out
    assert "(batch): " not in plan.out
    assert done.code == 0, done.err
    assert why in done.err
    assert set(at.columns("lane")["lane"]) == {"live"}
    assert set(at.columns("status")["status"]) <= {"ok", "truncated"}
    assert "the deadline cost" not in done.err  # it could not have waited


def picture(row: int) -> list[dict]:
    """What a batch of texts cannot carry."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    return [{"type": "text", "text": f"what is {row}?"}, image]


def mixed(path, rows: int):
    """Every fourth row has a picture."""
    contents = [picture(row) if row % 4 == 1 else f"row {row}" for row in range(rows)]
    lines = [json.dumps({"messages": [{"role": "user", "content": one}]}) for one in contents]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_single_rows_that_no_batch_can_carry_go_live_and_the_others_by_batch(lane, tmp_path):
    at = lane("openrouter")

    done = at.rows(mixed(tmp_path / "mixed.jsonl", 60), *CHEAPEST)

    assert done.code == 0, done.err
    at.check(answered=60)
    lanes = at.columns("lane")["lane"]
    assert [one for row, one in enumerate(lanes) if row % 4 == 1] == ["live"] * 15
    assert Counter(lanes) == {"live": 15, "batch": 45}
    assert done.err.count("can carry go live") == 1


def test_where_calls_are_not_wanted_such_rows_fail_alone(lane, tmp_path):
    at = lane("openrouter")

    done = at.rows(mixed(tmp_path / "mixed.jsonl", 20))

    assert done.code == 1, done.err
    assert Counter(at.columns("lane", "status")["status"]) == {"ok": 15, "failed": 5}
