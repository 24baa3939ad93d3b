"""Stops, taking back, and coming again without waiting: batches stay out, and are found."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from batchlab.runner import invocation
from batchlab.runner.run_options import RunOptions
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Step
from batchlab.store.disk.run_lock import RunLock
from tests.conftest import command, environment
from tests.engines.batch_api.test_crashes import forked

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

MORE = ("--max-tokens", "4000")


def interrupt_at(monkeypatch, step: str, times: int) -> None:
    """So many SIGINT come to the process when it has noted a step."""
    note, seen = BatchLog._note, []

    def noted(self, record):
        batch = note(self, record)
        if record["t"] == step and not seen:
            seen.append(1)
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return batch

    monkeypatch.setattr(BatchLog, "_note", noted)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("step", ["meant", "uploaded", "ordering", "created", "ended", "merged"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_an_interrupt_at_any_step_loses_nothing_and_orders_nothing_twice(
    lane, rows_file, monkeypatch, dialect, step, times
):
    if step == "uploaded" and dialect == "anthropic":
        step = "ordering"
    at, rows = lane(dialect), rows_file(25)
    with monkeypatch.context() as patched:
        interrupt_at(patched, step, times)
        begun = time.monotonic()
        assert forked(at.words_of(rows, *MORE, "--shard-rows", "10")) == 130
        assert time.monotonic() - begun < 20

    done = at.run(rows, *MORE, "--shard-rows", "10")

    assert done.code == 0, done.err
    at.check(answered=25)


def test_an_interrupt_says_what_is_out(lane, rows_file, tmp_path):
    at, rows = lane("openai", batch={"seconds": 60}), rows_file(10)
    child = subprocess.Popen(
        command(*at.words_of(rows, *MORE)), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not at.server.batches()["batches"] and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)

    _, err = child.communicate(timeout=30)

    assert child.returncode == 130, err
    assert "0 ok + 10 out in batches" in err
    assert [one.step for one in at.log().out] == [Step.CREATED]


@pytest.fixture
def collect(monkeypatch):
    """Runs commands as `collect` does: each batch is looked at, and left."""
    whole = invocation.Invocation.__init__

    def without_waiting(self, prepared, *args, **named):
        args = [replace(one, waits=False) if isinstance(one, RunOptions) else one for one in args]
        named = {
            name: replace(one, waits=False) if isinstance(one, RunOptions) else one
            for name, one in named.items()
        }
        whole(self, prepared, *args, **named)

    monkeypatch.setattr(invocation.Invocation, "__init__", without_waiting)


def test_without_waiting_it_leaves_after_each_batch_was_looked_at(lane, rows_file, collect):
    at, rows = lane("openai", batch={"seconds": 2}), rows_file(25)

    first = at.run(rows, *MORE, "--shard-rows", "10")

    assert first.code in (0, 3), first.err
    assert "0 ok + 25 out in batches" in first.err
    again = at.run(rows, *MORE, "--shard-rows", "10")
    assert "0 ok + 25 out in batches" in again.err
    assert len(at.server.batches()["batches"]) == 3
    time.sleep(2)
    done = at.run(rows, *MORE, "--shard-rows", "10")
    assert done.code == 0, done.err
    at.check(answered=25)


@pytest.mark.parametrize("dialect", ["openai", "mistral", "anthropic", "together", "openrouter"])
def test_what_is_out_is_taken_back_and_goes_live(lane, rows_file, dialect):
    at, rows = lane(dialect, batch={"seconds": 2}), rows_file(20)
    assert at.run(rows, *MORE, "--deadline", "1s").code == 3

    live = at.run(rows, *MORE, "--lane", "live")

    assert live.code == 0, live.err
    lanes = at.columns("lane")["lane"]
    assert set(lanes) <= {"batch", "live"}
    if dialect == "openrouter":
        assert set(lanes) == {"batch"}  # it cannot be called off: its answers are used
    at.check(answered=20)


def test_a_new_generation_is_refused_while_batches_are_out(lane, rows_file):
    at, rows = lane("openai", batch={"seconds": 1}), rows_file(10)
    assert at.run(rows, *MORE, "--deadline", "0.5s").code == 3

    changed = at.run(rows, *MORE, "--fresh", "--system", "Shout.")
    rows_file(12)
    longer = at.run(rows, *MORE)

    for refused in (changed, longer):
        assert refused.code == 2, refused.err
        assert "1 batch with 10 rows" in refused.err
        assert "is out at" in refused.err
        assert "batchlab collect" in refused.err
    rows_file(10)
    time.sleep(0.5)
    assert at.run(rows, *MORE).code == 0
    at.check(answered=10)
    assert at.run(rows, *MORE, "--fresh", "--system", "Shout.").code == 0
    assert at.columns("status")["status"] == ["ok"] * 10


def test_batches_of_an_earlier_generation_are_not_looked_for_in_a_later_one(lane, rows_file):
    at, rows = lane("openai"), rows_file(10)
    assert at.run(rows, *MORE).code == 0
    rows_file(14, texts=[f"Other {n}" for n in range(14)])

    assert at.run(rows, *MORE).code == 0
    assert len(at.server.batches()["batches"]) == 2
    assert at.columns("status")["status"] == ["ok"] * 14


def test_a_job_that_names_another_endpoint_leaves_the_run_to_collect(lane, rows_file):
    """The refusal comes before run.json has that job, whatever else has changed with it."""
    at, rows = lane("openai", batch={"seconds": 60}), rows_file(10)
    assert at.run(rows, *MORE, "--detach").code == 3
    elsewhere = at.words_of(rows, *MORE)
    elsewhere[elsewhere.index("--base-url") + 1] = "http://localhost:9/v1"
    os.utime(rows)  # a touched file is read again, and planned again

    refused = at.command(*elsewhere)
    at.server.forward(120)
    home = at.command("collect", str(at.directory))

    assert refused.code == 2
    assert "which the job does not name any more" in refused.err
    assert "batchlab collect runs/" in refused.err
    assert home.code == 0, home.err
    at.check(answered=10)


def test_collect_goes_by_the_lane_that_the_run_went_on_with(lane, rows_file):
    """A run that began live, and was left to batches later, is not called back by who takes them home."""
    at, rows = lane("openai", batch={"seconds": 60}), rows_file(20)
    os.utime(rows, (1e9, 1e9))  # what was just written would be read, and planned, again
    live = [word for word in at.words_of(rows, *MORE) if word not in ("--lane", "batch")]
    assert at.command(*live, "--max-cost", "0.0000001").code == 3
    assert at.run(rows, *MORE, "--detach").code == 3

    early = at.command("collect", str(at.directory))
    at.server.forward(120)
    home = at.command("collect", str(at.directory))

    assert early.code == 3, early.err
    assert home.code == 0, home.err
    assert at.columns("lane")["lane"] == ["batch"] * 20
    at.check(answered=20)


def test_all_that_comes_after_the_deadline_by_the_clock_is_a_run_that_is_done(lane, rows_file):
    at, rows = lane("openai", batch={"seconds": 60}), rows_file(20)
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 4))
    assert at.run(rows, "--detach", "--deadline", when).code == 3
    early = at.command("collect", str(at.directory))
    time.sleep(4)
    late = at.command("collect", str(at.directory))
    at.server.forward(120)

    home = at.command("collect", str(at.directory))

    assert early.code == late.code == 3
    assert home.code == 0, home.err
    assert "done: 20 rows = 20 ok" in home.err
    assert "list price: " in home.err
    at.check(answered=20)


@pytest.mark.parametrize("command", ["collect", "cancel"])
def test_beside_another_process_at_work_neither_says_what_is_out(lane, rows_file, here, command):
    """What is out when that ends is not what can be read now."""
    at = lane("openai")
    assert at.run(rows_file(10), "--max-tokens", "400").code == 0

    held = RunLock.taken(at.directory)
    try:
        refused = here(command, str(at.directory))
    finally:
        held.release()

    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert f"in use by process {os.getpid()}" in refused.err
