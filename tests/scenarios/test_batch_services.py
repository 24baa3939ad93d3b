"""The real command through the batches of every service, as the simulator speaks them."""

from __future__ import annotations

import subprocess

import pandas as pd
import pytest

from batchlab.endpoints.simulator.batches.dialects import DIALECTS
from tests.batch_jobs import batch_job
from tests.conftest import CANARY, command, environment

pytestmark = pytest.mark.proof  # each is a run, or several

ROWS = 30


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_go_through_a_batch_once_and_the_books_agree(simulator, rows_file, tmp_path, dialect):
    rows_file(ROWS)
    server = simulator(
        price={"input": 2.0, "output": 8.0}, batch={"dialect": dialect, "seconds": 0.2}, tokens_median=20
    )
    share = DIALECTS[dialect].share
    job = batch_job(
        server.base_url,
        dialect,
        prompt="Say: {text}",
        max_tokens=200,
        share=share,
        output={"file": "out.parquet"},
    )
    (tmp_path / "job.toml").write_text(job)
    done = subprocess.run(
        command("run", "job.toml", "--progress", "none"),
        cwd=tmp_path,
        env=environment(SIMULATOR_KEY=CANARY),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(tmp_path / "out.parquet")
    books, ledger = server.batches(), server.ledger()

    assert set(frame["lane"]) == {"batch"}
    assert (ledger["billed"], ledger["by_tier"]) == (ROWS, {"batch": ROWS})
    assert frame["cost_usd"].sum() == pytest.approx(ledger["usd"], abs=1e-9)
    assert (books["submitted_twice"], books["billed_twice"]) == ({}, {})
