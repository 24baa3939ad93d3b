"""Batches that are out: left, looked at, taken home, called off, by the real command against the simulator."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batchlab.planning import batch_check
from batchlab.progress.line import bar_fields
from batchlab.progress.speed import Rates
from batchlab.run_state import BatchStanding, RunState
from tests.conftest import command, environment
from tests.page.reports import page_data
from tests.scenarios.test_run import job

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

AT = ("--batch-api", "openai", "--lane", "batch", "--shard-rows", "10", "--run-dir", "runs/night")
PRICED = ("--price-in", "1", "--price-out", "4", "--price-batch", "0.5")


@pytest.fixture
def server(simulator):
    """Its batches take a minute, by a clock that tests set ahead."""
    return simulator(batch={"seconds": 60}, price={"input": 1.0, "output": 4.0})


@pytest.fixture
def night(server, rows_file) -> list[str]:
    """A run of 25 rows, which are three batches."""
    return job(server.base_url, rows_file(25), *AT, *PRICED, "-o", "out.parquet")


def orders(server) -> list[dict]:
    return list(server.batches()["batches"])


def test_detached_collected_and_done(batchlab, server, night, tmp_path):
    left = batchlab(*night, "--detach")
    early = batchlab("collect", "runs/night")
    server.forward(120)
    done = batchlab("collect", "runs/night")
    again = batchlab("collect", "runs/night")

    assert left.code == early.code == 3
    assert "detached: 25 rows = 0 ok + 25 out in batches" in left.err
    assert (
        "out: 3 batches of 25 rows; they go on at the service, and none is lost or ordered twice" in left.err
    )
    assert "to take home what has ended: batchlab collect runs/night" in left.err
    assert re.search(r"or by cron: \*/15 \* \* \* \* cd \S+ && batchlab collect runs/night -q", left.err)
    assert "--detach" not in left.err.partition("to go on, and wait: ")[2]
    assert "0 ok + 25 out in batches" in early.err
    assert done.code == again.code == 0, done.err
    assert "done: 25 rows = 25 ok (25 rows came in" in done.err
    assert "next: batchlab show runs/night" in done.err
    table = pq.read_table(tmp_path / "out.parquet")
    assert set(table["lane"].to_pylist()) == {"batch"}
    assert table["row_id"].to_pylist() == list(range(25))
    assert len(orders(server)) == 3
    assert sum(table["cost_usd"].to_pylist()) == pytest.approx(server.ledger()["usd"])
    assert batchlab("verify", "runs/night").code == 0


def test_what_is_out_is_seen_while_nobody_is_at_work(batchlab, server, night):
    assert batchlab(*night, "--detach", "-q").code == 3

    told = batchlab("status", "runs/night")
    stated = json.loads(batchlab("status", "runs/night", "--json").out)
    listed, noted = (batchlab("ls", *more) for more in ((), ("--json",)))
    followed = batchlab("status", "runs/night", "--watch")

    assert "runs/night: waiting for 3 batches, and no process looks at them" in told.out
    assert "0 failed + 25 pending (25 of them out in batches)" in told.out
    assert re.search(r"out: 3 batches \(25 rows, \d+ done there\) at \S+, since \d\d:\d\d\n", told.out)
    assert re.search(r"  batch_\w+: 10 rows, \w+, \d+ done there, since", told.out)
    assert "to take home what has ended: batchlab collect runs/night" in told.out
    assert "to go on: batchlab run" in told.out
    assert stated["stage"] == "waiting"
    assert [one["rows"] for one in stated["batches"]] == [10, 10, 5]
    assert "waiting for 3 batches" in listed.out
    assert "to go on with runs/night" in listed.err or "to go on: batchlab collect runs/night" in listed.err
    assert json.loads(noted.out)["state"] == "waiting"
    assert json.loads(noted.out)["batches_out"] == 3
    assert followed.code == 3


def test_ctrl_c_leaves_batches_and_the_same_command_takes_them_up(batchlab, server, night, tmp_path):
    with subprocess.Popen(
        command(*night[:-2], "-o", "out.parquet", "--progress", "json"),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        states = (json.loads(line) for line in waiting.stderr if line.startswith('{"saved"'))
        seen = next(one for one in states if [b for b in one["batches"] if b["next_look"]])
        beside = batchlab("status", "runs/night")
        locked = batchlab("collect", "runs/night")
        waiting.send_signal(signal.SIGINT)
        _, rest = waiting.communicate(timeout=30)
    server.forward(120)
    done = batchlab(*night)

    assert waiting.returncode == 130
    assert sum(one["rows"] for one in seen["batches"]) == 25
    assert seen["eta_s"] is None
    assert "running (pid" in beside.out
    assert re.search(r"out: 3 batches \(25 rows", beside.out)
    assert locked.code == 2
    assert "in use by process" in locked.err
    assert "out: 3 batches of 25 rows" in rest
    assert "why: interrupted by SIGINT" in rest
    assert done.code == 0, done.err
    assert len(orders(server)) == 3


def test_cancelled_batches_keep_what_they_had_answered(batchlab, server, night, tmp_path):
    assert batchlab(*night, "--detach", "-q").code == 3
    server.forward(30)

    gone = batchlab("cancel", "runs/night")
    twice = batchlab("cancel", "runs/night")
    cron = batchlab("collect", "runs/night")

    assert gone.code == 0, gone.err
    assert "its batches are cancelled; what had ended by then is kept" in gone.err
    assert "to go on: batchlab run" in gone.err
    status = json.loads(batchlab("status", "runs/night", "--json").out)
    answered = status["totals"]["ok"]
    assert 0 < answered < 25
    assert status["batches"] == []
    assert twice.code == 2
    assert "none of its batches is out; there is nothing to cancel" in twice.err
    assert cron.code == 2
    assert "its batches were cancelled, and no others are ordered; to go on: batchlab run" in cron.err
    assert batchlab(*night, "--detach", "-q").code == 3
    server.forward(120)
    assert batchlab(*night).code == 0
    assert sum(pq.read_table(tmp_path / "out.parquet")["cost_usd"].to_pylist()) == pytest.approx(
        server.ledger()["usd"]
    )


def test_a_service_that_is_slow_to_cancel_is_waited_for_no_longer_than_asked(batchlab, simulator, rows_file):
    server = simulator(batch={"seconds": 60, "cancel_s": 600})
    assert batchlab(*job(server.base_url, rows_file(5), *AT, "--detach", "-q")).code == 3

    gone = batchlab("cancel", "runs/night", "--wait", "2s")

    assert gone.code == 3
    assert "some batches have not ended 2 s after they were cancelled" in gone.err
    assert "to take home what has ended: batchlab collect runs/night" in gone.err


def test_all_that_a_cancel_finds_ended_is_a_run_that_is_done(batchlab, server, night):
    assert batchlab(*night, "--detach", "-q").code == 3
    server.forward(120)

    done = batchlab("cancel", "runs/night")

    assert done.code == 0
    assert "done: 25 rows = 25 ok" in done.err


def test_batches_end_with_a_simulator_of_the_run_s_own(batchlab, rows_file):
    words = ["run", rows_file(5), "-m", "m", "-p", "{text}", "--base-url", "simulator", "--lane", "batch"]

    refused = batchlab(*words, "--detach")

    assert refused.code == 2
    assert "the simulator of a run ends with it" in refused.err


def test_nothing_is_to_detach_from_or_collect_in_the_lane_live(batchlab, simulator, rows_file):
    live = job(simulator().base_url, rows_file(5), "--run-dir", "runs/live")

    refused = batchlab(*live, "--detach")
    assert batchlab(*live, "-n", "3").code == 0
    collected = batchlab("collect", "runs/live")
    cancelled = batchlab("cancel", "runs/live")

    assert refused.code == 2
    assert "pass --lane batch" in refused.err
    assert collected.code == 0
    assert cancelled.code == 2


def test_metrics_log_and_report_know_the_batches(batchlab, server, night, tmp_path):
    watched = (*night, "--log-file", "night.log", "--metrics-file", "night.prom")
    assert batchlab(*watched, "--detach", "-q").code == 3
    metrics = (tmp_path / "night.prom").read_text()
    server.forward(120)
    assert batchlab("collect", "runs/night", "-q").code == 0
    events = [json.loads(line) for line in (tmp_path / "night.log").read_text().splitlines()]
    assert batchlab("report", "runs/night", "-o", "page.html").code == 0
    page = page_data(tmp_path / "page.html")

    assert re.search(r"batchlab_batches_out\{[^}]*\} 3\n", metrics)
    assert re.search(r"batchlab_rows_out\{[^}]*\} 25\n", metrics)
    steps = [one["step"] for one in events if one["event"] == "batch"]
    for step in ("meant", "uploaded", "ordering", "created", "ended", "merged"):
        assert steps.count(step) == 3, steps
    came = [one["came"] for one in page["run"]["ended_batches"]]
    assert len(came) == 3
    assert "completed: 10 answered" in came


def test_show_says_by_which_lane_a_row_was_answered(batchlab, server, night):
    assert batchlab(*night, "--detach", "-q").code == 3
    server.forward(120)
    assert batchlab(*night, "-q").code == 0

    assert re.search(r"row 3 · \w+ · batch · ", batchlab("show", "runs/night", "3").out)
    assert re.search(r"^batch +25 ", batchlab("cost", "runs/night", "--by", "lane").out, re.MULTILINE)


def test_the_progress_line_says_what_is_out_and_when_somebody_looks_next():
    soon = time.time() + 12.5
    out = tuple(
        BatchStanding(f"k{n}", "openai", f"b{n}", 10_000, "in_progress", done, 1.0, soon)
        for n, done in ((1, 7_000), (2, 312))
    )

    fields = bar_fields(RunState(rows=30_000, batches=out), Rates(0.0, 0.0, None))

    assert fields[-1] == "2 batches out (20,000 rows, 7,312 done there), next look in 12 s"


def test_the_progress_line_calls_none_out_that_was_not_ordered():
    waits = BatchStanding("k1", "openai", "", 10, "meant", None, 1.0, 0.0)
    told = BatchStanding("k2", "openai", "b2", 20, "in_progress", 3, 1.0, 0.0)

    def said(*batches: BatchStanding) -> str:
        return bar_fields(RunState(rows=30, batches=batches), Rates(0.0, 0.0, None))[-1]

    assert said(waits) == "1 batch to be ordered"
    assert said(told, waits) == "1 batch out (20 rows, 3 done there), 1 to be ordered"


def test_check_does_not_call_an_account_barred_that_nobody_asked(here, monkeypatch):
    monkeypatch.setattr(batch_check, "PATIENCE_S", 0.1)
    away = ("--base-url", "http://127.0.0.1:9/v1", "--api-key-env", "SIMULATOR_KEY", "-m", "m")

    tried = here("check", *away, "--batch-api", "openai", "--batch")

    assert tried.code != 0
    assert "batch: not answered (connection refused" in tried.out
    assert "may use no batch" not in tried.out


def test_check_tries_a_batch_and_plan_says_what_would_be(batchlab, simulator, rows_file):
    at = ("--base-url", simulator(batch={"seconds": 0}).base_url, "--api-key-env", "SIMULATOR_KEY")
    barred = simulator(batch={"seconds": 0, "entitled": False}).base_url
    groq = ("-m", "m", "--batch-api", "groq", "--lane", "batch")

    tried = batchlab("check", *at, *groq[:2], "--batch-api", "openai", "--batch", *PRICED)
    refused = batchlab("check", "--base-url", barred, *at[2:], *groq[:2], "--batch-api", "openai", "--batch")
    planned = batchlab("plan", rows_file(25), "-p", "{text}", *at, *groq, *PRICED)
    unfit = batchlab(
        "plan", rows_file(25), "-p", "{text}", *at, "-m", "m", "--batch-api", "anthropic", "--lane", "batch",
        "--param", 'logit_bias={"1": 2}',
    )  # fmt: skip

    assert tried.code == 0, tried.out
    assert "price of a batch: $0.5 in, $2 out per 1M tokens in a batch (job)" in tried.out
    assert "this account may use batches of this model" in tried.out
    assert refused.code == 3
    assert "batch: refused (HTTP 403" in refused.out
    assert planned.code == 0, planned.err
    assert "about 1 batch (at most 50,000 lines and 100 MB a batch" in planned.out
    assert "accounts without the plan are refused at the upload" in planned.out
    assert unfit.code == 2
    assert "row 0: not to be asked in a batch: logit_bias" in unfit.err


def test_a_run_dir_of_another_folder_is_gone_on_with_by_collect(batchlab, server, night, tmp_path):
    """What was typed elsewhere, with paths of there, is not what to type here."""
    assert batchlab(*night, "--detach", "-q").code == 3
    inside = Path(tmp_path, "inside")
    inside.mkdir()

    early = subprocess.run(
        command("collect", "../runs/night"), cwd=inside, env=environment(), capture_output=True, text=True
    )

    assert early.returncode == 3, early.stderr
    assert "to go on, and wait: batchlab collect ../runs/night" in early.stderr
