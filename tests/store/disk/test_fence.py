"""A worker that was given up, and whether it can still do harm."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from batchlab.errors import UsageError
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from batchlab.records import Completion, Reply, Timing, Usage
from batchlab.store.disk.fence import Fence, await_orphans, hold, is_held
from batchlab.store.integrity.verify import verify
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest, read_manifest
from batchlab.store.view import RunView
from batchlab.store.working import WorkingRun


class Left(BaseException):
    """Instead of the end of the process."""


def leave():
    raise Left


class Attempt:
    """A worker's view of a run of one shard with three rows; `now` is its clock."""

    def __init__(self, path, plan, table):
        self.now, self._table = 0.0, table
        fence = Fence(15.0, leave, now=lambda: self.now)
        self.store = WorkingRun(path, read_manifest(path), fence=fence)
        self.shard = self.store.open_shard(plan.shards[0])

    def answers(self, row: int) -> None:
        self.shard.append_sent(row, 1)
        self.shard.append(
            Completion(
                row_id=row,
                custom_id=str(row),
                request_hash=bytes(16),
                status="ok",
                reply=Reply(completion=f"answer {row}", usage=Usage(prompt_tokens=1, completion_tokens=1)),
                attempts=1,
                timing=Timing(0.0, 1.0, 1.0),
            )
        )
        self.shard.flush()

    def seal(self):
        return self.shard.seal(self._table)


@pytest.fixture
def attempt(tmp_path):
    """Makes attempts at one run, which `attempt.verified()` checks."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": str(n)}) + "\n" for n in range(3)))
    job = job_from(
        {"input": {"path": str(tmp_path / "rows.jsonl")}, "request": {"model": "m", "prompt": "{text}"}}
    )
    source = open_source(job.input.path)
    plan = source.scan(3)
    table = source.table(plan.shards[0], plan)
    path = tmp_path / "run"
    LockedRun.create(path, Manifest.of(job, plan)).close()
    made = []

    def make() -> Attempt:
        made.append(Attempt(path, plan, table))
        return made[-1]

    def verified() -> None:
        LockedRun.open(path).close()  # which tidies up
        store = RunView.open(path)
        report = verify(store, list(plan.shards))
        assert not report.problems
        assert [result.reply.completion for result in store.all_results()] == [
            "answer 0",
            "answer 1",
            "answer 2",
        ]
        assert store.totals() == report.totals
        assert not list(path.glob("*/*.tmp"))

    make.verified = verified
    yield make
    source.close()


def test_a_worker_without_a_grant_leaves_before_it_writes_again(attempt):
    one = attempt()
    one.answers(0)
    one.store.fence.renew(4.0)
    one.now = 18.9
    one.answers(1)
    one.now = 19.0

    with pytest.raises(Left):
        one.answers(2)
    one.shard._queued.clear()


def test_two_attempts_at_once_write_to_files_of_their_own(attempt):
    old = attempt()
    old.answers(0)
    new = attempt()
    old.answers(1)
    new.answers(1)
    new.answers(2)
    with pytest.raises(Left):
        (old.answers(2), old.seal())

    new.seal()

    attempt.verified()


def test_an_old_attempt_that_wakes_up_with_all_its_answers_publishes_nothing(attempt):
    old = attempt()
    for row in (0, 1, 2):
        old.answers(row)
    new = attempt()  # reads them all

    sealed = new.seal()
    part = next((new.store.path / "completions").iterdir()).read_bytes()

    assert old.seal() == sealed
    assert next((new.store.path / "completions").iterdir()).read_bytes() == part
    attempt.verified()


def test_of_two_that_publish_in_the_same_moment_the_first_is_what_all_read(attempt, monkeypatch):
    """As if the old one had been stopped after its last look."""
    old, new = attempt(), attempt()
    for row in (0, 1, 2):
        old.answers(row)
        new.answers(row)
    monkeypatch.setattr(type(old.shard._journals), "has_others", lambda self: False)
    first = old.seal()

    second = new.seal()

    assert first == second
    attempt.verified()


def test_the_lock_of_a_worker_is_free_once_its_process_is_gone(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom batchlab.store.disk.fence import hold\n"
        "hold(Path(sys.argv[1]), '0.1')\nprint('held', flush=True)\ntime.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "held\n"

    assert is_held(tmp_path, "0.1")
    with pytest.raises(UsageError, match=r"workers/0\.1\.lock: a worker of an earlier run still holds it"):
        await_orphans(tmp_path, patience_s=0.0)
    worker.kill()
    worker.communicate()
    assert not is_held(tmp_path, "0.1")
    await_orphans(tmp_path, patience_s=0.0)
    assert not list((tmp_path / "workers").iterdir())


def test_no_two_workers_hold_one_name(tmp_path):
    hold(tmp_path, "0.1")

    with pytest.raises(OSError, match="temporarily unavailable"):
        hold(tmp_path, "0.1")
