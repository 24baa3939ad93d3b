"""The two wires on real sockets: the same requests arrive, and the same answers come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from yarl import URL

from batchlab.dispatch.departures import Departures
from batchlab.dispatch.http.connections import Connections
from batchlab.dispatch.http.pooled_wire import PooledWire
from batchlab.dispatch.http.session_wire import SessionWire
from batchlab.run_end import RunStopped, StopReason

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEADERS = {"Authorization": "Bearer k", "Accept": "application/json"}


@contextlib.asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[URL]:
    """`serve` is called for each connection, which is closed when it returns."""

    open_now: set[asyncio.Task] = set()

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            open_now.discard(asyncio.current_task())

    listening = await asyncio.start_server(handled, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat/completions?v=1")
    finally:
        listening.close()
        if open_now:
            await asyncio.wait(list(open_now), timeout=5)


async def request_of(reader: asyncio.StreamReader) -> tuple[list[str], bytes]:
    """The lines of a request's head, and its body."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    length = next(int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length"))
    return lines, await reader.readexactly(length)


@pytest.fixture(params=[SessionWire, PooledWire])
def wire(request):
    def make(url: URL, write=lambda: None, **timeouts: float) -> SessionWire | PooledWire:
        connector = Connections(limit=0)
        timeout = aiohttp.ClientTimeout(**timeouts)
        return request.param(url, HEADERS, connector, timeout, departures=Departures(write))

    return make


async def whole(response) -> bytes:
    try:
        return await response.content.read()
    finally:
        response.release()


async def gathered(response) -> list[bytes]:
    got = []
    while chunk := await response.gathered():
        got.append(chunk)
    return got


async def test_both_wires_send_the_same_request():
    seen = []

    async def serve(reader, writer):
        lines, body = await request_of(reader)
        seen.append((lines[0], sorted(line.lower() for line in lines[1:]), body))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with server(serve) as url:
        for kind in (SessionWire, PooledWire):
            async with kind(
                url,
                {**HEADERS, "Content-Type": "application/json"},
                Connections(),
                aiohttp.ClientTimeout(),
                departures=Departures(),
            ) as sender:
                assert await whole(await sender.post(b'{"a": 1}')) == b"ok"

    assert seen[0] == seen[1]
    assert seen[0][0] == "POST /v1/chat/completions?v=1 HTTP/1.1"
    assert seen[0][2] == b'{"a": 1}'


@contextlib.asynccontextmanager
async def counting(answer: bytes) -> AsyncIterator[tuple[URL, list[int]]]:
    """A server that gives the same answer to each request; with the requests of each connection so far."""
    requests_of: list[int] = []

    async def serve(reader, writer):
        number = len(requests_of)
        requests_of.append(0)
        while True:
            await request_of(reader)
            requests_of[number] += 1
            writer.write(answer)

    async with server(serve) as url:
        yield url, requests_of


async def test_a_connection_is_used_again(wire):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async with counting(answer) as (url, requests_of), wire(url) as sender:
        for _ in range(3):
            assert await whole(await sender.post(b"{}")) == b"ok"

    assert requests_of == [3]


async def test_a_connection_whose_body_was_not_read_whole_is_not_used_again(wire):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"

    async with counting(answer) as (url, requests_of), wire(url) as sender:
        for _ in range(2):
            response = await sender.post(b"{}")
            await response.content.readany()
            response.release()

    assert requests_of == [1, 1]


async def test_p1_no_request_leaves_before_its_record_is_written(wire):
    events = []

    async def serve(reader, writer):
        await request_of(reader)
        events.append("arrived")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with server(serve) as url, wire(url, write=lambda: events.append("written")) as sender:
        assert await whole(await sender.post(b"{}")) == b"ok"

    assert events == ["written", "arrived"]


async def test_requests_of_one_turn_leave_after_one_write():
    written = []

    async def serve(reader, writer):
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with server(serve) as url:
        departures = Departures(lambda: written.append(1))
        async with PooledWire(
            url, HEADERS, Connections(limit=0), aiohttp.ClientTimeout(), departures=departures
        ) as sender:
            held = [await sender.post(b"{}") for _ in range(8)]  # so that eight connections are open
            for response in held:
                assert await whole(response) == b"ok"
            written.clear()
            answers = await asyncio.gather(*(sender.post(b"{}") for _ in range(8)))
            assert [await whole(answer) for answer in answers] == [b"ok"] * 8

    assert len(written) < 8


async def test_no_request_leaves_when_its_record_cannot_be_written(wire):
    arrived = []

    async def serve(reader, writer):
        await request_of(reader)
        arrived.append(1)

    def full():
        raise RunStopped(StopReason.DISK, "no space left")

    async with server(serve) as url, wire(url, write=full) as sender:
        answers = await asyncio.gather(*(sender.post(b"{}") for _ in range(3)), return_exceptions=True)

    assert [(type(answer), str(answer)) for answer in answers] == [(RunStopped, "no space left")] * 3
    assert not arrived


async def test_interim_responses_are_passed_over(wire):
    async def serve(reader, writer):
        await request_of(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    async with server(serve) as url, wire(url) as sender:
        response = await sender.post(b"{}")
        assert (response.status, await whole(response)) == (200, b"ok")


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", aiohttp.ServerDisconnectedError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", aiohttp.ServerDisconnectedError),
        (b"no HTTP at all\r\n\r\n", aiohttp.ClientError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", aiohttp.ClientPayloadError),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
            aiohttp.ClientPayloadError,
        ),
    ],
)
async def test_a_broken_response_is_an_error_of_aiohttp(wire, sent, error):
    async def serve(reader, writer):
        await request_of(reader)
        writer.write(sent)

    async with server(serve) as url, wire(url) as sender:
        with pytest.raises(error):
            await whole(await sender.post(b"{}"))


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
@pytest.mark.parametrize(
    ("limits", "error"),
    [({"total": 0.2}, TimeoutError), ({"sock_read": 0.2, "total": 30}, aiohttp.SocketTimeoutError)],
)
async def test_a_silent_server_runs_into_the_time_limit(wire, sent, limits, error):
    async def serve(reader, writer):
        await request_of(reader)
        writer.write(sent)
        await reader.read()

    async with server(serve) as url, wire(url, **limits) as sender:
        with pytest.raises(error) as caught:
            await whole(await sender.post(b"{}"))

    assert isinstance(caught.value, aiohttp.SocketTimeoutError) == ("sock_read" in limits)


async def test_bytes_that_keep_coming_are_no_silence(wire):
    async def serve(reader, writer):
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            writer.write(b".")
            await asyncio.sleep(0.05)

    async with server(serve) as url, wire(url, sock_read=0.3, total=30) as sender:
        assert await whole(await sender.post(b"{}")) == b"." * 12


async def test_an_abandoned_request_closes_its_connection(wire):
    closed = asyncio.Event()

    async def serve(reader, writer):
        await request_of(reader)
        await reader.read()
        closed.set()

    async with server(serve) as url, wire(url) as sender:
        task = asyncio.create_task(sender.post(b"{}"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_header_with_a_line_end_is_refused():
    with pytest.raises(ValueError, match="line end|newline|Newline|control|carriage"):
        async with PooledWire(
            URL("http://127.0.0.1:9/"),
            {"X": "a\r\nY: b"},
            Connections(),
            aiohttp.ClientTimeout(),
            departures=Departures(),
        ):
            pass


async def test_a_stream_is_gathered_whole_whatever_its_pieces(wire):
    pieces = [bytes([65 + number % 26]) * (number % 7 + 1) for number in range(60)]

    async def serve(reader, writer):
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0.005)
        writer.write(b"0\r\n\r\n")

    async with server(serve) as url, wire(url) as sender:
        response = await sender.post(b"{}")
        got = await gathered(response)
        response.release()

    assert b"".join(got) == b"".join(pieces)
    if isinstance(sender, PooledWire):
        assert len(got) < len(pieces) / 2


async def test_a_stream_that_breaks_while_it_is_gathered_raises(wire):
    async def serve(reader, writer):
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)

    async with server(serve) as url, wire(url) as sender:
        response = await sender.post(b"{}")
        with pytest.raises(aiohttp.ClientPayloadError):
            await gathered(response)
        response.release()
