"""What happens to a stream: errors in its middle, and ends that are none.

Sources: llama.cpp until late 2025 (`error:` field, ggml-org/llama.cpp 16109; coddy-project/coddy-agent
106); OpenAI's Responses (`event: error`, openai/codex 43337); vLLM and SGLang (flat errors);
OpenRouter (error envelopes, comments); openai-node 2317 (a stream that stays open after [DONE]);
WHATWG HTML, section 9.2 (lines, comments, fields of an event stream).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from batchlab.endpoints.simulator.faults.drafts import (
    Change,
    Draft,
    FaultKind,
    answer,
    broken_off,
    last_choice,
    sent,
    together,
    unseen,
    when_streamed,
)
from batchlab.endpoints.simulator.wire import End

_FLAT = {
    "object": "error",
    "message": "the engine died while it wrote",
    "type": "InternalServerError",
    "param": None,
    "code": 500,
}
_BARE = {name: value for name, value in _FLAT.items() if name != "object"}
_ENVELOPE = {"error": {"message": "upstream failed", "type": "server_error", "param": None, "code": 502}}
_OVERLOADED = {
    "type": "error",
    "error": {
        "type": "service_unavailable_error",
        "code": "server_is_overloaded",
        "message": "Overloaded.",
        "param": None,
    },
}
_LLAMA = {
    "code": 500,
    "message": "failed to decode the batch",
    "type": "server_error",
}

HALF_BODY = answer(200, b'{"id": "cut', billed=True)
CUT_BODY: Change = together(HALF_BODY, sent(length=4096, end=End.DROP))


def _named(name: str, value: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


def _error(event: Any, plain: Any, *, done: bool) -> Change:
    """An error in mid-stream; a plain request gets it as its 200."""
    return when_streamed(broken_off(event, done=done), answer(200, plain))


# name → what it is, the event, and the same for a plain request
MID_STREAM: dict[str, tuple[str, Any, Any]] = {
    "sse_error_field": (
        "an `error:` field (llama.cpp until 2025)",
        b"error: " + json.dumps(_LLAMA).encode() + b"\n\n",
        {"error": _LLAMA},
    ),
    "sse_error_event": ("`event: error` (OpenAI)", _named("error", _OVERLOADED), _OVERLOADED),
    "stream_error_object": ('{"object": "error", …} (vLLM, SGLang)', _FLAT, _FLAT),
    "stream_error_envelope": ('{"error": {…}}', _ENVELOPE, _ENVELOPE),
    "stream_error_flat": ("a flat error that is not named as one", _BARE, _BARE),
    "stream_error_text": (
        '{"error": "text"} (Ollama)',
        {"error": "an error was encountered"},
        {"error": "an error was encountered"},
    ),
}


def _only_usage(draft: Draft) -> Draft:
    """Nothing but the event with the usage."""
    kept = tuple(event for event in draft.events if isinstance(event, dict) and not event.get("choices"))
    return replace(draft, events=kept)


def _no_finish(draft: Draft) -> Draft:
    """No finish_reason, no usage, no [DONE]: it ends in order after its last text."""
    at = last_choice(draft.events)
    return unseen(replace(draft, events=draft.events[:at], done=False))


def _ending(**how: Any) -> Change:
    return when_streamed(sent(**how), lambda draft: draft)


STREAMS: dict[str, FaultKind] = {
    "cut_stream": FaultKind(
        "half a stream, then the connection is closed; a plain answer is cut off",
        when_streamed(together(broken_off(done=False), sent(end=End.DROP, last_chunk=False)), CUT_BODY),
    ),
    "error_event": FaultKind(
        "an error in mid-stream, then [DONE]; a plain answer is cut off (OpenRouter)",
        when_streamed(
            broken_off({"error": {"message": "upstream failed", "code": 502}}, done=True), CUT_BODY
        ),
    ),
    "single_newlines": FaultKind("one newline between events", sent(gap=b"\n")),
    **{
        name: FaultKind(f"{says} in mid-stream, then [DONE]", _error(event, plain, done=True))
        for name, (says, event, plain) in MID_STREAM.items()
    },
    **{
        f"{name}_undone": FaultKind(f"{says} in mid-stream, and no [DONE]", _error(event, plain, done=False))
        for name, (says, event, plain) in MID_STREAM.items()
    },
    "stream_held": FaultKind(
        "a whole stream, then the connection stays open", _ending(end=End.HOLD, last_chunk=False)
    ),
    "stream_held_undone": FaultKind(
        "a stream with its finish_reason and usage, no [DONE], and the connection stays open",
        _ending(end=End.HOLD, last_chunk=False, done=False),
    ),
    "stream_reset": FaultKind("a whole stream, then a reset", _ending(end=End.RESET, last_chunk=False)),
    "stream_reset_undone": FaultKind(
        "a stream with its finish_reason and usage, no [DONE], then a reset",
        _ending(end=End.RESET, last_chunk=False, done=False),
    ),
    "stream_no_last_chunk": FaultKind(
        "a whole stream, closed without the last chunk", _ending(end=End.CLOSE, last_chunk=False)
    ),
    "stream_pings": FaultKind(
        "a whole stream, then comments that go on", _ending(end=End.PING, last_chunk=False)
    ),
    "stream_undone": FaultKind("a whole stream without [DONE]", _ending(done=False)),
    "stream_unfinished": FaultKind(
        "a stream that ends in order before any finish_reason", when_streamed(_no_finish, lambda draft: draft)
    ),
    "stream_empty": FaultKind(
        "a stream of usage alone, charged", when_streamed(_only_usage, lambda draft: draft)
    ),
    "stream_comments": FaultKind(
        "comments in front (OpenRouter)",
        _ending(before=b": OPENROUTER PROCESSING\n\n: keep-alive\n\n"),
    ),
    "stream_crlf": FaultKind("lines that end in CRLF", _ending(gap=b"\r\n\r\n")),
    "drip": FaultKind("an answer in pieces of 3 bytes, which cut characters and lines", sent(drip=3)),
}
