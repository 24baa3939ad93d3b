"""Why rows went live: what is noted in batches.log as they do, and what it says of each row."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from batchlab.looking.money.why_live import WhyLive
from batchlab.records import Shard
from batchlab.store import batch_log
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Batch, read_batches
from batchlab.store.publisher import Here

SHARDS = (Shard(0, 0, 10, {}), Shard(1, 10, 10, {}), Shard(2, 20, 5, {}))


class Log:
    """A run's batches.log, written at times of our own."""

    def __init__(self, path, monkeypatch):
        self.path, self.now = path, 0.0
        monkeypatch.setattr(batch_log, "time", SimpleNamespace(time=lambda: self.now))
        self.log = BatchLog(path, Here(path))

    def at(self, now):
        self.now = float(now)
        return self.log

    def batch(self, key, shard, rows, ended_at, *, taken_back=False):
        meant = self.at(1).meant(Batch(key, shard, rows, "a", "m", "/v1", 1, asked=(0,)))
        self.log.ordering(meant)
        self.log.created(meant, f"id-{key}")
        if taken_back:
            self.log.cancelling(meant)
        self.at(ended_at).ended(meant, "cancelled" if taken_back else "completed", ())

    def reasons(self):
        manifest = SimpleNamespace(generation=1, plan=SimpleNamespace(shards=SHARDS))
        return WhyLive(SimpleNamespace(path=self.path, manifest=manifest))


@pytest.fixture
def log(tmp_path, monkeypatch):
    return Log(tmp_path, monkeypatch)


def test_a_shard_that_had_no_time_is_the_deadline_s_and_one_without_a_cheaper_lane_is_not(log):
    log.at(100).went_live([0], 1, "live", "deadline")
    log.at(100).went_live([1], 1, "live", "cheapest")
    why = log.reasons()

    assert why.is_hurried(3, 101.0)
    assert not why.is_hurried(13, 101.0)
    assert not why.is_hurried(23, 101.0)  # nobody sent it by this choice
    assert not why.is_hurried(3, 99.0)  # an earlier start did, with another lane


def test_what_was_taken_back_is_the_deadline_s_and_what_a_batch_gave_back_is_not(log):
    log.batch("k1", 0, ((0, 5),), 50)
    log.batch("k2", 0, ((5, 5),), 50, taken_back=True)
    log.at(100).went_live([0], 1, "live", "deadline")
    why = log.reasons()

    assert not why.is_hurried(2, 101.0)
    assert why.is_hurried(7, 101.0)


def test_what_was_said_last_counts(log):
    log.at(100).went_live([0, 1], 1, "live", "cheapest")
    log.at(200).went_live([1], 1, "live", "deadline")
    why = log.reasons()

    assert not why.is_hurried(13, 150.0)
    assert why.is_hurried(13, 250.0)


def test_a_run_of_an_earlier_version_tells_no_reasons_and_all_count(log):
    log.batch("k1", 0, ((0, 5),), 50)

    assert log.reasons().is_hurried(2, 101.0)


def test_another_generation_s_shards_are_others(log):
    log.at(100).went_live([0], 2, "live", "deadline")

    assert not log.reasons().is_hurried(3, 101.0)


def test_the_log_is_read_as_it_was_written_and_knows_no_more_batches_for_it(log):
    log.at(100).went_live([0, 2], 1, "flex", "asked")

    (found,) = read_batches(log.path).live
    assert (found.shards, found.lane, found.why, found.at) == (frozenset({0, 2}), "flex", "asked", 100.0)
    assert not read_batches(log.path).by_key
