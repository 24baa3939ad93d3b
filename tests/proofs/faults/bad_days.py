"""What real servers say, line by line, on a socket of its own: one bad row among good ones.

    python -m tests.proofs.faults.bad_days            # every line, plain and streamed; prints a table
    python -m tests.proofs.faults.bad_days --only tools

Twenty good rows stand around three that are answered as a line says: the first, a middle and the last row.

Each must end in the state of its line, with the columns and the books of its line, after as many requests
as its line says; the good ones take one request each and are unharmed. The server writes bytes and knows
nothing of ours. What was seen where: `said_by`.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import batchlab
from batchlab.dispatch import retry
from batchlab.dispatch.http import answers
from batchlab.dispatch.trouble import health
from batchlab.run_end import RunSummary
from tests.conftest import CANARY
from tests.proofs.arguments import ended, options

ROWS = 23
PLACES = (0, 11, 22)
GOOD_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
BAD = "!odd!"


@dataclass(frozen=True)
class Sent:
    """One response as bytes on the wire.

    Attributes:
        pieces: the body; a number is a pause in seconds before the next piece.
        framing: `length`, `chunked`, or `close` (until the connection ends).
        end: after the last piece: `whole` ends the body as its framing says, `reset` breaks the connection,
            `open` leaves it open without the end of the body, `eof` closes it without.
    """

    pieces: tuple[bytes | float, ...]
    status: int = 200
    content_type: str | None = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    framing: str = "length"
    end: str = "whole"


@dataclass(frozen=True)
class Line:
    """A line of what servers say, and what is right.

    Attributes:
        reply: the bytes, for a request that asked for a stream (True) or not.
        state, error_class: how the row ends.
        asked: requests that it takes in all.
        at_most: it may take fewer.
        once: only the first request is answered so; the next one well.
        places: where its rows stand.
        columns: what some of its columns hold.
        wasted: prompt and completion tokens that were billed for what was not kept, over all requests.
        limits: of the job.
    """

    name: str
    said_by: str
    reply: Callable[[bool], Sent]
    state: str = "ok"
    error_class: str | None = None
    asked: int = 1
    at_most: bool = False
    once: bool = False
    places: tuple[int, ...] = PLACES
    columns: dict[str, Any] = field(default_factory=dict)
    wasted: tuple[int, int] = (0, 0)
    plain: bool = True
    streamed: bool = True
    limits: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


# ---- bytes


def js(value: Any) -> bytes:
    return json.dumps(value).encode()


def event(value: Any) -> bytes:
    return b"data: " + js(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def plain_answer(
    text: Any = "fine", finish: str | None = "stop", usage: Any = GOOD_USAGE, **more: Any
) -> dict:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body = {"id": "c-1", "object": "chat.completion", "model": "m", "choices": [choice], **more}
    return body if usage is None else {**body, "usage": usage}


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> dict:
    said = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": said, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}


def usage_chunk(usage: Any = GOOD_USAGE) -> dict:
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage}


def sse(*events: Any, **how: Any) -> Sent:
    """Events as chunks; a dict becomes a data line, bytes and pauses go as they are."""
    pieces = tuple(event(one) if isinstance(one, dict) else one for one in events)
    return Sent(pieces, **{"content_type": "text/event-stream", "framing": "chunked", **how})


def whole_stream(
    text: str = "fine", finish: str | None = "stop", usage: Any = GOOD_USAGE
) -> tuple[dict, ...]:
    half = len(text) // 2
    return chunk(text[:half]), chunk(text[half:]), chunk(finish=finish), usage_chunk(usage)


def answered(text: str = "fine", finish: str | None = "stop", usage: Any = GOOD_USAGE, **how: Any):
    """A good answer, streamed or not as it was asked for."""

    def reply(stream: bool) -> Sent:
        if stream:
            return sse(*whole_stream(text, finish, usage), DONE, **how)
        return Sent((js(plain_answer(text, finish, usage)),), **how)

    return reply


def refused(status: int, body: Any, *headers: tuple[str, str], kind: str = "application/json"):
    raw = body if isinstance(body, bytes) else js(body)
    return lambda _stream: Sent((raw,), status, kind, headers)


def both(plain: Sent, streamed: Sent):
    return lambda stream: streamed if stream else plain


def error(message: str, **more: Any) -> dict:
    return {"error": {"message": message, **more}}


def google(status: int, word: str, message: str, *details: dict) -> list:
    return [{"error": {"code": status, "status": word, "message": message, "details": list(details)}}]


# ---- the lines

TROUBLE = {"code": 502, "message": "the host went silent"}
AGAIN = {"asked": 2, "once": True}
LATER = PLACES[1:]  # at the first row, before any answer, they end the run: see test_outcome_table


def _words(state: str, error_class: str | None, words: str, said_by: str) -> Iterator[Line]:
    for word in words.split():
        yield Line(
            f"finish {word}",
            said_by,
            answered(finish=word),
            state,
            error_class,
            columns={"completion": "fine"},
        )


WHOLE = [
    *_words(
        "truncated", None, "length max_tokens MAX_TOKENS model_length model_context_window_exceeded", "§ 1"
    ),
    *_words(
        "filtered",
        None,
        "content_filter SAFETY RECITATION PROHIBITED_CONTENT BLOCKLIST SPII sensitive content_filtered guardrail refusal",
        "§ 1",
    ),
    *_words(
        "ok", None, "stop end_turn STOP eos eos_token stop_sequence tool_calls function_call tool_use", "§ 1"
    ),
    *_words("ok", None, "never_heard_of Stop_By_Moon", "nobody"),
    *(
        Line(f"finish {word}", "§ 1", answered("half", finish=word), **AGAIN, wasted=(7, 3))
        for word in "error abort aborted network_error insufficient_system_resource cancelled unknown_error".split()
    ),
    Line(
        "broken off for ever",
        "Zhipu",
        answered("half", "network_error"),
        "failed",
        "invalid_response",
        4,  # two attempts, and two of the last pass
        wasted=(28, 12),
    ),
    Line(
        "no finish, DONE",
        "several",
        both(Sent((js(plain_answer(finish=None)),)), sse(chunk("fine"), usage_chunk(), DONE)),
    ),
    *(
        Line(
            f"error on the choice, finish {finish}",
            "OpenRouter",
            both(
                Sent(
                    (
                        js(
                            {
                                **plain_answer(),
                                "choices": [{**plain_answer("ha", finish)["choices"][0], "error": TROUBLE}],
                            }
                        ),
                    )
                ),
                sse(
                    chunk("ha"),
                    {
                        **chunk(finish=finish),
                        "choices": [{"index": 0, "delta": {}, "finish_reason": finish, "error": TROUBLE}],
                    },
                    usage_chunk(),
                    DONE,
                ),
            ),
            **AGAIN,
            wasted=(7, 3),
        )
        for finish in (None, "stop", "error")
    ),
    *(
        Line(
            f"stream error as {name}",
            by,
            lambda _, e=events: sse(chunk("half an ans"), *e),
            **AGAIN,
            plain=False,
        )
        for name, by, events in (
            (
                "field",
                "llama.cpp, older",
                (b'error: {"code":500,"message":"lost","type":"server_error"}\n\n', DONE),
            ),
            (
                "event",
                "Anthropic-like",
                (b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n',),
            ),
            ("event and DONE", "gateways", (b'event: error\ndata: {"message":"worker died"}\n\n', DONE)),
            ("error key", "OpenRouter", (error("upstream", code=502), DONE)),
            ("error string", "Ollama", ({"error": "llama runner process has terminated"},)),
            (
                "object error",
                "vLLM",
                ({"object": "error", "message": "died", "type": "InternalServerError", "code": 500}, DONE),
            ),
            (
                "flat",
                "vLLM",
                ({"message": "died", "type": "InternalServerError", "param": None, "code": 500}, DONE),
            ),
            ("ModelsLab", "ModelsLab", ({"status": "error", "messege": "Something went wrong"}, DONE)),
            ("broken chunk", "proxies", (b"data: {bro\n\n", DONE)),
        )
    ),
    Line(
        "stream error after usage",
        "gateways",
        lambda _: sse(chunk("ha"), chunk("lf", usage=GOOD_USAGE), error("x", code=500), DONE),
        **AGAIN,
        wasted=(7, 3),
        plain=False,
    ),
    Line(
        "stream reset after usage",
        "vLLM",
        lambda _: sse(chunk("ha", usage=GOOD_USAGE), 0.02, end="reset"),
        **AGAIN,
        wasted=(7, 3),
        plain=False,
    ),
    *(
        Line(
            f"whole stream, then {end}",
            "openai-node 2317",
            lambda _, e=end: sse(*whole_stream(), DONE, end=e),
            plain=False,
        )
        for end in ("open", "reset", "eof")
    ),
    Line(
        "whole stream, then pings",
        "proxies",
        lambda _: sse(*whole_stream(), DONE, *[b": ping\n\n", 0.05] * 8, end="open"),
        plain=False,
    ),
    Line("finish and usage, no DONE", "several", lambda _: sse(*whole_stream()), plain=False),
    *(
        Line(
            f"finish and usage, no DONE, then {end}",
            "several",
            lambda _, e=end: sse(*whole_stream(), end=e),
            plain=False,
        )
        for end in ("open", "reset", "eof")
    ),
    *(
        Line(
            f"whole JSON, then {end}",
            "proxies",
            lambda _, e=end: Sent((js(plain_answer()), 0.02), framing="chunked", end=e),
        )
        for end in ("reset", "eof")
    ),
    Line(
        "whole JSON, then open",
        "proxies",
        lambda _: Sent((js(plain_answer()),), framing="chunked", end="open"),
        limits={"idle_timeout": 0.4},
    ),
    *(
        Line(f"JSON called {kind}", "gateways", lambda _, k=kind: Sent((js(plain_answer()),), content_type=k))
        for kind in ("text/event-stream", "text/plain; charset=utf-8", None, "text/html")
    ),
    *(
        Line(
            f"events called {kind}", "gateways", lambda _, k=kind: sse(*whole_stream(), DONE, content_type=k)
        )
        for kind in ("application/json", "text/plain", None)
    ),
    Line(
        "events after a comment",
        "OpenRouter",
        lambda _: sse(b": OPENROUTER PROCESSING\n\n", *whole_stream(), DONE, content_type="application/json"),
    ),
    Line(
        "events after event:",
        "Azure",
        lambda _: sse(b"event: message\n", *whole_stream(), DONE, content_type=None),
    ),
    Line(
        "JSON after blanks",
        "OpenRouter, keep-alive",
        lambda _: Sent((b"\n  \n", 0.02, b"\r\n" + js(plain_answer())), framing="chunked"),
    ),
    Line("JSON with a BOM", "IIS", lambda _: Sent((b"\xef\xbb\xbf" + js(plain_answer()),))),
    Line("JSON and DONE", "gateways", lambda _: Sent((js(plain_answer()) + b"\n\ndata: [DONE]\n\n",))),
    Line(
        "not UTF-8",
        "older proxies",
        both(
            Sent((js(plain_answer("a cafX in town")).replace(b"cafX", b"caf\xe9"),)),
            sse(
                event(chunk("a cafX in town")).replace(b"cafX", b"caf\xe9"),
                chunk(finish="stop"),
                usage_chunk(),
                DONE,
            ),
        ),
        "ok",
        "not_utf8",
        columns={"completion": "a caf\ufffd in town"},
    ),
    Line(
        "tool calls at one index",
        "gateways before Gemini",
        lambda _: sse(
            {
                **chunk(),
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "tool_calls": [
                                {
                                    "index": 0,
                                    "id": "a",
                                    "type": "function",
                                    "function": {"name": "f", "arguments": "{}"},
                                }
                            ]
                        },
                        "finish_reason": None,
                    }
                ],
            },
            {
                **chunk(),
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "tool_calls": [
                                {
                                    "index": 0,
                                    "id": "b",
                                    "type": "function",
                                    "function": {"name": "g", "arguments": "{}"},
                                }
                            ]
                        },
                        "finish_reason": None,
                    }
                ],
            },
            chunk(finish="tool_calls"),
            usage_chunk(),
            DONE,
        ),
        plain=False,
        columns={"tool_calls": [("a", "f", "{}"), ("b", "g", "{}")]},
    ),
    Line(
        "thinking parts",
        "Mistral, Anthropic-like",
        both(
            Sent(
                (
                    js(
                        plain_answer(
                            [
                                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                                {"type": "text", "text": "fine"},
                            ]
                        )
                    ),
                )
            ),
            sse(
                chunk([{"type": "thinking", "thinking": "hm"}]),
                chunk([{"type": "text", "text": "fine"}]),
                chunk(finish="stop"),
                usage_chunk(),
                DONE,
            ),
        ),
        columns={"completion": "fine", "reasoning": "hm"},
    ),
    Line(
        "request id of any bytes",
        "proxies",
        answered(headers=(("x-request-id", "caf\xe9 \x85 1"),)),
        columns={"completion": "fine"},
    ),
    Line(
        "fingerprint with controls",
        "gateways",
        lambda _: Sent((js(plain_answer(system_fingerprint="fp\u0000\x1b[31m\ud800")),)),
        columns={"completion": "fine"},
    ),
    *(
        Line(f"200 with {name}", "§ 1", lambda _, b=body: Sent((js(b),)), **AGAIN, wasted=(7, 3))
        for name, body in (
            ("no choices", {**plain_answer(), "choices": []}),
            ("null choices", {**plain_answer(), "choices": None}),
            ("choices missing", {"id": "c", "usage": GOOD_USAGE}),
            ("an error and usage", {**error("x", code=500), "usage": GOOD_USAGE}),
            ("no message", {**plain_answer(), "choices": [{"index": 0, "finish_reason": "stop"}]}),
        )
    ),
]

MIN = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}],
}
DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.2s"}
QUOTED = "Invalid value: 'where is the queue? rate limit, quota, unauthorized, invalid api key'"


def _refusals(error_class: str, cases: dict[str, tuple[int, Any]]) -> Iterator[Line]:
    for name, (status, body) in cases.items():
        yield Line(f"{error_class}: {name}", name, refused(status, body), "failed", error_class)


ERRORS = [
    Line("429 RetryInfo", "Gemini", refused(429, google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, check your plan and billing", MIN, DELAY)), **AGAIN),
    Line("429 per minute", "Gemini", refused(429, google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", MIN)), **AGAIN),
    *_refusals("too_large", {
        "OpenAI's numbers": (429, error("Request too large for m in organization o on tokens per min (TPM): Limit 30000, Requested 40000.", type="tokens", code="rate_limit_exceeded")),
        "Groq 413": (413, error("Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7001", type="tokens", code="rate_limit_exceeded")),
    }),
    *_refusals("content_filter", {
        "xAI 403": (403, {"code": "The caller does not have permission", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}),
        "OpenRouter 403": (403, error("Your input was flagged", code=403, metadata={"reasons": ["violence"], "flagged_input": "…"})),
        "ZenMux 403": (403, error("upstream policy", code="403", type="safety_check_failed")),
        "Azure": (400, error("The response was filtered", code="content_filter", status=400, innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}})),
        "DeepSeek": (400, error("Content Exists Risk", type="invalid_request_error", code="invalid_request_error")),
        "DashScope": (400, error("Input data may contain inappropriate content.", code="data_inspection_failed", type="data_inspection_failed")),
        "Zhipu": (400, {"contentFilter": [{"level": 1, "role": "user"}], "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}),
        "OpenAI": (400, error("Your request was rejected as a result of our safety system.", type="invalid_request_error", code="content_policy_violation")),
        "LiteLLM": (400, error("litellm.ContentPolicyViolationError: OpenAIException - x", type=None, code="400")),
    }),
    *_refusals("context_length", {
        "OpenAI": (400, error("This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.", type="invalid_request_error", param="messages", code="context_length_exceeded")),
        "vLLM 1": (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", "type": "BadRequestError", "code": 400}),
        "vLLM 2": (400, {"object": "error", "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.", "type": "BadRequestError", "code": 400}),
        "vLLM 3": (400, error("You passed 5000 input tokens and requested 100 output tokens. However, the model's context length is only 4096 tokens", type="BadRequestError", code=400)),
        "SGLang": (400, {"object": "error", "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens).", "type": "BadRequestError", "code": 400}),
        "TGI": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3200 `inputs` tokens", "error_type": "validation"}),
        "llama.cpp": (400, error("the request exceeds the available context size, try increasing it", code=400, type="exceed_context_size_error")),
        "Anthropic": (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 214336 tokens > 200000 maximum"}}),
        "Gemini": (400, google(400, "INVALID_ARGUMENT", "The input token count (1091639) exceeds the maximum number of tokens allowed (1048576).")),
        "xAI": (400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}),
        "DashScope": (400, error("Range of input length should be [1, 30720]", type="invalid_request_error", code="invalid_parameter_error")),
        "Moonshot": (400, error("Invalid request: Your request exceeded model token limit: 8192", type="invalid_request_error")),
        "Groq": (400, error("Please reduce the length of the messages or completion.", type="invalid_request_error", param="messages")),
        "DeepSeek": (400, error("This model's maximum context length is 65536 tokens. However, you requested 70000 tokens", type="invalid_request_error", code="invalid_request_error")),
        "LiteLLM": (400, error("litellm.ContextWindowExceededError: litellm.BadRequestError: x", code="400")),
    }),
    *_refusals("bad_request", {
        "a quoted prompt, vLLM": (400, {"object": "error", "message": QUOTED, "type": "BadRequestError", "code": 400}),
        "a quoted prompt, OpenAI": (400, error(QUOTED, type="invalid_request_error", code="invalid_value")),
        "a quoted prompt, 422": (422, {"detail": [{"loc": ["body", "messages", 0], "msg": "bad", "type": "value_error", "input": "too many requests in the queue"}]}),
        "an invalid request in a 200, ModelsLab": (200, {"status": "error", "message": "The messages field is invalid."}),
        "an invalid request in a 200, fields": (200, {"status": "error", "message": {"messages": ["The messages field is required."]}}),
        "an invalid request in a 200, OpenAI's": (200, error("bad value", type="invalid_request_error")),
        "a 400 in a 200": (200, error("bad value", code=400)),
        "metadata.raw": (400, error("Provider returned error", code=400, metadata={"raw": '{"message":"Unsupported image type: tiff","type":"invalid_request_error"}', "provider_name": "H"})),
    }),
    Line("metadata.raw, too long", "OpenRouter", refused(400, error("Provider returned error", code=400, metadata={"raw": '{"error":{"message":"Input too big","code":"context_length_exceeded"}}'})), "failed", "context_length"),
    *(
        Line(f"{status} while loading", by, refused(status, body), **AGAIN)
        for status, by, body in (
            (404, "gateways", error("model is loading, try again in 0.2 seconds")),
            (421, "gateways", {"detail": "loading model, please wait"}),
            (423, "gateways", {"message": "the model is warming up; try again in 0.2s"}),
            (424, "Triton", error("model not ready", retry=1)),
            (503, "llama.cpp", error("Loading model", type="unavailable_error", code=503)),
        )
    ),
    Line("200 server trouble, ModelsLab", "ModelsLab", refused(200, {"status": "error", "message": "Something went wrong on our side."}), **AGAIN),
    Line("200 server trouble, OpenAI's", "gateways", refused(200, error("internal", type="server_error")), **AGAIN),
    Line("500 with a Retry-After of weeks", "proxies", refused(500, error("boom"), ("Retry-After", "1209600")), **AGAIN),
    Line("queue, 200", "ModelsLab", refused(200, {"status": "error", "message": "You have reached your queue limit; wait."}), **AGAIN),
    Line("queue, 400", "ModelsLab", refused(400, {"status": "error", "message": "You have reached your queue limit; wait."}), **AGAIN),
    Line("401 once", "a replica with a stale key", refused(401, error("Unauthorized")), **AGAIN, places=LATER),
    Line("402 once", "a replica with a stale account", refused(402, error("Payment Required")), **AGAIN, places=LATER),
    Line("403 once", "a firewall", refused(403, b"<html><title>Denied</title></html>", kind="text/html"), "failed", "forbidden", 4, at_most=True, places=LATER),
    Line("307 once", "a proxy", refused(307, b"", ("Location", "https://elsewhere.invalid/")), **AGAIN, places=LATER),
    Line("200 with a page once", "proxies", refused(200, b"<html><title>Maintenance</title></html>", kind="text/html"), **AGAIN),
]  # fmt: skip

DETAILS = {"completion_tokens_details": {"reasoning_tokens": 40}}


def _usage(name: str, by: str, usage: dict, **columns: Any) -> Line:
    return Line(f"usage: {name}", by, answered(usage=usage), columns=columns)


USAGE = [
    _usage("reasoning inside", "OpenAI", {"prompt_tokens": 5, "completion_tokens": 50, "total_tokens": 55, **DETAILS}, completion_tokens=50, reasoning_tokens=40),
    _usage("reasoning outside", "xAI", {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 55, **DETAILS}, completion_tokens=50, reasoning_tokens=40),
    _usage("no total", "several", {"prompt_tokens": 5, "completion_tokens": 50, **DETAILS}, completion_tokens=50),
    _usage("cached at the top", "Moonshot", {"prompt_tokens": 90, "completion_tokens": 1, "total_tokens": 91, "cached_tokens": 80}, cached_tokens=80),
    _usage("cache hits", "DeepSeek", {"prompt_tokens": 90, "completion_tokens": 1, "total_tokens": 91, "prompt_cache_hit_tokens": 80}, cached_tokens=80),
    _usage("cache writes", "OpenAI", {"prompt_tokens": 90, "completion_tokens": 1, "total_tokens": 91, "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 70}}, cached_tokens=10, cache_write_tokens=70),
    _usage("cache of Anthropic's", "gateways", {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 60}, prompt_tokens=90, completion_tokens=1, cached_tokens=20, cache_write_tokens=60),
    _usage("negative", "nobody", {"prompt_tokens": -5, "completion_tokens": 1}, prompt_tokens=None, completion_tokens=1),
    _usage("no number", "nobody", {"prompt_tokens": "many", "completion_tokens": 1}, prompt_tokens=None),
    _usage("past int64", "nobody", {"prompt_tokens": 2**70, "completion_tokens": 1}, prompt_tokens=None),
    Line("usage: NaN", "nobody", both(Sent((js(plain_answer(usage=None))[:-1] + b', "usage": {"prompt_tokens": NaN, "completion_tokens": 2}}',)), sse(chunk("fine"), chunk(finish="stop"), b'data: {"choices": [], "usage": {"prompt_tokens": NaN, "completion_tokens": 2}}\n\n', DONE)), columns={"prompt_tokens": None, "completion_tokens": 2}),
    Line("usage: on the choice", "Kimi", lambda _: sse(chunk("fine"), {**chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": GOOD_USAGE}]}, DONE), columns={"total_tokens": 10}),
    Line("usage: x_groq", "Groq", lambda _: sse(chunk("fine"), chunk(finish="stop", x_groq={"id": "r", "usage": GOOD_USAGE}), DONE), columns={"total_tokens": 10}),
]  # fmt: skip

LINES = [*WHOLE, *ERRORS, *USAGE]


# ---- the server


class OddServer:
    """Answers good rows well and odd ones as a line says; counts what it was asked.

    Attributes:
        asked: requests by prompt.
        base_url: where it listens, on loopback.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self.asked: Counter[str] = Counter()
        self.base_url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def serve() -> None:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            self._ready.set()
            self._stopped = asyncio.Event()
            await self._stopped.wait()
            server.close()
            open_ones = asyncio.all_tasks() - {asyncio.current_task()}
            for task in open_ones:
                task.cancel()
            await asyncio.gather(*open_ones, return_exceptions=True)
            await asyncio.sleep(0)  # their connections close

        self._loop.run_until_complete(serve())
        self._loop.close()

    @contextmanager
    def running(self) -> Iterator[OddServer]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        self._ready.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stopped.set)
            thread.join()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._served(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        body = json.loads(await reader.readexactly(length))
        prompt = body["messages"][-1]["content"]
        self.asked[prompt] += 1
        stream = bool(body.get("stream"))
        odd = BAD in prompt and not (self._line.once and self.asked[prompt] > 1)
        return await self._send(writer, (self._line.reply if odd else self.good)(stream))

    def good(self, stream: bool) -> Sent:
        """What a good row is answered."""
        return answered()(stream)

    async def _send(self, writer: asyncio.StreamWriter, sent: Sent) -> bool:
        head = [f"HTTP/1.1 {sent.status} Some Reason"]
        head += [f"Content-Type: {sent.content_type}"] if sent.content_type else []
        head += [f"{name}: {value}" for name, value in sent.headers]
        if sent.framing == "length":
            head.append(f"Content-Length: {sum(len(one) for one in sent.pieces if isinstance(one, bytes))}")
        elif sent.framing == "chunked":
            head.append("Transfer-Encoding: chunked")
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        for piece in sent.pieces:
            if isinstance(piece, float):
                await writer.drain()
                await asyncio.sleep(piece)
            elif sent.framing == "chunked":
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                writer.write(piece)
        await writer.drain()
        if sent.end == "open":
            await asyncio.sleep(3600)
        if sent.end == "reset":
            writer.transport.abort()
            return False
        if sent.end == "eof":
            return False
        if sent.framing == "chunked":
            writer.write(b"0\r\n\r\n")
        return sent.framing != "close"


# ---- a run


@dataclass(frozen=True)
class Seen:
    """How a run with a line ended."""

    summary: RunSummary
    rows: list[dict[str, Any]]
    asked: Counter[str]
    seconds: float


def run(line: Line, home: Path, *, stream: bool) -> Seen:
    """Runs the rows in `home` against a server that answers the odd ones by `line`."""
    prompts = [f"row {n}{BAD if n in line.places else ''}" for n in range(ROWS)]
    path = home / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in prompts))
    with OddServer(line).running() as server:
        began = time.monotonic()
        summary = batchlab.run(
            {"limits": {"max_attempts": 2, **line.limits}, "price": {"input": 1.0, "output": 2.0}},
            input=str(path),
            model="m",
            prompt="{text}",
            base_url=server.base_url,
            api_key_env="SIMULATOR_KEY",
            run_dir=str(home / "run"),
            concurrency=3,
            stream=stream,
            progress="none",
        )
        seconds = time.monotonic() - began
    frame = batchlab.load(str(home / "run"))
    return Seen(
        summary, frame.astype(object).where(frame.notna(), None).to_dict("records"), server.asked, seconds
    )


def problems(line: Line, seen: Seen) -> list[str]:
    """What is not as the line says."""
    found = []
    if seen.summary.stopped is not None:
        found.append(f"the run stopped: {seen.summary.message}")
    for number, row in enumerate(seen.rows):
        count = seen.asked[row["text"]]
        if number not in line.places:
            if (row["status"], row["completion"], count) != ("ok", "fine", 1):
                found.append(f"good row {number}: {row['status']} after {count} requests")
            continue
        if (row["status"], row["error_class"]) != (line.state, line.error_class):
            found.append(f"row {number}: {row['status']} {row['error_class']}: {row['error_message']}")
        if count > line.asked or (count < line.asked and not line.at_most):
            found.append(f"row {number}: asked {count} times, not {line.asked}")
        wasted = row["wasted_prompt_tokens"] or 0, row["wasted_completion_tokens"] or 0
        if wasted != line.wasted:
            found.append(f"row {number}: {wasted} tokens wasted, and {line.wasted} were billed")
        for name, value in line.columns.items():
            got = row[name]
            if name == "tool_calls":
                got = [
                    (c.get("id"), c["function"]["name"], c["function"]["arguments"])
                    for c in json.loads(got or "[]")
                ]
            if got != value:
                found.append(f"row {number}: {name} is {got!r}, not {value!r}")
        expected = (wasted[0] + 2 * wasted[1]) / 1e6
        if abs((row["cost_wasted_usd"] or 0) - expected) > 1e-12:
            found.append(f"row {number}: {row['cost_wasted_usd']} USD wasted, not {expected}")
    return found


def ways(line: Line) -> list[bool]:
    """Whether it is tried streamed (True), plain, or both."""
    return [stream for stream, wanted in ((False, line.plain), (True, line.streamed)) if wanted]


@contextmanager
def short_waits() -> Iterator[None]:
    """Back-offs that a test can wait for."""
    with ExitStack() as patches:
        for module, name, seconds in (
            (retry, "MAX_WAIT_S", 0.05),
            (answers, "GRACE_S", 0.1),
            (health, "LOOK_S", 0.1),
            (health, "BEHIND_S", 0.1),
        ):
            patches.enter_context(patch.object(module, name, seconds))
        yield


def main() -> None:
    """Prints a line for each; exits with 1 when one is wrong."""
    given = options(__doc__, only="")
    os.environ["SIMULATOR_KEY"] = CANARY
    wrong, tried = [], 0
    with short_waits():
        for line in LINES:
            for stream in ways(line):
                if given.only not in line.name:
                    continue
                tried += 1
                with tempfile.TemporaryDirectory(prefix="batchlab-bad-days-") as folder:
                    seen = run(line, Path(folder), stream=stream)
                found = problems(line, seen)
                how = "streamed" if stream else "plain"
                wrong += [f"{line.name}, {how}: {'; '.join(found[:4])}"] if found else []
                print(
                    f"{'WRONG' if found else 'right'}  {how:8}  {seen.seconds:5.2f} s  {line.name}  ({line.said_by})",
                    flush=True,
                )
    print(f"{tried - len(wrong)} of {tried} right")
    ended(wrong)


if __name__ == "__main__":
    main()
