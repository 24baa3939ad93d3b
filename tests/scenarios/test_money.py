"""Estimate, pilot, run, books: the real commands against the simulator and its ledger."""

from __future__ import annotations

import json

import pytest

PRICED = ("--price-in", "1", "--price-out", "4")


def words(server, rows, *more: str) -> list[str]:
    return [
        "-i", str(rows), "-m", "sim", "-p", "Shorter: {text}", "--base-url", server.base_url,
        "--api-key-env", "SIMULATOR_KEY", "--run-dir", "runs/money", *PRICED, *more,
    ]  # fmt: skip


def test_a_pilot_s_rows_are_done_rows_and_its_forecast_is_compared_at_the_end(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(400)
    pilot = batchlab("plan", *words(server, rows), "--pilot", "60")

    assert pilot.code == 0, pilot.err
    assert "pilot: 60 rows sent" in pilot.out
    assert server.ledger()["billed"] == 60
    status = json.loads(batchlab("status", "runs/money", "--json").out)
    assert status["totals"]["ok"] == 60

    again = batchlab("plan", *words(server, rows), "--pilot", "60")
    assert again.out == pilot.out
    assert server.ledger()["billed"] == 60

    run = batchlab("run", *words(server, rows))
    assert run.code == 0, run.err
    assert server.ledger()["billed"] == 400
    assert server.ledger()["billed_repeats"] == 0
    assert "from a pilot of 60 rows" in run.err
    assert batchlab("verify", "runs/money").code == 0


def test_a_pilot_of_a_run_that_is_under_way_forecasts_the_whole(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(300)
    capped = batchlab("run", *words(server, rows, "--max-tokens-total", "8000"))
    assert capped.code == 3, capped.err

    pilot = batchlab("plan", *words(server, rows), "--pilot", "40")
    run = batchlab("run", *words(server, rows))

    assert pilot.code == 0, pilot.err
    assert run.code == 0, run.err
    assert server.ledger()["billed"] == 300
    assert "forecast: $" in run.err


def test_a_pilot_that_cannot_send_says_why_and_keeps_what_it_has(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(50)

    refused = batchlab("plan", *words(server, rows), "--pilot", "20", SIMULATOR_KEY="wrong-key-0123456789")
    few = batchlab("plan", *words(server, rows), "--pilot", "3")

    assert refused.code == 3
    assert few.code == 2
    assert "at least 10" in few.err
    assert "pilot:" not in refused.out
    assert "key" in refused.err


def test_plan_counts_rows_that_ask_the_same(batchlab, simulator, rows_file):
    rows = rows_file(6, texts=["a", "b", "a", "c", "a", "b"])

    plan = batchlab("plan", *words(simulator(), rows))

    assert "duplicates: 3 rows" in plan.out


@pytest.mark.parametrize("pilot", ["20", "500"])
def test_a_pilot_as_large_as_the_input_is_the_run(batchlab, simulator, rows_file, pilot):
    server, rows = simulator(), rows_file(20)

    done = batchlab("plan", *words(server, rows), "--pilot", pilot)

    assert done.code == 0, done.err
    assert server.ledger()["billed"] == 20
    assert batchlab("run", *words(server, rows)).code == 0
    assert server.ledger()["billed"] == 20
