"""The lane flex: the real command against a simulator with tiers."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from batchlab.looking.money.answer_prices import Kind, prices_of
from batchlab.store.view import RunView
from tests.scenarios.test_run import job

PRICE = {"input": 1.0, "output": 4.0, "tiers": {"flex": 0.5}}
AT_OPENAI = ("--preset", "openai", "--lane", "flex")
PRICED = ("--price-in", "1", "--price-out", "4", "--price-flex", "0.5")


def columns(tmp_path, *names: str) -> dict[str, list]:
    table = pq.read_table(tmp_path / "out.parquet", columns=list(names))
    return {name: table[name].to_pylist() for name in names}


@pytest.mark.proof  # the tier has room again when a back-off of up to a minute is over
@pytest.mark.parametrize("more", [[], ["--processes", "2", "--shard-rows", "10"]])
def test_rows_wait_while_the_tier_has_no_room_and_none_fails(batchlab, simulator, rows_file, tmp_path, more):
    server = simulator(flex_slots=1, latency_median_s=0.02, price=PRICE)
    rows = rows_file(40)

    done = batchlab(
        *job(server.base_url, rows, *AT_OPENAI, *PRICED, "--max-attempts", "1", "-o", "out.parquet", *more)
    )

    assert done.code == 0, done.err
    found = columns(tmp_path, "status", "lane", "service_tier", "endpoint", "cost_usd")
    assert set(found["status"]) == {"ok"}
    assert set(found["lane"]) == set(found["service_tier"]) == {"flex"}
    assert set(found["endpoint"]) == {"openai"}
    assert sum(found["cost_usd"]) == pytest.approx(server.ledger()["usd"])
    assert server.ledger()["requests"] > 40  # it was full now and then


def test_groq_says_498_when_the_tier_is_full(batchlab, simulator, rows_file, tmp_path):
    server = simulator(faults=[{"kind": "capacity_498", "tier": "flex", "rate": 0.3}])

    done = batchlab(
        *job(server.base_url, rows_file(12), "--preset", "groq", "--lane", "flex", "--max-attempts", "1"),
        "-o",
        "out.parquet",
    )

    assert done.code == 0, done.err
    assert set(columns(tmp_path, "lane")["lane"]) == {"flex"}


def test_a_row_with_a_tier_of_its_own_keeps_it_and_is_a_live_call(batchlab, simulator, tmp_path):
    server = simulator(price=PRICE)
    lines = [{"text": "a", "more": {"service_tier": "default"}}, {"text": "b", "more": {}}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))

    done = batchlab(*job(server.base_url, rows, *AT_OPENAI, "--row-params", "more", "-o", "out.parquet"))

    assert done.code == 0, done.err
    found = columns(tmp_path, "lane", "service_tier")
    assert found["lane"] == ["live", "flex"]
    assert found["service_tier"][1] == "flex"


@pytest.mark.parametrize("rows", [30])
def test_a_model_without_the_tier_stops_the_run_before_rows_fail_for_it(batchlab, simulator, rows_file, rows):
    server = simulator(tiers=["default"])

    done = batchlab(*job(server.base_url, rows_file(rows), *AT_OPENAI))

    assert done.code == 3
    assert "Not every model has every tier" in done.err
    assert "0 failed" in done.err or "failed" not in done.err.split("why:")[0]
    assert server.ledger()["requests"] <= 4
    live = batchlab(*job(server.base_url, rows_file(rows), "--preset", "openai", "--lane", "live"))
    assert live.code == 0, live.err
    assert server.ledger()["billed"] == rows


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--lane: 127.0.0.1"),
        (("--preset", "mistral"), "--lane: mistral has no flex tier that batchlab knows"),
        (("--preset", "openai", "--task", "embeddings"), "flex answers chats only"),
    ],
)
def test_a_service_without_the_tier_is_refused_before_anything_is_sent(
    here, simulator, rows_file, more, said
):
    server = simulator()

    done = here(*job(server.base_url, rows_file(2), "--lane", "flex", *more))

    assert done.code == 2
    assert said in done.err
    assert server.ledger()["requests"] == 0


def test_a_cap_counts_each_request_at_the_usual_price_as_it_may_be_served_so(batchlab, simulator, rows_file):
    server = simulator(price=PRICE, tokens_median=20.0)
    cap = ("--max-cost", "0.0005", "--max-tokens", "100")

    done = batchlab(*job(server.base_url, rows_file(20), *AT_OPENAI, *PRICED, *cap))

    assert done.code == 3
    assert server.ledger()["usd"] <= 0.0005
    assert server.ledger()["billed"] > 0


def test_what_an_answer_costs_is_told_again_by_its_lane(batchlab, simulator, rows_file, tmp_path):
    """The service names no tier as served: it was the one that was asked for."""
    server = simulator(price=PRICE, tier_echo="none")

    done = batchlab(*job(server.base_url, rows_file(5), *AT_OPENAI, *PRICED))

    assert done.code == 0, done.err
    told = json.loads(batchlab("cost", "runs/rows", "--format", "json", "--by", "lane").out)
    assert told[0]["lane"] == "flex"
    assert told[0]["kept_usd"] == pytest.approx(server.ledger()["usd"])
    run = RunView.open(tmp_path / "runs" / "rows")
    kind = Kind("sim", "openai", None, 0.0)
    price_of = prices_of(run.manifest.job)
    assert price_of(kind).input == 1.0
    assert price_of(kind._replace(lane="flex")).input == 0.5


@pytest.mark.parametrize("lane", ["flex", "cheapest"])
def test_plan_names_the_price_of_the_tier(here, rows_file, lane):
    done = here(
        "plan", "-i", rows_file(5), "-m", "gpt-5.5", "-p", "{text}", "--preset", "openai", "--lane", lane
    )

    assert done.code == 0, done.err
    assert "at tier flex" in done.out
