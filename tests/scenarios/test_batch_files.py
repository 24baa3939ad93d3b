"""A batch file through the real command: what goes over the wire, what comes out, and who reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from openai.types.chat import ChatCompletion

from batchlab.guide import page
from tests.conftest import ROOT
from tests.provider import Provider, chat_reply, providing

SAMPLE = ROOT / "sample_data/requests.jsonl"


def shouted(body: dict) -> tuple[int, dict]:
    """The last message in capitals; refuses what asks for it."""
    content = str(body["messages"][-1]["content"])
    if "refuse me" in content:
        return 400, {"error": {"message": "not that", "type": "invalid_request_error", "code": "bad"}}
    more = {"id": "chatcmpl-1", "object": "chat.completion", "model": body["model"]}
    return 200, chat_reply(content.upper(), **more)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing(shouted) as started:
        yield started


def words(provider: Provider, *more: str | Path) -> list[str]:
    common = ["--base-url", provider.base_url, "--api-key-env", "SIMULATOR_KEY", "--progress", "none"]
    return ["run", *map(str, more), *common]


def line(custom_id: str, content: str, body: str = "") -> str:
    return (
        f'{{"custom_id": "{custom_id}", "method": "POST", "url": "/v1/chat/completions", '
        f'"body": {{"max_tokens":7,"messages":[{{"content":"{content}","role":"user"}}]{body},"model":"m"}}}}\n'
    )


def written(path: Path) -> list[dict]:
    return [json.loads(one) for one in path.read_bytes().splitlines()]


def test_a_file_made_for_vllm_run_batch_runs_unchanged_and_its_bodies_go_out_byte_for_byte(
    batchlab, provider, tmp_path
):
    """With a preset whose service spells max_tokens otherwise: a body is not ours to respell."""
    bodies = ["", ',"seed":9007199254740993,"logit_bias":null', ',"temperature":1.0,"x":{"b":1,"a":[0.1]}']
    lines = [line(f"row-{number}", f"hi {number}", body) for number, body in enumerate(bodies)]
    (tmp_path / "requests.jsonl").write_text("".join(lines))

    for spelling in (["-i", "-o", "--model"], ["--input-file", "--output-file", "-m"]):
        values = zip(spelling, ["requests.jsonl", "results.jsonl", "m"], strict=True)
        arguments = [word for pair in values for word in pair]
        done = batchlab(*words(provider, *arguments, "--preset", "openai", "-c", "1"))
        assert done.code == 0, done.err

    sent = [one.partition('"body": ')[2].strip()[:-1].encode() for one in lines]
    assert provider.raw_bodies == sent
    results = written(tmp_path / "results.jsonl")
    assert [one["custom_id"] for one in results] == ["row-0", "row-1", "row-2"]
    assert all(set(one) == {"id", "custom_id", "response", "error"} for one in results)
    assert all(set(one["response"]) == {"status_code", "request_id", "body"} for one in results)
    answers = [ChatCompletion.model_validate(one["response"]["body"]) for one in results]
    assert [one.choices[0].message.content for one in answers] == ["HI 0", "HI 1", "HI 2"]
    assert answers[0].usage.total_tokens == 5
    assert batchlab("verify", "runs/requests").code == 0


def test_failed_lines_stand_among_the_others_or_in_a_file_of_errors(here, provider, tmp_path):
    (tmp_path / "r.jsonl").write_text(line("a", "hi") + line("b", "refuse me") + line("c", "ho"))

    done = here(*words(provider, "r.jsonl", "-o", "out.jsonl"))

    assert done.code == 1
    one, two, three = written(tmp_path / "out.jsonl")
    assert (one["custom_id"], three["custom_id"]) == ("a", "c")
    assert (two["custom_id"], two["response"]["status_code"], two["error"]["code"]) == (
        "b",
        400,
        "bad_request",
    )
    assert "not that" in two["response"]["body"]["error"]["message"]

    split = here("export", "runs/r", "-o", "ok.jsonl", "--to", "openai-batch", "--errors", "errors.jsonl")
    assert "3 rows written to ok.jsonl and errors.jsonl, the 1 that failed to the latter" in split.err
    assert [one["custom_id"] for one in written(tmp_path / "ok.jsonl")] == ["a", "c"]
    assert written(tmp_path / "errors.jsonl") == [two]
    again = here(*words(provider, "r.jsonl", "-o", "out.jsonl", "--errors", "errors.jsonl"))
    assert "out.jsonl and errors.jsonl" in again.err
    assert written(tmp_path / "out.jsonl") == written(tmp_path / "ok.jsonl")


def test_a_run_that_stops_leaves_out_what_has_no_answer_and_keeps_every_id(here, provider, tmp_path):
    (tmp_path / "r.jsonl").write_text("{broken\n" + "".join(line(f"id-{n}", f"hi {n}") for n in range(5)))

    stopped = here(*words(provider, "r.jsonl", "-o", "out.jsonl", "-c", "1", "--max-tokens-total", "35"))

    assert stopped.code == 3, stopped.err
    assert "left out: 2 pending rows without a line in out.jsonl" in stopped.err
    lines = written(tmp_path / "out.jsonl")
    assert [one["custom_id"] for one in lines] == [None, "id-0", "id-1", "id-2"]
    assert lines[0]["error"]["code"] == "bad_input"
    exported = here("export", "runs/r", "-o", "again.jsonl")
    assert "4 rows written to again.jsonl, 1 of them errors" in exported.err
    assert "left out: 2 pending rows" in exported.err

    assert here("export", "runs/r", "-o", "rows.jsonl", "--to", "jsonl").code == 0
    rows = written(tmp_path / "rows.jsonl")
    assert [row["custom_id"] for row in rows[1:]] == [f"id-{n}" for n in range(5)]
    assert [row["status"] for row in rows] == ["failed", "ok", "ok", "ok", "pending", "pending"]
    assert rows[5]["body"] == json.loads(line("id-4", "hi 4"))["body"]

    assert here(*words(provider, "r.jsonl", "-o", "out.jsonl", "-c", "1")).code == 1
    assert [one["custom_id"] for one in written(tmp_path / "out.jsonl")[1:]] == [f"id-{n}" for n in range(5)]
    assert here("verify", "runs/r").code == 0


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (line("a", "x") + "\n" + line("a", "y"), [], "r.jsonl: lines 1 and 3 have the same custom_id"),
        (
            line("a", "x") + line("b", "y").replace("chat/completions", "rerank"),
            [],
            'r.jsonl:2: url is "/v1/rerank"; only /v1/chat/completions, /v1/completions and /v1/embeddings can be sent',
        ),
        (line("a", "x"), ["--max-tokens", "9"], "the job sets max_tokens"),
        (line("a", "x"), ["-o", "o.parquet", "--errors", "e.jsonl"], "only --to openai-batch"),
        (line("a", "x"), ["-o", "o.jsonl", "--to", "jsonl", "--errors", "e.jsonl"], "only --to openai-batch"),
        (
            line("a", "x"),
            ["-o", "o.jsonl", "--errors", "o.jsonl"],
            "--errors: 'o.jsonl' would be written over output.file",
        ),
        (line("a", "x"), ["--errors", "e.jsonl"], "--errors: needs an output file"),
        (line("a", "x"), ["--to", "hf"], "--to: needs an output file"),
        (line("a", "x"), ["-o", "o.txt"], "must end in .parquet, .csv, .jsonl or /"),
        (line("a", "x"), ["-o", "./"], "holds files that are not an earlier export's"),
        (line("a", "x"), ["-i", "other.jsonl"], "the input is other.jsonl already; keep one"),
        (line("a", "x"), ["--max-cost", "1"], "model m: a cost cap needs a price"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_sent(here, provider, tmp_path, content, more, said):
    (tmp_path / "r.jsonl").write_text(content)

    done = here(*words(provider, "r.jsonl", *more))

    assert done.code == 2
    assert said in done.err
    assert len([one for one in done.err.splitlines() if one.startswith("batchlab:")]) == 1
    assert provider.bodies == []
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


def test_a_price_without_a_model_is_that_of_every_line_and_caps_the_run(here, provider, tmp_path):
    (tmp_path / "r.jsonl").write_text(line("a", "x") + line("b", "y").replace('"model":"m"', '"model":"n"'))

    priced = ["--price-in", "1", "--price-out", "2", "--max-cost", "1"]
    done = here(*words(provider, "r.jsonl", *priced))

    assert done.code == 0, done.err
    assert "cost: $0.000014" in done.err
    assert "m " in here("cost", "runs/r", "--by", "model").out


def test_rows_that_are_no_batch_file_can_be_written_as_one(here, provider, rows_file, tmp_path):
    rows_file(3)

    done = here(
        *words(
            provider,
            "rows.jsonl",
            "-m",
            "m",
            "-p",
            "{text}",
            "--id-column",
            "n",
            "-o",
            "o",
            "--to",
            "openai-batch",
        )
    )

    assert done.code == 0, done.err
    assert [one["custom_id"] for one in written(tmp_path / "o")] == ["0", "1", "2"]
    assert here("export", "runs/rows", "-o", "rows-out.jsonl").code == 0
    assert written(tmp_path / "rows-out.jsonl")[0]["n"] == 0  # a table's .jsonl stays a table


def test_duckdb_and_pandas_read_the_run_directory_and_every_table_of_an_export(here, tmp_path):
    """With the sample, as the guide has it; words of few values read as text."""
    done = here(
        *["run", SAMPLE, "-o", "results.jsonl", "--base-url", "simulator", "--shard-rows", "4"],
        *["--progress", "none"],
    )
    assert done.code == 0, done.err
    for name in ("all.parquet", "all.csv", "data/"):
        assert here("export", "runs/requests", "-o", name).code == 0
    assert here("export", "runs/requests", "-o", "all.jsonl", "--to", "jsonl").code == 0
    assert "batchlab run sample_data/requests.jsonl -o results.jsonl --base-url simulator" in page(
        "batch-files"
    )
    ids = [json.loads(one)["custom_id"] for one in SAMPLE.read_text().splitlines()]
    parts = tmp_path / "runs/requests/completions"

    for files in (f"{parts}/*.parquet", tmp_path / "all.parquet", tmp_path / "data/data/*.parquet"):
        found = duckdb.sql(
            f"SELECT custom_id, typeof(status), status || '!', json_extract_string(body, '$.model') "
            f"FROM '{files}' ORDER BY row_id"
        ).fetchall()
        assert [row[0] for row in found] == ids
        assert {(row[1], row[3]) for row in found} == {("VARCHAR", "any-model")}
        assert {row[2] for row in found} <= {"ok!", "truncated!"}
    for name in ("all.csv", "all.jsonl"):
        assert duckdb.sql(f"SELECT custom_id FROM '{tmp_path / name}' ORDER BY row_id").fetchall() == [
            (one,) for one in ids
        ]
    bodies = duckdb.sql(
        f"SELECT response.body.choices[1].message.content IS NOT NULL FROM '{tmp_path / 'results.jsonl'}'"
    ).fetchall()
    assert bodies == [(True,)] * len(ids)
    assert list(pd.read_parquet(parts)["custom_id"]) == ids
    assert pd.read_parquet(parts)["status"].astype(str).isin(["ok", "truncated"]).all()
    assert [one["custom_id"] for one in written(tmp_path / "results.jsonl")] == ids
