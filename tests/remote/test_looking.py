"""Looking at a run at a URL, where it was made and from a machine that has nothing of it."""

from __future__ import annotations

import json
import time

import pytest

from tests.conftest import CANARY

URL = "basics://data/runs/x"


def words(base_url: str, *more: str) -> list[str]:
    return [
        "run", "basics://data/in.jsonl", "-m", "sim", "-p", "{text}", "--base-url", base_url,
        "--api-key-env", "SIMULATOR_KEY", "--run-dir", URL, "--shard-rows", "20", "--progress", "none",
        "-c", "1", *more,
    ]  # fmt: skip


@pytest.fixture
def made(memory, simulator, here):
    """Makes the run of 50 rows, and returns how its command ended."""
    rows = [{"text": f"The {n}th remark."} for n in range(50)]
    memory.pipe_file("/data/in.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    base_url = simulator().base_url
    return lambda *more: here(*words(base_url, *more))


@pytest.fixture
def away(tmp_path, monkeypatch):
    """Goes to a machine that has nothing of the run."""

    def go() -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")

    return go


def signed(memory, seconds_ago: float) -> None:
    """Another machine has said so long ago that it is at work."""
    sign = {"owner": "o", "host": "node-7", "at": time.time() - seconds_ago}
    memory.pipe_file("/data/runs/x/lease.json", json.dumps(sign).encode())


def test_each_command_that_looks_takes_the_url_here_and_elsewhere(made, here, away):
    assert made().code == 0
    for place in ("here", "elsewhere"):
        if place == "elsewhere":
            away()
        assert "finished" in here("status", URL).out
        assert "rows: 50 = 50 answered" in here("status", f"{URL}/", "--watch").out
        assert here("show", URL, "45").out.startswith("row 45 · ok")
        assert "more: batchlab show basics://data/runs/x 1- -n 1" in here("show", URL, "-n", "1").err
        said = here("cost", URL)
        assert said.out.splitlines()[1].split()[:2] == ["50", "50"]
        assert f"batchlab cost {URL} --price sim=IN,OUT" in said.err
        tried = here("cost", URL, "--price", "sim=1,2")
        assert "what_if_usd" in tried.out
        assert tried.err == ""
        assert here("verify", URL).code == 0


def test_the_runs_under_a_url_are_listed_and_so_is_one(made, here, away, memory):
    made()
    memory.pipe_file("/data/runs/broken/run.json", b"{")
    for _ in range(2):
        said = here("ls", "basics://data/runs")
        states = {line.split()[0]: line.split()[1:3] for line in said.out.splitlines()[1:]}
        assert states == {URL: ["finished", "50/50"], "basics://data/runs/broken": ["damaged"]}
        assert "basics://data/runs/broken" in said.err
        [one] = map(json.loads, here("ls", URL, "--json").out.splitlines())
        assert (one["run"], one["done"]) == (URL, 50)
        assert one["at"] > time.time() - 600
        if _ == 0:
            away()
    assert "It holds runs: batchlab ls basics://data/runs" in here("status", "basics://data/runs").err
    assert "not a run directory" in here("show", "basics://data/runs/nope").err
    assert "no run under basics://data/none" in here("ls", "basics://data/none").err


def test_a_run_that_has_stopped_says_how_to_go_on_where_its_command_is_known(made, here, away):
    stopped = made("--max-tokens-total", "4300")
    assert stopped.code == 3
    command = next(line for line in stopped.err.splitlines() if line.startswith("to go on: "))
    assert command in here("status", URL).out.splitlines()
    away()
    said = here("status", URL).out
    assert "to go on: the same batchlab run; it pays for nothing twice" in said
    assert CANARY not in said


def test_another_machine_that_is_at_work_is_seen_until_it_is_silent(made, here, away, memory):
    made("--max-tokens-total", "4300")
    away()
    signed(memory, 0)

    said = here("status", URL)
    assert said.out.startswith(f"{URL}: running on node-7\n")
    assert "to go on" not in said.out
    assert json.loads(here("status", URL, "--json").out)["running_on"] == "node-7"
    assert here("ls", "basics://data/runs").out.splitlines()[1].split()[1] == "running"

    signed(memory, 119)  # 2 min after its last sign it is taken for gone
    watched = here("status", URL, "--watch")
    assert watched.code == 3
    assert "not running: stopped" in watched.out
