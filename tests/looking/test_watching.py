"""`batchlab ls` and `status`: finding a run, and following it from another terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import pytest

from batchlab.cli.habits import instead_of
from batchlab.looking.listing import Listed, Listing
from batchlab.progress.terminal import width
from tests.conftest import command, environment, under_way
from tests.progress.test_terminal import ESCAPES
from tests.scenarios.test_run import job


@pytest.fixture
def running(batchlab, simulator, rows_file, tmp_path):
    """A run that takes its time."""
    batchlab("--version")  # whoever looks is not to come late
    server = simulator(queue_cap=4, latency_median_s=0.2)
    words = job(server.base_url, rows_file(160), "-c", "4", "--price-in", "1", "--price-out", "1")
    with under_way(words, tmp_path) as run:
        yield run


def test_runs_are_listed_newest_first_with_their_states(running, here, simulator, rows_file, tmp_path):
    here(*job(simulator().base_url, rows_file(5, "done.jsonl")))
    (tmp_path / "runs/foreign").mkdir()
    (tmp_path / "runs/broken").mkdir()
    (tmp_path / "runs/broken/run.json").write_text("{")
    os.utime(tmp_path / "runs/broken/run.json", (0, 1_000_000_000))

    said = here("ls")
    states = {line.split()[0]: line.split()[1] for line in said.out.splitlines()[1:]}
    assert states == {"runs/rows": "running", "runs/done": "finished", "runs/broken": "damaged"}
    assert "5/5" in said.out
    assert said.out.splitlines()[-1].startswith("runs/broken")
    assert "runs/broken/run.json: not a run of batchlab" in said.err
    assert "no runs, and left out: foreign" in said.err
    assert said.code == 0

    running.kill()
    running.wait()
    listed = {one["run"]: one for one in map(json.loads, here("ls", "runs", "--json").out.splitlines())}
    assert listed["runs/rows"]["state"] == "crashed"
    assert listed["runs/done"]["done"] == listed["runs/done"]["rows"] == 5
    assert "cut off" in here("status", "runs/rows").out


def test_no_runs_and_no_folder_are_told(here):
    assert (here("ls").code, here("ls").out) == (0, "")
    assert "no run under runs/" in here("ls").err
    assert "no run under runs/ here" in here("status").err
    assert here("ls", "nowhere").err == "batchlab: nowhere: there is no such folder.\n"


@pytest.mark.parametrize("room", [60, 80, 120])
def test_the_table_fits_the_terminal(room):
    runs = [
        Listed(f"runs/{'日本語' * 20}", "finished", 1.8e9, 10_000, 10_000, 12, 123.45),
        Listed("runs/short", "damaged", 1.7e9, problem="runs/short: broken"),
    ]
    lines = Listing("runs", runs).lines(room)

    assert max(map(width, lines)) <= room
    assert "…" in lines[1]
    assert "10,000/10,000" in lines[1]


def test_status_says_the_pace_of_a_run_and_needs_no_name(running, here):
    deadline = time.monotonic() + 30
    while "rows/s" not in (said := here("status")).out or "0.0 rows/s" in said.out:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert said.out.startswith(f"runs/rows: running (pid {running.pid}) since ")
    assert re.search(r"^now: .*\d:\d\d left", said.out, re.MULTILINE)
    assert json.loads(here("status", "--json").out)["now"]["rows_per_s"] > 0


def test_watching_ends_with_the_run_and_its_code(running, batchlab):
    said = batchlab("status", "--watch", "runs/rows")

    assert said.code == 0
    assert said.out.startswith(f"runs/rows: running (pid {running.pid})")
    assert "\nruns/rows: finished\n" in said.out
    assert "rows: 160 = 160 answered" in said.out


def test_watching_a_run_that_is_stopped_ends_with_its_code(running, tmp_path):
    with subprocess.Popen(
        command("status", "--watch", "--json"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["stage"] == "running"
        running.send_signal(signal.SIGINT)
        last = [json.loads(line) for line in watch.stdout][-1]
        assert watch.wait(timeout=60) == 130
    assert last["stage"] == "stopped"
    assert "interrupt" in last["stopped"]


def test_who_watches_may_leave_and_the_run_goes_on(running, tmp_path):
    with subprocess.Popen(
        command("status", "--watch"), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watch:  # fmt: skip
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith("runs/rows: running")
        watch.send_signal(signal.SIGINT)
        out, err = watch.communicate(timeout=30)
    assert (watch.returncode, err) == (130, "")
    assert "interrupted" not in out
    assert running.poll() is None


def test_on_a_terminal_the_lines_are_written_over(running, tmp_path):
    ours, theirs = os.openpty()
    env = {**environment(), "TERM": "xterm-256color", "NO_COLOR": "1", "COLUMNS": "80"}
    told = b""
    with subprocess.Popen(
        command("status", "--watch"), cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ) as watch:
        os.close(theirs)
        try:
            while data := os.read(ours, 65_536):
                told += data
        except OSError:  # it has ended
            pass
        assert watch.wait(timeout=60) == 0
    os.close(ours)
    text = told.decode()
    assert text.count("A\r\x1b[J") >= 2
    assert re.search(r" +\d+% █*·* \d+/160", ESCAPES.sub("", text))
    assert "runs/rows: finished" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/row"], "Did you mean runs/rows?"),
        (["row"], "Did you mean runs/rows?"),
        (["runs"], "It holds runs: batchlab ls runs lists them."),
        (["x"], "batchlab ls lists them"),
    ],
)
def test_a_run_that_is_not_there_is_guessed(here, tmp_path, words, said):
    (tmp_path / "runs/rows").mkdir(parents=True)
    (tmp_path / "runs/rows/run.json").write_text("{}")

    done = here("status", *words)
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("resume", "batchlab run goes on with a run"),
        ("list", "did you mean batchlab ls?"),
        ("tail", "did you mean batchlab status RUN --watch?"),
        ("cat", "did you mean batchlab show RUN?"),
        ("logs", "batchlab run … --log-file FILE"),
        ("stop", "kill PID ends it in order"),
        ("validate", "did you mean batchlab plan JOB.toml?"),
        ("vrify", "did you mean batchlab verify?"),
        ("job.toml", "did you mean batchlab run job.toml?"),
        ("qqq", "batchlab --help lists them"),
    ],
)
def test_a_command_typed_by_habit_gets_the_right_name(here, typed, meant):
    done = here(typed, "runs/x")

    assert done.code == 2
    assert meant in done.err
    assert done.err.count("\n") == 1


def test_no_habit_is_a_command():
    from batchlab.cli import cli
    from batchlab.cli.habits import _SAID

    assert not set(_SAID) & set(cli.commands)
    assert instead_of("RESUME", cli.commands) == instead_of("RESUME", ())
