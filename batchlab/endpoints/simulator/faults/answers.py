"""Answers that came, and are not as the API reference has them.

Sources: OpenRouter (an error on the choice); LiteLLM and vLLM behind proxies (Content-Type lost);
DeepSeek (blank lines while it waits); Mistral (`thinking` parts: vercel/ai 8072, NousResearch/hermes-agent
4748); Anthropic (`thinking` with a signature).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from batchlab.endpoints.simulator.faults.drafts import (
    JSON_TYPE,
    SSE_TYPE,
    Change,
    Draft,
    FaultKind,
    Object,
    answer,
    each_choice,
    each_value,
    sent,
    together,
)
from batchlab.endpoints.simulator.faults.envelopes import completion, without

BOM = b"\xef\xbb\xbf"
CHOICE_ERROR = {
    "code": 502,
    "message": "Upstream error from SomeHost: the connection was lost",
    "metadata": {"provider_name": "SomeHost", "error_type": "provider_unavailable"},
}
THOUGHT = "It is a question, so I answer it."


def _choice_error(finish: str | None) -> Change:
    """An error on the choice, which holds the beginning of an answer; its usage is there."""
    return each_choice(
        lambda choice: {
            **choice,
            "finish_reason": finish,
            "error": CHOICE_ERROR,
        }
    )


def _without_done(change: Change) -> Change:
    return together(change, sent(done=False))


def _plain_as(content_type: str | None) -> Change:
    """The plain answer, asked for or not, under any Content-Type."""
    return sent(streams=False, content_type=content_type)


def _streamed_as(content_type: str | None) -> Change:
    """The streamed answer, asked for or not, under any Content-Type."""
    return sent(streams=True, content_type=content_type)


def _not_utf8(piece: bytes) -> bytes:
    """Two bytes of Latin-1 in front of the first text."""
    for mark in (b'"content": "', b'"text": "'):
        at = piece.find(mark)
        if at >= 0 and not piece.startswith(mark + b'"', at):
            cut = at + len(mark)
            return piece[:cut] + b"caf\xe9 \xff" + piece[cut:]
    return piece


def _in_the_text(text: str) -> Change:
    """A text in front of the answer's own."""

    def in_choice(choice: Object) -> Object:
        message = choice.get("message")
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            return {**choice, "message": {**message, "content": text + message["content"]}}
        return choice

    def first_delta(draft: Draft) -> Draft:
        first = _first_text(draft)
        if first < 0:
            return draft
        event = draft.events[first]
        choice = event["choices"][0]
        delta = {**choice["delta"], "content": text + choice["delta"]["content"]}
        made = {**event, "choices": [{**choice, "delta": delta}, *event["choices"][1:]]}
        return replace(draft, events=(*draft.events[:first], made, *draft.events[first + 1 :]))

    return together(each_choice(in_choice), first_delta)


def _first_text(draft: Draft) -> int:
    """The place of the first event with text; -1 for none."""
    for at, event in enumerate(draft.events):
        choices = event.get("choices") if isinstance(event, dict) else None
        if choices and (choices[0].get("delta") or {}).get("content"):
            return at
    return -1


def _thinking(part: Object) -> Change:
    """Content as a list of parts, thought before text; streamed, both are lists."""

    def in_choice(choice: Object) -> Object:
        message = choice.get("message")
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return choice
        parts = [part, {"type": "text", "text": message["content"]}]
        return {**choice, "message": {**message, "content": parts}}

    def in_stream(draft: Draft) -> Draft:
        first = _first_text(draft)
        if first < 0:
            return draft
        event = draft.events[first]
        choice = event["choices"][0]
        text = [{"type": "text", "text": choice["delta"]["content"]}]

        def saying(content: Any) -> Object:
            return {**event, "choices": [{**choice, "delta": {"content": content}}, *event["choices"][1:]]}

        return replace(
            draft,
            events=(*draft.events[:first], saying([part]), saying(text), *draft.events[first + 1 :]),
        )

    return together(each_choice(in_choice), in_stream)


def _member(name: str, value: Any) -> Change:
    """A member of every object that is sent."""
    return each_value(lambda one: {**one, name: value})


def _chosen(pick: Callable[[str], Any], name: str) -> Change:
    """A member made of the one that is there."""
    return each_value(lambda one: {**one, name: pick(str(one.get(name, "")))})


ANSWERS: dict[str, FaultKind] = {
    "null_content": FaultKind(
        "no text, charged", answer(200, completion(message={"content": None}), usage=(5, 3))
    ),
    "no_usage": FaultKind("no usage, charged", answer(200, without(completion(), "usage"), billed=True)),
    "lone_surrogate": FaultKind(
        "half a surrogate pair in the text",
        answer(200, completion(message={"content": "half \ud83d of a pair"}), usage=(5, 3)),
    ),
    # a model that was asked for JSON and does not quite give it
    "json_fenced": FaultKind("JSON in a Markdown fence", text="fenced"),
    "json_in_prose": FaultKind("JSON amid prose", text="in_prose"),
    "json_after_reasoning": FaultKind("JSON after thoughts", text="after_reasoning"),
    "json_broken": FaultKind("JSON that is none", text="broken"),
    "json_unfit": FaultKind("JSON that does not fit its schema", text="unfit"),
    # an error on the choice
    "choice_error": FaultKind(
        "an error on the choice, finish_reason error (OpenRouter)", _choice_error("error")
    ),
    "choice_error_null": FaultKind("an error on the choice, finish_reason null", _choice_error(None)),
    "choice_error_stop": FaultKind("an error on the choice, finish_reason stop", _choice_error("stop")),
    "choice_error_undone": FaultKind(
        "an error on the choice, and no [DONE]", _without_done(_choice_error("error"))
    ),
    # one thing under the name of another
    "json_as_sse": FaultKind("a plain answer under text/event-stream", _plain_as(SSE_TYPE)),
    "json_as_text": FaultKind("a plain answer under text/plain", _plain_as("text/plain; charset=utf-8")),
    "json_untyped": FaultKind("a plain answer without Content-Type", _plain_as(None)),
    "stream_ignored": FaultKind("a plain answer, a stream asked for or not", _plain_as(JSON_TYPE)),
    "sse_as_json": FaultKind("a stream under application/json, asked for or not", _streamed_as(JSON_TYPE)),
    "sse_as_text": FaultKind("a stream under text/plain, asked for or not", _streamed_as("text/plain")),
    "sse_untyped": FaultKind("a stream without Content-Type, asked for or not", _streamed_as(None)),
    "sse_unasked": FaultKind("a stream, asked for or not", _streamed_as(SSE_TYPE)),
    "json_then_done": FaultKind(
        "a plain answer, then `data: [DONE]`",
        sent(streams=False, content_type=JSON_TYPE, after=b"\n\ndata: [DONE]\n\n"),
    ),
    "bom": FaultKind("a byte order mark in front", sent(before=BOM)),
    "leading_blanks": FaultKind(
        "blank lines in front (DeepSeek while it waits)", sent(before=b"\n\r\n  \n\n")
    ),
    "not_utf8": FaultKind("text that is not UTF-8", sent(spoil=_not_utf8)),
    "control_text": FaultKind("control bytes in the text", _in_the_text("a\x00b\x1b[31mc\x7f ")),
    # content parts
    "thinking_parts": FaultKind(
        "content as a list, the thought in parts (Mistral)",
        _thinking({"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}),
    ),
    "thinking_text": FaultKind(
        "content as a list, the thought as text (Anthropic)",
        _thinking({"type": "thinking", "thinking": THOUGHT, "signature": "c2lnbmVk"}),
    ),
    # what becomes a column
    "model_control": FaultKind(
        "control bytes in the model's name", _chosen(lambda name: f"{name}\x00\x1b[31m\x7f", "model")
    ),
    "model_surrogate": FaultKind(
        "half a surrogate pair in the model's name", _chosen(lambda name: f"{name}-\ud83d", "model")
    ),
    "id_surrogate": FaultKind(
        "half a surrogate pair in the id", _chosen(lambda name: f"{name}-\udc00", "id")
    ),
    "fingerprint_surrogate": FaultKind(
        "half a surrogate pair in system_fingerprint", _member("system_fingerprint", "fp_\ud83d")
    ),
    "fingerprint_control": FaultKind(
        "control bytes in system_fingerprint", _member("system_fingerprint", "fp_\x00\x1b[31m\u202e")
    ),
    "fingerprint_bytes": FaultKind(
        "system_fingerprint that is not UTF-8",
        together(
            _member("system_fingerprint", "fp_RAW"),
            sent(spoil=lambda piece: piece.replace(b"fp_RAW", b"fp_\xff\xfe")),
        ),
    ),
    "fingerprint_number": FaultKind("a number for system_fingerprint", _member("system_fingerprint", 7)),
}
