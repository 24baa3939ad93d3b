"""The log file: whole JSON lines that tell what happened and no secret."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from batchlab.errors import UsageError
from batchlab.job.file import job_from
from batchlab.observe.event_log import LIMITED_EVERY_S, PROGRESS_EVERY_S, ROW_LINES, EventLog
from batchlab.observe.facts import shown_job
from batchlab.records import Failure
from batchlab.run_state import Attempts, RunState
from tests.conftest import CANARY, command, environment
from tests.scenarios.test_run import job, wait_for

EVIL = "\x1b]0;owned\x07\u202egnp.exe\r\n\x9b31m"


def events(path) -> list[dict]:
    """Every line, parsed; each has what every line promises."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert CANARY not in text
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["ts"])
        assert datetime.fromisoformat(event["ts"]).tzinfo == UTC
        assert event["level"] in {"info", "warning", "error"}
        assert event["event"]
        assert event["run"].startswith("/")
    return found


def named(found: list[dict], name: str) -> list[dict]:
    return [event for event in found if event["event"] == name]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_run_is_told_from_start_to_end(batchlab, simulator, rows_file, tmp_path):
    body = json.dumps(
        {"error": {"message": f"{EVIL} you sent Bearer {CANARY} sk-abcdefghijklmnop " + "x" * 3_000}}
    )
    faults = [
        {"kind": "answer", "status": 400, "body": body, "rows": ["The 3th "], "times": 99},
        {"kind": "rate_limit_zero", "rate": 0.2},
    ]
    server = simulator(faults=faults)

    done = batchlab(
        *job(server.base_url, rows_file(20), "--log-file", "run.log", "--param", "api_token=hidden")
    )

    assert done.code == 1, done.err
    found = events(tmp_path / "run.log")
    names = [event["event"] for event in found]
    assert names.count("start") == names.count("end") == 1
    assert names[-1] == "end"
    start, end, (failed,) = named(found, "start")[0], found[-1], named(found, "row_failed")
    assert start["rows"] == 20
    assert start["job"]["request"]["model"] == "sim"
    assert start["job"]["request"]["params"] == {"api_token": "****"}
    assert start["job"]["endpoint"][0]["api_key_env"] == "SIMULATOR_KEY"
    assert start["job"]["request"]["prompt_chars"] == len("Say it shorter: {text}")
    assert "Say it shorter" not in (tmp_path / "run.log").read_text()
    assert failed["level"] == "warning"
    assert (failed["row_id"], failed["error_code"]) == (3, 400)
    assert "you sent Bearer ****" in failed["error_message"]
    assert len(failed["error_message"]) <= 500
    assert not any(sign in failed["error_message"] for sign in "\x1b\x07\x9b\u202e\r\n")
    assert named(found, "trouble")[0]["rate_limited"] >= 1
    assert end["exit_code"] == 1
    assert (end["totals"]["ok"], end["totals"]["failed"], end["pending"]) == (19, 1, 0)
    assert end["totals"]["cost_usd"] is None, "an unknown cost is not 0"
    assert any("batchlab retry" in event["message"] for event in named(found, "message"))
    assert stat.S_IMODE((tmp_path / "run.log").stat().st_mode) == 0o600


def test_the_next_run_appends_after_a_line_that_was_cut_short(batchlab, simulator, rows_file, tmp_path):
    log = tmp_path / "run.log"
    log.write_text('{"ts": "2026')
    words = job(simulator().base_url, rows_file(3), "--log-file", "run.log")

    assert batchlab(*words).code == 0
    assert batchlab(*words).code == 0

    first, rest = log.read_text().split("\n", 1)
    assert first == '{"ts": "2026'
    log.write_text(rest)
    starts = named(events(log), "start")
    assert [start["final_before"] for start in starts] == [0, 3]


def test_a_stop_an_endpoint_that_is_out_and_a_refusal_are_told(batchlab, simulator, rows_file, tmp_path):
    good, bad, rows = simulator(), simulator(api_key="other"), rows_file(12)
    (tmp_path / "job.toml").write_text(
        f"""
        endpoint = [
          {{ name = "good", base_url = "{good.base_url}", api_key_env = "SIMULATOR_KEY" }},
          {{ name = "bad", base_url = "{bad.base_url}", api_key_env = "SIMULATOR_KEY" }},
        ]
        request = {{ model = "sim", prompt = "{{text}}" }}
        input = {{ path = {json.dumps(str(rows))} }}
        """
    )
    assert batchlab("run", "job.toml", "-q", "--log-file", "run.log").code == 0
    (out,) = named(events(tmp_path / "run.log"), "endpoint_out")
    assert out["endpoint"] == "bad"

    refused = batchlab(*job(bad.base_url, rows, "--run-dir", "other", "--log-file", "stop.log"))
    assert refused.code == 3
    found = events(tmp_path / "stop.log")
    assert named(found, "stop")[0]["reason"] == "key"
    assert found[-1]["exit_code"] == 3

    assert batchlab(*job(good.base_url, rows, "--run-dir", "kept")).code == 0
    changed = batchlab(
        *job(good.base_url, rows, "--run-dir", "kept", "--log-file", "no.log", "--temperature", "1")
    )
    assert changed.code == 2
    (error,) = named(events(tmp_path / "no.log"), "error")
    assert (error["level"], error["exit_code"]) == ("error", 2)
    assert "request settings changed" in error["message"]


def test_a_log_that_cannot_be_opened_is_refused_before_anything_is_sent(
    batchlab, simulator, rows_file, tmp_path
):
    server, rows = simulator(), rows_file(3)
    os.mkfifo(tmp_path / "unread")
    done = batchlab(*job(server.base_url, rows, "--log-file", "missing/run.log"))
    assert done.code == 2
    assert "missing/run.log: the log file cannot be written: No such file or directory." in done.err
    for name in (".", "unread"):
        with pytest.raises(UsageError, match="the log file cannot be written"):
            EventLog(str(tmp_path / name), "/runs/x", print)

    same = {
        "input": {"path": "x"},
        "request": {"model": "m"},
        "output": {"log_file": "a", "metrics_file": "./a"},
    }
    with pytest.raises(UsageError, match=r"output\.log_file: 'a' would be written over output\.metrics_file"):
        job_from(same)
    assert server.ledger()["requests"] == 0


def test_a_reader_that_is_slow_or_gone_ends_no_run(simulator, rows_file, tmp_path):
    """A pipe that is full takes nothing more; one without a reader is an error. Both lose lines only."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    server = simulator(latency_median_s=0.05)
    words = job(server.base_url, rows_file(40), "-c", "2", "--log-file", str(pipe))
    with subprocess.Popen(
        command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as run:
        wait_for(lambda: server.ledger()["billed"] >= 1)
        os.close(reader)
        err = run.communicate(timeout=60)[1]

    assert run.returncode == 0, err
    assert err.count("the log file cannot be written") == 1
    assert server.ledger()["billed"] == 40


def test_a_full_pipe_loses_lines_and_says_how_many(tmp_path):
    pipe, said = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = EventLog(str(pipe), "/runs/x", said.append)
    for number in range(1_000):
        log.message(f"{number} " + "x" * 400)
    read = os.read(reader, 10_000_000)
    log.message("after")
    read += os.read(reader, 10_000_000)
    os.close(reader)
    log.close()

    lines = [json.loads(line) for line in read.splitlines()]
    assert lines[-1]["message"] == "after"
    assert lines[-1]["lines_lost"] == 1_000 - (len(lines) - 1)
    assert not said


def test_a_night_of_rate_limits_and_a_million_failures_stay_readable(tmp_path):
    clock, path = Clock(), tmp_path / "run.log"
    log = EventLog(str(path), "/runs/x", print, clock=clock)
    state = RunState()
    failure = Failure(row_id=1, custom_id="1", error_class="bad_request", error_message="no")
    for tick in range(18_000):  # an hour
        clock.now += 0.2
        state = RunState(attempts=Attempts(limited=3 * (tick + 1)), paused=tick % 10 < 5)
        log.failure(failure)
        log.update(state)
    clock.now += 60
    state = replace(state, paused=False)
    for _ in range(3):
        clock.now += 40
        log.update(state)
    log.close()

    found = events(path)
    limited = named(found, "trouble")
    assert abs(len(limited) - 3_600 / LIMITED_EVERY_S) <= 2
    assert sum(event["rate_limited"] for event in limited) == 18_000 * 3
    assert abs(len(named(found, "progress")) - 3_780 / PROGRESS_EVERY_S) <= 3
    assert len(named(found, "row_failed")) == ROW_LINES
    more = named(found, "rows_failed")
    assert sum(event["more"] for event in more) == 18_000 - ROW_LINES
    assert sum(event["by_error_class"]["bad_request"] for event in more) == 18_000 - ROW_LINES


def test_a_job_is_shown_without_what_its_addresses_hide():
    job = job_from(
        {
            "input": {"path": "rows.jsonl"},
            "endpoint": {"base_url": "https://host.example/v1?v=abc", "api_key_file": "key.txt"},
            "request": {"model": "m", "system": "s" * 7, "params": {"api_token": "x", "stop": "END"}},
        }
    )
    shown = shown_job(job)

    assert shown["endpoint"][0]["base_url"] == "https://host.example/v1?****"
    assert shown["endpoint"][0]["name"] == "host.example"
    assert shown["endpoint"][0]["api_key_file"] == "key.txt"
    assert shown["request"]["params"] == {"api_token": "****", "stop": "END"}
    assert shown["request"]["system_chars"] == 7
    assert not any(word in json.dumps(shown) for word in ("v=abc", "sssssss"))


def test_a_log_goes_to_a_file_of_this_machine():
    at_url = {
        "input": {"path": "x"},
        "request": {"model": "m"},
        "output": {"log_file": "s3://bucket/run.log"},
    }

    with pytest.raises(UsageError, match=r"output\.log_file: 's3://bucket/run\.log' is a URL"):
        job_from(at_url)
