"""What keeps a node from a run, each in one line; no ray is needed to find out."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from msgspec.structs import asdict, replace

import batchlab
from batchlab.engines.messages import Address, Begin, RunAt, line, read_run, to_worker
from batchlab.engines.ray import link
from batchlab.engines.ray.crew import RayCrew
from batchlab.engines.ray.link import refuse_absent
from batchlab.engines.ray.messages import CheckIn
from batchlab.engines.ray.node import Node, code_digest, this_machine
from batchlab.errors import UsageError
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from batchlab.job.key import Secret
from batchlab.store.disk.fence import hold
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest
from tests.conftest import CANARY
from tests.store.manifests import manifest

TOKEN = "0123456789"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What a driver asks of a node that has nothing to complain of."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": str(n)}) + "\n" for n in range(3)))
    (tmp_path / "prompt.j2").write_text("Say {{ text }}")
    job = job_from(
        {
            "input": {"path": str(tmp_path / "rows.jsonl")},
            "request": {"model": "m", "prompt_file": str(tmp_path / "prompt.j2")},
        }
    )
    source = open_source(job.input.path)
    path = tmp_path / "run"
    LockedRun.create(path, Manifest.of(job, source.scan(3))).close()
    source.close()
    lock = hold(path, "driver")
    (path / "workers" / "token").write_text(TOKEN)
    monkeypatch.chdir(tmp_path)
    yield CheckIn(
        version=batchlab.__version__,
        code=code_digest(Path(batchlab.__file__).parent),
        token=TOKEN,
        cwd=str(tmp_path),
        machine=this_machine(),
        run=line(RunAt(job, str(path), str(path / "stdin.jsonl"))),
    )
    os.close(lock)


def run_dir(asked: CheckIn) -> Path:
    return Path(read_run(asked.run).path)


def problem(asked: CheckIn) -> str:
    return asyncio.run(Node(lambda: None).check_in(**asdict(asked)))


def test_a_node_that_sees_all_as_the_driver_does_may_work(asked):
    assert problem(asked) == ""


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("version", "9.9", "it has batchlab 0.1.0, and this is 9.9. Install one version on every node."),
        ("code", "other", "its batchlab 0.1.0 has other code than this one. Install the same on every node."),
        ("token", "another", "/run is another directory there. Put the run directory on a file system that"),
        ("machine", "another", "the endpoint's address is the driver's own machine, which this node is not."),
    ],
)
def test_what_differs_there_is_one_line(asked, name, value, said):
    found = problem(replace(asked, **{name: value}))

    assert said in found
    assert "\n" not in found


def test_a_run_directory_that_is_not_there_is_one_line(asked):
    away = line(RunAt(read_run(asked.run).job, "/nowhere", "/nowhere/stdin.jsonl"))

    found = problem(replace(asked, run=away))

    assert "/nowhere: No such file or directory. Put the run directory on a file system" in found
    assert "\n" not in found


def test_locks_that_do_not_reach_the_node_are_found_out(asked):
    (run_dir(asked) / "workers" / "driver.lock").unlink()

    assert "do not reach it. Mount that file system with locks" in problem(asked)


def test_a_prompt_file_or_an_input_that_differs_there_is_found_out(asked, tmp_path):
    (tmp_path / "prompt.j2").write_text("Sing {{ text }}")
    assert problem(asked).endswith("prompt.j2: changed while the run was going on. Run it again.")
    (tmp_path / "prompt.j2").write_text("Say {{ text }}")
    shutil.copy(tmp_path / "rows.jsonl", tmp_path / "copy")
    (tmp_path / "copy").rename(tmp_path / "rows.jsonl")

    assert "rows.jsonl: changed while the run was going on" in problem(asked)


def test_what_travels_with_a_key_shows_none(asked):
    begin = Begin(
        name="0.1",
        index=0,
        workers=1,
        run=read_run(asked.run),
        endpoints=(Address("https://somewhere", Secret(CANARY)),),
        answered=False,
    )

    assert CANARY not in repr(begin) + str([begin])
    arrived = to_worker(line(begin))
    assert arrived.endpoints[0].key.reveal() == CANARY
    assert CANARY not in repr(arrived)


@pytest.fixture
def with_ray(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "{limits.ray_address=127.0.0.1:1}: Connection refused. Is the cluster up?"),
        ("ray://head:10001", "{limits.ray_address=ray://head:10001}: expected HEAD:PORT"),
        ("head", "{limits.ray_address=head}: expected HEAD:PORT"),
    ],
)
def test_an_address_where_nobody_is_refuses_at_once(with_ray, address, said):
    with pytest.raises(UsageError) as refused:
        refuse_absent(address)

    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UsageError, match=r"^{limits.engine=ray} needs Ray: pip install 'batchlab\[ray\]'\.$"):
        refuse_absent("head:6379")


def test_a_port_that_never_answers_is_given_up(monkeypatch, tmp_path):
    """Ray itself waits for two minutes, and then ends the process."""
    monkeypatch.setattr(link, "INIT_S", 0.2)
    run = LockedRun.create(tmp_path / "run", manifest())
    job = job_from({"input": {"path": "x.csv"}, "request": {"model": "m", "prompt": "p"}})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"^{{limits.ray_address={address}}}: "):
            RayCrew.joined(run, job, address)

    assert not list(run.layout.workers.iterdir())
    run.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--engine", "local", "--processes", "2"),
            "--engine: local is one process, and --processes 2 is set",
        ),
        (("--journal-flush", "0.01s"), "--journal-flush: must be at least 0.1 s"),
        (("--ray-address", "head:6379"), "--ray-address: is for the engine ray; pass --engine ray"),
        (
            ("--engine", "ray", "--remote", "hf://datasets/me/run"),
            "--engine ray: workers write to hf://datasets/me/run every few seconds",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(batchlab, rows_file, words, said):
    done = batchlab("run", "-i", rows_file(3), "-m", "m", "-p", "{text}", "--base-url", "simulator", *words)

    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1, done.err
    assert not (batchlab.home / "runs").exists()


def test_the_engine_processes_is_one_a_cpu_unless_told(batchlab, simulator, rows_file):
    server = simulator()
    words = ["run", "-i", rows_file(60), "-m", "sim", "-p", "{text}", "--base-url", server.base_url]
    words += ["--api-key-env", "SIMULATOR_KEY", "--shard-rows", "10", "--engine", "processes"]

    done = batchlab(*words, "--processes", "2", "--progress", "none")

    assert done.code == 0, done.err
    assert server.ledger()["billed"] == server.ledger()["distinct"] == 60
    job = job_from({"input": {"path": "x"}, "request": {"model": "m"}, "limits": {"engine": "processes"}})
    assert job.limits.workers == "auto"
