"""Runs that begin later: waiting costs nothing, and can be left."""

from __future__ import annotations

import signal
import subprocess
from datetime import datetime, timedelta

import pytest

from tests.conftest import command, environment
from tests.scenarios.test_run import job


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_wait_ends_in_order_and_nothing_was_sent(
    simulator, batchlab, rows_file, tmp_path, number, code
):
    server, rows = simulator(), rows_file(6)
    with subprocess.Popen(
        command(*job(server.base_url, rows, "--start-at", "9h", "--progress", "json")),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        said = next(line for line in waiting.stderr if "waiting until" in line)
        assert any('"why": "waiting until' in line for line in waiting.stderr)
        waiting.send_signal(number)
        _, rest = waiting.communicate(timeout=30)

    assert waiting.returncode == code
    assert "9 h 00 min from now (start_at)" in said
    assert "to go on: batchlab run" in rest
    assert server.ledger()["requests"] == 0
    assert batchlab(*job(server.base_url, rows)).code == 0


def test_a_key_that_is_refused_is_told_before_the_wait(batchlab, simulator, rows_file):
    server = simulator()

    done = batchlab(
        *job(server.base_url, rows_file(3), "--start-at", "9h"), SIMULATOR_KEY="sk-another-one-0123"
    )

    assert done.code == 2, done.err
    assert "before the wait to start" in done.err
    assert "sk-another" not in done.err


def test_a_price_that_knows_no_hours_starts_now(batchlab, simulator, rows_file):
    server = simulator()
    priced = ("--price-in", "1", "--price-out", "2")

    done = batchlab(*job(server.base_url, rows_file(3), "--start-at", "cheap", *priced))

    assert done.code == 0
    assert "does not depend on the hour; starting now" in done.err
    assert server.ledger()["billed"] == 3


def test_a_start_after_the_deadline_is_refused(here, simulator, rows_file):
    start = datetime.now().astimezone() + timedelta(hours=3)
    end = start - timedelta(hours=1)
    when = ("--start-at", start.isoformat(), "--deadline", end.isoformat())

    done = here(*job("http://127.0.0.1:9/v1", rows_file(3), *when))

    assert done.code == 2
    assert "--start-at: is after the deadline" in done.err


def test_plan_says_when_the_run_would_begin(here, rows_file):
    done = here(
        "plan", "-i", rows_file(3), "-m", "m", "-p", "{text}", "--base-url", "simulator", "--start-at", "3h"
    )

    assert done.code == 0
    assert "3 h 00 min from now" in done.out
