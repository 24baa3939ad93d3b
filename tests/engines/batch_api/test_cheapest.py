"""`--lane cheapest`: batches when there is time for them, flex where that is cheaper, live when there is not."""

from __future__ import annotations

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
