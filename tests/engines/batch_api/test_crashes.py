"""Killed at each step of a batch's life: the next run goes on, and nothing is ordered twice."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from batchlab.cli import main
from batchlab.engines.batch_api.answers import merging
from batchlab.protocol.batches.table import DIALECTS
from batchlab.store import shard
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Step

pytestmark = pytest.mark.proof  # each is a run, or several

MORE = ("--max-tokens", "4000", "--shard-rows", "10")
STEPS = ("meant", "uploaded", "ordering", "created", "ended", "merged")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(monkeypatch, step: str, when: str, nth: int = 1) -> None:
    """The process kills itself before or after it notes a step of its n-th batch to come to it."""
    note, seen = BatchLog._note, []

    def noted(self, record):
        if record["t"] != step:
            return note(self, record)
        seen.append(1)
        if len(seen) == nth and when == "before":
            die()
        batch = note(self, record)
        if len(seen) == nth:
            die()
        return batch

    monkeypatch.setattr(BatchLog, "_note", noted)


def forked(words: list[str]) -> int:
    """Runs the command in a fork of this process, with all that is patched here. Returns how it ended."""
    child = os.fork()
    if child == 0:
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            sys.argv = ["batchlab", *words]
            main()
        except SystemExit as ended:
            os._exit(int(ended.code or 0))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("dialect", "step"),
    [
        (name, step)
        for name in ("openai", "mistral", "together", "openrouter", "anthropic")
        for step in STEPS
        if step != "uploaded" or DIALECTS[name].files
    ],
)
def test_killed_at_a_step_it_goes_on_and_orders_nothing_twice(
    lane, rows_file, monkeypatch, dialect, step, when
):
    at, rows = lane(dialect), rows_file(25)
    with monkeypatch.context() as patched:
        die_at(patched, step, when, nth=2)
        assert forked(at.words_of(rows, *MORE)) == -signal.SIGKILL

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    at.check(answered=25)
    assert len([one for one in at.server.batches()["batches"] if one["state"] != "failed"]) == 3
    assert not list((at.directory / "batches").iterdir())


@pytest.mark.parametrize("place", ["in the middle of results", "before the seal", "between two files"])
def test_killed_while_results_are_taken(lane, rows_file, monkeypatch, place):
    monkeypatch.setattr(merging, "TURN_ROWS", 4)
    at, rows = lane("openai", {"kind": "batch_line_errors", "share": 0.3, "first": 1}), rows_file(25)
    with monkeypatch.context() as patched:
        if place == "in the middle of results":
            flush, seen = shard.OpenShard.flush, []

            def flushed(self):
                flush(self)
                seen.append(1)
                if len(seen) == 8:
                    die()

            patched.setattr(shard.OpenShard, "flush", flushed)
        elif place == "before the seal":
            patched.setattr(shard.OpenShard, "seal", lambda *_: die())
        else:
            from batchlab.engines.batch_api.answers import downloads

            patched.setattr(downloads, "_append_lines", lambda *_: die())
        assert forked(at.words_of(rows, *MORE)) == -signal.SIGKILL

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    at.check(answered=25)


def test_killed_again_and_again(lane, rows_file, monkeypatch):
    at, rows = lane("openai", {"kind": "batch_line_errors", "share": 0.3, "every": 2}), rows_file(40)
    for step in (*STEPS, *reversed(STEPS)):
        with monkeypatch.context() as patched:
            die_at(patched, step, "before")
            forked(at.words_of(rows, *MORE))

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    at.check(answered=40)


def test_a_retry_that_was_killed_keeps_what_its_batch_brings(lane, rows_file, monkeypatch):
    """Its shard is sealed, with rows that had failed: the next run still takes what was paid."""
    at = lane("openai", {"kind": "batch_line_errors", "share": 0.5, "status": 400, "first": 1})
    rows = rows_file(10)
    assert at.run(rows, "--max-tokens", "4000").code == 1
    failed = at.columns("status")["status"].count("failed")
    log = len(at.log().by_key)
    with monkeypatch.context() as patched:
        die_at(patched, "created", "after")
        assert forked(["retry", str(at.directory), "--progress", "none"]) == -signal.SIGKILL
    assert [one.lines for one in at.log().out] == [failed]

    done = at.run(rows, "--max-tokens", "4000")

    assert done.code == 0, done.err
    assert len(at.log().by_key) == log + 1
    at.check(answered=10)


def test_a_retry_asks_each_row_once_a_time(lane, rows_file):
    at = lane("openai", {"kind": "batch_line_errors", "share": 1.0, "status": 400})
    rows = rows_file(5)
    assert at.run(rows, "--max-tokens", "4000").code == 1

    again = at.command("retry", str(at.directory), "--progress", "plain")

    assert again.code == 1, again.err
    assert at.sizes() == [5, 5]


def test_a_damaged_log_is_no_reason_to_order_again(lane, rows_file):
    at, rows = lane("openai", batch={"seconds": 60}), rows_file(10)
    assert at.run(rows, "--max-tokens", "4000", "--deadline", "0.5s").code == 3
    log = at.directory / "batches.log"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"x" + lines[0] + b"".join(lines[1:]))

    done = at.run(rows, "--max-tokens", "4000")

    assert done.code == 1
    assert "damaged at byte 0" in done.err
    assert len(at.server.batches()["batches"]) == 1
    log.write_bytes(b"".join(lines)[:-20])  # torn by a crash: the last step is seen again
    assert [one.step for one in at.log().out] in ([Step.ORDERING], [Step.CREATED])
