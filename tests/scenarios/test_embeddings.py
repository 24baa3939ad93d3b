"""Embeddings and text completions by the real command, against the simulator."""

from __future__ import annotations

import base64
import json
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

import batchlab as package
from batchlab.endpoints.simulator.replies import token_count
from batchlab.endpoints.simulator.texts import vector_of
from batchlab.guide import page
from batchlab.store.view import RunView
from tests.conftest import CANARY, ROOT, command, environment

pytestmark = pytest.mark.proof  # each begins processes, and waits for them

DIMENSIONS = 16


def words(server, *more: str | Path) -> list[str]:
    common = ["--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY", "--progress", "none"]
    return ["run", "-i", "rows.jsonl", "-m", "sim", *common, *map(str, more)]


EMBED = ["--task", "embeddings", "-p", "{text}", "--param", f"dimensions={DIMENSIONS}"]


def assert_right_vectors(frame: pd.DataFrame) -> None:
    for text, vector in zip(frame["text"], frame["embedding"], strict=True):
        assert vector.dtype == np.float32
        assert tuple(vector.tolist()) == vector_of(text, seed=0, dimensions=DIMENSIONS)


def test_many_rows_go_in_one_request_and_each_gets_its_own_vector_and_share(
    here, simulator, rows_file, tmp_path
):
    rows_file(200)
    server = simulator()

    done = here(*words(server, *EMBED, "--price-in", "20", "--shard-rows", "90", "-o", "all.parquet"))

    assert done.code == 0, done.err
    # 90 + 90 + 20 rows: a request never has rows of two shards
    assert "(5 requests in" in done.err
    assert server.ledger()["requests"] == 5
    frame = package.load("runs/rows")
    assert_right_vectors(frame)
    assert_right_vectors(pd.read_parquet("runs/rows/completions"))
    assert pd.read_parquet("all.parquet")["embedding"][7].dtype == np.float32
    assert frame["prompt_tokens"].sum() == server.ledger()["prompt_tokens"]
    assert frame["completion_tokens"].sum() == 0
    assert frame["cost_usd"].sum() == pytest.approx(20e-6 * server.ledger()["prompt_tokens"], rel=1e-12)
    assert set(frame["attempts"]) == {1}
    assert frame["error_class"].isna().all()
    assert here("verify", "runs/rows").code == 0
    books = json.loads(here("cost", "runs/rows", "--format", "json").out)
    assert books[-1]["prompt_tokens"] == server.ledger()["prompt_tokens"]
    assert here("report", "runs/rows").code == 0
    page = (tmp_path / "runs/rows/report.html").read_text()
    assert '"dimensions":16' in page
    assert "Requests are counted by row" in page
    for name in ("all.csv", "all.jsonl", "data/"):
        assert here("export", "runs/rows", "-o", name).code == 0
    rows = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    assert tuple(rows[3]["embedding"]) == vector_of(rows[3]["text"], seed=0, dimensions=DIMENSIONS)
    # nothing is left to send, whatever the size of a request
    assert "200 of 200 rows" in here(*words(server, *EMBED, "--price-in", "20", "--batch-rows", "7")).err
    assert server.ledger()["requests"] == 5


def test_a_plan_of_embeddings_knows_requests_and_tokens_and_no_completions(here, rows_file):
    rows_file(130)
    plan = ["plan", "-i", "rows.jsonl", "-m", "sim", "--base-url", "simulator", *EMBED, "--price-in", "1"]

    done = here(*plan, "--rpm", "30")

    assert done.code == 0, done.err
    assert "to send: 130 rows in about 3 requests" in done.out
    assert "prompt tokens: about 1,1" in done.out
    assert "completion tokens" not in done.out
    assert "cost: $0.0011 to $0.0011" in done.out
    assert "time: 6 s to 6 s, bound by rpm 30" in done.out


def test_a_row_that_is_refused_fails_alone_and_the_others_are_asked_again(here, simulator, rows_file):
    """All rows of the run in one request: its halves come when there is nothing else left to send."""
    texts = [f"poison {n}" if n in {5, 40} else f"text {n}" for n in range(60)]
    rows_file(60, texts=texts)
    server = simulator(faults=[{"kind": "http_400", "rows": ["poison"], "times": 99}])

    done = here(*words(server, *EMBED))

    assert done.code == 1, done.err
    assert "60 rows = 58 ok + 2 failed" in done.err
    frame = package.load("runs/rows")
    failed = frame[frame["status"] == "failed"]
    assert list(failed["row_id"]) == [5, 40]
    assert set(failed["error_code"]) == {400}
    assert set(failed["embedding"]) == {None}
    assert_right_vectors(frame[frame["status"] == "ok"])
    assert server.ledger()["requests"] <= 1 + 2 * 2 * 6
    assert frame["attempts"].max() <= 7
    assert frame["prompt_tokens"].sum() == server.ledger()["prompt_tokens"]
    assert here("verify", "runs/rows").code == 0
    again = here("retry", "runs/rows", "--progress", "none")
    assert "2 failed" in again.err


def test_many_refused_rows_at_the_start_do_not_stop_the_run_but_a_request_nobody_likes_does(
    here, simulator, rows_file
):
    rows_file(64, texts=[f"poison {n}" if n % 3 == 0 else f"text {n}" for n in range(64)])
    server = simulator(faults=[{"kind": "http_400", "rows": ["poison"], "times": 99}])
    assert here(*words(server, *EMBED, "--batch-rows", "16")).code == 1
    assert (package.load("runs/rows")["status"] == "ok").sum() == 42

    refused = here(*words(server, *EMBED[:-1], "dimensions=0", "--run-dir", "other"))
    assert refused.code == 3
    assert "'dimensions' must be" in refused.err


def test_faults_of_the_provider_change_neither_vectors_nor_books(here, simulator, rows_file):
    """An answer that lacks its rows is asked for again, whole; so is what was cut off or limited."""
    rows_file(120)
    body = json.dumps({"object": "list", "data": [], "usage": {"prompt_tokens": 0, "total_tokens": 0}})
    server = simulator(
        faults=[
            {"kind": "answer", "every": 4, "body": body},
            {"kind": "null_content", "every": 7},
            {"kind": "http_500", "every": 5},
            {"kind": "rate_limit_ms", "every": 9},
        ]
    )

    done = here(*words(server, *EMBED, "--batch-rows", "6", "--price-in", "1"))

    assert done.code == 0, done.err
    frame, ledger = package.load("runs/rows"), server.ledger()
    assert_right_vectors(frame)
    assert sum(ledger["by_fault"].values()) >= 5
    used = frame["prompt_tokens"].sum() + frame["wasted_prompt_tokens"].sum()
    assert used == ledger["prompt_tokens"] - ledger["unseen_prompt_tokens"]
    assert here("verify", "runs/rows").code == 0


def test_a_kill_in_the_middle_asks_at_most_for_what_was_in_flight_again(
    batchlab, simulator, rows_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    rows_file(400)
    server = simulator(latency_median_s=0.15, latency_sigma=0.3)
    run = words(server, *EMBED, "--batch-rows", "10", "-c", "4", "--shard-rows", "150")
    process = subprocess.Popen(command(*run), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    while server.ledger()["billed"] < 12:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while server.ledger()["in_flight"]:  # the simulator finishes, and bills, what was abandoned
        time.sleep(0.01)
    store = RunView.open(tmp_path / "runs/rows")
    kept = {one.row_id for one in store.all_results()}
    cut = store.totals().cut_off
    assert 0 < len(kept) < 400

    done = batchlab(*run)

    assert done.code == 0, done.err
    assert f"resuming: {len(kept)} of 400 rows" in done.err
    announced = re.search(r"with (\d+) requests? in flight", done.err)
    assert announced
    assert 1 <= int(announced.group(1)) <= 4
    frame, ledger = package.load(tmp_path / "runs/rows"), server.ledger()
    assert list(frame["row_id"]) == list(range(400))
    assert_right_vectors(frame)
    assert frame["cut_off"].sum() == cut
    assert not frame["cut_off"][sorted(kept)].any()
    # what was billed and is not in the books is at most the rows that were cut off
    assert frame["prompt_tokens"].sum() == sum(map(token_count, frame["text"]))
    twice = ledger["prompt_tokens"] - frame["prompt_tokens"].sum()
    assert 0 <= twice <= sum(token_count(text) for text in frame["text"][frame["cut_off"] > 0])
    assert batchlab("verify", "runs/rows").code == 0


def test_the_budget_holds_for_requests_of_many_rows(here, simulator, rows_file):
    rows_file(300)
    server = simulator()

    done = here(*words(server, *EMBED, "--price-in", "1", "--max-cost", "0.0015"))

    assert done.code == 3, done.err
    assert 0 < server.ledger()["prompt_tokens"] <= 1_500
    more = here(*words(server, *EMBED, "--price-in", "1", "--max-cost", "1"))
    assert more.code == 0, more.err
    assert_right_vectors(package.load("runs/rows"))


def test_an_endpoint_that_ignores_dimensions_is_said_at_once(here, simulator, rows_file):
    rows_file(100)
    vector = json.dumps({"data": [{"index": n, "embedding": [1.0]} for n in range(50)]})
    server = simulator(faults=[{"kind": "answer", "every": 1, "body": vector, "times": 99}])

    done = here(*words(server, *EMBED, "--batch-rows", "50"))

    assert done.code == 3
    assert "the embedding has 1 dimension, and 16 were asked for" in done.err
    assert server.ledger()["requests"] <= 4


@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_text_completions_have_the_columns_of_chats(here, simulator, rows_file, more):
    rows_file(20)
    server = simulator()

    done = here(*words(server, "--task", "completions", "-p", "{text}", "--max-tokens", "30", *more))

    assert done.code == 0, done.err
    frame, ledger = package.load("runs/rows"), server.ledger()
    assert frame["completion"].str.len().min() > 0
    assert "embedding" not in frame
    assert set(frame["finish_reason"]) <= {"stop", "length"}
    assert frame["completion_tokens"].sum() == ledger["completion_tokens"]
    assert (frame["ttft_ms"].notna()).all() == bool(more)
    assert here("verify", "runs/rows").code == 0
    assert here("export", "runs/rows", "-o", "o", "--to", "openai-batch").code == 0
    bodies = [json.loads(line)["response"]["body"] for line in Path("o").read_text().splitlines()]
    assert [Completion.model_validate(one).choices[0].text for one in bodies] == list(frame["completion"])


LINES = [
    ("chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}),
    ("completions", {"prompt": "Once upon a time", "max_tokens": 6}),
    ("embeddings", {"input": "a text", "dimensions": 4}),
    ("embeddings", {"input": ["a", "b", "c"], "dimensions": 3, "encoding_format": "base64"}),
    ("embeddings", {"input": ["alone"], "dimensions": 2}),
    ("embeddings", {"input": ""}),
    ("completions", {"prompt": ["one"], "max_tokens": 3}),
]


def test_a_file_of_chats_completions_and_embeddings_runs_unchanged(here, simulator, tmp_path):
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": f"/v1/{path}", "body": {"model": "sim", **body}}
        for n, (path, body) in enumerate(LINES)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    server = simulator(refused=["seed"])
    words_ = words(server, "-o", "out.jsonl")

    done = here(*words_)

    assert done.code == 1, done.err
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [one["custom_id"] for one in out] == [f"r{n}" for n in range(7)]
    bodies = [one["response"]["body"] for one in out]
    assert ChatCompletion.model_validate(bodies[0]).choices[0].message.content
    assert Completion.model_validate(bodies[1]).object == "text_completion"
    assert bodies[6]["choices"][0]["text"]
    one = CreateEmbeddingResponse.model_validate(bodies[2])
    assert tuple(np.float32(one.data[0].embedding).tolist()) == vector_of("a text", seed=0, dimensions=4)
    assert one.usage.prompt_tokens == one.usage.total_tokens == 2
    assert [item["index"] for item in bodies[3]["data"]] == [0, 1, 2]
    several = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in bodies[3]["data"]]
    assert [tuple(v.tolist()) for v in several] == [vector_of(t, seed=0, dimensions=3) for t in "abc"]
    assert len(bodies[4]["data"]) == 1
    assert out[5]["response"]["status_code"] == 400
    assert out[5]["error"]["code"] == "bad_request"

    frame = package.load("runs/rows")
    assert [None if one is None else len(one) for one in frame["embedding"]] == [
        None,
        None,
        4,
        None,
        2,
        None,
        None,
    ]
    assert [None if one is None else len(one) for one in frame["embeddings"]] == [
        None,
        None,
        None,
        3,
        None,
        None,
        None,
    ]
    assert here("verify", "runs/rows").code == 0
    assert here("plan", *words_[1:]).code == 0
    assert here(*words_[:3], *words_[5:], "--task", "embeddings").code == 2


def test_a_pilot_of_embeddings_forecasts_the_run(here, simulator, rows_file):
    rows_file(300)
    server = simulator()

    done = here("plan", *words(server, *EMBED, "--price-in", "1")[1:], "--pilot", "40")

    assert done.code == 0, done.err
    assert "40 rows sent" in done.out
    run = here(*words(server, *EMBED, "--price-in", "1"))
    assert run.code == 0, run.err
    assert "prompt tokens" in run.err or "forecast" in run.err
    assert_right_vectors(package.load("runs/rows"))


@pytest.mark.parametrize("task", ["chat", "completions", "embeddings"])
def test_check_asks_what_the_job_will_ask(here, simulator, task):
    server = simulator()

    done = here(
        "check", "-m", "sim", "--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY", "--task", task
    )

    assert done.code == 0, done.out
    assert ("256 dimensions" in done.out) == (task == "embeddings")


async def test_python_gets_vectors_with_a_frame_s_rows_and_from_a_stream(simulator, monkeypatch, tmp_path):
    """A frame whose own column is called `embedding` needs a prefix, as for any other result column."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    server = simulator()
    rows = pd.DataFrame({"text": ["a", "b", "c"]}, index=[7, 8, 9])
    asked = {
        "model": "sim",
        "task": "embeddings",
        "prompt": "{text}",
        "dimensions": DIMENSIONS,
        "quiet": True,
    }
    asked |= {"base_url": server.base_url, "api_key_env": "SIMULATOR_KEY"}

    frame = package.run(rows, **asked)
    streamed = [one async for one in package.stream(rows.to_dict("records"), **asked, run_dir="runs/stream")]

    assert list(frame.index) == [7, 8, 9]
    assert_right_vectors(frame)
    for one in streamed:
        text = "abc"[one.row_id]
        assert tuple(np.asarray(one.embedding).tolist()) == vector_of(text, seed=0, dimensions=DIMENSIONS)
        assert np.asarray(one.embedding).dtype == np.float32
    with pytest.raises(package.UsageError, match="columns that the results need: embedding"):
        package.run(rows.assign(embedding=1), **asked)
    kept = package.run(rows.assign(embedding=1), **asked, output__prefix="out_")
    assert list(kept["embedding"]) == [1, 1, 1]
    assert len(kept["out_embedding"][8]) == DIMENSIONS
    assert server.ledger()["requests"] == 3


def test_several_processes_ask_for_embeddings_too(here, simulator, rows_file):
    rows_file(90)
    server = simulator()

    done = here(*words(server, *EMBED, "--processes", "2", "--shard-rows", "30"))

    assert done.code == 0, done.err
    assert_right_vectors(package.load("runs/rows"))
    assert server.ledger()["requests"] == 3
    assert here("verify", "runs/rows").code == 0


def test_the_guide_s_example_gives_vectors_as_long_as_it_asks(here, tmp_path):
    [example] = re.findall(
        r"^batchlab (run \S* ?sample_data/tickets.csv .*--task embeddings .*)$",
        page("embeddings").replace("\\\n", ""),
        re.MULTILINE,
    )
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")

    assert here(*shlex.split(example), "--progress", "none").code == 0
    assert {len(one) for one in package.load("runs/vectors")["embedding"]} == {64}


def test_equal_texts_are_sent_once_and_a_later_run_takes_vectors_over(here, simulator, rows_file):
    rows_file(90, texts=[f"text {n % 30}" for n in range(90)])
    server = simulator()

    assert here(*words(server, *EMBED, "--dedupe", "--shard-rows", "40")).code == 0
    assert server.ledger()["prompt_tokens"] == sum(token_count(f"text {n}") for n in range(30))
    assert_right_vectors(package.load("runs/rows"))
    assert here("verify", "runs/rows").code == 0
    billed = server.ledger()["billed"]
    assert here(*words(server, *EMBED, "--reuse", "runs/rows", "--run-dir", "later")).code == 0
    assert_right_vectors(package.load("later"))
    assert server.ledger()["billed"] == billed
