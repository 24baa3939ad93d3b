"""A run at a URL whose whole directory is lost: another machine takes it over, and its batches with it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import fsspec
import pytest

from batchlab.remote import storage
from batchlab.remote.copy import Copy
from batchlab.remote.urls import EXTRAS
from batchlab.store import shard
from batchlab.store.batch_log import BatchLog
from tests.conftest import environment
from tests.engines.batch_api.test_crashes import die, die_at, forked
from tests.remote.shelf import sitecustomize as shelf

pytestmark = pytest.mark.proof  # each is a run, or several

URL = "basics://bucket/runs/x"
MORE = ("--max-tokens", "4000", "--shard-rows", "10", "--run-dir", URL)


@pytest.fixture
def lost(monkeypatch, tmp_path):
    """A store of files; `lost()` is a machine that is gone for two minutes, with all that it had."""
    monkeypatch.setitem(EXTRAS, "basics", "basics")
    monkeypatch.setattr(shelf, "ROOT", str(tmp_path / "store"))
    fsspec.register_implementation("basics", shelf.Shelf, clobber=True)
    storage.filesystem.cache_clear()

    def lose() -> None:
        shutil.rmtree(tmp_path / "runs")
        (tmp_path / "out.parquet").unlink(missing_ok=True)
        (tmp_path / "store/bucket/runs/x/lease.json").unlink(missing_ok=True)

    yield lose
    storage.filesystem.cache_clear()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["meant", "uploaded", "ordering", "created", "ended", "merged"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_the_directory_is_lost_at_a_step(lane, rows_file, monkeypatch, lost, dialect, step, when):
    if step == "uploaded" and dialect == "anthropic":
        step = "ordering"
    at, rows = lane(dialect), rows_file(25)
    with monkeypatch.context() as patched:
        die_at(patched, step, when, nth=2)
        assert forked(at.words_of(rows, *MORE)) == -signal.SIGKILL
    lost()

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    at.check(answered=25)


def test_results_that_were_merged_and_not_sealed_are_fetched_again(lane, rows_file, monkeypatch, lost):
    """One batch of the first shard has rows to ask again, so that it is not sealed; its next order brings the
    log to the URL, which then says of results that they are in a journal which is lost."""
    at = lane("openai", {"kind": "batch_line_errors", "share": 0.4, "status": 503, "first": 1})
    rows = rows_file(10)
    with monkeypatch.context() as patched:
        die_at(patched, "created", "after", nth=2)
        assert forked(at.words_of(rows, *MORE)) == -signal.SIGKILL
    lost()

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    at.check(answered=10)
    assert len(at.server.batches()["batches"]) == 2


def test_lost_before_the_seal(lane, rows_file, monkeypatch, lost):
    at, rows = lane("openai"), rows_file(25)
    with monkeypatch.context() as patched:
        patched.setattr(shard.OpenShard, "seal", lambda *_: die())
        assert forked(at.words_of(rows, *MORE)) == -signal.SIGKILL
    lost()

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    at.check(answered=25)
    assert len(at.server.batches()["batches"]) == 3


def test_lost_after_the_end(lane, rows_file, lost):
    at, rows = lane("openai"), rows_file(25)
    assert at.run(rows, *MORE).code == 0
    lost()

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    assert "0 requests" in done.err
    at.check(answered=25)


def test_an_order_is_not_placed_when_the_url_cannot_be_told_of_it(lane, rows_file, lost, monkeypatch):
    from batchlab.remote.copy import Copy
    from batchlab.remote.storage import StorageError

    at, rows, keep = lane("openai"), rows_file(10), Copy.keep

    def refuse(self, name):
        raise StorageError(URL, "no")

    monkeypatch.setattr(Copy, "keep", refuse)
    stopped = at.run(rows, *MORE)

    assert stopped.code == 3, stopped.err
    assert "Nothing was ordered" in stopped.err
    assert at.server.batches()["batches"] == []
    monkeypatch.setattr(Copy, "keep", keep)
    assert at.run(rows, *MORE).code == 0
    at.check(answered=10)


def test_who_takes_over_knows_of_what_was_taken_back(lane, rows_file, monkeypatch, lost):
    """Else it would stop for a batch that somebody else has cancelled."""
    at, rows = lane("openai", {"kind": "batch_stuck", "share": 0.5, "first": 1}), rows_file(10)
    with monkeypatch.context() as patched:
        die_at(patched, "created", "after")
        forked(at.words_of(rows, *MORE))
    with monkeypatch.context() as patched:
        die_at(patched, "ended", "before")
        assert forked(at.words_of(rows, *MORE, "--lane", "live")) == -signal.SIGKILL
    lost()

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    at.check(answered=10)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_part_that_was_lost_on_its_way_is_no_loss_once_its_results_are_fetched_again(
    lane, rows_file, monkeypatch, lost, dialect
):
    """The URL was told of it, and never had it: its results come again from the service, unpaid."""
    at, rows = lane(dialect), rows_file(25)
    with monkeypatch.context() as patched:
        patched.setattr(Copy, "upload", lambda *_: die())
        assert forked(at.words_of(rows, *MORE)) == -signal.SIGKILL
    lost()

    done = at.run(rows, *MORE)

    assert done.code == 0, done.err
    assert "not here: completions/part-" in done.err
    at.check(answered=25)
    assert len(at.server.batches()["batches"]) == 3
    books, ledger = at.books(), at.server.ledger()
    assert books["spent_usd"] == pytest.approx(ledger["usd"])
    assert books["attempts"] == 25
    assert books["cost_wasted_usd"] == pytest.approx(0)


@pytest.mark.parametrize("step", ["meant", "ordering"])
def test_who_wakes_up_when_another_machine_has_the_run_orders_nothing(
    lane, rows_file, monkeypatch, lost, tmp_path, step
):
    """A laptop sleeps for an hour in the middle of its orders; its next sign of life would be due in 30 s."""
    at, rows = lane("openai"), rows_file(25)
    note, seen = BatchLog._note, []

    def noted(self, record):
        batch = note(self, record)
        seen.append(record["t"])
        if seen.count(step) == 2 and record["t"] == step:
            (tmp_path / "store/bucket/runs/x/lease.json").unlink()
            assert _elsewhere(at.words_of(rows, *MORE), tmp_path) == 0
        return batch

    monkeypatch.setattr(BatchLog, "_note", noted)

    done = at.run(rows, *MORE)

    assert done.code == 3, done.err
    assert "has taken the run over" in done.err
    books = at.server.batches()
    assert books["submitted_twice"] == books["billed_twice"] == {}
    assert sum(one["billed"] for one in books["batches"]) == 25
    shutil.rmtree(tmp_path / "there")
    assert _elsewhere(["verify", URL], tmp_path) == 0  # nothing of the other's was written over


def _elsewhere(words: list[str], tmp_path) -> int:
    """Runs the command on another machine; returns its exit code."""
    there = tmp_path / "there"
    there.mkdir(exist_ok=True)
    env = environment(SHELF=str(tmp_path / "store"))
    return subprocess.run(
        [sys.executable, "-m", "tests.proofs.crash.batch_steps", *words], cwd=there, env=env
    ).returncode
