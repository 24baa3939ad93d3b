"""How a run is gone on with, and found: its command, its name, the newest one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import pytest

from batchlab.run_state import RunState
from batchlab.runner.standing import Teller
from batchlab.store.standing import read_standing
from tests.conftest import CANARY, command, environment
from tests.scenarios.test_run import job


@pytest.fixture
def stopped(here, simulator, rows_file):
    """A run that has used up its tokens, and how its command ended."""
    return here(*job(simulator().base_url, rows_file(30), "-c", "1", "--max-tokens-total", "2000"))


def go_on_line(text: str) -> str:
    [line] = [line for line in text.splitlines() if "to go on" in line]
    return line.removeprefix("batchlab: ")


def test_status_and_ls_print_the_command_that_the_run_printed(stopped, here, tmp_path, monkeypatch):
    assert stopped.code == 3
    line = go_on_line(stopped.err)
    assert line.startswith("to go on: batchlab run ")

    assert go_on_line(here("status").out) == line
    assert go_on_line(here("ls").err) == line
    go_on = {"command": line.removeprefix("to go on: "), "folder": str(tmp_path)}
    assert json.loads(here("status", "--json").out)["go_on"] == go_on
    assert json.loads(here("ls", "--json").out)["go_on"] == go_on

    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert go_on_line(here("status", "../runs/rows").out) == line.replace("on:", f"on (in {tmp_path}):")


def test_of_several_that_have_stopped_ls_names_the_command_that_says_how(stopped, here, simulator, rows_file):
    here(*job(simulator().base_url, rows_file(30, "two.jsonl"), "-c", "1", "--max-tokens-total", "2000"))

    said = here("ls").err
    assert "batchlab: stopped or crashed: 2; batchlab status runs/two says how to go on" in said
    assert "batchlab run" not in said


def test_a_run_with_all_rows_answered_says_no_command(here, simulator, rows_file):
    here(*job(simulator().base_url, rows_file(3)))

    assert "to go on" not in here("status").out + here("ls").err
    assert json.loads(here("status", "--json").out)["go_on"] is None


def test_a_crash_leaves_the_command_too(here, simulator, rows_file, tmp_path):
    words = job(simulator(latency_median_s=0.2).base_url, rows_file(160), "-c", "2")
    with subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL) as run:
        while not (tmp_path / "runs/rows/standing.json").exists():
            assert run.poll() is None
            time.sleep(0.05)
        assert "to go on" not in here("status").out, "it runs"
        run.kill()
    assert "cut off" in here("status").out
    assert go_on_line(here("status").out).startswith("to go on: batchlab run ")


@pytest.mark.parametrize(
    "typed", [f"batchlab run a -p {CANARY}", "batchlab run a --header X=sk-0123456789abcdef"]
)
def test_a_command_with_a_key_in_it_is_not_kept(typed, tmp_path):
    Teller(tmp_path, typed, [CANARY]).update(RunState(rows=1))

    assert read_standing(tmp_path).command == ""
    assert CANARY not in (tmp_path / "standing.json").read_text()
    Teller(tmp_path, "batchlab run a --header X=env:SECRET", [CANARY]).update(RunState(rows=1))
    assert read_standing(tmp_path).command == "batchlab run a --header X=env:SECRET"


def test_a_standing_of_an_earlier_version_has_no_command_and_is_read(stopped, here, tmp_path):
    file = tmp_path / "runs/rows/standing.json"
    kept = json.loads(file.read_text())
    del kept["command"], kept["folder"]
    file.write_text(json.dumps(kept))

    assert "to go on: the same batchlab run, from the same directory" in here("status").out


def test_a_prompt_of_several_lines_stays_a_command_that_can_be_pasted(here, simulator, rows_file):
    words = job(simulator().base_url, rows_file(30), "-c", "1", "--max-tokens-total", "2000")
    words[words.index("-p") + 1] = "First line of {text}\nand \x1b[31mthe second"
    here(*words)

    said = here("status").out
    assert "-p 'First line of {text}\nand  [31mthe second'" in said
    assert "\x1b" not in said


def test_a_name_is_a_run_under_runs_wherever_a_run_is_taken(here, simulator, rows_file, tmp_path):
    here(*job(simulator().base_url, rows_file(3)))

    for words in (
        ["status", "rows"],
        ["show", "rows"],
        ["show", "rows/", "2"],
        ["cost", "rows"],
        ["verify", "rows"],
        ["export", "rows", "-o", "-"],
        ["report", "rows"],
        ["retry", "rows", "--progress", "none"],
    ):
        assert here(*words).code == 0, words
    (tmp_path / "rows").mkdir()  # what is there by that name is meant, and told
    assert "Did you mean runs/rows?" in here("status", "rows").err


def test_show_and_cost_take_the_newest_run_and_say_which(here, simulator, rows_file, tmp_path):
    base_url = simulator().base_url
    for name in ("old", "new"):
        here(*job(base_url, rows_file(3, f"{name}.jsonl")))
    for file in (tmp_path / "runs/old").rglob("*"):
        os.utime(file, (1e9, 1e9))

    for words in (["show"], ["show", "2"], ["show", "0-1"], ["show", "--status", "ok"], ["cost"]):
        said = here(*words)
        assert (said.code, said.err) == (0, "batchlab: runs/new, the newest run\n") or words == ["cost"], said
        assert "runs/new, the newest run" in said.err
    assert here("show", "2").out.startswith("row 2 ")
    assert here("show", "17").code == 2, "there are three rows"
    for name in ("retry", "export", "verify", "report"):
        said = here(name, *(["-o", "x.csv"] if name == "export" else []))
        assert said.code == 2, "what writes, pays or proves says of which run"
        assert "Missing argument 'RUN'" in said.err


def test_status_says_once_what_the_answers_are_and_what_to_do(here, simulator, rows_file):
    here(*job(simulator().base_url, rows_file(5), "--max-tokens", "3"))

    lines = here("status").out.splitlines()
    assert lines[1] == "rows: 5 = 5 answered + 0 failed + 0 pending"
    assert [line for line in lines if "truncated" in line] == [
        "answers: 5 truncated",
        (
            "5 cut off by max_tokens 3; to ask them with more: "
            "batchlab retry runs/rows --only truncated --max-tokens 6"
        ),
    ]
    assert not any(re.match("also:|of the answered", line) for line in lines)


def test_a_retry_says_what_is_still_cut_off_after_it(here, simulator, rows_file):
    """A row whose new answer failed keeps the old one, which was cut off by less than it was asked with."""
    here(*job(simulator().base_url, rows_file(5), "--max-tokens", "3"))

    said = here("retry", "runs/rows", "--only", "truncated", "--max-tokens", "6").err

    assert "5 still cut off after max_tokens 6; to ask them with more: " in said
    assert "--only truncated --max-tokens 12" in said


def test_a_start_that_finds_all_done_says_no_next_step_but_what_is_not_ok(here, simulator, rows_file):
    words = job(simulator().base_url, rows_file(5))
    first, again = here(*words).err, here(*words).err

    assert "next: batchlab show runs/rows" in first
    assert "done: 5 rows = 5 ok (0 requests" in again
    for said in ("next:", "an answer", "to prove", "forecast"):
        assert said not in again
    cut = job(simulator().base_url, rows_file(5, "cut.jsonl"), "--max-tokens", "3")
    here(*cut)
    assert "batchlab retry runs/cut --only truncated --max-tokens 6" in here(*cut).err


def test_an_unknown_price_is_told_with_the_command_that_tries_one(here, simulator, rows_file):
    words = job(simulator().base_url, rows_file(5))
    begun = here(*words)
    assert "unless --price-in and --price-out say it" in begun.err
    hint = 'batchlab cost runs/rows --price "*=IN,OUT"'
    later = here(*words, "--price-in", "1", "--price-out", "2")
    for said in (begun.err, here("status").out, later.err):
        assert hint in said
        assert "[price]" not in said

    assert "batchlab cost rows --price sim=IN,OUT" in here("cost", "rows").err
    tried = here("cost", "rows", "--price", "*=1,2")
    assert tried.err == ""
    assert float(tried.out.splitlines()[1].split()[-1]) > 0
