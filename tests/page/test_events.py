"""What a page is told while a run goes on, also in another process."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from batchlab.page import streams
from tests.conftest import under_way
from tests.scenarios.test_run import job

pytestmark = pytest.mark.proof  # each begins processes, and waits for them


@pytest.fixture
def running(simulator, rows_file, tmp_path):
    """A run of two seconds or so in a process of its own."""
    server = simulator(queue_cap=4, latency_median_s=0.15)
    words = job(server.base_url, rows_file(80), "-c", "4", "--price-in", "1", "--price-out", "1")
    with under_way(words, tmp_path) as run:
        yield run


def test_a_run_in_another_process_is_followed_to_its_end(served, running, tmp_path):
    page = served(tmp_path / "runs")
    seen = []
    with page.follow("/api/run/events?run=rows") as events:
        for told in events:
            seen.append(told)
            if told["stage"] == "finished":
                break

    done = [told["counts"]["ok"] for told in seen]
    assert done == sorted(done)
    assert done[-1] == 80
    assert len(set(done)) >= 3
    assert seen[0]["stage"] == "running"
    assert seen[0]["now"]["window"] >= 1
    assert seen[-1]["now"] is None
    assert all(before != after for before, after in zip(seen, seen[1:], strict=False))


def test_a_run_that_is_killed_is_told_though_no_file_changes(served, running, tmp_path):
    page = served(tmp_path / "runs")
    with page.follow("/api/run/events?run=rows") as events, page.follow("/api/runs/events") as listed:
        assert next(events)["stage"] == "running"
        assert next(listed)["runs"][0]["state"] == "running"
        running.send_signal(signal.SIGKILL)
        running.wait()

        assert next(told for told in events if told["stage"] != "running")["stage"] == "crashed"
        assert (
            next(told for told in listed if told["runs"][0]["state"] != "running")["runs"][0]["state"]
            == "crashed"
        )


def test_new_runs_and_runs_that_go_away_are_told(served, runs, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(runs / "day", folder / "day")
    page = served(folder)
    with page.follow("/api/runs/events") as listed, page.follow("/api/run/events?run=day") as events:
        assert [one["id"] for one in next(listed)["runs"]] == ["day"]
        assert next(events)["rows"] == 5

        shutil.copytree(runs / "night", folder / "night")
        assert {one["id"] for one in next(listed)["runs"]} == {"day", "night"}
        shutil.move(folder / "day", tmp_path / "away")
        assert [one["id"] for one in next(listed)["runs"]] == ["night"]
        assert list(next(events)) == ["error"]
        shutil.move(tmp_path / "away", folder / "day")
        assert next(events)["rows"] == 5


def test_what_has_not_changed_is_not_told_again_and_costs_a_few_calls(served, runs, monkeypatch):
    from batchlab.page import api

    page = served(runs)
    made = []
    real = api.overview_of
    monkeypatch.setattr(api, "overview_of", lambda run: made.append(run) or real(run))
    with (
        page.follow("/api/run/events?run=night") as first,
        page.follow("/api/run/events?run=night") as second,
    ):
        assert next(first) == next(second)
        time.sleep(2.5)

    assert len(made) == 1


def test_a_stream_that_nobody_reads_any_more_ends(served, runs, monkeypatch):
    monkeypatch.setattr(streams, "MOST_STREAMS", 2)
    monkeypatch.setattr(streams, "QUIET_S", 0.1)
    page = served(runs)
    with page.follow("/api/runs/events") as first, page.follow("/api/run/events?run=day") as second:
        next(first), next(second)
        assert page.ask("/api/runs/events").status == 503
    until = time.monotonic() + 10
    while is_refused(page):
        assert time.monotonic() < until
        time.sleep(0.2)


def is_refused(page) -> bool:
    with page.follow("/api/runs/events") as events:
        try:
            next(events)
        except AssertionError:
            return True
    return False


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")
def test_a_thousand_looks_leave_nothing_open(served, runs):
    page = served(runs)

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    page.get("run", run="night"), page.get("runs")
    before = opened()
    for _ in range(300):
        page.get("run", run="night")
        page.get("runs")
        page.ask("/api/run?run=nothing")
    assert opened() <= before + 3
