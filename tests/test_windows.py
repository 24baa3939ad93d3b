"""The rules for Windows, on an imitation of it (`tests.windows_shim`): batchlab is not tested there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchlab.job import MAX_NAME_CHARS, InputJob, Job, default_run_dir, directory_name
from batchlab.looking.verify import verify_run
from batchlab.shell import shell_line
from batchlab.store.disk import ballast, files
from tests.conftest import environment
from tests.scenarios.test_run import job, wait_for


def windows(*words: str) -> list[str]:
    return [sys.executable, "-m", "tests.windows_shim", *words]


@pytest.mark.proof  # takes its time
def test_a_run_stops_goes_on_and_verifies_without_what_windows_lacks(simulator, rows_file, tmp_path):
    server = simulator(latency_median_s=0.1)
    words = windows(*job(server.base_url, rows_file(400), "-c", "4", "--shard-rows", "10", "-o", "out.csv"))

    def finished(words: list[str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    with subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        wait_for(lambda: server.ledger()["billed"] >= 12)
        second = finished(words)
        assert second.returncode == 2
        assert f"in use by process {run.pid}" in second.stderr
        assert f"running (pid {run.pid})" in finished(windows("status", "runs/rows")).stdout
        run.send_signal(signal.SIGINT)
        err = run.communicate(timeout=60)[1]
    assert run.returncode == 130, err
    assert "to go on:" in err

    # a changed input swaps generations by renaming over what is there
    words[words.index("-c") + 1] = "64"
    rows_file(401)
    last = finished(words)
    assert last.returncode == 0, last.stderr
    assert "rows are answered and kept" in last.stderr
    assert server.ledger()["billed"] == 401
    assert not verify_run(str(tmp_path / "runs" / "rows")).problems


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("CON.csv", "CON-run"),
        ("data/nul.jsonl", "nul-run"),
        ("com1.tsv", "com1-run"),
        ("console.csv", "console"),
        ('a:b*c?"<d>|e.csv', "a-b-c-d-e"),
        ("trailing .csv", "trailing-"),
        (".csv", "run"),
        ("-", "stdin"),
        ("parts/*.parquet", "parquet"),
    ],
)
def test_a_run_directory_s_name_is_one_everywhere(path, name):
    if name == "parquet":  # a glob has no name of its own
        assert default_run_dir(Job(InputJob("parts/*"))) == "runs/parts"
        return
    assert default_run_dir(Job(InputJob(path))) == f"runs/{name}"


def test_long_names_are_cut_short_and_stay_different():
    one, two = directory_name("x" * 200 + "1"), directory_name("x" * 200 + "2")

    assert one != two
    assert len(one) == MAX_NAME_CHARS + 9


def test_the_command_to_go_on_is_quoted_for_the_system_s_shell(monkeypatch):
    words = ["batchlab", "run", "-p", 'say "it": {x}', "a b"]
    assert shell_line(words) == "batchlab run -p 'say \"it\": {x}' 'a b'"

    monkeypatch.setattr(sys, "platform", "win32")
    assert shell_line(words) == 'batchlab run -p "say \\"it\\": {x}" "a b"'


def test_a_file_that_somebody_reads_is_replaced_a_moment_later(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(files.time, "sleep", lambda _s: None)
    replace, refusals = Path.replace, iter([PermissionError()] * 3)

    def busy(self: Path, target: Path) -> None:
        if (error := next(refusals, None)) is not None:
            raise error
        replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    files.atomic_write(tmp_path / "run.json", b"new")

    assert (tmp_path / "run.json").read_bytes() == b"new"
    assert next(refusals, None) is None


def test_the_ballast_takes_its_space_where_nothing_can_be_set_aside(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "posix_fallocate")
    ballast.Ballast(tmp_path / "ballast").take()

    assert (tmp_path / "ballast").stat().st_blocks * 512 >= ballast.BALLAST_BYTES


def test_a_console_of_few_characters_shows_what_it_can(batchlab):
    done = batchlab("cost", "--help", PYTHONIOENCODING="latin-1")

    assert done.code == 0, done.err
    assert "[OPTIONS] [RUN?]" in done.out
    assert "Sum up what runs have cost" in done.out
