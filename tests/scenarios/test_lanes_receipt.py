"""What lanes come to: the receipt at the end of a run, in its summary, and in `cost`."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest

import batchlab as package
from batchlab.looking.money import receipt
from tests.conftest import CANARY
from tests.scenarios.test_run import job

PRICE = {"input": 1.0, "output": 4.0, "tiers": {"batch": 0.5, "flex": 0.5}}
PRICED = ("--price-in", "1", "--price-out", "4")
BATCH = ("--batch-api", "openai", "--lane", "batch", "--price-batch", "0.5", "--run-dir", "runs/night")
LIST = re.compile(r"list price: \$([\d.]+); paid \$([\d.]+), saved \$([\d.]+) \((\d+)%\)")


def quick(simulator, **options):
    return simulator(batch={"seconds": 0.1}, price=PRICE, **options).base_url


def test_batches_save_half_and_every_place_says_so(batchlab, simulator, rows_file, tmp_path):
    told = tmp_path / "told.json"

    done = batchlab(
        *job(quick(simulator), rows_file(25), *PRICED, *BATCH, "-o", "out.parquet"),
        "--on-end",
        f"cat > {told}",
    )
    books = batchlab("cost", "runs/night")

    assert done.code == 0, done.err
    listed, paid, saved, share = LIST.search(done.err).groups()
    rows = pq.read_table(tmp_path / "out.parquet")
    assert float(paid) == pytest.approx(sum(rows["cost_usd"].to_pylist()), abs=1e-6)
    assert float(listed) == pytest.approx(2 * float(paid), abs=2e-6)
    assert share == "50"
    assert re.search(r"\nby lane: batch 25 rows, \$0\.\d+\n", done.err)
    assert "the deadline cost" not in done.err
    summary = json.loads(told.read_text())
    assert summary["list_usd"] == pytest.approx(2 * summary["totals"]["cost_usd"])
    assert summary["saved_usd"] == pytest.approx(float(saved), abs=1e-6)
    assert summary["deadline_usd"] == 0.0
    assert LIST.search(books.out).group(0) == LIST.search(done.err).group(0)
    assert "by lane" not in batchlab("cost", "runs/night", "--format", "json").out


def test_a_run_that_is_asked_live_reads_no_part_for_it(batchlab, simulator, rows_file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    monkeypatch.setattr(receipt, "part_tables", lambda *_: pytest.fail("read"))
    ask = {"prompt": "{text}", "model": "sim", "api_key_env": "SIMULATOR_KEY", "price_in": 1, "price_out": 4}

    done = package.run(input=rows_file(5), base_url=quick(simulator), **ask)

    assert done.totals.ok == 5
    assert (done.list_usd, done.saved_usd, done.deadline_usd) == (None, None, None)


def test_without_a_price_only_rows_are_told(batchlab, simulator, rows_file):
    done = batchlab(*job(quick(simulator), rows_file(5), *BATCH[:4]))

    assert done.code == 0, done.err
    assert "list price" not in done.err
    assert "by lane: batch 5 rows\n" in done.err


def test_what_a_deadline_cost_is_what_went_live_for_it(batchlab, simulator, rows_file):
    """Batches take an hour, and there is none."""
    server = simulator(batch={"seconds": 3_600}, price=PRICE)
    lane = ("--batch-api", "openai", "--lane", "cheapest", "--price-batch", "0.5", "--deadline", "60s")

    done = batchlab(*job(server.base_url, rows_file(20), *PRICED, *lane, "--run-dir", "runs/night"))

    assert done.code == 0, done.err
    assert "saved $0 (0%)" in done.err
    cost, paid = (
        float(re.search(text, done.err)[1])
        for text in (r"the deadline cost \$([\d.]+): 20 rows were not left to wait", r"paid \$([\d.]+),")
    )
    assert cost == pytest.approx(paid / 2, abs=2e-6)


def test_flex_and_rows_with_a_tier_of_their_own_are_lanes_of_one_receipt(batchlab, simulator, tmp_path):
    rows = tmp_path / "rows.jsonl"
    lines = [{"text": "a", "more": {"service_tier": "default"}}, {"text": "b", "more": {}}]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    lane = ("--preset", "openai", "--lane", "flex", "--price-flex", "0.5", "--row-params", "more")

    done = batchlab(*job(quick(simulator), rows, *PRICED, *lane))

    assert done.code == 0, done.err
    assert LIST.search(done.err)
    assert re.search(r"by lane: live 1 row, \$[\d.]+; flex 1 row, \$[\d.]+\n", done.err)


def test_what_nobody_states_a_price_of_is_paid_at_most_and_nothing_is_said_to_be_saved(
    batchlab, simulator, rows_file, tmp_path
):
    """Books count it as live calls, so that no cap is passed; that is no saving of nothing."""
    told = tmp_path / "told.json"
    unstated = [word for word in BATCH if word not in {"--price-batch", "0.5"}]

    done = batchlab(
        *job(quick(simulator), rows_file(25), *PRICED, *unstated, "--on-end", f"cat > {told}"),
    )
    books = batchlab("cost", "runs/night")

    assert done.code == 0, done.err
    for said in (done.err, books.out):
        assert re.search(r"list price: \$([\d.]+); paid at most \$\1: nobody states a price of batches", said)
        assert "saved" not in said
    assert json.loads(told.read_text())["saved_usd"] is None
