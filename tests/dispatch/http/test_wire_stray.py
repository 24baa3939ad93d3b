"""An answer that came whole is kept, whatever follows it: it was paid. Only its connection is dropped."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.framing import well_framed
from batchlab.dispatch.http.transport import HttpTransport, fault_of
from batchlab.job import LimitsJob
from batchlab.job.key import Secret
from batchlab.records import ChatRequest
from tests.dispatch.http.test_wire_unasked import (  # noqa: F401  # fixtures among them
    Post,
    Server,
    answer,
    kind,
    posting,
    started,
)
from tests.dispatch.http.transports import transport_at

STRAY = {
    "an end of chunks": b"0\r\n\r\n",
    "JSON": b'{"choices":[]}',
    "text": b"good night\n",
    "text like a head": b"HTTP is a protocol\r\n\r\n",
    "empty lines": b"\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a letter": b"H",
    "NULs": bytes(8),
    "a bad head": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
}


def chunked(text: bytes) -> bytes:
    pieces = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in (text[:4], text[4:]))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\nA-Trailer: 1\r\n\r\n"


def closing(text: bytes) -> bytes:
    return answer(text, b"200 OK", b"Connection: close")


def informed(text: bytes) -> bytes:
    return b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(text)


FRAMED = {"length": answer, "chunked": chunked, "close": closing, "interim": informed}
CUTS = {
    "one packet": lambda whole, end: [whole],
    "a packet later": lambda whole, end: [whole[:end], whole[end:]],
    "with the body": lambda whole, end: [whole[: end - 9], whole[end - 9 :]],
    "with half the head": lambda whole, end: [whole[:20], whole[20:]],
    "in small pieces": lambda whole, end: [
        *(whole[at : at + 16] for at in range(0, end // 16 * 16 - 16, 16)),
        whole[max(0, end // 16 * 16 - 16) :],
    ],
}


def in_pieces(cut, whole: bytes, end: int):
    pieces = cut(whole, end)
    assert b"".join(pieces) == whole
    return pieces


@pytest.mark.parametrize(
    ("framed", "cut"),
    [
        pytest.param(framed, cut, id=f"{name}, {how}")
        for name, framed in FRAMED.items()
        for how, cut in CUTS.items()
        if name in {"length", "chunked"} or how == "one packet"
    ],
)
@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY.keys())
def test_what_is_no_http_behind_an_answer_spoils_none(posting, stray, framed, cut):  # noqa: F811
    server = Server()

    def after(peer: socket.socket, body: bytes) -> None:
        whole = framed(b"answer to " + body)
        if body != b"a":
            peer.sendall(whole)
            return
        for piece in in_pieces(cut, whole + stray, len(whole)):
            peer.sendall(piece)
            time.sleep(0.003)

    server.answered, server.after = lambda body: b"", after

    async def do(post: Post) -> None:
        assert await post(b"a") == (200, b"answer to a")
        await asyncio.sleep(0.03)  # what comes when the next request has left stands in its answer's place
        assert await post(b"b") == (200, b"answer to b")

    with started(server) as url:
        posting(url, do)
    assert server.asked == [b"a", b"b"]
    assert server.connections == 2 or not stray.strip()  # empty lines are no harm


EVENTS = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"yes"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
    b"data: [DONE]\n\n"
)
REPLY = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1}}'
)
UNENDED = len(b"0\r\nA-Trailer: 1\r\n\r\n")


@pytest.fixture(params=[False, True], ids=["session", "pooled"])
def pooled(request, monkeypatch):
    """The session is what sends where the environment is trusted."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return request.param


def transport_to(url, *, pooled: bool, stream: bool) -> HttpTransport:
    return transport_at(
        str(url.parent.parent),
        key=Secret("sk-k"),
        limits=LimitsJob(timeout_s=5, idle_timeout_s=3),
        stream=stream,
        trust_env=not pooled,
    )


def request() -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    return ChatRequest(row_id=0, custom_id="0", body=body, request_hash=b"", prompt_bytes=1)


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "its end is missing"])
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("text", [REPLY, EVENTS], ids=["plain", "streamed"])
async def test_so_it_is_for_whole_replies_in_spoilt_bodies(pooled, text, cut, ended):
    """Where the stray bytes stand in place of the last chunk, the reply itself tells that it is whole."""
    whole = chunked(text) if ended else chunked(text)[:-UNENDED]

    def after(peer: socket.socket, body: bytes) -> None:
        for piece in in_pieces(cut, whole + b"good night\n", len(whole)):
            peer.sendall(piece)
            time.sleep(0.003)

    server = Server(after, answered=lambda body: b"")
    with started(server) as url:
        async with transport_to(url, pooled=pooled, stream=text is EVENTS) as transport:
            before = time.monotonic()
            for _ in range(2):
                got = await transport.send(request())
                assert got.reply.completion == "yes"
                assert got.reply.usage.completion_tokens == 1
                await asyncio.sleep(0.03)
    assert time.monotonic() - before < 2
    assert len(server.asked) == server.connections == 2


@pytest.mark.parametrize(
    "said",
    [REPLY, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n" + REPLY],
    ids=["no head", "a bad head"],
)
async def test_what_is_no_http_is_told_in_a_line_without_it(pooled, said):
    server = Server(answered=lambda body: said)
    with started(server) as url:
        async with transport_to(url, pooled=pooled, stream=False) as transport:
            with pytest.raises(ApiError) as caught:
                await transport.send(request())
    message = caught.value.outcome.message
    assert "choices" not in message
    assert "\n" not in message
    assert 5 < len(message) <= 200


async def test_a_tls_record_is_still_told(pooled):
    server = Server(answered=lambda body: b"\x15\x03\x01\x00\x02\x02\x50")
    with started(server) as url:
        async with transport_to(url, pooled=pooled, stream=False) as transport:
            with pytest.raises(ApiError) as caught:
                await transport.send(request())
    assert "TLS" in caught.value.outcome.message


def test_what_has_no_text_is_told_by_its_name():
    assert fault_of(ValueError("b'all of it'")).message == "ValueError"


@pytest.mark.parametrize("rest", [b"", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"])
@pytest.mark.parametrize(
    "whole",
    [
        *(framed(b"answer to a") for framed in FRAMED.values()),
        answer(b""),
        answer(b"x\r\n\r\ny"),
        answer(b"a").replace(b"\r\n", b"\n"),
        chunked(b"answer\r\n0\r\n\r\n"),
        chunked(b"answer").replace(b"\r\n", b"\n"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 200 \r\ncontent-length:2\r\n\r\nab",
    ],
)
def test_the_end_of_an_answer_is_found(whole, rest):
    assert well_framed(whole + rest) == len(whole)


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0),
        (b"0\r\n\r\n", 0),
        (answer(b"late")[:-1], 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", 0),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nuntil its end", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999999\r\n\r\nx", 0),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + answer(b"a"), 0),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n0\r\n\r\n", 0),
        (chunked(b"answer")[:-UNENDED] + b"no chunk", len(chunked(b"answer")) - UNENDED),
        (chunked(b"answer")[:-UNENDED] + b"5\r\nshort", len(chunked(b"answer")) - UNENDED),
        (chunked(b"answer")[:-2], len(chunked(b"answer")) - UNENDED),
    ],
)
def test_of_what_is_not_whole_only_whole_chunks_count(data, end):
    assert well_framed(data) == end
