"""Reading answers off a real socket: what has come whole is one, however its connection ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.transport import HttpTransport
from batchlab.job import LimitsJob
from batchlab.job.key import Secret
from batchlab.records import ChatRequest
from tests.conftest import CANARY
from tests.dispatch.http.transports import transport_at

REQUEST = ChatRequest(
    row_id=0,
    custom_id="0",
    body={"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    request_hash=b"",
    prompt_bytes=5,
)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
GOOD = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": USAGE}
SESSION, POOLED = True, False

Handler = Callable[[asyncio.StreamWriter, dict], Awaitable[None]]


@pytest.fixture(params=[SESSION, POOLED], ids=["session", "pooled"])
def wire(request) -> bool:
    return request.param


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that answers each request with what `handler` writes for its body; its base URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = next(
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await handler(writer, json.loads(await reader.readexactly(size)))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def transport(url: str, wire: bool, *, stream: bool = False, **limits) -> HttpTransport:
    return transport_at(url, key=Secret(CANARY), limits=LimitsJob(**limits), stream=stream, trust_env=wire)


def head(status: int = 200, ctype: str = "application/json", **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Type: {ctype}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def plain(body: bytes, **more) -> bytes:
    return head(**more, Content_Length=str(len(body))) + body


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def delta(content=None, finish=None, **more) -> dict:
    return {
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}],
        "model": "m",
        **more,
    }


HELLO, END, USED, DONE = (
    event(delta("hello")),
    event(delta(None, "stop")),
    event({"choices": [], "usage": USAGE}),
    event(b"[DONE]"),
)
ERROR = event({"error": {"message": "no", "code": 401}})
ENDS = ("left open", "reset", "ended early")


async def end(writer: asyncio.StreamWriter, how: str) -> None:
    """The connection's end after the first bytes of a chunked body."""
    await writer.drain()
    if how == "left open":
        await asyncio.sleep(30)
    elif how == "reset":
        writer.transport.abort()
    else:
        writer.close()


async def asked(
    handler: Handler, wire: bool, *, stream: bool = False, request: ChatRequest = REQUEST, **limits
):
    """(reply or ApiError, seconds) of one request."""
    async with serving(handler) as url, transport(url, wire, stream=stream, **limits) as sender:
        began = time.monotonic()
        try:
            found = (await sender.send(request)).reply
        except ApiError as error:
            found = error
        return found, time.monotonic() - began


def streams(*events: bytes, how: str = "ended", ctype: str = "text/event-stream") -> Handler:
    async def handler(writer: asyncio.StreamWriter, _body: dict) -> None:
        writer.write(head(ctype=ctype, Transfer_Encoding="chunked") + b"".join(map(chunk, events)))
        if how == "ended":
            writer.write(chunk(b""))
        else:
            await end(writer, how)

    return handler


def answers(raw: bytes) -> Handler:
    async def handler(writer: asyncio.StreamWriter, _body: dict) -> None:
        writer.write(raw)

    return handler


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize(
    "events",
    [(HELLO, END, USED, DONE), (HELLO, END, USED), (HELLO, USED, END), (HELLO, DONE)],
    ids=["DONE", "finish and usage", "usage first", "DONE alone"],
)
async def test_a_stream_that_has_come_whole_is_an_answer_however_its_connection_ends(wire, how, events):
    reply, seconds = await asked(streams(*events, how=how), wire, stream=True)

    assert reply.completion == "hello"
    assert reply.usage.total_tokens == (5 if USED in events else None)
    assert seconds < 5, "nothing is waited for"


@pytest.mark.parametrize("how", ["reset", "ended early"])
async def test_a_finish_reason_is_enough_when_the_usage_that_was_asked_for_is_cut_off(wire, how):
    reply, _ = await asked(streams(HELLO, END, how=how), wire, stream=True)

    assert (reply.completion, reply.usage.raw) == ("hello", None)


@pytest.mark.parametrize("how", ["ended", "reset", "ended early"])
@pytest.mark.parametrize("events", [(HELLO,), (HELLO, USED)], ids=["without usage", "with usage"])
async def test_half_a_stream_is_asked_again_and_what_it_used_is_told(wire, how, events):
    error, _ = await asked(streams(*events, how=how), wire, stream=True)

    assert error.outcome.kind == "RETRY"
    assert error.outcome.error_class in {"connection", "invalid_response"}
    assert (error.usage.total_tokens if error.usage else None) == (5 if USED in events else None)


@pytest.mark.parametrize("how", ["ended", *ENDS])
@pytest.mark.parametrize(
    "before", [(), (HELLO,), (HELLO, END)], ids=["first", "in mid-stream", "after the end"]
)
async def test_an_error_in_a_stream_is_judged_by_its_own_facts_at_once(wire, how, before):
    error, seconds = await asked(streams(*before, ERROR, USED, how=how), wire, stream=True)

    assert (error.outcome.kind, error.outcome.error_class) == ("STOP", "auth")
    assert error.usage.total_tokens == 5
    assert seconds < 5


def whole(body: bytes, how: str) -> Handler:
    async def handler(writer: asyncio.StreamWriter, _body: dict) -> None:
        writer.write(head(Content_Length=str(len(body) + 9)) + body)
        await end(writer, how)

    return handler


@pytest.mark.parametrize("how", ["reset", "ended early"])
async def test_a_whole_answer_with_a_broken_end_is_one(wire, how):
    reply, _ = await asked(whole(json.dumps(GOOD).encode(), how), wire)

    assert reply.completion == "hi"


@pytest.mark.parametrize("how", ["reset", "ended early"])
async def test_a_whole_error_with_a_broken_end_is_judged_by_its_own_facts(wire, how):
    error, _ = await asked(whole(b'{"error": {"code": 401, "message": "no"}}', how), wire)

    assert (error.outcome.kind, error.outcome.error_class) == ("STOP", "auth")


@pytest.mark.parametrize("how", ["reset", "ended early"])
async def test_half_an_answer_is_a_broken_connection(wire, how):
    error, _ = await asked(whole(json.dumps(GOOD).encode()[:-5], how), wire)

    assert (error.outcome.kind, error.outcome.error_class) == ("RETRY", "connection")


@pytest.mark.parametrize("how", ["reset", "ended early"])
async def test_what_has_come_of_an_error_s_body_is_read(wire, how):
    async def handler(writer: asyncio.StreamWriter, _body: dict) -> None:
        writer.write(head(401, Content_Length="99") + b'{"error": {"message": "no"}}')
        await end(writer, how)

    error, _ = await asked(handler, wire)

    assert (error.outcome.kind, error.outcome.code, error.outcome.message) == ("STOP", 401, "no")


STREAM = HELLO + END + DONE


@pytest.mark.parametrize(
    ("body", "completion"),
    [
        (json.dumps(GOOD).encode(), "hi"),
        (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "hi"),
        (b" \r\n\t" + json.dumps(GOOD).encode(), "hi"),
        (json.dumps(GOOD).encode() + b"\n\ndata: [DONE]\n\n", "hi"),
        (STREAM, "hello"),
        (b"\xef\xbb\xbf" + STREAM, "hello"),
        (b"\n\n" + STREAM, "hello"),
        (b": ping\n\n" + STREAM, "hello"),
        (b"event: message\n" + STREAM, "hello"),
        (b"id: 1\n" + STREAM, "hello"),
        (event(GOOD) + DONE, "hi"),
    ],
)
@pytest.mark.parametrize("ctype", ["application/json", "text/event-stream", "text/plain"])
@pytest.mark.parametrize("stream", [True, False], ids=["asked to stream", "not asked"])
async def test_a_body_is_what_its_first_byte_says(body, completion, ctype, stream):
    reply, _ = await asked(answers(plain(body, ctype=ctype)), POOLED, stream=stream)

    assert reply.completion == completion


async def test_a_kind_is_waited_for_when_its_first_bytes_come_one_by_one(wire):
    async def handler(writer: asyncio.StreamWriter, _body: dict) -> None:
        writer.write(head(Transfer_Encoding="chunked"))
        for byte in (b"\xef\xbb\xbf", b"\n", b"d", b"at", b"a: " + STREAM[6:]):
            writer.write(chunk(byte))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(chunk(b""))

    assert (await asked(handler, wire))[0].completion == "hello"


@pytest.mark.parametrize("body", [b"", b" \n", b"da", b"<html>hi</html>", b"hello"])
async def test_what_is_neither_is_no_answer(body):
    error, _ = await asked(answers(plain(body)), POOLED, stream=True)

    assert (error.outcome.kind, error.outcome.error_class) == ("RETRY", "invalid_response")


@pytest.mark.parametrize(
    "body", [json.dumps(GOOD).replace("hi", "caf@").encode(), event(delta("caf@", "stop")) + DONE]
)
async def test_an_answer_that_is_not_utf_8_is_kept_with_a_note(body):
    raw = body.replace(b"@", b"\xe9")

    reply, _ = await asked(answers(plain(raw)), POOLED)
    good, _ = await asked(answers(plain(body.replace(b"@", "é".encode()))), POOLED)

    assert (reply.completion, reply.is_lossy) == ("caf\ufffd", True)
    assert (good.completion, good.is_lossy) == ("café", False)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_longer_than_the_limit_is_its_row_s_failure(wire, stream):
    long = json.dumps(GOOD).encode() + b" " * 3_000
    events = (HELLO, USED, *[HELLO] * 60)
    handler = streams(*events, END, how="left open") if stream else answers(plain(long))

    error, _ = await asked(handler, wire, stream=stream, max_response_bytes=2_000)

    assert (error.outcome.kind, error.outcome.error_class) == ("FAIL", "too_large")
    assert error.outcome.message == f"the {'stream' if stream else 'answer'} is longer than 2000 bytes"
    assert (error.usage.total_tokens if error.usage else None) == (5 if stream else None)


async def test_an_answer_as_long_as_the_limit_is_read(wire):
    body = json.dumps(GOOD).encode()

    assert (await asked(answers(plain(body)), wire, max_response_bytes=len(body)))[0].completion == "hi"


async def test_usage_of_an_answer_that_is_none_is_told():
    for body in (
        {"choices": [], "usage": USAGE},
        {**GOOD, "error": {"code": 502}},
        {"choices": [{"error": {"code": 502}}], "usage": USAGE},
    ):
        error, _ = await asked(answers(plain(json.dumps(body).encode())), POOLED)
        assert error.usage.total_tokens == 5
    error, _ = await asked(answers(plain(b'{"choices": []}')), POOLED)
    assert error.usage is None


async def test_a_key_that_is_echoed_anywhere_gets_into_no_field(wire):
    said = f"so {CANARY} it is"
    message = {"content": said, "reasoning": said, "refusal": said, "tool_calls": [{"id": said}]}
    choice = {"message": message, "finish_reason": CANARY, "logprobs": {"content": [{"token": CANARY}]}}
    body = {
        "choices": [choice, {**choice, "index": 1}],
        "id": CANARY,
        "model": CANARY,
        "system_fingerprint": CANARY,
        "service_tier": CANARY,
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "account": CANARY},
    }
    unkept = json.dumps({**body, "choices": []}).encode()
    echoed = ERROR.replace(b"no", CANARY.encode()).replace(b"401", json.dumps(CANARY).encode())

    async with (
        serving(answers(plain(json.dumps(body).encode(), x_request_id=CANARY))) as url,
        transport(url, wire) as sender,
    ):
        answer = await sender.send(REQUEST)
    error, _ = await asked(answers(plain(echoed[6:], status=400)), wire)
    billed, _ = await asked(answers(plain(unkept)), wire)

    assert answer.reply.completion == "so **** it is"
    assert CANARY not in str(answer)
    assert CANARY not in str(error.outcome)
    assert CANARY not in str(billed.usage) + str(billed.outcome)
    assert billed.usage.prompt_tokens == 3


async def test_a_server_that_refuses_stream_options_of_many_at_once_answers_them_all(wire):
    """Whoever was on the way when the first was refused is asked again without it, too."""
    bodies: list[dict] = []
    many = asyncio.Event()

    async def handler(writer: asyncio.StreamWriter, body: dict) -> None:
        bodies.append(body)
        if len(bodies) == 6:
            many.set()
        await many.wait()
        if "stream_options" in body:
            error = {
                "error": {"message": "Unrecognized request argument supplied: stream_options", "param": None}
            }
            writer.write(plain(json.dumps(error).encode(), status=400))
        else:
            writer.write(plain(STREAM))

    async with serving(handler) as url, transport(url, wire, stream=True) as sender:
        found = await asyncio.gather(*(sender.send(replace(REQUEST, row_id=row)) for row in range(6)))
        last = await sender.send(REQUEST)

    assert [answer.reply.completion for answer in [*found, last]] == ["hello"] * 7
    assert [("stream_options" in body) for body in bodies] == [True] * 6 + [False] * 7


async def test_a_kept_connection_serves_the_next_row_after_a_whole_stream(wire):
    connections = 0

    async def handler(writer: asyncio.StreamWriter, _body: dict) -> None:
        nonlocal connections
        connections += not hasattr(writer, "seen")
        writer.seen = True
        writer.write(head(Transfer_Encoding="chunked") + chunk(HELLO + END + USED))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(chunk(DONE) + chunk(b""))

    async with serving(handler) as url, transport(url, wire, stream=True) as sender:
        for _ in range(3):
            assert (await sender.send(REQUEST)).reply.usage.total_tokens == 5

    assert connections == 1


async def test_blanks_before_an_answer_are_bounded_like_the_answer():
    """200 MB of blanks, as a compressed body holds in a few bytes, took half a minute of copying."""
    body = b" " * 2_000_000 + b'{"choices": []}'

    error, _ = await asked(answers(plain(body)), POOLED, max_response_bytes=1_000_000)

    assert error.outcome.error_class == "too_large"
