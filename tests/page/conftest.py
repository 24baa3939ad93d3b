"""A page over real sockets: served in a thread, asked by a client that sends what it is told to."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import batchlab
from batchlab.page.address import Wanted
from batchlab.page.server import serve
from batchlab.page.shelf import Shelf
from tests.conftest import simulating

TOKEN = "t0ken-of-the-page"


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The line for a person; there is nothing else."""
        told = self.json()
        assert list(told) == ["error"]
        assert "\n" not in told["error"]
        assert "Traceback" not in told["error"]
        return told["error"]


@dataclass
class Page:
    """A page that is served, as a browser of this machine sees it."""

    address: str
    port: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, target: str, method: str = "GET", body: Any = None, **headers: str | None) -> Got:
        """Sends a request; a header that is None is left out. `Sec_Fetch_Site` is `Sec-Fetch-Site`."""
        sent = {"Host": self.host, **self.headers}
        for name, value in headers.items():
            sent[name.replace("_", "-")] = value
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            line.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            for name, value in sent.items():
                if value is not None:
                    line.putheader(name, value)
            if body is not None:
                line.putheader("Content-Length", str(len(data)))
            line.endheaders(data or None)
            answer = line.getresponse()
            return Got(
                answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
            )
        finally:
            line.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of an answer that went well."""
        got = self.ask(f"/api/{path}?{urlencode(params, doseq=True)}")
        assert got.status == 200, got.body
        return got.json()

    def rows(self, **params: Any) -> Any:
        """A page of rows, asked for again until all is known, as the page does: the first answer may be early."""
        until = time.monotonic() + 30
        while not (answer := self.get("rows", **params))["done"]:
            assert time.monotonic() < until, answer
            time.sleep(0.05)
        return answer

    def send(self, path: str, body: Any, **headers: str | None) -> Got:
        """A write, as the page makes one."""
        own = {
            "Origin": f"http://{self.host}",
            "X_Batchlab_Token": TOKEN,
            "Content_Type": "application/json",
            **headers,
        }
        return self.ask(f"/api/{path}", "POST", body, **own)

    @contextmanager
    def follow(self, target: str) -> Iterator[Iterator[Any]]:
        """What an event stream tells, as it comes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as line:
            line.sendall(
                f"GET {target} HTTP/1.1\r\nHost: {self.host}\r\nAccept: text/event-stream\r\n\r\n".encode()
            )
            yield _events(line)
            line.shutdown(socket.SHUT_RDWR)  # what reads it may keep it open


def _events(line: socket.socket) -> Iterator[Any]:
    with line.makefile("rb") as file:
        assert b" 200 " in file.readline()
        while file.readline().strip():
            pass
        text = b""
        while size := file.readline():
            text += file.read(int(size, 16))
            file.readline()
            while b"\n\n" in text:
                event, _, text = text.partition(b"\n\n")
                if event.startswith(b"data: "):
                    yield json.loads(event.removeprefix(b"data: "))


@contextmanager
def serving(place: str | Path | None, **wanted: Any) -> Iterator[Page]:
    """The page of a place, in a thread of its own until the end of the block."""
    shelf = Shelf(None if place is None else str(place))
    settings = Wanted(**{"port": 0, "opens": False, "token": TOKEN, **wanted})
    listens, told = threading.Event(), []
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    def listening(address: str) -> None:
        told.append(address)
        listens.set()

    def work() -> None:
        try:
            loop.run_until_complete(serve(shelf, settings, listening, until=ended))
        finally:
            listens.set()
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert listens.wait(30)
    assert told, "it does not listen"
    try:
        yield Page(told[0], int(told[0].split("/")[2].rpartition(":")[2]))
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)


@pytest.fixture
def served() -> Iterator[Callable[..., Page]]:
    """Serves places; each until the end of the test."""
    with ExitStack() as pages:
        yield lambda place, **wanted: pages.enter_context(serving(place, **wanted))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, `night` of 30 rows with failed ones, and `day` of 5: to be read only."""
    folder = tmp_path_factory.mktemp("home") / "runs"
    with simulating(api_key="", faults=[{"kind": "http_400", "rate": 0.2}]) as server:
        rows = [{"n": number, "text": f"remark {number}"} for number in range(30)]
        run_of(folder / "night", rows, server.base_url)
    with simulating(api_key="") as server:
        run_of(folder / "day", rows[:5], server.base_url)
    return folder


def run_of(place: Path, rows: list[dict[str, Any]], base_url: str, **settings: Any) -> None:
    """Runs some rows into a directory."""
    batchlab.run(
        rows,
        model="sim",
        prompt="Say it shorter: {text}",
        base_url=base_url,
        run_dir=str(place),
        progress="none",
        **settings,
    )
