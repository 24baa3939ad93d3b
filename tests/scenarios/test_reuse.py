"""Answers that need no request: those of older runs, and those of identical rows."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest

from batchlab.store.view import RunView
from tests.conftest import command, environment

pytestmark = pytest.mark.proof  # many runs, or runs of many rows


def words(base_url, rows, *more):
    return [
        "run", "-i", rows, "-m", "sim", "-p", "Say it shorter: {text}", "--base-url", base_url, "--api-key-env",
        "SIMULATOR_KEY", "--price-in", "1", "--price-out", "2", "--shard-rows", "20", "--progress", "none", *more,
    ]  # fmt: skip


def table(run):
    return pq.read_table(sorted((run / "completions").glob("part-*.parquet")))


def books(batchlab, run):
    """The total line of `batchlab cost`."""
    return json.loads(batchlab("cost", run, "--format", "json").out)[-1]


def write(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path.name


def test_two_runs_pay_for_a_request_once_and_their_books_are_the_ledger(batchlab, simulator, tmp_path):
    server = simulator()
    old = write(tmp_path / "old.jsonl", [f"remark {n}" for n in range(50)])
    new = write(tmp_path / "new.jsonl", [f"remark {n}" for n in range(30, 100)])
    assert batchlab(*words(server.base_url, old)).code == 0

    planned = batchlab("plan", *words(server.base_url, new, "--reuse", "runs/old")[1:])
    done = batchlab(*words(server.base_url, new, "--reuse", "runs/old"))

    assert "reuse of runs/old: 20 rows need no request" in planned.out
    assert "to send: 50 requests" in planned.out
    assert done.code == 0, done.err
    assert "reused: 20 of 70 rows from runs/old" in done.err
    assert server.ledger()["billed"] == 100
    assert server.ledger()["billed_repeats"] == 0
    rows = table(tmp_path / "runs/new").to_pylist()
    answers = {row["text"]: row for row in table(tmp_path / "runs/old").to_pylist()}
    for row in rows[:20]:
        assert row["completion"] == answers[row["text"]]["completion"]
        assert row["usage_raw"] == answers[row["text"]]["usage_raw"]
        assert (row["attempts"], row["cost_usd"], row["prompt_tokens"]) == (0, 0.0, None)
    assert all(row["attempts"] == 1 and row["cost_usd"] > 0 for row in rows[20:])
    assert batchlab("verify", "runs/new").code == 0
    both = [books(batchlab, "runs/old"), books(batchlab, "runs/new")]
    assert [one["reused"] for one in both] == [0, 20]
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(one[name] for one in both) == server.ledger()[name]
    ledger = server.ledger()
    paid = (ledger["prompt_tokens"] + 2 * ledger["completion_tokens"]) / 1e6
    assert sum(one["kept_usd"] for one in both) == pytest.approx(paid)
    assert both[1]["rows_without_usage"] == 0


def test_an_unfinished_run_gives_its_ok_answers_and_never_those_of_another_request(
    batchlab, simulator, tmp_path
):
    server = simulator()
    rows = write(tmp_path / "rows.jsonl", [f"remark {n}" for n in range(60)])
    cap = ("--max-cost", "0.005", "--run-dir", "runs/old", "--max-tokens", "100", "-c", "4")
    assert batchlab(*words(server.base_url, rows, *cap)).code == 3
    store = RunView.open(tmp_path / "runs/old")
    assert store.unsealed()
    have = Counter(result.status for result in store.all_results())
    assert have["ok"]
    assert have["truncated"]

    other = batchlab(
        *words(server.base_url, rows, "--run-dir", "runs/other", "--reuse", "runs/old", "--max-tokens", "99")
    )
    same = batchlab(
        *words(server.base_url, rows, "--run-dir", "runs/same", "--reuse", "runs/old", "--max-tokens", "100")
    )

    assert "reused: 0 of 60 rows from runs/old" in other.err
    assert f"reused: {have['ok']} of 60 rows from runs/old" in same.err
    assert same.code == 0
    assert batchlab("verify", "runs/same").code == 0


def test_a_job_file_names_the_runs_and_a_finished_run_takes_over_nothing_more(batchlab, simulator, tmp_path):
    server = simulator()
    rows = write(tmp_path / "rows.jsonl", [f"remark {n}" for n in range(10)])
    assert batchlab(*words(server.base_url, rows)).code == 0
    (tmp_path / "job.toml").write_text(
        f"""
        [input]
        path = "{rows}"
        [endpoint]
        base_url = "{server.base_url}"
        api_key_env = "SIMULATOR_KEY"
        [request]
        model = "sim"
        prompt = "Say it shorter: {{text}}"
        [output]
        run_dir = "runs/again"
        reuse = ["runs/rows"]
        """
    )

    first, second = batchlab("run", "job.toml"), batchlab("run", "job.toml")

    assert "10 ok (0 requests" in first.err
    assert first.code == second.code == 0
    assert "reused: 10 of" not in second.err
    assert server.ledger()["billed"] == 10


@pytest.mark.parametrize(
    ("verb", "more", "said"),
    [
        ("run", ["--reuse", "runs/none"], "--reuse runs/none: not a run directory"),
        ("plan", ["--reuse", "broken"], "--reuse broken/run.json: not a run of batchlab"),
        ("plan", ["--dedupe"], "the job sets no temperature"),
        ("run", ["--dedupe", "--temperature", "0.7"], "the job sets temperature 0.7"),
    ],
)
def test_what_cannot_be_reused_is_one_line_and_exit_code_2(batchlab, tmp_path, verb, more, said):
    rows = write(tmp_path / "rows.jsonl", ["a"])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text("{}")

    done = batchlab(*[verb, *words("simulator", rows, *more)[1:]])

    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") <= 2  # with the endpoint's own line
    assert not (tmp_path / "runs").exists()


def test_identical_rows_are_sent_once_also_across_shards(batchlab, simulator, tmp_path):
    server = simulator()
    rows = write(tmp_path / "rows.jsonl", [f"remark {n % 30}" for n in range(100)])
    job = words(server.base_url, rows, "--dedupe", "--temperature", "0", "--processes", "2")

    planned = batchlab("plan", *job[1:])
    done = batchlab(*job, "--progress", "plain")

    assert "dedupe: 70 rows need no request" in planned.out
    assert "to send: 30 requests" in planned.out
    assert done.code == 0, done.err
    assert "dedupe: 70 rows of 100 ask what an earlier row asks" in done.err
    assert server.ledger()["billed"] == server.ledger()["requests"] == 30
    rows = table(tmp_path / "runs/rows").to_pylist()
    answers = {row["text"]: row["completion"] for row in rows[:30]}
    assert len(set(answers.values())) > 1
    assert all(row["completion"] == answers[row["text"]] for row in rows)
    assert [row["custom_id"] for row in rows] == [str(n) for n in range(100)]
    assert batchlab("verify", "runs/rows").code == 0
    total = books(batchlab, "runs/rows")
    assert (total["requests"], total["reused"]) == (30, 70)
    assert total["completion_tokens"] == server.ledger()["completion_tokens"]


def test_rows_with_another_temperature_of_their_own_are_each_sent(batchlab, simulator, tmp_path):
    server = simulator()
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": "same", "own": {"temperature": n % 2}}) + "\n" for n in range(12))
    )

    done = batchlab(*words(server.base_url, "rows.jsonl", "--dedupe", "--row-params", "own"))

    assert done.code == 0, done.err
    assert server.ledger()["billed"] == 6 + 1


def test_a_failure_is_not_copied_and_three_of_them_let_each_row_ask_for_itself(batchlab, simulator, tmp_path):
    server = simulator(context_tokens=50)
    texts = ["long " * 400] * 6 + ["short"] * 6
    rows = write(tmp_path / "rows.jsonl", texts)

    done = batchlab(*words(server.base_url, rows, "--dedupe", "--temperature", "0"))

    assert done.code == 1, done.err
    assert Counter(table(tmp_path / "runs/rows")["status"].to_pylist()) == {"failed": 6, "ok": 6}
    assert server.ledger()["billed"] == 1
    assert server.ledger()["requests"] == 6 + 1
    assert batchlab("verify", "runs/rows").code == 0


def test_p1_p2_killed_in_mid_run_each_distinct_request_is_billed_once_and_what_was_in_flight(
    batchlab, simulator, tmp_path
):
    server = simulator(latency_median_s=0.03)
    rows = write(tmp_path / "rows.jsonl", [f"remark {n % 150}" for n in range(600)])
    job = words(server.base_url, rows, "--dedupe", "--temperature", "0", "-c", "4")
    process = subprocess.Popen(command(*job), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while server.ledger()["billed"] < 60 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / "runs/rows/journal/answers.tmp").write_text("half a file")  # of a crash among the copies

    done = batchlab(*job)

    assert done.code == 0, done.err
    ledger = server.ledger()
    cut_off = RunView.open(tmp_path / "runs/rows").totals().cut_off
    assert ledger["distinct"] == 150
    assert ledger["billed_repeats"] <= cut_off <= 4
    assert not (tmp_path / "runs/rows/journal/answers.tmp").exists()
    answers = table(tmp_path / "runs/rows").to_pylist()
    assert {row["status"] for row in answers} == {"ok"}
    assert len({(row["text"], row["completion"]) for row in answers}) == 150
    assert books(batchlab, "runs/rows")["reused"] == 450
    assert batchlab("verify", "runs/rows").code == 0
