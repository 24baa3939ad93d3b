"""Resources that run out: file size, descriptors, memory. One line, nothing lost, a resume goes on."""

from __future__ import annotations

import resource
import subprocess

import pytest

from batchlab.cli import shortage
from tests.conftest import CANARY, Finished, command, environment
from tests.scenarios.test_run import job, wait_for

MIB = 2**20


def limited(tmp_path, words, kind: int, most: int) -> Finished:
    """The command under a resource limit."""
    done = subprocess.run(
        command(*words),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(kind, (most, most)),
    )
    assert CANARY not in done.stdout + done.stderr
    return Finished(done.returncode, done.stdout, done.stderr)


def test_a_file_that_may_not_grow_stops_the_run_and_keeps_what_arrived(
    simulator, rows_file, batchlab, tmp_path
):
    server, rows = simulator(tokens_median=1500.0), rows_file(3000)
    words = job(server.base_url, rows, "--shard-rows", "3000")

    # more than the ballast, which would otherwise be the file that is too large
    stopped = limited(tmp_path, words, resource.RLIMIT_FSIZE, 16 * MIB)
    assert stopped.code == 3, stopped.err
    assert "no space left" in stopped.err
    assert "to go on:" in stopped.err
    billed = server.ledger()["billed"]
    done = batchlab(*words)
    assert done.code == 0, done.err
    assert server.ledger()["billed"] == 3000 > billed
    assert server.ledger()["billed_repeats"] == 0


def test_too_few_descriptors_slow_the_run_and_cost_no_row(simulator, rows_file, tmp_path):
    server, rows = simulator(latency_median_s=0.05), rows_file(300)

    done = limited(tmp_path, job(server.base_url, rows, "-c", "200"), resource.RLIMIT_NOFILE, 48)

    assert done.code == 0, done.err
    assert "300 ok" in done.err
    assert server.ledger()["billed_repeats"] == 0


def test_a_hard_limit_of_descriptors_lowers_the_concurrency_and_says_so(simulator, rows_file, tmp_path):
    server = simulator(latency_median_s=0.02)

    done = limited(tmp_path, job(server.base_url, rows_file(100), "-c", "64"), resource.RLIMIT_NOFILE, 48)

    assert done.code == 0, done.err
    assert "at most 16 requests at a time" in done.err
    assert server.ledger()["max_in_flight"] <= 16


@pytest.mark.parametrize("megabytes", [100, 300, 600, 2_000])
def test_too_little_memory_is_no_traceback_and_a_resume_goes_on(
    simulator, rows_file, batchlab, tmp_path, megabytes
):
    server, rows = simulator(), rows_file(200)
    words = job(server.base_url, rows)

    done = limited(tmp_path, words, resource.RLIMIT_AS, megabytes * MIB)  # Finished refuses a traceback

    if megabytes == 2_000:
        assert done.code == 0, done.err
    finished = batchlab(*words)
    assert finished.code == 0, finished.err
    assert batchlab("verify", "runs/rows").code == 0


def test_memory_that_is_short_is_one_line():
    assert "too little memory" in str(shortage(MemoryError()))
    assert "too little memory" in str(shortage(RuntimeError("can't start new thread")))
    assert "too little memory" in str(shortage(ImportError("x.so: failed to map segment from shared object")))
    assert shortage(OSError(24, "Too many open files", "rows.csv")) == "rows.csv: Too many open files"
    assert shortage(RuntimeError("a bug")) is None


def test_an_input_that_vanishes_while_the_run_goes_on_stops_it_in_order(
    simulator, rows_file, batchlab, tmp_path
):
    server, rows = simulator(latency_median_s=0.2), rows_file(400)  # long enough on a busy machine
    words = job(server.base_url, rows, "--shard-rows", "50")
    with subprocess.Popen(
        command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: server.ledger()["billed"] >= 60)
        rows.rename(tmp_path / "elsewhere.jsonl")
        _, said = process.communicate(timeout=60)

    assert process.returncode == 3, said
    assert "to go on:" in said
    (tmp_path / "elsewhere.jsonl").rename(rows)
    done = batchlab(*words)
    assert done.code == 0, done.err
    assert server.ledger()["billed_repeats"] == 0
