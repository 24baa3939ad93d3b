"""A run that was killed, and whose directory then lost the end of a journal: refused before anything is paid."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from batchlab.store.disk.run_lock import lock_holder
from batchlab.store.journals.due import read_due
from tests.conftest import command, environment, simulating_apart
from tests.scenarios.test_retry import wait_until

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

WORDS = (
    "run", "-i", "rows.jsonl", "-m", "sim", "-p", "{text}", "--api-key-env", "SIMULATOR_KEY",
    "--price-in", "100", "--price-out", "100", "--max-tokens", "5", "-c", "4", "--progress", "none",
)  # fmt: skip
ENGINES = {"here": (), "processes": ("--engine", "processes", "--processes", "2", "--shard-rows", "20")}


@pytest.fixture
def provider():
    with simulating_apart(0.02) as made:
        yield made


@pytest.fixture(params=ENGINES)
def killed(request, here, rows_file, provider, tmp_path):
    rows_file(400)
    words = (*WORDS, "--base-url", provider.base_url, *ENGINES[request.param])
    process = subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    journals = tmp_path / "runs/rows/journal"
    wait_until(lambda: sum(one.size for one in map(read_due, journals.glob("*.due")) if one) > 20_000)
    process.kill()
    process.wait()
    wait_until(lambda: lock_holder(tmp_path / "runs/rows") is None)  # its workers have noticed
    return words, tmp_path / "runs/rows"


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def longest(run):
    return max((run / "journal").glob("*.log"), key=lambda path: path.stat().st_size)


def test_a_killed_run_is_whole_so_far_and_goes_on(killed, here):
    words, run = killed

    assert here("verify", run).code == 3
    assert "would be refused" not in here("plan", *words[1:]).out
    assert here(*words).code == 0
    assert here("verify", run).code == 0
    assert not list((run / "journal").iterdir())


def test_the_end_of_its_journal_that_a_copy_left_out_is_told_and_not_paid_again_in_silence(
    killed, here, provider
):
    words, run = killed
    journal = longest(run)
    journal.write_bytes(b"".join(lines_of(journal)[:5]))

    verified, planned = here("verify", run), here("plan", *words[1:])
    sent = provider.ledger()["billed"]  # by now what was on its way at the kill has been answered
    refused = here(*words)

    assert verified.code == 1
    assert f"journal/{journal.name}: ends after " in verified.err
    assert "run would be refused: " in planned.out
    assert planned.code == 0
    assert refused.code == 2
    for said in (planned.out, refused.err):
        assert f"journal/{journal.name}: ends after " in said
        assert "--accept-lost-parts" in said
    assert provider.ledger()["billed"] == sent
    assert "would be refused" not in here("plan", *words[1:], "--accept-lost-parts").out

    done = here(*words, "--accept-lost-parts")

    assert done.code == 0
    assert "its cost stays in the books as paid and not kept" in done.err
    assert here("verify", run).code == 0


def test_another_run_s_journal_is_told_and_none_of_its_answers_are_taken(killed, here, provider, tmp_path):
    words, run = killed
    if "--engine" in words:
        pytest.skip("once is enough")
    other = tmp_path / "runs/other"
    assert here(*words, "--run-dir", other, "--max-tokens-total", "300").code == 3
    (strange,) = (other / "journal").glob("*.log")
    shutil.copy(strange, longest(run))

    verified, planned = here("verify", run), here("plan", *words[1:])
    sent = provider.ledger()["billed"]  # by now what was on its way at the kill has been answered
    refused = here(*words)

    assert (verified.code, planned.code, refused.code) == (1, 0, 2)
    for said in (verified.err, planned.out, refused.err):
        assert "the journal of another run" in said
    assert provider.ledger()["billed"] == sent
    assert here(*words, "--accept-lost-parts").code == 0
    assert here("verify", run).code == 0


def test_plan_says_that_a_run_is_in_use(here, rows_file, provider, tmp_path):
    rows_file(400)
    words = (*WORDS, "--base-url", provider.base_url)
    process = subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    wait_until(lambda: list((tmp_path / "runs/rows/journal").glob("*.log")))
    try:
        planned = here("plan", *words[1:])
    finally:
        process.kill()
        process.wait()

    assert f"run would be refused: runs/rows: in use by process {process.pid}" in planned.out
