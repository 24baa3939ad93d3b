"""One run over several endpoints: shares, failover, rows bound to one, prices."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest


def job_file(tmp_path: Path, rows: Path, endpoints: list[str], **more: str) -> Path:
    """A job over `endpoints`, each the lines of its table."""
    text = f'[input]\npath = "{rows.name}"\n{more.get("input", "")}\n'
    text += f'[request]\nmodel = "sim"\nprompt = "{{text}}"\n{more.get("request", "")}\n'
    text += f"[limits]\nconcurrency = 8\n{more.get('limits', '')}\n{more.get('price', '')}\n"
    for lines in endpoints:
        text += f'[[endpoint]]\napi_key_env = "SIMULATOR_KEY"\n{lines}\n'
    path = tmp_path / "job.toml"
    path.write_text(text)
    return path


def endpoint(name: str, server, *more: str) -> str:
    return "\n".join([f'name = "{name}"', f'base_url = "{server.base_url}"', *more])


def answers(tmp_path: Path):
    return pq.read_table(sorted((tmp_path / "runs/rows/completions").glob("*.parquet")))


def by_endpoint(tmp_path: Path) -> Counter:
    return Counter(answers(tmp_path)["endpoint"].to_pylist())


def test_endpoints_share_the_rows_by_weight(batchlab, simulator, rows_file, tmp_path):
    one, two = simulator(latency_median_s=0.01), simulator(latency_median_s=0.01)
    job = job_file(
        tmp_path, rows_file(200), [endpoint("one", one, "weight = 3"), endpoint("two", two, "weight = 1")]
    )

    done = batchlab("run", job, "--progress", "none")

    assert done.code == 0, done.err
    shares = by_endpoint(tmp_path)
    assert shares == {"one": one.ledger()["billed"], "two": two.ledger()["billed"]}
    assert 140 <= shares["one"] <= 160


@pytest.mark.parametrize("fault", ["http_401", "insufficient_quota", "http_402"])
def test_an_endpoint_that_cannot_go_on_leaves_its_rows_to_the_others(
    batchlab, simulator, rows_file, tmp_path, fault
):
    bad, good = simulator(faults=[{"kind": fault, "rate": 1.0, "times": 99}]), simulator()
    job = job_file(tmp_path, rows_file(60), [endpoint("bad", bad), endpoint("good", good)])

    done = batchlab("run", job, "--progress", "plain")

    assert done.code == 0, done.err
    assert "endpoint bad is out" in done.err
    assert "going on with good" in done.err
    assert by_endpoint(tmp_path) == {"good": 60}
    assert good.ledger()["billed"] == 60


def test_a_wrong_model_name_at_one_endpoint_takes_that_one_out(batchlab, simulator, rows_file, tmp_path):
    strict, good = simulator(models=["sim"]), simulator()
    job = job_file(
        tmp_path, rows_file(40), [endpoint("strict", strict, 'model = "smi"'), endpoint("good", good)]
    )

    done = batchlab("run", job, "--progress", "none")

    assert done.code == 0, done.err
    assert by_endpoint(tmp_path) == {"good": 40}


def test_nobody_left_stops_the_run_and_it_goes_on_later(batchlab, simulator, rows_file, tmp_path):
    refusing = simulator(faults=[{"kind": "http_401", "rate": 1.0, "times": 99}])
    broke = simulator(faults=[{"kind": "insufficient_quota", "rate": 1.0, "times": 99}])
    rows = rows_file(30)
    job_file(tmp_path, rows, [endpoint("one", refusing), endpoint("two", broke)])

    done = batchlab("run", "job.toml", "--progress", "none")
    assert done.code == 3, done.err
    assert "30 pending" in done.err

    job_file(
        tmp_path, rows, [endpoint("one", refusing), endpoint("two", broke), endpoint("three", simulator())]
    )
    done = batchlab("run", "job.toml", "--progress", "none")
    assert done.code == 0, done.err
    assert by_endpoint(tmp_path) == {"three": 30}


def test_a_server_error_is_tried_again_at_another_endpoint(batchlab, simulator, rows_file, tmp_path):
    flaky = simulator(faults=[{"kind": "http_500", "rate": 0.5}])
    good = simulator()
    job = job_file(tmp_path, rows_file(60), [endpoint("flaky", flaky), endpoint("good", good)])

    done = batchlab("run", job, "--progress", "none")

    assert done.code == 0, done.err
    assert sum(by_endpoint(tmp_path).values()) == 60
    assert max(answers(tmp_path)["attempts"].to_pylist()) <= 4


def test_rows_bound_to_an_endpoint_go_there_or_stay_pending(batchlab, simulator, tmp_path):
    bad, good = simulator(faults=[{"kind": "http_401", "rate": 1.0, "times": 99}]), simulator()
    wanted = ["good", "bad", None, "nowhere", "good", "bad"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row {n}", "at": at}) + "\n" for n, at in enumerate(wanted)))
    job = job_file(tmp_path, rows, [endpoint("good", good), endpoint("bad", bad)], input='endpoint = "at"\n')
    refused = batchlab("plan", job)
    assert refused.code == 2
    assert "no endpoint 'nowhere'; known: good, bad" in refused.err

    rows.write_text(rows.read_text().replace("nowhere", "good"))
    done = batchlab("run", job, "--progress", "none", "-o", "out.jsonl")

    assert done.code == 3, done.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "pending", "ok", "ok", "ok", "pending"]
    assert {line["endpoint"] for line in lines if line["status"] == "ok"} == {"good"}
    assert "to go on:" in done.err


def test_each_row_is_charged_at_the_price_of_who_answered(batchlab, simulator, tmp_path):
    one, two = simulator(), simulator()
    rows = tmp_path / "rows.jsonl"
    cases = [("one", "sim"), ("one", "big"), ("two", "sim"), ("two", "unheard-of")]
    rows.write_text(
        "".join(json.dumps({"text": f"r{n}", "at": at, "m": m}) + "\n" for n, (at, m) in enumerate(cases))
    )
    job_file(
        tmp_path,
        rows,
        [endpoint("one", one, "price = { input = 0, output = 1000000 }"), endpoint("two", two)],
        input='endpoint = "at"\nmodel = "m"\n',
        price="[price]\ninput = 0\noutput = 2000000\n[price.models.big]\ninput = 0\noutput = 3000000\n",
    )

    done = batchlab("run", "job.toml", "--progress", "none", "-o", "out.jsonl")

    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["model"] for line in lines] == ["sim", "big", "sim", "unheard-of"]
    each = [line["cost_usd"] and line["cost_usd"] / line["completion_tokens"] for line in lines]
    assert each == pytest.approx([1.0, 3.0, 2.0, None])
    assert "1 row of unknown cost" in done.err


def test_check_tries_every_endpoint_and_lists_the_presets(batchlab, simulator, rows_file, tmp_path):
    limited = simulator(rpm=600)
    bad = simulator(faults=[{"kind": "http_401", "rate": 1.0, "times": 99}])
    job = job_file(tmp_path, rows_file(1), [endpoint("limited", limited), endpoint("bad", bad)])

    done = batchlab("check", job)

    assert done.code == 3
    assert "limits: 600 requests" in done.out
    assert "plain: auth (HTTP 401" in done.out
    listed = batchlab("check", "--list")
    assert listed.code == 0
    assert "GROQ_API_KEY" in listed.out
    assert "https://api.groq.com/openai/v1" in listed.out
