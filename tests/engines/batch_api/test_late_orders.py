"""An order that was given up arrives all the same: by then its rows are ordered anew, and one is too many.

Between batchlab and the service stands a door that holds an order back, as a network does with what a sleeping
machine has sent half of.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.conftest import environment
from tests.engines.batch_api.conftest import PRICED
from tests.scenarios.test_run import job, wait_for

pytestmark = pytest.mark.proof  # each is two processes, and a service

PRICE = {"input": 1.0, "output": 4.0, "tiers": {"batch": 0.5}}
URL = "basics://bucket/runs/x"
ORDERS = {
    "openai": b"POST /v1/batches",
    "mistral": b"POST /v1/batch/jobs",
    "anthropic": b"POST /v1/messages/ba",
}


@dataclass
class Door:
    """In front of a service: what comes through it, and what waits.

    Attributes:
        held: set once an order waits for `opened`; only the first of each door does.
    """

    upstream: int
    order: bytes
    held: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def serve(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = listening.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.upstream))
                threading.Thread(target=self._copy, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._copy, args=(far, near, False), daemon=True).start()

    def _copy(self, source: socket.socket, to: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_request and self.order in data and not self.held.is_set():
                    while not _is_whole(data):
                        data += source.recv(1 << 16)
                    self.held.set()
                    self.opened.wait(60)
                to.sendall(data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)
        if not is_request:
            source.close()
            to.close()


def _is_whole(request: bytes) -> bool:
    head, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])


@pytest.fixture
def door() -> Iterator[object]:
    """Makes a door before a service."""
    doors, sockets = [], []

    def make(base_url: str, order: bytes) -> Door:
        listening = socket.create_server(("127.0.0.1", 0))
        port = int(base_url.split(":")[2].split("/")[0])
        made = Door(port, order, port=listening.getsockname()[1])
        threading.Thread(target=made.serve, args=(listening,), daemon=True).start()
        doors.append(made)
        sockets.append(listening)
        return made

    yield make
    for one in doors:
        one.opened.set()
    for one in sockets:
        one.close()


@dataclass
class Machine:
    """Where the command is typed; each has a directory of its own."""

    home: object
    env: dict[str, str]

    def begins(self, words: list[str]) -> subprocess.Popen[str]:
        self.home.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.proofs.crash.batch_steps", *words]
        return subprocess.Popen(command, cwd=self.home, env=self.env, stderr=subprocess.PIPE, text=True)

    def types(self, words: list[str]) -> tuple[int, str]:
        begun = self.begins(words)
        said = begun.communicate(timeout=100)[1]
        assert "Traceback" not in said, said
        return begun.returncode, said

    def status(self) -> dict:
        done = subprocess.run(
            [sys.executable, "-m", "batchlab", "status", "runs/basics-bucket-runs-x", "--json"],
            cwd=self.home, env=self.env, capture_output=True, text=True,
        )  # fmt: skip
        return json.loads(done.stdout)


@dataclass
class Scene:
    """Two machines, a store between them, a service, and a door before it."""

    server: object
    door: Door
    first: Machine
    second: Machine
    words: list[str]
    store: object

    def fall_asleep(self) -> subprocess.Popen[str]:
        """The first machine, which sleeps since its order was sent."""
        asleep = self.first.begins(self.words)
        assert self.door.held.wait(60)
        asleep.send_signal(signal.SIGSTOP)
        (self.store / "bucket/runs/x/lease.json").unlink()  # two minutes later
        return asleep

    def same_books(self) -> float:
        """Holds the second machine's books against the ledger; what was billed twice."""
        ledger, totals = self.server.ledger(), self.second.status()["totals"]
        assert totals["spent_usd"] == pytest.approx(ledger["usd"])
        return totals["cost_wasted_usd"]


@pytest.fixture
def scene(simulator, door, rows_file, tmp_path):
    def make(dialect: str, **batch: object) -> Scene:
        server = simulator(price=PRICE, batch={"dialect": dialect, "seconds": 0.3, **batch})
        store, rows = tmp_path / "store", rows_file(20)
        env = environment(SHELF=str(store), XDG_CACHE_HOME=str(tmp_path / "cache"))
        before = door(server.base_url, ORDERS[dialect])
        more = ("--lane", "batch", "--batch-api", dialect, *PRICED, "--max-tokens", "400", "--run-dir", URL)
        words = job(f"http://127.0.0.1:{before.port}/v1", rows, *more, "--shard-rows", "20")
        words[words.index("none")] = "plain"
        first, second = (Machine(tmp_path / name, env) for name in ("first", "second"))
        return Scene(server, before, first, second, words, store)

    return make


def test_it_arrives_when_all_is_done_and_who_wakes_up_calls_it_off(scene):
    """The next start of the run tells what it came to."""
    at = scene("openai", seconds=2.0)
    asleep = at.fall_asleep()
    assert at.second.types(at.words)[0] == 0
    at.door.opened.set()
    wait_for(lambda: len(at.server.batches()["batches"]) == 2)
    asleep.send_signal(signal.SIGCONT)
    woken = asleep.communicate(timeout=60)[1]
    late = at.server.batches()["batches"][1]

    code, said = at.second.types(["collect", URL])

    assert asleep.returncode == 3, woken
    assert re.search(rf"an order of 20 rows arrived .*: batch {late['id']}, cancelled; it may be", woken)
    assert code == 0, said
    assert f"batch {late['id']}, ordered once too often, has ended" in said
    assert at.same_books() == pytest.approx(late["usd"])


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_what_nobody_can_call_off_any_more_is_told_to_the_cent(scene, dialect):
    """Who sent it is gone; of Anthropic's nothing but the results tells whose they are."""
    at = scene(dialect)
    asleep = at.fall_asleep()
    code, said = at.second.types(at.words)
    assert code == 0, said
    asleep.kill()
    asleep.communicate()
    at.door.opened.set()
    wait_for(lambda: sum(one["billed"] for one in at.server.batches()["batches"]) == 40)

    code, said = at.second.types(["collect", URL])
    again = at.second.types(["collect", URL])[1]

    late = at.server.batches()["batches"][1]
    assert code == 0, said
    assert f"${late['usd']:,.6f} was billed twice, for 20 rows" in said
    assert "billed twice: $0.00" in said
    assert at.same_books() == pytest.approx(late["usd"])
    assert "has ended" not in again
    assert "billed twice: $0.00" in again


def test_while_the_other_machine_is_at_work_it_is_called_off_and_told(scene):
    """The second machine finds it while its own batch is out; then the first wakes, and knows its place."""
    at = scene("mistral", seconds=8.0)
    asleep = at.fall_asleep()
    other = at.second.begins(at.words)
    wait_for(lambda: len(at.server.batches()["batches"]) == 1)  # ordered anew
    at.door.opened.set()

    said = other.communicate(timeout=100)[1]
    asleep.send_signal(signal.SIGCONT)
    woken = asleep.communicate(timeout=60)[1]

    assert other.returncode == 0, said
    assert "20 rows arrived late, when these were ordered anew" in said
    assert "it had answered nothing, and costs nothing" in said
    assert asleep.returncode == 3, woken
    assert "has taken the run over" in woken
    assert at.same_books() == pytest.approx(0.0)
    assert len(at.server.batches()["batches"]) == 2
