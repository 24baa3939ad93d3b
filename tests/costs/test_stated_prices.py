"""A job's own prices: how they are written, checked and kept; and what `plan` and `cost` make of them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from genai_prices import Usage as Counts
from genai_prices import calc_price

from batchlab.errors import UsageError
from batchlab.job import Job, PriceJob
from batchlab.job.file import job_from

MINIMAL = {"input": {"path": "rows.csv"}, "request": {"model": "m", "prompt": "{text}"}}


def priced(**price: object) -> Job:
    return job_from({**MINIMAL, "price": price})


def test_flex_and_batch_are_shares_or_prices_and_survive_the_manifest():
    table = {"input": 1, "output": 2, "cached": 0.1, "cache_write": 1.25}
    job = priced(
        input=4, output=8, flex=0.5, batch=table, models={"big": {"input": 9, "output": 9, "flex": table}}
    )

    assert job.price.flex == 0.5
    assert job.price.batch == PriceJob(1.0, 2.0, 0.1, 1.25)
    assert job.price.models["big"].flex == PriceJob(1.0, 2.0, 0.1, 1.25)
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_a_manifest_of_before_there_were_such_prices_is_read():
    plain = priced(input=1, output=2).to_dict()
    for name in ("cache_write", "flex", "batch"):
        plain["price"].pop(name)
        for endpoint in plain["endpoint"]:
            endpoint["price"].pop(name)

    assert Job.from_dict(plain) == priced(input=1, output=2)


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ({"input": 1, "output": 2, "cache_write": -1}, "price.cache_write: must not be negative"),
        (
            {"input": 1, "output": 2, "flex": -0.5},
            "price.flex: -0.5 is no share of the price (0 to 1); for a",
        ),
        ({"input": 1, "output": 2, "batch": 1.2}, "write batch = { input = …, output = … }"),
        ({"input": 1, "output": 2, "batch": "half"}, "price.batch: expected a number"),
        ({"input": 1, "output": 2, "batch": {"input": 1}}, "price.batch: needs both input and output"),
        ({"input": 1, "output": 2, "batch": {}}, "price.batch: needs both input and output"),
        (
            {"input": 1, "output": 2, "flex": {"input": 1, "output": -1}},
            "price.flex.output: must not be negative",
        ),
        (
            {"input": 1, "output": 2, "flex": {"input": 1, "output": 1, "batch": 1}},
            "price.flex: may have input,",
        ),
        ({"flex": 0.5}, "price.flex: needs {price.input} and {price.output} beside it"),
        ({"input": 1, "output": 2, "cache_writes": 1}, "did you mean 'cache_write'"),
        ({"models": {"m": {"input": 1, "output": 1, "cached": -1}}}, "price.models.m.cached: must not"),
    ],
)
def test_a_wrong_price_is_one_line(price, said):
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        priced(**price)

    assert "\n" not in str(caught.value)


def plan(here, tmp_path, *words: str, texts: list[str]) -> str:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    usual = ("-i", "rows.jsonl", "-p", "{text}", "--api-key-env", "SIMULATOR_KEY", "--max-tokens", "60")
    done = here("plan", *usual, *words)
    assert done.code == 0, done.err
    return done.out


def highest(out: str) -> float:
    return float(re.search(r"cost: \$[\d,.]+ to \$([\d,.]+\d)", out)[1].replace(",", ""))


def listed(model: str, url: str, tokens: float) -> float:
    found = calc_price(
        Counts(input_tokens=round(tokens), output_tokens=60), model_ref=model, provider_api_url=url
    )
    return float(found.total_price)


def test_plan_prices_each_row_by_its_own_length(here, tmp_path):
    url, model = "https://openrouter.ai/api/v1", "qwen/qwen3-coder-flash"
    sizes = [400] * 50 + [100_000] * 3 + [160_000] * 2 + [600_000]
    out = plan(here, tmp_path, "-m", model, "--base-url", url, texts=["x" * size for size in sizes])

    assert highest(out) == pytest.approx(sum(listed(model, url, size / 4) for size in sizes), abs=1e-4)
    assert "over 32,000 prompt tokens $0.325 in" in out


def test_plan_knows_the_tier_that_is_asked_for(here, tmp_path):
    texts = ["x" * 4_000] * 100
    stated = ("-m", "m", "--base-url", "https://example.test/v1", "--price-in", "10", "--price-out", "10")
    usual = highest(plan(here, tmp_path, *stated, "--price-flex", "0.3", texts=texts))
    flex = plan(here, tmp_path, *stated, "--price-flex", "0.3", "--param", 'service_tier="flex"', texts=texts)

    assert highest(flex) == pytest.approx(0.3 * usual)
    assert "$3 in, $3 out per 1M tokens at tier flex" in flex


def test_plan_of_a_run_into_dearer_hours_says_both(here, tmp_path, monkeypatch):
    """DeepSeek's peak begins at 01:00 UTC; 400 rows a minute take until then."""
    before = datetime(2026, 11, 25, 0, 59, tzinfo=UTC).timestamp()
    monkeypatch.setattr("batchlab.planning.preview.time.time", lambda: before)
    url, model, texts = "https://api.deepseek.com", "deepseek-v4-flash", ["x" * 4_000] * 200
    words = ("-m", model, "--base-url", url)
    short = highest(plan(here, tmp_path, *words, texts=texts))
    long = highest(plan(here, tmp_path, *words, "--rpm", "20", texts=texts))

    assert long == pytest.approx(2 * short, rel=0.01)


def test_what_if_asks_for_a_price_and_says_where_there_is_none(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(20)
    usual = ["-i", str(rows), "-m", "sim", "-p", "{text}", "--base-url", server.base_url]
    usual += ["--api-key-env", "SIMULATOR_KEY", "--price-in", "1", "--price-out", "4", "--price-flex", "0.4"]
    assert batchlab("run", *usual, "--run-dir", "runs/m").code == 0

    flex = batchlab("cost", "runs/m", "--what-if", "flex", "--format", "json")
    batch = batchlab("cost", "runs/m", "--what-if", "batch-api", "--format", "json")

    [total] = json.loads(flex.out)
    assert total["what_if_usd"] == pytest.approx(0.4 * total["kept_usd"])
    assert flex.err == ""
    [total] = json.loads(batch.out)
    assert total["what_if_usd"] is None
    assert "what if batch-api: no such price of sim" in batch.err


def test_check_says_the_tiers_that_a_model_has(here, simulator, monkeypatch):
    server = simulator()
    words = ["check", "-m", "sim", "--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY"]
    done = here(*words, "--price-in", "1", "--price-out", "4", "--price-flex", "0.5", "--price-batch", "0.25")

    assert (
        "price of sim: $1 in, $4 out per 1M tokens; flex $0.5 in, $2 out; batch $0.25 in, $1 out (job)"
        in done.out
    )
