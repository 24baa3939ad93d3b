"""A run over a real Ray cluster: two nodes that are processes of this machine.

Left out where ray is not installed (`pip install 'batchlab[ray]'`): CI runs it as a step of its own.
One cluster serves all, in the order below; the last test takes a node away from it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from batchlab.store.layout import is_run
from batchlab.store.view import RunView
from tests.canary import command_lines_with_key, files_with_key
from tests.conftest import ROOT, command, environment
from tests.scenarios.test_run import job, wait_for

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'batchlab[ray]'")
pytestmark = pytest.mark.ray

# a node whose raylet was killed is noticed after 15 s without these
QUICK = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
}
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1)]
print("at", cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
cluster.shutdown()
"""

PRICE = {"input": 1.0, "output": 4.0, "tiers": {"batch": 0.5}}
BY_BATCH = (
    "--batch-api", "openai", "--price-in", "1", "--price-out", "4", "--price-batch", "0.5", "--max-tokens", "500",
    "--shard-rows", "30",
)  # fmt: skip
FIRST_SHARD_BY_BATCH = """
from batchlab.cli import main
from batchlab.engines.batch_api.choices import choice
from batchlab.runner.batches import engine as batches

class FirstByBatch:
    has_calls = True
    left = 1

    def next(self, scene):
        ((lane, room),) = scene.room.items()
        if self.left and room:
            self.left -= 1
            return choice.Submit(lane)
        return choice.SendLive(scene.rows_free) if scene.rows_free and not scene.live_rows else None

batches._choice = lambda *_: FirstByBatch()
main()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of two nodes, in a process that takes one away when told a line.

    Its nodes know a store, whose objects are files (`tests/remote/shelf`).
    """
    store = tmp_path_factory.mktemp("store")
    with_store = {"SHELF": str(store), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/remote/shelf'}"}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(**QUICK, **with_store),
        start_new_session=True,
    )
    process.with_store = with_store
    for line in process.stdout:
        if line.startswith("at "):
            process.address = line.split()[1]
            break
    yield process
    process.stdin.close()
    process.stdout.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def running() -> dict[int, tuple[str, int]]:
    """pid → command line and parent, of all processes here."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                found[int(folder.name)] = words, int(parent)
            except OSError:
                continue
    return found


def actors(name: str) -> list[int]:
    return [pid for pid, (words, _) in running().items() if words.startswith(f"ray::{name}")]


def workers() -> list[int]:
    """Worker processes that an actor of ours has started."""
    nodes = actors("Node")
    return [
        pid for pid, (words, up) in running().items() if "batchlab.engines.worker" in words and up in nodes
    ]


def started(words: list, home: Path, **env: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*words), cwd=home, env=environment(**env), stderr=subprocess.PIPE, text=True
    )


def on_cluster(server, rows: Path | str, cluster, *more: str) -> list:
    words = job(server.base_url, rows, "-c", "16", "--shard-rows", "100", *more)
    words[words.index("none")] = "plain"
    return [*words, "--engine", "ray", "--ray-address", cluster.address]


def final_rows(home: Path) -> int:
    run = home / "runs/rows"
    return RunView.open(run).totals().rows if is_run(run) else 0


def test_the_driver_is_killed_and_another_engine_resumes(batchlab, simulator, rows_file, tmp_path, cluster):
    """And one that only a cluster finishes after that: any engine may resume any run."""
    server, rows = simulator(latency_median_s=0.1), rows_file(500)
    words = on_cluster(server, rows, cluster, "--max-cost", "1", "--price-in", "1", "--price-out", "2")
    process = started(words, tmp_path)
    wait_for(lambda: final_rows(tmp_path) >= 120)
    mine = workers()
    process.kill()
    process.communicate(timeout=30)

    local = batchlab(*words[:-4], "--processes", "2", "--max-tokens-total", "20000")
    done = batchlab(*words)

    assert local.code == 3, local.err
    assert done.code == 0, done.err
    assert mine
    assert not [pid for pid in mine if Path(f"/proc/{pid}").exists()]
    totals = RunView.open(tmp_path / "runs/rows").totals()
    assert totals.ok == 500
    assert server.ledger()["billed_repeats"] <= totals.cut_off <= 16
    assert batchlab("verify", "runs/rows").code == 0


def test_code_that_differs_on_a_node_refuses_the_run(simulator, rows_file, batchlab, cluster):
    """Nothing is sent, a line for each node. The driver is made to think that its own code is another."""
    server, rows = simulator(), rows_file(10)
    shadow = (
        "import batchlab.engines.ray.crew as crew\n"
        "crew.code_digest = lambda package: 'other'\n"
        "from batchlab.cli import main\nmain()\n"
    )
    words = on_cluster(server, rows, cluster)
    done = subprocess.run(
        [sys.executable, "-c", shadow, *map(str, words)],
        cwd=rows.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2, done.stderr
    assert done.stderr.count("has other code than this one. Install the same on every node.") == 2
    assert "Traceback" not in done.stderr
    assert server.ledger()["requests"] == 0


def test_nodes_that_share_nothing_but_a_store(batchlab, simulator, rows_file, tmp_path, cluster):
    """Input and run directory are at a URL; a worker is killed with what it had not put there yet."""
    server, store = simulator(latency_median_s=0.1), Path(cluster.with_store["SHELF"])
    rows_file(400).rename(store / "rows.jsonl")
    url = "basics://runs/x"
    where = ("--run-dir", url, "--journal-flush", "0.5s")
    words = on_cluster(server, "basics://rows.jsonl", cluster, *where)

    process = started(words, tmp_path, **cluster.with_store)
    wait_for(lambda: len(list(store.glob("runs/x/completions/*.parquet"))) >= 2)
    wait_for(lambda: len(list(store.glob("runs/x/journal/*/*.log"))) >= 2)
    status = batchlab("status", url, **cluster.with_store).out
    os.kill(workers()[0], signal.SIGKILL)
    said = process.communicate(timeout=60)[1]

    assert process.returncode == 0, said
    assert re.search(r"a worker ended on .* by SIGKILL.*; its rows go on", said), said
    assert "each worker's journal goes to basics://runs/x every 0.5 s" in said
    assert re.search(r"worker \d\.\d \(.*\): shards .*; lease of \d+ in flight", status), status
    ledger = server.ledger()
    assert ledger["distinct"] == 400
    assert ledger["billed_repeats"] <= 16  # its node lives, and puts what it had not
    assert not list((store / "runs/x/workers").iterdir())
    assert not list(store.glob("runs/x/journal/*/*.log"))
    assert batchlab("verify", url, **cluster.with_store).code == 0
    assert not files_with_key(tmp_path)
    assert not files_with_key(store)


def test_batches_are_the_drivers_and_need_no_node(batchlab, simulator, rows_file, tmp_path, cluster):
    server = simulator(price=PRICE, batch={"dialect": "openai", "seconds": 0.5})
    words = on_cluster(server, rows_file(60), cluster, *BY_BATCH, "--lane", "batch")

    done = batchlab(*words)

    assert done.code == 0, done.err
    same_books(server, tmp_path, rows=60)
    assert len(server.batches()["batches"]) == 2
    assert batchlab("verify", "runs/rows").code == 0


def test_cheapest_shares_one_cap_among_batches_and_the_workers_of_each_phase(
    batchlab, simulator, rows_file, tmp_path, cluster
):
    """One shard by batch, the others live; what the batch leaves of its worst case is lent to the workers;
    lines that it did not answer go live in a phase of their own, by workers that are hired for it."""
    fault = {"kind": "batch_line_errors", "share": 0.3, "status": 503}
    server = simulator(
        price=PRICE, latency_median_s=0.02, batch={"dialect": "openai", "seconds": 6, "faults": [fault]}
    )
    rows, cap = rows_file(90), 0.042
    words = on_cluster(server, rows, cluster, *BY_BATCH, "--lane", "cheapest", "--max-cost", str(cap))

    done = subprocess.run(
        [sys.executable, "-c", FIRST_SHARD_BY_BATCH, *map(str, words)],
        cwd=tmp_path,
        env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        timeout=150,
    )

    assert done.returncode == 0, done.stderr
    ledger = same_books(server, tmp_path, rows=90)
    assert cap - 0.03 < ledger["usd"] <= cap  # more than was left beside the batch
    assert [one["total"] for one in server.batches()["batches"]] == [30]
    assert batchlab("verify", "runs/rows").code == 0


def test_driver_and_worker_are_killed_with_a_batch_out_and_rows_live(
    batchlab, simulator, rows_file, tmp_path, cluster
):
    """The next driver takes up the batch, and the cluster's rows where they were left."""
    server = simulator(price=PRICE, latency_median_s=0.1, batch={"dialect": "openai", "seconds": 8})
    rows = rows_file(160)
    words = on_cluster(server, rows, cluster, *BY_BATCH, "--lane", "cheapest", "-c", "8")
    script = [sys.executable, "-c", FIRST_SHARD_BY_BATCH, *map(str, words)]
    env = environment(XDG_CACHE_HOME=str(tmp_path / "cache"))

    def begun() -> subprocess.Popen:
        return subprocess.Popen(script, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)

    first = begun()
    wait_for(lambda: server.batches()["batches"] and final_rows(tmp_path) >= 20)
    first.kill()
    first.communicate(timeout=30)
    before = final_rows(tmp_path)
    second = begun()
    wait_for(lambda: final_rows(tmp_path) >= before + 20 and workers())
    os.kill(workers()[0], signal.SIGKILL)
    said = second.communicate(timeout=90)[1]

    assert second.returncode == 0, said
    assert "Traceback" not in said
    ledger, totals = server.ledger(), RunView.open(tmp_path / "runs/rows").totals()
    assert totals.ok == 160
    assert server.batches()["submitted_twice"] == {}
    assert ledger["distinct"] == 160
    assert ledger["billed_repeats"] <= totals.cut_off <= 16
    assert batchlab("verify", "runs/rows").code == 0


def same_books(server, home: Path, *, rows: int) -> dict:
    """The ledger, which the run's books are equal to; each row was billed once."""
    ledger, totals = server.ledger(), RunView.open(home / "runs/rows").totals()
    assert totals.ok == rows
    assert totals.spent_usd == pytest.approx(ledger["usd"])
    assert (ledger["billed"], ledger["billed_repeats"]) == (rows, 0)
    books = server.batches()
    assert (books["billed_twice"], books["submitted_twice"]) == ({}, {})
    return ledger


def test_workers_the_budgets_keeper_and_a_node_are_lost_and_every_row_is_answered_once(
    batchlab, simulator, rows_file, tmp_path, cluster
):
    server, rows = simulator(latency_median_s=0.1), rows_file(1_100)

    process = started(on_cluster(server, rows, cluster), tmp_path)
    wait_for(lambda: final_rows(tmp_path) >= 100)
    # who works is written every two seconds, the first time before anybody has come
    at_work = r"worker \d\.\d \(.*\): shards .*; lease of \d+ in flight"
    wait_for(lambda: len(re.findall(at_work, batchlab("status", "runs/rows").out)) == 2)
    status = batchlab("status", "runs/rows").out
    assert not command_lines_with_key()
    os.kill(workers()[0], signal.SIGKILL)
    wait_for(lambda: final_rows(tmp_path) >= 350)
    os.kill(actors("BudgetActor")[0], signal.SIGKILL)
    wait_for(lambda: final_rows(tmp_path) >= 550)
    os.kill(actors("Node")[0], signal.SIGKILL)
    wait_for(lambda: final_rows(tmp_path) >= 750)
    cluster.stdin.write("take one away\n")
    cluster.stdin.flush()
    said = process.communicate(timeout=60)[1]

    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "ray: 2 workers on 2 nodes" in said
    assert re.search(r"shards: \d+ sealed \+ \d+ open \+ \d+ waiting", status), status
    assert len(re.findall(at_work, status)) == 2, status
    assert "by SIGKILL" in said
    assert "out of reach with its node" in said
    assert "the budget's keeper was lost; a new one asks every worker what it has" in said
    ledger, totals = server.ledger(), RunView.open(tmp_path / "runs/rows").totals()
    assert totals.ok == 1_100
    assert ledger["distinct"] == 1_100
    assert ledger["billed_repeats"] <= totals.cut_off <= 3 * 16
    assert ledger["max_in_flight"] <= 16 + totals.cut_off
    assert batchlab("verify", "runs/rows").code == 0
    assert not files_with_key(tmp_path)
    logs = Path(tempfile.gettempdir(), "ray", "session_latest", "logs")
    assert any(logs.iterdir())
    assert not files_with_key(logs)
    assert not list((tmp_path / "runs/rows/workers").iterdir())
