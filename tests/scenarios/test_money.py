"""Estimate, pilot, run, books: the real commands against the simulator and its ledger."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from batchlab.costs.price import Price
from batchlab.records import Usage
from tests.page.reports import page_data

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

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


def test_a_pilot_of_another_input_is_not_compared(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(40)
    assert batchlab("plan", *words(server, rows), "--pilot", "20").code == 0
    rows_file(60)  # the same file, with more rows

    run = batchlab("run", *words(server, rows))

    assert run.code == 0, run.err
    assert "from a pilot" not in run.err
    piped = batchlab("plan", *words(server, "-"), "--pilot", "20", stdin='{"text": "a"}\n')
    assert piped.code == 2
    assert "pass a file" in piped.err


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


def books(batchlab, *more: str) -> list[dict]:
    done = batchlab("cost", "runs/money", "--format", "json", *more)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("stream", ["--no-stream", "--stream"])
def test_the_books_of_a_faulty_run_are_the_ledger_s_to_the_token_and_the_cent(
    batchlab, simulator, rows_file, stream
):
    faults = [
        {"kind": kind, "rate": 0.06}
        for kind in ("http_503", "queue_full", "html", "empty_choices", "context_length")
    ]
    server, rows = simulator(faults=faults, seed=5), rows_file(120)
    run = batchlab("run", *words(server, rows, stream))
    retried = batchlab("retry", "runs/money")

    assert {run.code, retried.code} <= {0, 1}
    ledger = server.ledger()
    [total] = books(batchlab)
    frame = batchlab_load(batchlab)
    kept = frame["prompt_tokens"].sum() + frame["wasted_prompt_tokens"].sum()
    assert kept == ledger["prompt_tokens"]
    kept = frame["completion_tokens"].sum() + frame["wasted_completion_tokens"].sum()
    assert kept == ledger["completion_tokens"]
    usage = Usage(prompt_tokens=ledger["prompt_tokens"], completion_tokens=ledger["completion_tokens"])
    truth = Price(1.0, 4.0).cost_usd(usage)
    assert total["kept_usd"] + total["wasted_usd"] == pytest.approx(truth, abs=1e-9)
    assert total["requests"] == frame["attempts"].sum()


def batchlab_load(batchlab) -> pd.DataFrame:
    assert batchlab("export", "runs/money", "-o", "all.parquet").code == 0
    return pd.read_parquet(batchlab.home / "all.parquet")


def test_cost_and_report_of_a_run_that_nobody_can_price_say_so(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(30)
    unpriced = [word for word in words(server, rows) if word not in PRICED]
    assert batchlab("run", *unpriced).code == 0

    table = batchlab("cost", "runs/money")
    tried = batchlab("cost", "runs/money", "--price", "*=1,4", "--format", "json")
    page = batchlab("report", "runs/money")

    assert "?" in table.out
    assert "30" in table.out.split("rows_without_cost")[1]
    [total] = json.loads(tried.out)
    assert total["kept_usd"] is None
    assert total["what_if_usd"] > 0
    assert page.code == 0
    assert "no known price" in (batchlab.home / "runs/money/report.html").read_text()


def test_a_run_without_usage_or_without_any_answer_has_a_page_and_a_table(batchlab, simulator, rows_file):
    silent, rows = simulator(faults=[{"kind": "no_usage", "rate": 1.0}]), rows_file(20)
    assert batchlab("run", *words(silent, rows)).code == 0
    assert "reported no token usage" in paged(batchlab)
    [total] = books(batchlab)
    assert (total["rows"], total["rows_without_usage"], total["kept_usd"]) == (20, 20, None)

    broken = simulator(faults=[{"kind": "context_length", "rate": 1.0}])
    failed = [word.replace("runs/money", "runs/none") for word in words(broken, rows)]
    assert batchlab("run", *failed).code == 1
    assert "No row has an answer" in paged(batchlab, "runs/none")
    assert "context_length" in paged(batchlab, "runs/none")


def paged(batchlab, run: str = "runs/money") -> str:
    assert batchlab("report", run).code == 0
    return (batchlab.home / run / "report.html").read_text()


def test_an_unfinished_run_and_several_runs_have_books(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(120)
    assert batchlab("plan", *words(server, rows), "--pilot", "30").code == 0
    other = [word.replace("runs/money", "runs/other") for word in words(server, rows, "-n", "10")]
    assert batchlab("run", *other).code == 0

    both = batchlab("cost", "runs/money", "runs/other", "--by", "run", "--format", "json")

    assert {line["run"]: line["rows"] for line in json.loads(both.out)} == {
        "money": 30,
        "other": 10,
        "total": 40,
    }
    assert "90 rows of 120 have no final result yet" in paged(batchlab)
    shown = batchlab("report", "runs/money", "--by", "n,day", "-o", "page.html")
    assert shown.out == "page.html\n"
    assert [one["column"] for one in page_data(batchlab.home / "page.html")["charts"]["by"]][:2] == [
        "n",
        "day",
    ]

    rows.unlink()  # the books need no input, unless they are kept by one of its columns
    assert batchlab("cost", "runs/money").code == 0
    assert "90 rows of 120" in paged(batchlab)
    assert batchlab("cost", "runs/money", "--by", "n").code == 2


def test_rows_that_reported_no_usage_are_told_from_the_others(batchlab, simulator, rows_file):
    server = simulator(faults=[{"kind": "no_usage", "rate": 0.4}], seed=3)
    assert batchlab("run", *words(server, rows_file(40))).code == 0

    [total] = books(batchlab)

    assert 0 < total["rows_without_usage"] < 40
    assert total["rows_without_cost"] == total["rows_without_usage"]
    assert total["kept_usd"] > 0
    assert f"{total['rows_without_usage']} rows reported no token usage" in paged(batchlab)


def test_a_parquet_file_that_somebody_else_made_has_books(batchlab):
    frame = pd.DataFrame({"input_tokens": [10, 20], "output_tokens": [1, None], "team": ["a", "b"]})
    frame.to_parquet(batchlab.home / "theirs.parquet")
    names = "prompt_tokens=input_tokens,completion_tokens=output_tokens"

    found = batchlab(
        "cost",
        "theirs.parquet",
        "--columns",
        names,
        "--by",
        "team",
        "--price",
        "*=1000000,0",
        "--format",
        "csv",
    )
    unnamed = batchlab("cost", "theirs.parquet")
    absent = batchlab("cost", "theirs.parquet", "--columns", "prompt_tokens=nothing")

    assert found.code == 0, found.err
    assert found.out.splitlines()[-1].startswith("total,2,")
    assert (unnamed.code, absent.code) == (2, 2)
    assert "--columns" in unnamed.err
    assert "no column 'nothing'" in absent.err


def test_the_cost_that_a_provider_states_stands_beside_ours(batchlab):
    raw = ['{"prompt_tokens": 5, "cost": 0.25}', '{"cost":1e-3}', None]
    frame = pd.DataFrame({"prompt_tokens": [5, 5, 5], "completion_tokens": [1, 1, 1], "usage_raw": raw})
    frame.to_parquet(batchlab.home / "stated.parquet")

    [total] = json.loads(batchlab("cost", "stated.parquet", "--format", "json").out)

    assert total["provider_usd"] == 0.251


def test_a_tokenizer_file_counts_the_prompts(batchlab, simulator, rows_file):
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(batchlab.home / "tokenizer.json"))
    (batchlab.home / "none.json").write_text("{}")
    job = words(simulator(), rows_file(5, texts=["a b", "c d", "e f", "g h", "i j"]))

    counted = batchlab("plan", *job, "--tokenizer", "tokenizer.json")
    broken = batchlab("plan", *job, "--tokenizer", "none.json")

    assert "prompt tokens: about 15 (by the tokenizer)" in counted.out  # "Shorter: a b", five times
    assert broken.code == 2
    assert "not a tokenizer.json" in broken.err
