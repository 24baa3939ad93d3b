"""Request validation as ModelsLab's OpenAPI document states it: 400 and 401 with an error object.

`error.code` is text there, and neither `model` nor a message is demanded: both are the server's to choose.
"""

from __future__ import annotations

import json
from typing import Any

from batchlab.endpoints.simulator.content import content_problem, options_problem

_ROLES = {"system", "user", "assistant", "tool", "developer", "function"}
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}


def error_body(message: str, type_: str = "invalid_request_error", code: str = "invalid_request") -> bytes:
    """The error object of a 4xx."""
    return json.dumps({"error": {"message": message, "type": type_, "code": code}}).encode()


def request_problem(body: Any) -> str | None:
    """What is wrong with a chat-completions request, or None."""
    problem = parameters_problem(body) or _messages_problem(body.get("messages"))
    return problem or _format_problem(body.get("response_format")) or options_problem(body)


def parameters_problem(body: Any) -> str | None:
    """What is wrong with a request of any kind, apart from what it asks about; or None."""
    if not isinstance(body, dict):
        return "The request body must be a JSON object."
    model = body.get("model", body.get("model_id"))
    if model is not None and not isinstance(model, str):
        return "'model' must be a string."
    for name, (low, high) in _RANGES.items():
        value = body.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high
        ):
            return f"'{name}' must be a number between {low:g} and {high:g}."
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            return f"'{name}' must be a positive integer."
    if not isinstance(body.get("stream", body.get("streaming", False)) or False, bool):
        return "'stream' must be a boolean."
    tier = body.get("service_tier")
    return None if tier is None or isinstance(tier, str) else "'service_tier' must be a string."


def _messages_problem(messages: Any) -> str | None:
    if not isinstance(messages, list):
        return "'messages' must be an array."
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            return f"'messages[{index}].role' must be one of {', '.join(sorted(_ROLES))}."
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            return f"'messages[{index}].content' must be a string or an array."
        if content is None and message["role"] != "assistant":
            return f"'messages[{index}].content' is required."
        if isinstance(content, list):
            problem = content_problem(f"messages[{index}].content", content)
            if problem is not None:
                return problem
    return None


def _format_problem(wanted: Any) -> str | None:
    """What is wrong with a `response_format`, or None. (OpenAI's API reference)"""
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or wanted.get("type") not in {"text", "json_object", "json_schema"}:
        return "'response_format.type' must be one of text, json_object, json_schema."
    if wanted["type"] == "json_schema":
        named = wanted.get("json_schema")
        if not isinstance(named, dict) or not isinstance(named.get("name"), str):
            return "Missing required parameter: 'response_format.json_schema.name'."
        if not isinstance(named.get("schema"), dict):
            return "Missing required parameter: 'response_format.json_schema.schema'."
    return None
