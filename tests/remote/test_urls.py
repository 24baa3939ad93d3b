"""URLs without a server: what is refused, which library is asked, and a store in memory."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from batchlab import load, run
from batchlab.errors import UsageError
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from batchlab.looking.export import Target, export_tables
from batchlab.looking.opening import open_run
from batchlab.looking.status import run_status
from batchlab.looking.verify import verify_run
from batchlab.remote import storage
from batchlab.remote.remote_run import RemoteRun
from batchlab.remote.urls import is_url, local_dir_of, url_problem
from batchlab.runner.execute import execute
from batchlab.runner.run_options import RunOptions
from tests.conftest import CANARY


@pytest.mark.parametrize(
    ("path", "url"),
    [("s3://b/x", True), ("hf://datasets/a/b", True), ("x.csv", False), ("C:\\x", False), ("a/s3:/b", False)],
)
def test_what_is_a_url(path, url):
    assert is_url(path) is url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("s3://bucket/x", None),
        ("s3://bucket/x?.parquet", None),
        ("abfs://container@account.dfs.core.windows.net/x", None),
        ("hf://datasets/me/set@main/x.parquet", None),
        ("s3://AKIA:SECRET@bucket/x", "must not hold a key"),
        ("abfs://container:SECRET@account/x", "must not hold a key"),
        ("az://container/x.csv?sv=1&sig=SECRET", "must not hold a key"),
        ("ftp://host/x", "no storage that batchlab knows"),
        ("s3://", "names no bucket"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_secret(url, problem):
    found = url_problem(url)

    assert (found is None) == (problem is None)
    assert problem is None or problem in found
    assert "SECRET" not in (found or "")


def test_no_problem_of_a_job_repeats_the_key_in_its_url():
    with pytest.raises(UsageError) as refused:
        job_from({"output": {"file": "s3://AKIA:SECRET@bucket/out.xls", "run_dir": "s3://me:SECRET@b/x"}})

    assert "must not hold a key" in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_a_run_directory_at_a_url_has_a_local_one_for_its_journal():
    job = job_from(
        {"input": {"path": "x.csv"}, "request": {"model": "m"}, "output": {"run_dir": "gs://b/r/x/"}}
    )

    assert (job.output.remote, job.output.run_dir) == ("gs://b/r/x", "runs/gs-b-r-x")
    assert local_dir_of("s3://b/runs/ünï") == "runs/s3-b-runs-n"


@pytest.mark.parametrize(
    ("scheme", "extra", "module", "name"),
    [
        ("s3", "s3", "s3fs", "S3FileSystem"),
        ("gs", "gcs", "gcsfs", "GCSFileSystem"),
        ("az", "azure", "adlfs", "AzureBlobFileSystem"),
        ("abfs", "azure", "adlfs", "AzureBlobFileSystem"),
        ("hf", "hf", "huggingface_hub", "HfFileSystem"),
    ],
)
def test_each_scheme_asks_its_own_library_and_names_its_extra(monkeypatch, scheme, extra, module, name):
    def chosen() -> object:
        loaded = sys.modules["fsspec.registry"]._registry
        storage.filesystem.cache_clear()
        loaded.pop(scheme, None)
        try:
            return storage.filesystem(scheme)
        finally:
            storage.filesystem.cache_clear()
            loaded.pop(scheme, None)

    found = type(name, (fsspec.AbstractFileSystem,), {"protocol": scheme})
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, module, types.SimpleNamespace(__version__="2026.9", **{name: found}))
        assert isinstance(chosen(), found)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(UsageError, match=rf"pip install 'batchlab\[{extra}\]'"):
        chosen()


def test_without_fsspec_the_extra_is_named(monkeypatch):
    importing = builtins.__import__

    def refused(name: str, *more: object) -> object:
        if name == "fsspec":
            raise ImportError(name)
        return importing(name, *more)

    monkeypatch.setattr(builtins, "__import__", refused)
    storage.filesystem.cache_clear()

    with pytest.raises(UsageError, match=r"batchlab\[gcs\]"):
        open_source("gs://bucket/x.csv")


def test_local_paths_never_load_fsspec(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    code = (
        "import sys; from batchlab.runner.execute import execute\n"
        "from batchlab.runner.run_options import RunOptions\n"
        "from batchlab.looking.verify import verify_run; from batchlab.job.file import job_from\n"
        "job = job_from({'input': {'path': 'x.jsonl'}, 'endpoint': {'base_url': 'simulator'},"
        " 'request': {'model': 'm', 'prompt': '{text}'}, 'output': {'run_dir': 'r', 'file': 'o.csv'}})\n"
        "assert execute(job, RunOptions(progress='none', quiet=True)).exit_code == 0\n"
        "assert not verify_run('r').problems\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'fsspec', 's3fs'}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def described(base_url: str, **output: object) -> object:
    return job_from(
        {
            "input": {"path": "basics://data/in.jsonl"},
            "endpoint": {"base_url": base_url, "api_key_env": "SIMULATOR_KEY"},
            "request": {"model": "sim", "prompt": "{text}"},
            "output": {"shard_rows": 20, "file": "basics://data/out.jsonl", **output},
        }
    )


def test_a_store_that_has_only_the_basics_holds_a_whole_run(memory, simulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    rows = [{"n": n, "text": f"The {n}th remark."} for n in range(50)]
    memory.pipe_file("/data/in.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    provider = simulator()
    job = described(provider.base_url, run_dir="basics://data/runs/x")

    summary = execute(job, RunOptions(progress="none", quiet=True))

    assert (summary.exit_code, summary.remote) == (0, "basics://data/runs/x"), summary.message
    assert [json.loads(line)["n"] for line in memory.cat_file("/data/out.jsonl").splitlines()] == list(
        range(50)
    )
    assert not memory.exists("/data/runs/x/lease.json")
    # from a machine that has nothing of it
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert isinstance(open_run("basics://data/runs/x"), RemoteRun)
    assert run_status("basics://data/runs/x").state.totals.answered == 50
    assert not verify_run("basics://data/runs/x").problems
    assert list(load("basics://data/runs/x")["n"]) == list(range(50))
    again = execute(job, RunOptions(progress="none", quiet=True))
    assert (again.exit_code, again.sent, again.totals.rows) == (0, 0, 50)


def test_verify_at_a_url_finds_a_part_that_is_not_what_was_written(memory, simulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    memory.pipe_file("/data/in.jsonl", b'{"text": "a"}\n{"text": "b"}\n')
    execute(
        described(simulator().base_url, run_dir="basics://data/runs/x"),
        RunOptions(progress="none", quiet=True),
    )
    part = memory.cat_file("/data/runs/x/completions/part-000000.parquet")
    memory.pipe_file("/data/runs/x/completions/part-000000.parquet", part[:-9] + b"X" + part[-8:])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    [problem, *_] = verify_run("basics://data/runs/x").problems

    assert "basics://data/runs/x/completions/part-000000.parquet: not the file that was written" in problem


def test_a_copy_can_be_added_to_a_run_that_is_there(memory, simulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    memory.pipe_file("/data/in.jsonl", b'{"text": "a"}\n{"text": "b"}\n')
    provider = simulator()
    execute(described(provider.base_url, run_dir="mine"), RunOptions(progress="none", quiet=True))

    done = execute(
        described(provider.base_url, run_dir="mine", remote="basics://data/copy"),
        RunOptions(progress="none", quiet=True),
    )

    assert (done.exit_code, done.sent) == (0, 0)
    assert memory.exists("/data/copy/completions/part-000000.parquet")
    assert RemoteRun.at("basics://data/copy").totals().rows == 2


def test_an_export_appears_at_a_url_only_when_it_is_whole(memory):
    import pyarrow as pa

    memory.pipe_file("/data/other", b"")

    def tables() -> Iterator[pa.Table]:
        yield pa.table({"a": [1]})
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        export_tables(Target("basics://data/out.csv", "csv"), tables)

    assert not memory.exists("/data/out.csv")


def test_rows_of_a_program_may_have_their_run_directory_at_a_url(memory, simulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)

    frame = run(
        ["Say hello.", "Say goodbye."],
        model="sim",
        base_url=simulator().base_url,
        api_key_env="SIMULATOR_KEY",
        run_dir="basics://data/runs/rows",
        progress="none",
    )

    assert len(frame) == 2
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert list(load("basics://data/runs/rows")["completion"]) == list(frame["completion"])


@pytest.fixture
def copied(memory, simulator, tmp_path, monkeypatch):
    """A finished run of 50 rows in three parts, with a copy at a URL, its job and the provider."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    rows = [{"text": f"The {n}th remark."} for n in range(50)]
    memory.pipe_file("/data/in.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    provider = simulator()
    job = described(provider.base_url, run_dir="basics://data/runs/x")
    assert execute(job, RunOptions(progress="none", quiet=True)).exit_code == 0
    return job, provider


def elsewhere(tmp_path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def test_a_part_that_is_gone_here_is_brought_back_from_the_url(copied, capfd):
    job, provider = copied
    part = Path(local_dir_of("basics://data/runs/x")) / "completions/part-000001.parquet"
    good = part.read_bytes()
    part.unlink()
    assert verify_run("basics://data/runs/x").exit_code == 1

    again = execute(job, RunOptions(progress="none"))

    assert (again.exit_code, again.sent) == (0, 0)
    assert "was gone; brought back from basics://data/runs/x" in capfd.readouterr().err
    assert part.read_bytes() == good
    assert verify_run("basics://data/runs/x").exit_code == 0
    assert provider.ledger()["billed"] == 50


def test_a_part_that_is_gone_at_the_url_is_refused_there_until_its_loss_is_accepted(
    copied, memory, tmp_path, monkeypatch
):
    job, provider = copied
    memory.rm("/data/runs/x/completions/part-000001.parquet")
    elsewhere(tmp_path, monkeypatch)

    verified = verify_run("basics://data/runs/x")
    assert verified.exit_code == 1
    assert "basics://data/runs/x/completions/part-000001.parquet: gone (20 rows" in verified.problems[0]
    with pytest.raises(UsageError, match="part-000001.parquet: gone"):
        execute(job, RunOptions(progress="none", quiet=True))
    assert provider.ledger()["billed"] == 50
    accepted = replace(job, output=replace(job.output, accept_lost_parts=True))
    done = execute(accepted, RunOptions(progress="none", quiet=True))

    assert (done.exit_code, done.sent, done.totals.rows) == (0, 20, 50)
    assert done.totals.wasted_completion_tokens > 0
    (tmp_path / "third").mkdir()
    monkeypatch.chdir(tmp_path / "third")  # its loss is in the books at the URL, too
    assert run_status("basics://data/runs/x").state.totals == done.totals
    assert verify_run("basics://data/runs/x").exit_code == 0


def test_a_part_that_had_not_come_to_the_url_is_asked_again_elsewhere_and_said(
    copied, memory, tmp_path, monkeypatch, capfd
):
    job, _ = copied
    memory.rm("/data/runs/x/completions/part-000002.parquet")
    memory.rm("/data/runs/x/uploaded.log")  # as if that machine was lost before it was uploaded
    elsewhere(tmp_path, monkeypatch)
    assert verify_run("basics://data/runs/x").exit_code == 3

    done = execute(job, RunOptions(progress="none"))

    assert (done.exit_code, done.sent) == (0, 10)
    assert "not here: completions/part-000002.parquet: gone (10 rows" in capfd.readouterr().err
    assert done.totals.wasted_completion_tokens > 0


def test_a_part_that_is_gone_at_the_url_comes_there_again_from_here(copied, memory):
    job, provider = copied
    memory.rm("/data/runs/x/completions/part-000001.parquet")

    assert execute(job, RunOptions(progress="none", quiet=True)).exit_code == 0

    assert memory.exists("/data/runs/x/completions/part-000001.parquet")
    assert provider.ledger()["billed"] == 50
