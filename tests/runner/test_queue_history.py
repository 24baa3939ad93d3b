"""What runs leave for later ones in the cache directory: how long batches and calls took."""

from __future__ import annotations

import pytest

from batchlab.lanes.call_times import CallsSeen
from batchlab.runner.batches.queue_history import (
    CALL_TIMES,
    RUNS_KEPT,
    history_file,
    known_calls,
    known_queue,
    remember,
    remember_calls,
)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_calls_are_remembered_by_host_model_and_lane():
    remember_calls("a", "m", "live", CallsSeen(2.0, 30.0))
    remember_calls("a", "m", "flex", CallsSeen(9.0, 10.0, limited=True))

    assert known_calls("a", "m", "live") == [CallsSeen(2.0, 30.0)]
    assert known_calls("a", "m", "flex") == [CallsSeen(9.0, 10.0, limited=True)]
    assert known_calls("a", "other", "live") == known_calls("b", "m", "live") == []


def test_the_newest_runs_count():
    for number in range(RUNS_KEPT + 3):
        remember_calls("a", "m", "live", CallsSeen(float(number + 1), 4.0))

    assert [one.seconds for one in known_calls("a", "m", "live")][-1] == RUNS_KEPT + 3
    assert len(known_calls("a", "m", "live")) == RUNS_KEPT


def test_lines_that_nobody_can_read_are_passed_over():
    remember_calls("a", "m", "live", CallsSeen(2.0, 30.0))
    with history_file(CALL_TIMES).open("a") as file:
        file.write(
            '{"host": "a", "model": "m", "lane": "live", "seconds": -1, "at_once": 3, "limited": false}\n'
        )
        file.write('{"host": "a", "model": "m"}\n[1]\nnull\n{"cut')

    assert known_calls("a", "m", "live") == [CallsSeen(2.0, 30.0)]


def test_batches_and_calls_do_not_mix():
    remember("a", [400.0, 500.0])
    remember_calls("a", "m", "live", CallsSeen(2.0, 30.0))

    assert known_queue("a").kept == (400.0, 500.0)
    assert known_calls("a", "m", "live") == [CallsSeen(2.0, 30.0)]


def test_a_directory_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    remember_calls("a", "m", "live", CallsSeen(2.0, 30.0))

    assert known_calls("a", "m", "live") == []
