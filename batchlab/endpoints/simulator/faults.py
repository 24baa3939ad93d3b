"""What can go wrong at a provider, as data: name → what is answered instead."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

Where: TypeAlias = Literal["instead", "reply", "cut"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One faulty answer.

    Attributes:
        how: `respond` sends status, headers and body; `reset` closes the connection without an
            answer; `short` states a Content-Length it does not keep; `hang` answers after a long
            time; `cut_stream`, `error_event`, `single_newlines` change a streamed reply, and a
            plain one as `reset_body`; `spoil` changes the text of a JSON answer, which is billed as
            it then is.
        billed: whether the provider charges for it.
        spoil: what a JSON answer becomes, a key of `replies.SPOILT`.
        usage: prompt and completion tokens that a billed answer states; None when it states none, so
            that only the ledger knows.
    """

    how: str
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    billed: bool = False
    usage: tuple[int, int] | None = None
    spoil: str = ""


def _error(status: int, message: str, type_: str, code: str | None, **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message, "type": type_, "param": None, "code": code}}).encode()
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer("respond", status, body, named)


def _html(status: int, title: str) -> Answer:
    body = f"<!doctype html><html><head><title>{title}</title></head><body>{title}</body></html>".encode()
    return Answer("respond", status, body, content_type="text/html")


def _ok(value: Any) -> Answer:
    return Answer("respond", 200, value if isinstance(value, bytes) else json.dumps(value).encode())


def _billed(value: dict[str, Any]) -> Answer:
    """A strange answer that was charged for all the same."""
    usage = value.get("usage")
    stated = (usage["prompt_tokens"], usage["completion_tokens"]) if usage else None
    return Answer("respond", 200, json.dumps(value).encode(), billed=True, usage=stated)


def _completion(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "An answer.", **changes.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return {
        "id": "sim-fault",
        "object": "chat.completion",
        "model": "sim",
        "choices": [choice],
        "usage": usage,
    } | changes


FAULTS: dict[str, Answer] = {
    "http_400": _error(400, "Invalid value for 'temperature'.", "invalid_request_error", "invalid_value"),
    "context_length": _error(
        400,
        "This model's maximum context length is 8192 tokens.",
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "content_filter": _error(
        400,
        "The prompt was filtered by the content management policy.",
        "invalid_request_error",
        "content_filter",
    ),
    "http_401": _error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "http_402": _error(402, "Payment required.", "billing_error", None),
    "http_403_html": _html(403, "Access denied"),
    "http_404": _error(404, "The model does not exist.", "invalid_request_error", "model_not_found"),
    "http_408": _error(408, "Request timeout.", "timeout", None),
    "http_409": _error(409, "Conflict.", "conflict", None),
    "http_413": _error(413, "Request too large.", "invalid_request_error", None),
    "rate_limit": _error(429, "Rate limit reached.", "requests", "rate_limit_exceeded"),
    "rate_limit_retry_after": _error(
        429, "Rate limit reached.", "requests", "rate_limit_exceeded", retry_after="1"
    ),
    "rate_limit_date": _error(
        429,
        "Rate limit reached.",
        "requests",
        "rate_limit_exceeded",
        retry_after="Wed, 01 Jan 2020 00:00:00 GMT",
    ),
    "rate_limit_ms": _error(
        429, "Rate limit reached.", "requests", "rate_limit_exceeded", retry_after_ms="200"
    ),
    "rate_limit_zero": _error(429, "Rate limit reached.", "requests", "rate_limit_exceeded", retry_after="0"),
    "rate_limit_huge": _error(
        429, "Rate limit reached.", "requests", "rate_limit_exceeded", retry_after="1000000000"
    ),
    "queue_full": _ok({"status": "error", "messege": "You have reached the limit of queued requests."}),
    "insufficient_quota": _error(
        429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"
    ),
    "too_large": _error(
        429,
        "Request too large for model on tokens per min: Limit 30000, Requested 40000.",
        "tokens",
        "rate_limit_exceeded",
    ),
    "http_500": _error(500, "The server had an error.", "server_error", None),
    "http_502_html": _html(502, "Bad Gateway"),
    "http_503": _error(503, "Service unavailable.", "server_error", None),
    "overloaded": _error(503, "The engine is currently overloaded.", "server_error", "overloaded"),
    "http_504_html": _html(504, "Gateway Timeout"),
    "http_520_html": _html(520, "Web server is returning an unknown error"),
    "http_524_html": _html(524, "A timeout occurred"),
    "http_529": _error(529, "Overloaded.", "overloaded_error", None),
    "html": _html(200, "Maintenance"),
    "empty_body": _ok(b""),
    "null": _ok(b"null"),
    "error_object": _ok({"error": {"message": "upstream failed", "code": 502}}),
    "status_error": _ok({"status": "error", "messege": "Something went wrong, try again."}),
    "no_choices": _ok({"id": "x", "object": "chat.completion"}),
    "empty_choices": _ok(_completion(choices=[])),
    "null_content": _billed(_completion(message={"content": None})),
    "no_usage": _billed({key: value for key, value in _completion().items() if key != "usage"}),
    "deep_json": _ok(b"[" * 100_000),
    "lone_surrogate": _billed(_completion(message={"content": "half \ud83d of a pair"})),
    "nan": _ok(b'{"choices": NaN}'),
    "http_204": Answer("respond", 204),
    "redirect": Answer("respond", 307, headers=(("Location", "http://127.0.0.1:9/elsewhere"),)),
    "bad_gzip": Answer("respond", 200, b"this is not gzip", (("Content-Encoding", "gzip"),)),
    "gzip_bomb": Answer("respond", 200, gzip.compress(b" " * (64 << 20), 9), (("Content-Encoding", "gzip"),)),
    "huge_body": Answer("respond", 200, b'{"x": "' + b"y" * (20 << 20) + b'"}'),
    "reset": Answer("reset"),
    "reset_body": Answer("short", 200, b'{"id": "cut', billed=True),
    "hang": Answer("hang", billed=True),
    "cut_stream": Answer("cut_stream", billed=True),
    "error_event": Answer("error_event"),
    "single_newlines": Answer("single_newlines", billed=True),
    # a model that was asked for JSON and does not quite give it
    "json_fenced": Answer("spoil", spoil="fenced"),
    "json_in_prose": Answer("spoil", spoil="in_prose"),
    "json_after_reasoning": Answer("spoil", spoil="after_reasoning"),
    "json_broken": Answer("spoil", spoil="broken"),
    "json_unfit": Answer("spoil", spoil="unfit"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """When a fault strikes: by rate, at every n-th request, or for prompts that hold a marker.

    Attributes:
        kind: one of `FAULTS`, or `answer` for the very answer that `status`, `body`, `headers` and
            `content_type` describe.
        times: how many attempts of the same request it hits; after that they succeed.
    """

    kind: str
    rate: float = 0.0
    every: int = 0
    rows: tuple[str, ...] = ()
    times: int = 1
    status: int = 200
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"

    @property
    def answer(self) -> Answer:
        """What the request it strikes is answered."""
        if self.kind != "answer":
            return FAULTS[self.kind]
        return Answer("respond", self.status, self.body.encode(), self.headers, self.content_type)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fault:
        """A fault from plain data. Raises ValueError, one line."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} of a fault; known: {', '.join(known)}")
        if data.get("kind") not in {"answer", *FAULTS}:
            raise ValueError(
                f"unknown fault {data.get('kind')!r}; known: answer, {', '.join(sorted(FAULTS))}"
            )
        headers = tuple((name, str(value)) for name, value in data.get("headers", {}).items())
        return cls(**{**data, "rows": tuple(data.get("rows", ())), "headers": headers})

    def strikes(self, *, seed: int, content: bytes, prompt: str, attempt: int, number: int) -> bool:
        """Whether this attempt (from 1) of a request, the `number`-th of all (from 1), is hit."""
        if attempt > self.times:
            return False
        if self.every and number % self.every == 0:
            return True
        if any(marker in prompt for marker in self.rows):
            return True
        return self.rate > 0 and chance(seed, self.kind.encode(), content, attempt) < self.rate


def chance(seed: int, *parts: bytes | int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "little", signed=True))
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return int.from_bytes(digest.digest(), "little") / 2**64
