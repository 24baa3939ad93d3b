"""Batches of the driver beside live rows of several processes: one cap holds over all of them."""

from __future__ import annotations

import pytest

from batchlab.engines.batch_api.choices import choice
from batchlab.runner.batches import engine as batches

pytestmark = pytest.mark.proof  # each starts processes

TWO = ("--processes", "2", "--max-tokens", "500", "--shard-rows", "10", "-c", "4")


class FirstByBatch:
    """The first shards go by batches, and all that is left then live."""

    has_calls = True

    def __init__(self, shards: int) -> None:
        self._left = shards

    def next(self, scene: choice.Scene) -> choice.Act | None:
        ((lane, room),) = scene.room.items()
        if self._left and room:
            self._left -= 1
            return choice.Submit(lane)
        return choice.SendLive(scene.rows_free) if scene.rows_free and not scene.live_rows else None


@pytest.fixture
def first_by_batch(monkeypatch, tmp_path):
    """What goes where is no question of prices and pace here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def begin(shards: int) -> None:
        monkeypatch.setattr(batches, "_choice", lambda *_: FirstByBatch(shards))

    return begin


def agree(at, verified: int = 0) -> None:
    """The run's books are the ledger's, and what there is passes the proof."""
    books, ledger = at.books(), at.server.ledger()
    assert books["spent_usd"] == pytest.approx(ledger["usd"])
    assert ledger["billed_repeats"] == 0
    assert at.server.batches()["billed_twice"] == {}
    assert at.command("verify", str(at.directory)).code == verified


def test_what_batches_leave_of_their_worst_case_goes_to_workers_that_are_short(
    lane, rows_file, first_by_batch
):
    """A batch of ten sets $0.01 aside, and needs a tenth of it; what is left at once is not enough for the
    other rows, each of which sets $0.002 aside."""
    first_by_batch(1)
    at, cap = lane("openai", batch={"seconds": 4}, latency_median_s=0.02), 0.0145

    done = at.run(rows_file(40), *TWO, "--lane", "cheapest", "--max-cost", str(cap))

    assert done.code == 0, done.err
    lanes = at.columns("lane")["lane"]
    assert (lanes.count("batch"), lanes.count("live")) == (10, 30)
    assert 0.0045 < at.server.ledger()["usd"] <= cap  # more than was left beside the batch
    agree(at)


def test_a_cap_that_is_too_small_for_all_is_never_passed_and_stops_the_run_once_no_batch_is_out(
    lane, rows_file, first_by_batch
):
    first_by_batch(1)
    at, cap = lane("openai", batch={"seconds": 3}, latency_median_s=0.02), 0.013
    rows = rows_file(120)

    capped = at.run(rows, *TWO, "--lane", "cheapest", "--max-cost", str(cap))

    assert capped.code == 3, capped.err
    assert "--max-cost" in capped.err
    assert not at.log().out
    assert cap - 0.0021 < at.server.ledger()["usd"] <= cap  # less is left than one row may use
    agree(at, verified=3)  # not finished
    first_by_batch(0)
    assert at.run(rows, *TWO, "--lane", "cheapest").code == 0
    at.check(answered=120)


def test_batches_alone_need_no_worker(lane, rows_file):
    at = lane("openai")

    done = at.run(rows_file(40), *TWO, "--max-cost", "0.05")

    assert done.code == 0, done.err
    at.check(answered=40)
    agree(at)
    assert set(at.columns("lane")["lane"]) == {"batch"}


def test_rows_that_come_back_from_batches_go_live_by_workers(lane, rows_file, first_by_batch):
    """Two phases of live rows; lines that were refused for now, and a batch that expires."""
    first_by_batch(2)
    faults = [
        {"kind": "batch_line_errors", "share": 0.5, "status": 503, "first": 1},
        {"kind": "batch_expires", "share": 0.5},
    ]
    at = lane("openai", *faults)

    done = at.run(rows_file(40), *TWO, "--lane", "cheapest", "--max-cost", "1")

    assert done.code == 0, done.err
    assert set(at.columns("lane")["lane"]) == {"batch", "live"}
    at.check(answered=40)
    agree(at)


def test_cheapest_with_little_time_is_answered_live_by_workers(lane, rows_file, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    at = lane("openai", batch={"seconds": 3_000})

    done = at.run(rows_file(60), *TWO, "--lane", "cheapest", "--deadline", "40s", "--max-cost", "1")

    assert done.code == 0, done.err
    at.check(answered=60)
    agree(at)
    assert set(at.columns("lane")["lane"]) == {"live"}
