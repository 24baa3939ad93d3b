"""A run directory that lost something, by the real command: refused before anything is paid, and how it goes on."""

from __future__ import annotations

import json
import shutil

import pytest

WORDS = (
    "run", "-i", "rows.jsonl", "-m", "sim", "-p", "{text}", "--api-key-env", "SIMULATOR_KEY", "--shard-rows", "4",
    "--price-in", "100", "--price-out", "100", "--max-tokens", "5", "-c", "1", "--progress", "none",
)  # fmt: skip


@pytest.fixture
def provider(simulator):
    return simulator()


@pytest.fixture
def finished(here, rows_file, provider, tmp_path):
    rows_file(12)
    words = (*WORDS, "--base-url", provider.base_url)
    assert here(*words).code == 0
    return words, tmp_path / "runs/rows"


def billed(provider) -> int:
    return provider.ledger()["billed"]


def test_a_lost_part_stops_verify_run_and_retry_before_anything_is_sent(finished, here, provider):
    words, run = finished
    (run / "completions/part-000001.parquet").unlink()

    verified, again, retried = here("verify", run), here(*words), here("retry", run)

    assert verified.code == 1
    assert "completions/part-000001.parquet: gone (4 rows, $0.00" in verified.err
    for one in (again, retried):
        assert one.code == 2
        assert "part-000001.parquet: gone" in one.err
        assert "--accept-lost-parts" in one.err
    assert "lost: completions/part-000001.parquet: gone" in here("status", run).out
    assert billed(provider) == 12


def test_an_accepted_loss_is_asked_again_and_counts_for_the_cap_and_the_books(finished, here, provider):
    words, run = finished
    spent = json.loads(here("status", run, "--json").out)["totals"]["spent_usd"]
    (run / "completions/part-000001.parquet").unlink()

    capped = here(*words, "--accept-lost-parts", "--max-cost", str(spent))
    assert capped.code == 3
    assert "given up:" in capped.err
    assert billed(provider) == 12
    done = here(*words)  # it was accepted once, and that is said in the run's books

    assert (done.code, billed(provider)) == (0, 16)
    totals = json.loads(here("status", run, "--json").out)["totals"]
    assert totals["spent_usd"] == pytest.approx(spent * 16 / 12, rel=0.2)
    assert totals["cost_wasted_usd"] == pytest.approx(totals["spent_usd"] - totals["cost_usd"])
    assert here("verify", run).code == 0
    line = here("cost", run).out.splitlines()[-1].split()
    assert line[:2] == ["12", "16"]
    assert float(line[5]) == pytest.approx(totals["cost_wasted_usd"], abs=1e-6)


def test_the_loss_is_no_setting_of_the_run(finished, here):
    words, run = finished
    (run / "completions/part-000001.parquet").unlink()
    assert here(*words, "--accept-lost-parts").code == 0
    (run / "completions/part-000002.parquet").unlink()

    assert here(*words).code == 2
    assert here("retry", run).code == 2


def test_parts_of_earlier_generations_are_no_lost_parts(finished, here, provider):
    words, run = finished
    fresh = [word if word != "{text}" else "Now: {text}" for word in words]
    assert here(*fresh, "--fresh").code == 0
    assert billed(provider) == 24

    shutil.rmtree(run / "previous/1/completions")

    assert here("verify", run).code == 0
    assert here(*fresh).code == 0
    assert billed(provider) == 24


def test_a_new_generation_does_not_pay_again_for_a_lost_part_either(finished, here, provider):
    words, run = finished
    (run / "completions/part-000001.parquet").unlink()
    fresh = [word if word != "{text}" else "Now: {text}" for word in words]

    assert here(*fresh, "--fresh").code == 2
    assert billed(provider) == 12


def test_an_unfinished_run_is_whole_so_far(here, rows_file, provider, tmp_path):
    rows_file(12)
    words = (*WORDS, "--base-url", provider.base_url)
    assert here(*words, "--max-tokens-total", "60").code == 3

    verified = here("verify", tmp_path / "runs/rows")

    assert verified.code == 3
    assert "whole so far: " in verified.out
    journals = tmp_path / "runs/rows/journal"
    assert list(journals.iterdir())
    shutil.rmtree(journals)
    assert here("verify", tmp_path / "runs/rows").code == 1
    assert here(*words).code == 2
    assert here(*words, "--accept-lost-parts").code == 0
    assert here("verify", tmp_path / "runs/rows").code == 0


def test_a_part_of_another_run_is_refused_and_its_rows_are_not_taken_for_done(
    finished, here, provider, tmp_path
):
    words, run = finished
    half = tmp_path / "runs/half"
    assert here(*words, "--run-dir", half, "--max-tokens-total", "30").code == 3
    sent = billed(provider)
    shutil.copy(run / "completions/part-000002.parquet", half / "completions")

    refused = here(*words, "--run-dir", half)

    assert refused.code == 2
    assert "another run's" in refused.err
    assert here("verify", half).code == 1
    assert billed(provider) == sent
