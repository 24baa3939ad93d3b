"""How an error stands in the body of an answer, and the errors that stand inside it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from batchlab.protocol.chat import is_minimax_error
from batchlab.protocol.sse import SseDecoder, body_kind
from batchlab.protocol.values import ReplyProblem, parse_json

Envelope: TypeAlias = Literal["error", "flat", "modelslab", "none", "text"]

MAX_SHOWN = 4_096  # characters of a message
MAX_DEPTH = 4  # errors inside errors
# LiteLLM's proxy names its classes, each before the next
EXCEPTIONS = re.compile(r"(?:litellm\.(?:exceptions\.)?\w+: )+")
# bytes as Python shows them
_BYTES = re.compile(r"""b(['"])(?:[^'"\\]|\\.|(?!\1)['"])*\1""", re.DOTALL)
# an error in JSON, at the beginning or behind an exception's name
_BEFORE_JSON = re.compile(
    r"(?:\w+(?:Exception|Error)(?: -|:) )?(?:Error code: \d{3} - )?(?:b['\"])?(?=[{\[])"
)


def data_of(body: bytes) -> tuple[Any, str | None]:
    """The JSON value of a body, or of the first event of one that is a stream; else its text."""
    if body_kind(body) == "sse":
        decoder = SseDecoder()
        events = decoder.feed(body) + decoder.close()
        body = events[0].encode("utf-8", "replace") if events else b""
    try:
        return parse_json(body), None
    except ReplyProblem:
        return None, page_text(body)


def error_in(data: Any) -> tuple[Envelope, Any]:
    """The error of a body and how it stands there."""
    if isinstance(data, list) and data:
        data = data[0]  # Google wraps its error object in a list
    if not isinstance(data, dict):
        return "none", None
    error = data.get("error")
    said = any(name in data for name in ("message", "detail", "Message"))
    if not error and not said and isinstance(data.get("errors"), list):
        error = data["errors"]  # Cloudflare
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict) and error:
        return "error", error
    if isinstance(error, str) and error:
        # xAI, TGI and Ollama: a code may stand beside
        return "error", {**data, "message": error, "error": None}
    if data.get("status") == "error":
        return "modelslab", data
    if said or data.get("object") == "error":
        return "flat", data
    coded = "error_msg" in data or ("msg" in data and isinstance(data.get("code"), str))
    if coded and "choices" not in data:
        return "flat", data
    if is_minimax_error(data):
        return "error", data["base_resp"]
    return "none", None


def chain_of(error: Any, depth: int = 0, *, in_text: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """An error and those inside it, the outermost first, and whether it stood in a message's text.

    OpenRouter puts what the host behind it said into `metadata.raw`; Azure its own into `innererror`, which
    LiteLLM puts into `provider_specific_fields`; gateways put a whole body into `message`, `detail` or
    `error`. Each may be JSON in a string.
    """
    if not isinstance(error, dict) or depth > MAX_DEPTH:
        return
    yield error, in_text
    raw = member(error, "metadata", "raw")
    if isinstance(raw, str) and raw.strip() and _json_in(raw) is None:
        yield {"message": page_text(raw.encode("utf-8", "replace"))}, in_text
    meant = (
        _json_in(raw) if isinstance(raw, str) else raw,
        error.get("innererror"),
        error.get("inner_error"),
        member(error, "provider_specific_fields", "innererror"),
    )
    texts = (error.get("message"), error.get("detail"), error.get("error"))
    for inner in (*meant, *texts):
        value, told = (_json_in(inner), True) if isinstance(inner, str) else (inner, in_text)
        if isinstance(value, dict | list):
            _, found = error_in(value)
            yield from chain_of(value if found is None else found, depth + 1, in_text=told)


def member(error: Mapping[str, Any], outer: str, inner: str) -> Any:
    value = error.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _json_in(text: str) -> Any:
    """The JSON value that a text is, or that stands behind an exception's name in it; else None."""
    if "{" not in text:
        return None
    text = text[:MAX_SHOWN]
    named = EXCEPTIONS.match(text)
    found = _BEFORE_JSON.match(text.lstrip() if named is None else text[named.end() :])
    if found is None:
        return None
    text = found.string[found.end() :]
    if shown := _BYTES.match(found.string, found.end() - 2):
        try:
            text = ast.literal_eval(shown.group()).decode("utf-8", "replace")
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    try:
        return parse_json(text)
    except ReplyProblem:
        pass
    try:
        return json.JSONDecoder().raw_decode(text)[0]  # words follow it
    except (ValueError, RecursionError):
        return None


def page_text(body: bytes) -> str:
    """The title, else the first words, of a body that is no JSON."""
    text = body[:MAX_SHOWN].decode("utf-8", "replace")
    title = re.search(r"<title[^<>]*>([^<]*)</title", text, re.IGNORECASE)
    return (title.group(1) if title else re.sub(r"<[^<>]*>", " ", text)).strip()[:300]
