"""A chat completion's JSON, read with care: providers differ, and some lie.

Sources: OpenAI API reference (chat completion object); DeepSeek (`prompt_cache_hit_tokens`);
OpenRouter and newer vLLM (`reasoning`), DeepSeek and older vLLM (`reasoning_content`).
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from batchlab.protocol.redact import without_surrogates
from batchlab.records import NO_USAGE, Reply, Usage


class ReplyProblem(ValueError):
    """A body with status 200 that is no completion."""


def parse_json(body: bytes | str) -> Any:
    """The JSON value of `body`.

    orjson first; what it refuses but Python's json accepts (lone surrogates, NaN) goes through
    json, and lone surrogates become U+FFFD. Raises ReplyProblem for anything else, deep nesting included.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    try:
        return _without_surrogates(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise ReplyProblem(f"not JSON: {type(error).__name__}") from None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def parse_reply(body: bytes) -> Reply:
    """The reply in a `chat.completion` body. Raises ReplyProblem if there is none."""
    return reply_of(parse_json(body))


def reply_of(data: Any) -> Reply:
    """The reply in a decoded `chat.completion` object. Raises ReplyProblem if there is none."""
    if not isinstance(data, dict):
        raise ReplyProblem("not an object")
    if data.get("error") or data.get("status") == "error":
        raise ReplyProblem("an error with status 200")
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ReplyProblem("no choices")
    if len(choices) > 1:
        choices = _in_order(choices)
    choice = choices[0]
    finish_reason = _text(choice.get("finish_reason"))
    if finish_reason == "error":
        raise ReplyProblem("finish_reason error")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ReplyProblem("no message")
    logprobs = choice.get("logprobs")
    return Reply(
        completion=content_text(message.get("content")),
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning")),
        refusal=_text(message.get("refusal")),
        tool_calls=json_text(message.get("tool_calls")),
        finish_reason=finish_reason,
        usage=parse_usage(data.get("usage")),
        model=_text(data.get("model")),
        response_id=_text(data.get("id")),
        system_fingerprint=_text(data.get("system_fingerprint")),
        choices=json_text(choices) if len(choices) > 1 else None,
        logprobs=json_text(logprobs) if logprobs else None,
    )


def _in_order(choices: list[Any]) -> list[Any]:
    """Choices by their index; as they came when one has none."""
    indices = [choice.get("index") if isinstance(choice, dict) else None for choice in choices]
    if not all(type(index) is int for index in indices):
        return choices
    return sorted(choices, key=lambda choice: choice["index"])


def content_text(content: Any) -> str | None:
    """Text of a message's content: a string, or a list of parts whose texts are joined."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return _text(content)


def json_text(value: Any) -> str | None:
    """`value` as JSON text, None for nothing."""
    if not value:
        return None
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def parse_usage(usage: Any) -> Usage:
    """Token counts as reported; None for what is missing or absurd. Nothing is repaired or summed."""
    if not isinstance(usage, dict) or not usage:
        return NO_USAGE
    prompt_details = usage.get("prompt_tokens_details")
    completion_details = usage.get("completion_tokens_details")
    cached = _count(prompt_details.get("cached_tokens")) if isinstance(prompt_details, dict) else None
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens"))
    reasoning = (
        _count(completion_details.get("reasoning_tokens")) if isinstance(completion_details, dict) else None
    )
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        total_tokens=_count(usage.get("total_tokens")),
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        raw=json_text(usage),
    )


def _count(value: Any) -> int | None:
    """A token count: a whole number ≥ 0, also when it came as text or as a float."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return count if 0 <= count < 2**53 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
