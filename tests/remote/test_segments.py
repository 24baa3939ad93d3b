"""Workers that share no directory: what they leave at the run's URL, and who goes on with it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from msgspec.structs import asdict, replace

import batchlab
from batchlab.engines.crew import Worker as SeenWorker
from batchlab.engines.messages import RunAt, line
from batchlab.engines.processes import ProcessCrew
from batchlab.engines.ray.messages import CheckIn
from batchlab.engines.ray.node import Node, code_digest
from batchlab.job.file import job_from
from batchlab.looking.opening import open_run
from batchlab.looking.status import run_status
from batchlab.looking.verify import verify_run
from batchlab.remote import depot as depots
from batchlab.remote import segments, storage
from batchlab.remote.depot import Depot, manifest_at
from batchlab.remote.mirror import Mirror
from batchlab.remote.remote_run import RemoteRun
from batchlab.remote.segments import Segments, own_directory, salvage
from batchlab.remote.urls import EXTRAS
from batchlab.run_end import RunStopped
from batchlab.runner import invocation
from batchlab.runner.execute import execute
from batchlab.runner.preparing.prepare import prepare
from batchlab.runner.run_options import RunOptions
from batchlab.store.disk.fence import FENCE_S
from batchlab.store.journals.journal import RESULT_KINDS, decode
from batchlab.store.layout import Layout
from batchlab.store.locked import LockedRun
from batchlab.store.view import RunView
from batchlab.store.working import WorkingRun
from tests.conftest import CANARY, ROOT
from tests.store.journals.test_journal import completion

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

URL = "basics://data/runs/x"
ROWS = 50


def described(base_url: str, **limits: object):
    return job_from(
        {
            "input": {"path": "basics://data/in.jsonl"},
            "endpoint": {"base_url": base_url, "api_key_env": "SIMULATOR_KEY"},
            "request": {"model": "sim", "prompt": "{text}"},
            "limits": limits,
            "output": {"shard_rows": 10, "run_dir": URL},
        }
    )


def rows_of(count: int) -> bytes:
    return "".join(json.dumps({"n": n, "text": f"The {n}th remark."}) + "\n" for n in range(count)).encode()


@pytest.fixture
def shared(memory, simulator, tmp_path, monkeypatch):
    """A run at a URL whose driver has just asked for workers, and died: its job and the provider."""
    (tmp_path / "driver").mkdir()
    monkeypatch.chdir(tmp_path / "driver")
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    monkeypatch.setattr(segments, "RETRY_S", 0.0)
    monkeypatch.setattr(segments, "OPEN_S", 0.0)
    monkeypatch.setattr(segments, "PATIENCE_S", 0.0)
    monkeypatch.setattr(depots, "FENCE_S", -1.0)
    memory.pipe_file("/data/in.jsonl", rows_of(ROWS))
    provider = simulator()
    job = described(provider.base_url)
    prepared = prepare(job, fresh=False, say=lambda text: None)
    prepared.store.publisher.share()
    prepared.store.close()
    prepared.source.close()
    return job, provider, prepared


class Worker:
    """A worker of a cluster, as far as its journals are concerned."""

    def __init__(self, name: str, prepared, *, flush_s: float = 3_600.0) -> None:
        self.plan, self.source = prepared.plan, prepared.source
        own = own_directory(Path(tempfile.mkdtemp()))
        self.depot = Depot(own, URL)
        self.segments = Segments(own, self.depot, name, flush_s=flush_s)
        self.store = WorkingRun(own, manifest_at(URL), publisher=self.segments)

    def opened(self, index: int):
        return self.store.open_shard(self.plan.shards[index])

    def answered(self, shard, rows, text: str = "answer") -> None:
        for row in rows:
            shard.append_sent(row, 1)
            shard.append(completion(row, text))
        shard.flush()

    def sealed(self, index: int, text: str = "answer") -> None:
        shard = self.opened(index)
        self.answered(shard, [row for row in range(index * 10, index * 10 + 10) if not shard.done(row)], text)
        shard.seal(self.source.table(self.plan.shards[index], self.plan))


def objects(memory, below: str) -> list[str]:
    return sorted(
        path.removeprefix("/data/runs/x/")
        for path in memory.store
        if path.startswith(f"/data/runs/x/{below}")
    )


def test_what_was_added_goes_as_one_more_piece_that_ends_with_a_record(shared, memory):
    worker = Worker("w", shared[2])
    shard = worker.opened(1)
    worker.answered(shard, [10, 11])
    worker.segments.flush()
    worker.segments.flush()  # nothing new
    worker.answered(shard, [12])
    worker.segments.flush()

    names = objects(memory, "journal")
    assert [re.sub(r"\.[0-9a-f]{8}\.", ".*.", name) for name in names] == [
        "journal/000001/1.*.1.log",
        "journal/000001/1.*.2.log",
    ]
    pieces = [memory.cat_file(f"/data/runs/x/{name}") for name in names]
    assert [len(piece.splitlines()) for piece in pieces] == [5, 2]  # the first says whose journal it is
    assert all(decode(line) for piece in pieces for line in piece.splitlines(keepends=True))


def test_a_record_that_is_half_written_waits_for_the_next_piece(shared, memory):
    worker = Worker("w", shared[2])
    shard = worker.opened(0)
    worker.answered(shard, [0])
    [journal] = (worker.store.path / "journal").glob("*.log")
    with journal.open("ab") as file:
        file.write(b"0000")
    worker.segments.flush()

    [name] = objects(memory, "journal")
    assert memory.cat_file(f"/data/runs/x/{name}").endswith(b"\n")


def test_a_fresh_attempt_goes_on_with_what_a_lost_one_had_put(shared, memory):
    lost = Worker("lost", shared[2])
    shard = lost.opened(2)
    lost.answered(shard, range(20, 26))
    lost.segments.flush()
    lost.answered(shard, [26, 27])  # within the interval: this is what is paid again
    fresh = Worker("fresh", shared[2])

    again = fresh.opened(2)

    assert [row for row in range(20, 30) if again.done(row)] == list(range(20, 26))
    fresh.sealed(2)
    assert objects(memory, "completions") == ["completions/part-000002.parquet"]
    assert not objects(memory, "journal")
    assert len(objects(memory, "checksums/")) == 1


def test_the_driver_has_a_sealed_part_with_its_checksum_and_no_piece_of_its_journal(shared, memory):
    mirror = Mirror(shared[2].store.path, URL, print)
    half = Worker("half", shared[2])
    half.answered(half.opened(3), [30])
    half.segments.flush()
    mirror.gather([3])
    assert RunView.open(shared[2].store.path).shard_books(3)[0].rows == 1
    Worker("whole", shared[2]).sealed(3)

    mirror.gather([3])

    run = RunView.open(shared[2].store.path)
    assert (run.sealed(), run.unsealed(), run.totals().rows) == ({3}, set(), 10)
    assert not objects(memory, "checksums/")
    assert b"part-000003" in memory.cat_file("/data/runs/x/checksums.log")
    assert not verify_run(URL).problems


def test_a_part_that_nobody_has_written_is_refused(shared, memory):
    Worker("w", shared[2]).sealed(0)
    part = "/data/runs/x/completions/part-000000.parquet"
    memory.pipe_file(part, memory.cat_file(part)[:-1] + b"X")

    with pytest.raises(batchlab.errors.CorruptRun, match="not the file that was written"):
        Mirror(shared[2].store.path, URL, print).gather()


def test_a_worker_that_was_given_up_changes_nothing_that_counts(shared, memory):
    zombie = Worker("zombie", shared[2])
    shard = zombie.opened(0)
    zombie.answered(shard, range(3), "first")
    zombie.segments.flush()
    Worker("fresh", shared[2]).sealed(0, "second")
    part = memory.cat_file("/data/runs/x/completions/part-000000.parquet")

    zombie.answered(shard, range(3, 10), "too late")
    zombie.segments.flush()  # pieces of a shard that is sealed
    late = Mirror(shared[2].store.path, URL, print)
    late.gather()
    results = {result.row_id: result.reply.completion for result in open_run(URL).shard_results(0)}
    shard.seal(zombie.source.table(zombie.plan.shards[0], zombie.plan))
    late.gather()

    assert results == {row: "first" if row < 3 else "second" for row in range(10)}
    assert memory.cat_file("/data/runs/x/completions/part-000000.parquet") == part
    assert open_run(URL).totals().rows == 10
    assert not verify_run(URL).problems


def test_a_piece_whose_answer_was_lost_is_not_put_twice(shared, memory, monkeypatch):
    worker = Worker("w", shared[2])
    shard = worker.opened(0)
    worker.answered(shard, [0, 1])
    put = storage.put_bytes

    def lost(url: str, content: bytes, *, absent: bool = False) -> None:
        put(url, content, absent=absent)
        raise storage.StorageError(url, "cannot be reached")

    monkeypatch.setattr(depots, "put_bytes", lost)
    with pytest.raises(storage.StorageError):
        worker.segments.flush()
    monkeypatch.setattr(depots, "put_bytes", put)
    worker.answered(shard, [2])
    worker.segments.flush()

    books = RemoteRun.at(URL).totals()
    assert (books.rows, books.attempts) == (3, 3)
    assert len(objects(memory, "journal")) == 2


def test_with_a_process_only_what_was_in_flight_is_lost_while_its_node_lives(shared, memory):
    dead = Worker("dead", shared[2])
    shard = dead.opened(2)
    dead.answered(shard, range(20, 24))
    dead.segments.flush()
    dead.answered(shard, range(24, 27))

    salvage(dead.store.path.parent, URL)

    books = RemoteRun.at(URL).totals()
    assert (books.rows, books.attempts) == (7, 7)
    assert len(objects(memory, "journal")) == 2
    assert not dead.store.path.parent.exists()


def test_a_store_that_takes_nothing_ends_the_run_and_loses_nothing(shared, memory, monkeypatch):
    told = []
    worker = Worker("w", shared[2])
    worker.segments._trouble = told.append
    shard = worker.opened(0)
    worker.answered(shard, range(10))

    def refused(url: str, content: bytes, *, absent: bool = False) -> None:
        raise storage.StorageError(url, "access denied")

    with monkeypatch.context() as patched:
        patched.setattr(depots, "put_bytes", refused)
        with pytest.raises(RunStopped, match=f"{URL}: access denied; "):
            shard.seal(worker.source.table(worker.plan.shards[0], worker.plan))
        with pytest.raises(RunStopped, match=rf"What it did not take is in {worker.store.path}"):
            worker.store.close()

    assert not objects(memory, "completions")
    assert len(list((worker.store.path / "journal").glob("*.log"))) == 1


@pytest.mark.parametrize("where", ["driver", "elsewhere"])
def test_another_engine_goes_on_with_what_a_dead_cluster_left(shared, memory, tmp_path, monkeypatch, where):
    job, provider, prepared = shared
    Worker("one", prepared).sealed(0)
    two = Worker("two", prepared)
    two.answered(two.opened(1), range(10, 16))
    two.segments.flush()
    memory.rm_file("/data/runs/x/lease.json")  # as it is two minutes after a driver died
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / where)
    assert run_status(URL).state.totals.rows == 16
    assert not verify_run(URL).problems

    done = execute(job, RunOptions(progress="none"))

    assert (done.exit_code, done.totals.rows) == (0, ROWS), done.message
    assert provider.ledger()["billed"] == ROWS - 16
    assert not objects(memory, "journal") + objects(memory, "workers") + objects(memory, "checksums/")
    assert len(objects(memory, "completions")) == 5
    assert not Layout(Path(done.run_dir)).away.exists()
    assert not verify_run(URL).problems


def test_workers_of_a_cluster_go_on_with_the_journals_of_this_machine(shared, memory):
    job, _, _ = shared
    prepared = prepare(job, fresh=False, say=print)
    with contextlib.closing(prepared.store):
        shard = prepared.store.open_shard(prepared.plan.shards[4])
        shard.append_sent(40, 1)
        shard.append(completion(40))
        shard.close()
        before = prepared.store.totals()
        prepared.store.publisher.share()

        assert prepared.store.totals() == before
        again = Worker("w", prepared).opened(4)
        assert again.done(40)
        assert (again.found.rows, again.found.attempts) == (before.rows, before.attempts)


def test_a_new_generation_takes_pieces_of_the_old_one_aside(shared, memory):
    job, _, prepared = shared
    worker = Worker("w", prepared)
    worker.answered(worker.opened(1), range(10, 16))
    worker.segments.flush()
    memory.pipe_file("/data/in.jsonl", rows_of(ROWS + 1))

    done = execute(job, RunOptions(progress="none", quiet=True))

    assert (done.exit_code, done.totals.rows) == (0, ROWS + 1), done.message
    assert not objects(memory, "journal")
    assert objects(memory, "previous/1/journal")


def test_each_node_must_read_the_token_and_write(shared, memory):
    job, _, prepared = shared
    depot = Depot(prepared.store.path, URL)
    depot.arrive("token", "0123")
    asked = CheckIn(
        version=batchlab.__version__,
        code=code_digest(Path(batchlab.__file__).parent),
        token="0123",
        cwd=os.getcwd(),
        machine=None,
        run=line(RunAt(job, "/nowhere", "/nowhere", URL)),
    )
    nothing_there = line(RunAt(job, "/nowhere", "/nowhere", "basics://data/none"))

    assert asyncio.run(Node(lambda: None).check_in(**asdict(asked))) == ""
    other = asyncio.run(Node(lambda: None).check_in(**asdict(replace(asked, token="4567"))))
    gone = asyncio.run(Node(lambda: None).check_in(**asdict(replace(asked, run=nothing_there))))

    assert other.startswith(f"{URL} is another store there. ")
    assert gone.startswith("basics://data/none/workers/token: no such object. ")
    assert objects(memory, "workers") == ["workers/token"]


class AwayCrew(ProcessCrew):
    """Workers as on the nodes of a cluster: each has a directory of its own, and the store."""

    who = "a worker"

    def __init__(self, store: LockedRun) -> None:
        super().__init__(2, store.lock_descriptor)
        self.depot = Depot(store.path, URL)
        self.may_repeat: set[int] | None = None
        self._killing: asyncio.Task | None = None

    async def start(self, begin) -> SeenWorker:
        run, home = replace(begin.run, url=URL), tempfile.mkdtemp(prefix="node-")
        worker = await self._started(replace(begin, run=run, fence_s=FENCE_S, home=home), None)
        if self._killing is None:
            pid = self._processes[worker.name][0].pid
            self._killing = asyncio.create_task(self._kill(worker.name, pid))
        return worker

    async def ended(self, worker):
        ending = await super().ended(worker)
        self.depot.leave(worker.name)
        return ending

    async def _kill(self, name: str, pid: int) -> None:
        """Stopped first, to see what the store does not have of its journal: more than one report of it."""
        there: set[int] = set()
        answered: set[int] = set()
        while not there or len(answered - there) < 30:
            await asyncio.sleep(0.05)
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
            held = [Path(path) for path in links if re.search(r"/journal/\d+\.\d+\.log$", path)]
            os.kill(pid, signal.SIGSTOP)
            sent, answered = rows_in([path.read_bytes() for path in held if path.exists()])
            pieces = []
            for piece in self.depot.pieces():
                with contextlib.suppress(storage.NotThereError):  # the other worker seals its shard
                    pieces.append(storage.get_bytes(f"{URL}/{piece.key}"))
            there = rows_in(pieces)[1]
            self.may_repeat = sent - there
            os.kill(pid, signal.SIGKILL if there and len(answered - there) >= 30 else signal.SIGCONT)


def rows_in(journals: list[bytes]) -> tuple[set[int], set[int]]:
    """Rows that were sent, and rows that have a result."""
    records = [decode(line) for data in journals for line in data.splitlines(keepends=True)]
    known = [record for record in records if record is not None]
    sent = {record["row"] for record in known if record["t"] == "sent"}
    return sent, {record["v"]["row_id"] for record in known if record["t"] in RESULT_KINDS}


def test_a_killed_worker_costs_what_was_in_flight_and_one_flush(simulator, tmp_path, monkeypatch, capfd):
    shelf = Path(__file__).parent / "shelf"
    monkeypatch.setenv("SHELF", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{shelf}")
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    monkeypatch.setitem(EXTRAS, "basics", "basics")
    monkeypatch.syspath_prepend(str(shelf))
    sys.modules.pop("sitecustomize", None)
    import sitecustomize

    sitecustomize.register()
    storage.filesystem.cache_clear()
    (tmp_path / "store/data").mkdir(parents=True)
    (tmp_path / "store/data/in.jsonl").write_bytes(rows_of(500))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    provider = simulator(latency_median_s=0.1)
    crews = []

    def crew_for(job, store, shards, say, *, alone=""):
        store.publisher.share()
        crews.append(AwayCrew(store))
        return crews[-1]

    monkeypatch.setattr(invocation, "crew_for", crew_for)

    job = described(provider.base_url, concurrency=8, journal_flush=1.0)
    job = dataclasses.replace(job, output=dataclasses.replace(job.output, shard_rows=150))

    done = execute(job, RunOptions(progress="plain"))

    storage.filesystem.cache_clear()
    said = capfd.readouterr().err
    assert (done.exit_code, done.totals.ok) == (0, 500), said
    [crew] = crews
    assert len(crew.may_repeat) >= 30
    assert provider.ledger()["billed_repeats"] <= len(crew.may_repeat)
    lost = re.search(
        r"a worker ended by SIGKILL with (\d) requests? in flight.* and (\d+) answers? of its last 1 s", said
    )
    assert lost, said
    assert int(lost[1]) <= 4
    assert 0 < int(lost[2]) <= len(crew.may_repeat)
    assert not crew.depot.pieces()
    assert not list((tmp_path / "store/data/runs/x/workers").iterdir())
    assert not verify_run(URL).problems
