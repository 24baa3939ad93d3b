"""What nobody asked for answers nobody: servers that speak out of turn, over both wires and both event loops.

The servers are threads with blocking sockets, so that they can speak while the client's event loop is held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest
import uvloop
from yarl import URL

from batchlab.dispatch.departures import Departures
from batchlab.dispatch.http import connections
from batchlab.dispatch.http.connections import Connections
from batchlab.dispatch.http.pooled_wire import PooledWire
from batchlab.dispatch.http.session_wire import SessionWire
from batchlab.dispatch.http.wire import UnaskedError, WireResponse

HEADERS = {"Authorization": "Bearer k"}
Post = Callable[[bytes], Awaitable[tuple[int, bytes]]]


def answer(text: bytes, status: bytes = b"200 OK", *more: bytes) -> bytes:
    head = b"".join(
        line + b"\r\n" for line in (b"HTTP/1.1 " + status, *more, b"Content-Length: %d" % len(text))
    )
    return head + b"\r\n" + text


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nlate\r\n0\r\n\r\n"
UNASKED = {
    "the answer again": [answer(b"answer to a")],
    "again, in pieces": [answer(b"answer to a")[:40], answer(b"answer to a")[40:]],
    "half a head": [b"HTTP/1.1 2"],
    "a head without its end": [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"],
    "a head without its body": [answer(b"late")[:-4]],
    "chunked": [CHUNKED],
    "a late 408": [answer(b"too late", b"408 Request Timeout", b"Connection: close")],
    "an interim response": [b"HTTP/1.1 103 Early Hints\r\n\r\n"],
    "an empty line": [b"\r\n"],
    "an upgrade": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"],
    "no HTTP": [b"good night\n"],
    "two more answers": [answer(b"one") + answer(b"two")],
}


@dataclass
class Server:
    """Answers `a` with "answer to a"; what it does beside is said by `after`.

    Args:
        greet: said to each new connection.
        after: called with a connection and a request that was answered; it may speak, or close.
        answered: what to send instead of the answer.
    """

    after: Callable[[socket.socket, bytes], None] = lambda peer, body: None
    greet: bytes = b""
    answered: Callable[[bytes], bytes] = lambda body: answer(b"answer to " + body)
    tls: ssl.SSLContext | None = None
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(peer,), daemon=True).start()

    def _one(self, peer: socket.socket) -> None:
        self.connections += 1
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_now:
            open_now.enter_context(peer)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                peer = open_now.enter_context(self.tls.wrap_socket(peer, server_side=True))
            peer.sendall(self.greet)
            data = b""
            while True:
                while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
                    more = peer.recv(1 << 16)
                    if not more:
                        return
                    data += more
                body, data = data.partition(b"\r\n\r\n")[2], b""
                self.asked.append(body)
                peer.sendall(self.answered(body))
                self.after(peer, body)


def _length(data: bytes) -> int:
    return int(re.search(rb"content-length: *(\d+)", data, re.IGNORECASE)[1])


@contextlib.contextmanager
def started(server: Server) -> Iterator[URL]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=server.serve, args=(listening,), daemon=True).start()
        scheme = "https" if server.tls else "http"
        yield URL(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/v1/chat/completions")
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> ssl.SSLContext:
    home = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost".split(),
        cwd=home,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "cert.pem", home / "key.pem")
    return context


@pytest.fixture(params=[SessionWire, PooledWire])
def kind(request):
    return request.param


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def posting(request, kind):
    """Runs `do(post)` with a wire to `url`; `write` is called before requests leave."""

    def run(
        url: URL, do: Callable[[Post], Awaitable[None]], write: Callable[[], None] = lambda: None
    ) -> None:
        async def main() -> None:
            connector = Connections(limit=0, ssl=False, keepalive_timeout=15)
            timeout = aiohttp.ClientTimeout(total=20, sock_read=10)
            async with kind(url, HEADERS, connector, timeout, departures=Departures(write)) as wire:

                async def post(body: bytes) -> tuple[int, bytes]:
                    response: WireResponse = await wire.post(body)
                    try:
                        return response.status, await response.content.read()
                    finally:
                        response.release()

                await do(post)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return run


def speaking(pieces: list[bytes], after_s: float = 0.03, go: threading.Event | None = None):
    """Says `pieces` when it has answered `a`: after a while, or when told to go."""

    def after(peer: socket.socket, body: bytes) -> None:
        if body == b"a":
            if go is None:
                time.sleep(after_s)
            else:
                go.wait(10)
            for piece in pieces:
                peer.sendall(piece)
                time.sleep(0.01)

    return after


async def rest(seconds: float) -> None:
    """Time passes and the event loop reads what comes."""
    await asyncio.sleep(seconds)


async def held_up(seconds: float) -> None:
    """Time passes and the event loop reads nothing."""
    time.sleep(seconds)


@pytest.mark.parametrize("waiting", [rest, held_up])
@pytest.mark.parametrize("pieces", UNASKED.values(), ids=UNASKED.keys())
def test_what_comes_on_an_idle_connection_answers_nobody(posting, pieces, waiting):
    server = Server(speaking(pieces))

    async def do(post: Post) -> None:
        assert await post(b"a") == (200, b"answer to a")
        await waiting(0.12)
        assert await post(b"b") == (200, b"answer to b")
        assert await post(b"c") == (200, b"answer to c")

    with started(server) as url:
        posting(url, do)
    assert server.asked == [b"a", b"b", b"c"]
    assert server.connections == 2


@pytest.mark.parametrize("waiting", [rest, held_up])
@pytest.mark.parametrize("what", ["the answer again", "a late 408", "half a head"])
def test_so_it_is_over_tls(posting, tls, what, waiting):
    server = Server(speaking(UNASKED[what]), tls=tls)

    async def do(post: Post) -> None:
        assert await post(b"a") == (200, b"answer to a")
        await waiting(0.12)
        assert await post(b"b") == (200, b"answer to b")
        assert await post(b"c") == (200, b"answer to c")

    with started(server) as url:
        posting(url, do)
    assert server.asked == [b"a", b"b", b"c"]
    assert server.connections == 2


@pytest.mark.parametrize("what", ["the answer again", "a late 408", "an interim response", "half a head"])
def test_what_comes_while_records_are_written_answers_nobody(posting, what):
    go = threading.Event()
    server = Server(speaking(UNASKED[what], go=go))
    writes = []

    def write() -> None:
        writes.append(1)
        if len(writes) == 2:
            go.set()
            time.sleep(0.1)

    async def do(post: Post) -> None:
        assert await post(b"a") == (200, b"answer to a")
        assert await post(b"b") == (200, b"answer to b")

    with started(server) as url:
        posting(url, do, write)
    assert server.asked == [b"a", b"b"]
    assert server.connections == 2


@pytest.mark.parametrize(
    "what", ["the answer again", "a late 408", "an interim response", "a head without its body", "chunked"]
)
@pytest.mark.parametrize("apart", [False, True], ids=["one packet", "its body in the packet"])
def test_what_comes_with_the_answer_answers_nobody(posting, what, apart):
    server = Server()

    def answered(body: bytes) -> bytes:
        return answer(b"answer to " + body) + (b"".join(UNASKED[what]) if body == b"a" else b"")

    def head_first(peer: socket.socket, body: bytes) -> None:
        whole = answered(body)
        cut = whole.index(b"\r\n\r\n") + 6
        peer.sendall(whole[:cut])
        time.sleep(0.03)
        peer.sendall(whole[cut:])

    if apart:
        server.answered, server.after = lambda body: b"", head_first
    else:
        server.answered = answered

    async def do(post: Post) -> None:
        assert await post(b"a") == (200, b"answer to a")
        assert await post(b"b") == (200, b"answer to b")

    with started(server) as url:
        posting(url, do)
    assert server.asked == [b"a", b"b"]
    assert server.connections == 2


def test_half_an_answer_behind_the_answer_answers_nobody(posting):
    again = answer(b"answer to a")
    server = Server()

    def answered(body: bytes) -> bytes:
        return answer(b"answer to " + body) + (again[:12] if body == b"a" else b"")

    server.answered = answered

    async def do(post: Post) -> None:
        assert await post(b"a") == (200, b"answer to a")
        assert await post(b"b") == (200, b"answer to b")

    with started(server) as url:
        posting(url, do)
    assert server.asked == [b"a", b"b"]
    assert server.connections == 2


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="acknowledgements cannot be held back")
@pytest.mark.parametrize("tls_too", [False, True], ids=["plain", "tls"])
def test_an_answer_that_crosses_the_request_answers_nobody(posting, kind, monkeypatch, tls, tls_too):
    """Held back, the server's acknowledgement comes as late here as over a long way.

    The look before the request is written is made blind: over a long way there is nothing to see yet.
    """
    monkeypatch.setattr(connections, "_heard", lambda sock: False)
    go = threading.Event()
    writes = []

    def write() -> None:
        writes.append(1)
        if len(writes) == 2:
            go.set()
            time.sleep(0.05)

    def after(peer: socket.socket, body: bytes) -> None:
        if body == b"a":
            go.wait(10)
            peer.sendall(answer(b"answer to a"))
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            time.sleep(0.3)  # it does not read on, which would acknowledge

    server = Server(after, tls=tls if tls_too else None)

    async def do(post: Post) -> None:
        assert await post(b"a") == (200, b"answer to a")
        if kind is PooledWire:
            with pytest.raises(UnaskedError) as caught:
                await post(b"b")
            assert not caught.value.again  # it was sent
        else:  # the event loop may read what came before the session writes
            with contextlib.suppress(UnaskedError):
                assert await post(b"b") == (200, b"answer to b")
        assert await post(b"c") == (200, b"answer to c")

    with started(server) as url:
        posting(url, do, write)
    assert server.connections == 2


def test_a_server_that_speaks_first_answers_nobody(posting, kind):
    server = Server(greet=answer(b"good morning"))

    async def do(post: Post) -> None:
        for body in (b"a", b"b"):
            with pytest.raises(UnaskedError) as caught:
                await post(body)
            assert not caught.value.again  # another new connection would do the same

    if kind is SessionWire:
        pytest.skip("nothing stands between its connecting and its writing: who came first is chance")
    with started(server) as url:
        posting(url, do, lambda: time.sleep(0.05))


@pytest.mark.parametrize(
    ("tls_too", "waiting"), [(False, rest), (False, held_up), (True, rest)], ids=["plain", "held up", "tls"]
)
def test_a_connection_closed_while_idle_costs_no_attempt(posting, tls, tls_too, waiting):
    """Over TLS and held up, uvloop may take the request although it has read the end: an ordinary retry."""

    def after(peer: socket.socket, body: bytes) -> None:
        if body == b"a":
            time.sleep(0.03)
            peer.close()

    server = Server(after, tls=tls if tls_too else None)

    async def do(post: Post) -> None:
        assert await post(b"a") == (200, b"answer to a")
        await waiting(0.1)
        assert await post(b"b") == (200, b"answer to b")

    with started(server) as url:
        posting(url, do)
    assert server.asked == [b"a", b"b"]


def test_many_spoilt_connections_are_all_passed_over(posting):
    go = threading.Event()

    def after(peer: socket.socket, body: bytes) -> None:
        if body.startswith(b"first"):
            go.wait(10)
            peer.sendall(answer(b"late"))

    server = Server(after)

    async def do(post: Post) -> None:
        await asyncio.gather(*(post(b"first %d" % number) for number in range(20)))
        go.set()
        time.sleep(0.1)
        assert await post(b"b") == (200, b"answer to b")

    with started(server) as url:
        posting(url, do)
    assert server.connections == 21
    assert len(server.asked) == 21


@pytest.mark.parametrize("tls_too", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_good_connections_are_kept(posting, tls, tls_too, size):
    """As many as are asked at the same time, however quick and large."""
    server = Server(tls=tls if tls_too else None)
    rounds = 60 if size == 10 else 6

    async def do(post: Post) -> None:
        for turn in range(rounds):
            bodies = [b"%d %d " % (turn, number) + b"x" * size for number in range(8)]
            got = await asyncio.gather(*(post(body) for body in bodies))
            assert got == [(200, b"answer to " + body) for body in bodies]

    with started(server) as url:
        posting(url, do)
    assert len(server.asked) == 8 * rounds
    assert server.connections == 8


def test_a_refusal_before_the_whole_request_was_read_is_an_answer(posting):
    """It acknowledges a part of the request: it may be about it."""

    def refuse(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer, contextlib.suppress(OSError):
            peer.recv(100)
            peer.sendall(answer(b"too large", b"413 Content Too Large"))
            time.sleep(0.3)
            while peer.recv(1 << 16):
                pass

    async def do(post: Post) -> None:
        assert await post(b"x" * 1_000_000) == (413, b"too large")

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        threading.Thread(target=refuse, args=(listening,), daemon=True).start()
        posting(URL(f"http://127.0.0.1:{listening.getsockname()[1]}/"), do)
