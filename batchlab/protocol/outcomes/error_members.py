"""What the members of an error say: its codes, the parameters it names, the wait it asks for, its words."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchlab.protocol.outcomes.envelopes import EXCEPTIONS, MAX_DEPTH, MAX_SHOWN, member

MAX_ERRORS = 16  # that are read of one answer
MAX_OWN = 1_000  # characters of a provider's message that are kept beside its code and type
# where an error's own words stand; ModelsLab writes `messege` at some routes, FastAPI `detail`, Bedrock
# `Message`, MiniMax `status_msg`, Baidu `error_msg`
_MESSAGE = ("message", "messege", "detail", "tip", "msg", "error", "Message", "status_msg", "error_msg")
_CODE = ("code", "type", "status", "error_type", "__type", "reason", "status_code", "error_code")
_STATUS = ("code", "status", "status_code", "statusCode", "http_code")
_WAIT = ("retry_after", "retry_after_seconds", "estimated_time")  # OpenRouter, gateways; Hugging Face
# OpenAI's library names the status
_SDK_STATUS = re.compile(r"(?:\w+ - )?Error code: ([45]\d\d)\b")


def status_named(chain: list[dict[str, Any]]) -> int | None:
    """An HTTP status that stands in an error's code or status, as a number or as digits."""
    for one in chain:
        for name in _STATUS:
            value = one.get(name)
            if type(value) is int and 400 <= value <= 599:
                return value
            if isinstance(value, str) and re.fullmatch(r"[45][0-9][0-9]", value):
                return int(value)
        message = one.get("message")
        if isinstance(message, str):
            named = EXCEPTIONS.match(message)
            found = _SDK_STATUS.match(message, 0 if named is None else named.end())
            if found is not None:
                return int(found.group(1))
    return None


def codes_of(error: Mapping[str, Any]) -> Iterator[str]:
    """Its code, type, status word and reasons, lower case; of a code that is a number only from 1000 on."""
    for value in (*(error.get(name) for name in _CODE), member(error, "metadata", "error_type")):
        if type(value) is int and value >= 1_000:
            # Zhipu and others number their errors from 1000 on; so does MiniMax, who means others
            yield f"minimax_{value}" if "status_msg" in error else str(value)
        elif isinstance(value, str) and not re.fullmatch(r"|none|null|error|[0-9]{1,3}", value.lower()):
            yield value.lower()
    if member(error, "metadata", "reasons"):
        yield "moderation"  # OpenRouter, 403
    filtered = error.get("content_filter_result") or error.get("content_filter_results")
    if isinstance(filtered, dict) and any(
        isinstance(one, dict) and one.get("filtered") is True for one in filtered.values()
    ):
        yield "content_filter"  # Azure
    for detail in _details(error):
        if isinstance(detail.get("reason"), str):
            yield detail["reason"].lower()  # google.rpc.ErrorInfo


def codes_of_headers(headers: Mapping[str, str]) -> list[str]:
    """The name of the exception that AWS writes into a header, before a colon and a link, lower case."""
    name = headers.get("x-amzn-errortype", "").partition(":")[0].strip().lower()
    return [name] if name else []


def exceptions_of(error: Mapping[str, Any]) -> Iterator[str]:
    """Names of LiteLLM's classes, the last one first: it is nearest to the cause."""
    message = error.get("message")
    if isinstance(message, str) and (named := EXCEPTIONS.match(message)) is not None:
        yield from (name.rpartition(".")[2].lower() for name in reversed(named.group().split(": ")[:-1]))


def _details(error: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    if isinstance(details, list):
        yield from (one for one in details if isinstance(one, dict))


def retry_delay_s(error: Mapping[str, Any]) -> float | None:
    """Seconds in google.rpc.RetryInfo, a protobuf Duration in JSON ("3.5s"), or in a member that says so."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and (found := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s", delay)):
            return float(found.group(1))
    for name in _WAIT:
        for seconds in (error.get(name), member(error, "metadata", name)):
            if isinstance(seconds, int | float) and type(seconds) is not bool and 0 <= seconds < math.inf:
                return float(seconds)
    return None


def quotas_of(error: Mapping[str, Any]) -> Iterator[str]:
    """google.rpc.QuotaFailure: which quotas are exceeded."""
    for detail in _details(error):
        violations = detail.get("violations")
        for one in violations if isinstance(violations, list) else ():
            if isinstance(one, dict):
                for name in ("quotaId", "quotaMetric", "subject"):
                    if isinstance(one.get(name), str):
                        yield one[name]


def params_of(error: Mapping[str, Any]) -> Iterator[str]:
    """Parameters that are named, by themselves or in FastAPI's list of places."""
    param = error.get("param")
    if isinstance(param, str) and param:
        yield from re.split(r"[.\[\]]+", param.strip("/#"))
    for name in ("detail", "message"):
        places = error.get(name)
        for one in places if isinstance(places, list) else ():
            loc = one.get("loc") if isinstance(one, dict) else None
            if isinstance(loc, list):
                yield from (part for part in loc if isinstance(part, str))


def _message_of(error: Mapping[str, Any]) -> str:
    for name in _MESSAGE:
        value = error.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, dict | list) and value:
            try:
                return json.dumps(value, ensure_ascii=False)[:MAX_SHOWN]
            except (ValueError, RecursionError):
                return ""
    return ""


def spoken(error: Mapping[str, Any]) -> str:
    """What an error says itself: not the values that a validator shows, not the JSON that it carries."""
    value = next((error[name] for name in _MESSAGE if error.get(name)), "")
    if isinstance(value, str):
        return "" if value.lstrip().startswith(("{", "[")) else value
    return "; ".join(itertools.islice(_sentences(value), MAX_ERRORS))


def _sentences(value: Any, depth: int = 0) -> Iterator[str]:
    """A validator's, of pydantic (`msg`) and of Laravel ({field: [sentence]})."""
    if isinstance(value, str):
        yield value
    elif depth < MAX_DEPTH and isinstance(value, list):
        for one in value:
            yield from _sentences(one, depth + 1)
    elif depth < MAX_DEPTH and isinstance(value, dict):
        said = value.get("msg") or value.get("message")
        if isinstance(said, str):
            yield said
        elif "loc" not in value:
            for one in value.values():
                if isinstance(one, list):
                    yield from _sentences(one, depth + 1)


def shown(chain: list[dict[str, Any]]) -> str:
    """The words of an error, and after them those of the host behind a router."""
    if not chain:
        return ""
    first, *inner = chain
    message = _message_of(first)
    metadata = first.get("metadata")
    behind = next((words for one in inner if (words := _message_of(one)) and words not in message), "")
    if not behind:
        return message
    name = metadata.get("provider_name") if isinstance(metadata, dict) else None
    said = f"{name}: {behind}" if isinstance(name, str) and name else behind
    return said if not message or message.startswith(("{", "[")) else f"{message}: {said}"


def is_list_of_fields(error: Mapping[str, Any]) -> bool:
    """Whether a message is a validator's: what is wrong with each field, and no sentence."""
    return any(
        isinstance(error.get(name), dict | list) and error[name] for name in ("message", "messege", "errors")
    )


def own_of(chain: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The provider's own words for batch output: those of the innermost error that has a code or type."""
    for one in reversed(chain):
        if any(one.get(name) for name in ("code", "type")):
            own = {name: one.get(name) for name in ("type", "code", "param")}
            kept = {
                name: value for name, value in own.items() if isinstance(value, str | int) or value is None
            }
            return {**kept, "message": _message_of(one)[:MAX_OWN]}
    return {"message": _message_of(chain[0])[:MAX_OWN]} if chain else None


def cause_of(error: Mapping[str, Any]) -> str:
    """Its code, else its type, as it came; "" when it has neither."""
    for name in ("code", "type", "status", "error_type", "status_code", "error_code"):
        value = error.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value not in ("", "error"):
            return str(value)[:64]
    return ""
