"""What an error body says, whichever of the known envelopes it comes in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchlab.protocol.chat import ReplyProblem, parse_json


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What an error body says. `status` is the HTTP status it names inside, if any."""

    codes: frozenset[str] = frozenset()
    message: str = ""
    is_json: bool = True
    status: int | None = None


def error_facts(body: bytes) -> ErrorFacts:
    """The facts of an error body in any of the known envelopes.

    `{"error": {code, type, message}}`, `{"error": "text"}`, `{"error": [..]}`, flat vLLM
    `{"object": "error", ...}`, ModelsLab `{"status": "error", "message" | "messege"}`, or text.
    """
    try:
        data = parse_json(body)
    except ReplyProblem:
        return ErrorFacts(message=_html_text(body), is_json=False)
    if isinstance(data, list) and data:
        data = data[0]  # Google wraps its error object in a list
    if not isinstance(data, dict):
        return ErrorFacts()
    error = data.get("error")
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, str) and error:
        return ErrorFacts(message=error)
    flat = (
        data.get("object") == "error"
        or data.get("status") == "error"
        or "message" in data
        or "detail" in data
    )
    if not isinstance(error, dict):
        if not flat:
            return ErrorFacts()
        error = data
    return ErrorFacts(_codes(error), _message_of(error), status=_status_in(error.get("code")))


def _status_in(code: Any) -> int | None:
    """An HTTP status that stands in an error's code, as a number or as digits."""
    text = str(code)
    return int(text) if not isinstance(code, bool) and re.fullmatch(r"[45]\d\d", text) else None


def _codes(error: Mapping[str, Any]) -> frozenset[str]:
    inner = error.get("innererror")
    values = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("reasons"):
        values.append("moderation")  # OpenRouter, 403
    return frozenset(value.lower() for value in values if isinstance(value, str) and not value.isdigit())


def _message_of(error: Mapping[str, Any]) -> str:
    for name in ("message", "messege", "detail", "tip"):
        value = error.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, dict | list) and value:
            try:
                return json.dumps(value, ensure_ascii=False)[:4_096]
            except (ValueError, RecursionError):
                return ""
    return ""


def _html_text(body: bytes) -> str:
    """The title, else the first words, of a body that is no JSON."""
    text = body[:4_096].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
    return (title.group(1) if title else re.sub(r"<[^>]*>", " ", text)).strip()[:300]
