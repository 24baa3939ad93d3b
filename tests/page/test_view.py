"""`batchlab view`, and `run --view`: the page as a command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from batchlab.page.address import PORTS, Wanted, address_of, has_display, listener
from batchlab.page.beside import PageBeside
from tests.conftest import command, environment
from tests.scenarios.test_run import job

pytestmark = pytest.mark.proof  # each begins processes, and waits for them

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/#token=([\w-]+)&(/\S*)")
NOWHERE = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": "", "SSH_CONNECTION": "here"}


@contextlib.contextmanager
def viewing(*words: str | Path, cwd: Path, **env: str):
    """The command, once it listens: its process and its address."""
    with subprocess.Popen(
        command("view", *words),
        cwd=cwd,
        env=environment(**NOWHERE, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, ADDRESS.match(process.stdout.readline())
        finally:
            process.kill()


def asked(port: str | int, path: str) -> dict:
    with urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=30) as answer:
        return json.load(answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_serves_and_ends_quietly(runs, number):
    with viewing("runs/night", cwd=runs.parent) as (process, found):
        assert found[3] == "/run/night"
        assert asked(found[1], "run?run=night")["rows"] == 30
        with socket.create_connection(("127.0.0.1", int(found[1]))) as line:  # somebody listens on
            host = f"127.0.0.1:{found[1]}"
            line.sendall(f"GET /api/run/events?run=night HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert b" 200 " in line.recv(100)
            began = time.monotonic()
            process.send_signal(number)
            out, err = process.communicate(timeout=20)

        assert process.returncode == 0
        assert time.monotonic() - began < 5
        assert out == ""
        assert err == "batchlab: runs/night is on that page; Ctrl-C ends it\n"


def test_review_and_port_are_passed_on_and_a_browser_is_opened(runs, tmp_path):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    with listener(Wanted(port=0)) as free:
        port = free.getsockname()[1]
    env = {**NOWHERE, "BROWSER": f"{browser} %s"}
    words = command("view", "runs", "--review", "7", "--port", str(port))
    with subprocess.Popen(
        words,
        cwd=runs.parent,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        address = process.stdout.readline().strip()
        until = time.monotonic() + 20
        while not opened.exists() or not opened.read_text().endswith("\n"):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)

    assert opened.read_text().strip() == address
    assert ADDRESS.match(address).groups()[::2] == (str(port), "/run/day/rows?review=7")


def test_a_browser_is_opened_only_where_there_is_a_screen(monkeypatch):
    for name in NOWHERE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("SSH_TTY", raising=False)
    assert not has_display()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_display()
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
    assert not has_display()
    monkeypatch.setenv("BROWSER", "x")
    assert has_display()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: not a run directory"),
        (["runs/night", "--host", "no.such.host.invalid"], "there is no such host"),
        (["runs/night", "--host", "192.0.2.1"], "--host 192.0.2.1: is no address of this machine."),
        (["runs/night", "--port", "70000"], "70000"),
        (["runs/night", "--review", "0"], "0"),
        (["empty", "--review", "5"], "no run whose rows could be reviewed"),
    ],
)
def test_what_cannot_be_served_is_one_line(batchlab, runs, tmp_path, words, said):
    (tmp_path / "runs").symlink_to(runs)
    (tmp_path / "empty").mkdir()
    done = batchlab("view", "--no-open", *words)

    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_port_that_is_taken_is_said_and_one_of_the_usual_gives_way(batchlab, runs):
    with listener(Wanted(port=0)) as taken:
        port = taken.getsockname()[1]
        done = batchlab("view", str(runs), "--no-open", "--port", str(port))
        assert done.code == 2
        assert f"port {port}" in done.err
        assert "--port 0" in done.err
    with listener(Wanted()) as first, listener(Wanted()) as second:
        ports = {first.getsockname()[1], second.getsockname()[1]}
        assert len(ports) == 2
        assert first.getsockname()[0] == "127.0.0.1"
    assert PORTS[0] == 8420


def test_the_address_for_others_has_the_token_twice_and_loopback_s_only_behind_the_hash():
    assert address_of(Wanted(token="a-b"), 8420) == "http://127.0.0.1:8420/#token=a-b&/"
    named = address_of(Wanted("node7", route="/run/x", token="a-b"), 80)
    assert named == "http://node7:80/?token=a-b#token=a-b&/run/x"
    assert address_of(Wanted("::1", token="a"), 80).startswith("http://[::1]:80/?")
    assert socket.gethostname() in address_of(Wanted("0.0.0.0", token="a"), 80)


@pytest.fixture
def slow(simulator, rows_file):
    """The words of a run of a few seconds."""
    server = simulator(queue_cap=4, latency_median_s=0.2)
    return [*job(server.base_url, rows_file(120), "-c", "4", "--price-in", "1", "--price-out", "1"), "--view"]


def test_a_run_is_viewed_while_it_lasts_and_no_longer(slow, tmp_path):
    with subprocess.Popen(
        command(*slow), cwd=tmp_path, env=environment(**NOWHERE), stderr=subprocess.PIPE, text=True
    ) as run:
        line = run.stderr.readline()
        while not (found := ADDRESS.search(line)):
            assert line, "it ended"
            line = run.stderr.readline()
        assert line.startswith("page: http://")
        assert found[3] == "/run/rows"
        seen = asked(found[1], "run?run=rows")
        assert seen["stage"] == "running"
        [offer] = asked(found[1], "acts?run=rows")["acts"]
        assert offer["command"] == f"kill -INT {run.pid}"  # stopped from its own page
        body = json.dumps({"run": "rows", "name": "stop", "command": offer["command"]}).encode()
        headers = {
            "X-Batchlab-Token": found[2],
            "Content-Type": "application/json",
            "Origin": f"http://127.0.0.1:{found[1]}",
        }
        urlopen(Request(f"http://127.0.0.1:{found[1]}/api/act", body, headers), timeout=30).close()
        said = run.stderr.read()

        assert run.wait(60) == 130
    assert "stopped: 120 rows" in said
    assert "page:" not in said
    assert "--view" not in said  # of one start, and not of those that go on
    with pytest.raises(OSError, match=r"refused|reset"):
        asked(found[1], "runs")


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_the_page_ends_with_a_run_that_is_killed(slow, tmp_path):
    with subprocess.Popen(
        command(*slow), cwd=tmp_path, env=environment(**NOWHERE), stderr=subprocess.PIPE, text=True
    ) as run:
        while not (found := ADDRESS.search(run.stderr.readline())):
            assert run.poll() is None
        assert asked(found[1], "run?run=rows")["stage"] == "running"
        run.kill()
    until = time.monotonic() + 10
    while is_there(found[1]):
        assert time.monotonic() < until
        time.sleep(0.1)


def is_there(port: str) -> bool:
    try:
        asked(port, "runs")
    except OSError:
        return False
    return True


def test_a_page_that_cannot_start_is_one_line_and_the_run_goes_on(batchlab, simulator, rows_file, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'BATCHLAB_PAGE_SOCKET' in os.environ: sys.exit('no page today')\n"
    )
    server = simulator(latency_median_s=0.3)
    words = job(server.base_url, rows_file(8), "-c", "2", "--price-in", "1", "--price-out", "1", "--view")
    done = subprocess.run(
        command(*words),
        cwd=tmp_path,
        env={**environment(**NOWHERE), "PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert re.search(r"^page: .*no page today; the run goes on without$", done.stderr, re.MULTILINE)
    assert "done: 8 rows = 8 ok" in done.stderr


def test_a_machine_that_can_begin_no_page_says_so(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    page = PageBeside(said.append)
    page.start(tmp_path, opens=False)
    page.end()

    [line] = said
    assert line.startswith("page: cannot be served (")
    assert line.endswith("the run goes on without")


def test_json_progress_stays_json_with_a_page(slow, tmp_path):
    words = [word if word != "none" else "json" for word in slow]
    done = subprocess.run(
        command(*words, "-n", "5"),
        cwd=tmp_path,
        env=environment(**NOWHERE),
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert done.returncode == 0
    assert any(ADDRESS.search(one.get("message", "")) for one in told)
