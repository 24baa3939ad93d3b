"""A run whose shards are spread over several processes: the same promises as with one."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from batchlab.engines.sizing import available_cpus, merged, planned_shard_rows, processes_for, rows_to_cut
from batchlab.errors import UsageError
from batchlab.inputs.sources.source import InputPlan
from batchlab.job import Job
from batchlab.job.file import job_from
from batchlab.records import Shard
from batchlab.store.layout import is_run
from batchlab.store.view import RunView
from tests.canary import command_lines_with_key, files_with_key
from tests.conftest import CANARY, command, environment
from tests.scenarios.test_run import job, parts, wait_for

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

SPREAD = ("--processes", "2", "--shard-rows", "50")


def workers_of(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def started(words: list[str], home: Path, **env: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*words), cwd=home, env=environment(**env), stderr=subprocess.PIPE, text=True
    )


def final_rows(run: Path) -> int:
    return RunView.open(run).totals().rows if is_run(run) else 0


def test_three_processes_answer_every_row_once_within_one_budget(batchlab, simulator, rows_file, tmp_path):
    server, rows = simulator(latency_median_s=0.05), rows_file(600)

    words = job(
        server.base_url, rows, "--processes", "3", "--shard-rows", "50", "-c", "10", "-o", "out.jsonl"
    )
    words[words.index("none")] = "json"

    done = batchlab(*words)

    assert done.code == 0, done.err
    states = [json.loads(text) for text in done.err.splitlines() if text.startswith("{")]
    assert states[-1]["saved"] == states[-1]["ok"] == 600
    assert max(state["window"] for state in states) <= 10
    ledger = server.ledger()
    assert ledger["billed"] == ledger["distinct"] == 600
    assert ledger["max_in_flight"] <= 10
    assert "600 requests" in done.err
    verified = batchlab("verify", "runs/rows")
    assert verified.code == 0, verified.out
    table = parts(tmp_path / "runs/rows")
    assert table["n"].to_pylist() == list(range(600))
    assert sum(table["completion_tokens"].to_pylist()) == ledger["completion_tokens"]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 600
    assert not files_with_key(tmp_path)


def test_a_killed_worker_is_replaced_and_its_rows_go_on(batchlab, simulator, rows_file, tmp_path):
    server, rows = simulator(latency_median_s=0.1), rows_file(500)
    words = job(server.base_url, rows, *SPREAD, "-c", "12")
    words[words.index("none")] = "plain"

    process = started(words, tmp_path)
    wait_for(lambda: final_rows(tmp_path / "runs/rows") >= 80)
    assert not command_lines_with_key()
    wait_for(lambda: any((tmp_path / "runs/rows/completions").glob("part-*.parquet")))
    loaded = [Path(f"/proc/{pid}/maps").read_text() for pid in workers_of(process.pid)]
    assert any("pyarrow" in libraries for libraries in loaded)
    assert not any("pandas" in libraries for libraries in loaded)  # 60 MB and 0.3 s in each of them
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    said = process.communicate(timeout=60)[1]

    assert process.returncode == 0, said
    assert "Traceback" not in said
    told = re.search(
        r"ended by SIGKILL(?: with (\d+) requests? in flight, which may be billed twice)?;", said
    )
    assert told, said
    ledger, totals = server.ledger(), RunView.open(tmp_path / "runs/rows").totals()
    assert totals.ok == 500
    assert ledger["billed_repeats"] <= totals.cut_off == int(told.group(1) or 0) <= 12
    # what was in flight had not all arrived
    assert 0 <= totals.attempts - ledger["requests"] <= totals.cut_off
    assert f"({ledger['requests']} requests in" in said
    assert batchlab("verify", "runs/rows").code == 0


def test_workers_leave_with_their_parent_and_one_process_resumes(batchlab, simulator, rows_file, tmp_path):
    server, rows = simulator(latency_median_s=0.1), rows_file(300)
    process = started(job(server.base_url, rows, *SPREAD, "-c", "12"), tmp_path)
    wait_for(lambda: final_rows(tmp_path / "runs/rows") >= 60)
    workers = workers_of(process.pid)
    process.kill()
    process.communicate(timeout=30)

    resumed = batchlab(*job(server.base_url, rows, "--processes", "1", "-c", "12"))

    assert len(workers) == 2
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert resumed.code == 0, resumed.err
    totals = RunView.open(tmp_path / "runs/rows").totals()
    assert totals.ok == 300
    assert server.ledger()["billed_repeats"] <= totals.cut_off <= 12
    assert batchlab("verify", "runs/rows").code == 0


def test_p3_a_signal_to_all_drains_the_workers_and_pays_for_nothing_twice(
    batchlab, simulator, rows_file, tmp_path
):
    server, rows = simulator(latency_median_s=0.3, latency_sigma=0.1), rows_file(300)
    words = job(server.base_url, rows, *SPREAD, "-c", "12")
    process = subprocess.Popen(
        command(*words),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: server.ledger()["billed"] >= 20)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    said = process.communicate(timeout=60)[1]

    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert f"to go on: batchlab {' '.join(words[:3])}" in said
    stopped = server.ledger()
    assert stopped["billed"] < 300
    assert final_rows(tmp_path / "runs/rows") == stopped["billed"]
    assert batchlab(*words, "--processes", "1").code == 0
    assert server.ledger()["billed"] == server.ledger()["distinct"] == 300


def test_p7_a_cap_is_never_passed_and_nearly_all_used(batchlab, simulator, rows_file, tmp_path):
    """Begun by one process, which leaves its books to the others."""
    server, rows = simulator(latency_median_s=0.02), rows_file(1000)
    words = job(server.base_url, rows, "--shard-rows", "50", "-c", "16", "--max-tokens", "40")
    words += ["--price-in", "1", "--price-out", "2"]

    begun = batchlab(*words, "--max-cost", "0.005")
    done = batchlab(*words, "--max-cost", "0.04", "--processes", "3")

    ledger = server.ledger()
    billed = (ledger["prompt_tokens"] + 2 * ledger["completion_tokens"]) / 1e6
    assert begun.code == done.code == 3, done.err
    assert billed <= 0.04
    assert billed >= 0.99 * 0.04, billed
    assert done.err.count("why: ") == 1
    assert "of --max-cost 0.04 is used" in done.err
    assert final_rows(tmp_path / "runs/rows") == ledger["billed"] == ledger["distinct"]


def test_a_refused_key_stops_all_at_once(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(300)

    done = batchlab(*job(server.base_url, rows, *SPREAD), SIMULATOR_KEY="wrong-" + CANARY)

    assert done.code == 3
    assert done.err.count("why: ") == 1
    assert server.ledger()["requests"] <= 4  # what one process has in flight before any answer
    assert server.ledger()["billed"] == 0


def test_a_rate_limit_holds_over_all_processes(batchlab, simulator, rows_file):
    """The simulator refuses what passes 1,200 a minute by more than a second's worth at once."""
    server, rows = simulator(rpm=1_200), rows_file(110)

    done = batchlab(*job(server.base_url, rows, "--processes", "3", "--shard-rows", "10", "--rpm", "1200"))

    assert done.code == 0, done.err
    assert server.ledger()["by_status"] == {"200": 110}


def test_failed_rows_get_their_last_pass_and_are_asked_again_by_retry(
    batchlab, simulator, rows_file, tmp_path
):
    server = simulator(faults=[{"kind": "http_500", "rate": 0.05}, {"kind": "http_400", "rate": 0.1}])
    words = job(server.base_url, rows_file(150), *SPREAD, "--max-attempts", "1")
    words[words.index("none")] = "plain"

    first = batchlab(*words)
    before = server.ledger()["requests"]
    again = batchlab("retry", "runs/rows", "--progress", "none")

    assert "one more try for" in first.err
    assert first.code == 1, first.err
    assert again.code == 0, again.err
    failed = int(re.search(r"(\d+) failed", first.err).group(1))
    assert server.ledger()["requests"] - before == failed > 0
    assert RunView.open(tmp_path / "runs/rows").totals().attempts == server.ledger()["requests"]
    assert batchlab("verify", "runs/rows").code == 0


def test_workers_that_die_again_and_again_end_the_run(batchlab, simulator, rows_file, tmp_path):
    """A module that shadows ours kills every worker as it starts."""
    server, rows = simulator(), rows_file(150)
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'batchlab.engines.worker' in sys.orig_argv: os._exit(9)\n"
    )

    done = batchlab(*job(server.base_url, rows, *SPREAD), PYTHONPATH=str(tmp_path))

    assert done.code == 3, done.err
    assert "a worker process ended 4 times without finishing a row, the last time with code 9." in done.err
    assert "to go on: " in done.err
    assert server.ledger()["requests"] == 0


def test_fewer_processes_than_asked_are_said_in_one_line(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(30)
    words = job(server.base_url, rows, "--processes", "4", "--shard-rows", "30")
    words[words.index("none")] = "plain"

    done = batchlab(*words)

    assert done.code == 0
    assert "1 process, not 4: only 1 shard has rows to send" in done.err


@pytest.mark.parametrize("given", [0, -1, "two"])
def test_a_wrong_number_of_processes_is_one_line(given):
    with pytest.raises(UsageError, match=f"limits.processes: must be at least 1, or auto, not {given}$"):
        described(given)


def described(processes: int | str, **output: int) -> Job:
    data = {"input": {"path": "x.csv"}, "request": {"model": "m"}, "output": output}
    return job_from({**data, "limits": {"processes": processes}})


def test_auto_is_one_process_a_cpu_and_no_more_than_there_is_work_for():
    said: list[str] = []

    assert processes_for(described("auto"), 1_000, said.append) == min(available_cpus(), 64)
    assert processes_for(described("auto"), 1, said.append) == 1
    assert not said
    assert processes_for(described(3), 9, said.append, alone="a pilot sends few rows") == 1
    assert said == ["1 process, not 3: a pilot sends few rows"]


def test_a_new_run_for_several_processes_gets_enough_shards_unless_told_otherwise():
    small = planned_shard_rows(described(4))
    shards = tuple(Shard(n, n * 1_000, min(1_000, 25_500 - n * 1_000), {"offset": n}) for n in range(26))
    plan = InputPlan(25_500, shards, ("text",), b"", "", (), 0.0)

    cut, rows = merged(described(4), small, plan)
    assert (len(cut.shards), rows) == (26, 1_000)

    cut, rows = merged(described(2), small, plan)
    assert rows == 3_000
    assert [shard.rows for shard in cut.shards] == [3_000] * 8 + [1_500]
    assert [shard.position["offset"] for shard in cut.shards] == list(range(0, 26, 3))
    assert [shard.index for shard in cut.shards] == list(range(9))
    told = described(4, shard_rows=500)
    assert planned_shard_rows(told) is told


def test_a_run_whose_batches_may_be_taken_back_gets_enough_shards_unless_told_otherwise():
    """A batch is of one shard, and is taken back whole."""

    def by_lane(lane: str, deadline: str | None, **output: int) -> Job:
        limits = {"lane": lane, **({"deadline": deadline} if deadline else {})}
        data = {"input": {"path": "x.csv"}, "request": {"model": "m"}, "output": output}
        return job_from({**data, "limits": limits})

    near = by_lane("cheapest", "1h")
    shards = tuple(Shard(n, n * 1_000, 1_000, {"offset": n}) for n in range(40))
    plan = InputPlan(40_000, shards, ("text",), b"", "", (), 0.0)

    cut, rows = merged(near, planned_shard_rows(near), plan)

    assert rows == rows_to_cut(near, dataclasses.replace(plan, shards=(Shard(0, 0, 10_000, {}),))) == 3_000
    assert [shard.rows for shard in cut.shards] == [3_000] * 13 + [1_000]
    for other in (by_lane("batch", "1h"), by_lane("cheapest", None), by_lane("cheapest", "1h", shard_rows=7)):
        assert planned_shard_rows(other) is other
