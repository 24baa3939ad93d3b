"""What an answer that gave no completion says for programs, read into one value.

Whatever decides about an attempt reads it here: the HTTP status, the error's code, type, status and
details, the error inside an error, the headers. Its words are kept to be shown, and come last.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from batchlab.protocol.limits import message_wait_s, retry_after_s
from batchlab.protocol.sse import SseDecoder, body_kind
from batchlab.protocol.values import ReplyProblem, parse_json

FaultKind: TypeAlias = Literal[
    "connect",
    "dns",
    "reset",
    "timeout_connect",
    "timeout_idle",
    "timeout_total",
    "tls",
    "tls_expected",
    "payload",
    "too_large",
    "local",
    "invalid_url",
]
Envelope: TypeAlias = Literal["error", "flat", "modelslab", "none", "text"]

MAX_WORDS = 400  # characters of a message that are looked at for words
MAX_SHOWN = 4_096
_MAX_DEPTH = 4  # errors inside errors
# where an error's own words stand; ModelsLab writes `messege` at some routes, FastAPI `detail`
_MESSAGE = ("message", "messege", "detail", "tip", "msg", "error")

# HTTP statuses that error types and Google's status words stand for, where a 200 carries them
# (OpenAI, Anthropic and vLLM error types; google.rpc.Code)
STATUS_OF = {
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "validation_error": 400,
    "authentication_error": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "ratelimiterror": 429,
    "resource_exhausted": 429,
    "internalservererror": 500,
    "server_error": 500,
    "api_error": 500,
    "internal": 500,
    "internal_server_error": 500,
    "unavailable": 503,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "overloaded_error": 529,
}
# what may be the user's own text, quoted: '…' and "…", not `…`, which names parameters
_QUOTED = re.compile(r"""(?<!\w)(['"]).*?(?:\1(?!\w)|$)""", re.DOTALL)
# LiteLLM's proxy names its classes, and the host's after them: "litellm.RateLimitError: geminiException - …"
_EXCEPTION = re.compile(r"litellm\.(?:exceptions\.)?(\w+)")
_WRAPPING = re.compile(
    r"litellm\.[\w.]+: (?:litellm\.[\w.]+: |\w+ ?(?:Error|Exception): |\w*Exception(?: \w+Error)? - )*"
)
_BYTES = re.compile(r"""b(['"])(?:[^'"\\]|\\.|(?!\1)['"])*\1""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the request may explain its refusal.

    Attributes:
        prompt_tokens: as estimated; 0 when unknown.
        options: names of the parameters that were sent.
    """

    prompt_tokens: int = 0
    options: frozenset[str] = frozenset()


NOTHING_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Facts:
    """An answer without a completion.

    Attributes:
        http: its status; 0 when none came.
        status: the one it is judged by: a 200 counts as the status that its error names.
        codes: code, type, status word and reasons of the error and of those inside it, lower case.
        params: names of the request's parameters that it complains of.
        quotas: ids of the quotas that it says are exceeded (Google).
        wait_s: seconds it asks us to wait; None when it did not say.
        message: its words, to be shown.
        envelope: how the error stands in the body: under `error`, as the body itself (`flat`), in
            ModelsLab's; `none` in a JSON without one, `text` in a body that is no JSON.
        fault: why no response came.
        own: the provider's `type`, `code`, `message` and `param`, as they came; empty when it has none.
    """

    http: int = 0
    status: int = 0
    codes: frozenset[str] = frozenset()
    params: frozenset[str] = frozenset()
    quotas: frozenset[str] = frozenset()
    wait_s: float | None = None
    message: str = ""
    envelope: Envelope = "none"
    fault: FaultKind | None = None
    asked: Asked = NOTHING_ASKED
    own: Mapping[str, Any] | None = None
    cause: str = ""
    is_page: bool = False

    @property
    def words(self) -> str:
        """The beginning of the message, without what it quotes: that may be the user's own text.

        The names of classes that LiteLLM puts before the host's own words are left out, too.
        """
        wrapping = _WRAPPING.match(self.message)
        own = self.message[wrapping.end() :] if wrapping is not None else self.message
        return _QUOTED.sub("…", own)[:MAX_WORDS]

    def says(self, pattern: str) -> bool:
        """Whether the words match `pattern`, whatever the case."""
        return re.search(pattern, self.words, re.IGNORECASE) is not None

    def is_one_of(self, *codes: str) -> bool:
        """Whether one of the error's codes is one of `codes`; `*` at an end matches anything."""
        for code in codes:
            if code.startswith("*") and any(own.endswith(code[1:]) for own in self.codes):
                return True
            if code.endswith("*") and any(own.startswith(code[:-1]) for own in self.codes):
                return True
            if code in self.codes:
                return True
        return False


def error_facts(
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    *,
    fault: FaultKind | None = None,
    asked: Asked = NOTHING_ASKED,
    now: datetime | None = None,
) -> Facts:
    """The facts of an answer, whichever of the known envelopes it comes in. Never raises.

    Args:
        status: HTTP status; None when there was no response.
        headers: the response's, by lower-case name.
        body: at most its first 64 KiB.
    """
    http = status or 0
    data, text = _data_of(body)
    if text is not None:
        wait_s = retry_after_s(headers, now=now)
        is_page = b"<html" in body[:4_096].lower() or b"<!doctype" in body[:4_096].lower()
        if wait_s is None:
            wait_s = message_wait_s(text)
        return Facts(
            http,
            http,
            wait_s=wait_s,
            message=text,
            envelope="text",
            fault=fault,
            asked=asked,
            is_page=is_page,
        )
    envelope, error = _error_in(data)
    chain = list(_chain(error))
    codes = frozenset(code for one in chain for code in _codes(one))
    message = _shown(chain)
    named = _status_named(chain) or next(
        (STATUS_OF[code] for code in sorted(codes) if code in STATUS_OF), None
    )
    wait_s = retry_after_s(headers, now=now)
    if wait_s is None:
        wait_s = next((wait for one in chain if (wait := _retry_delay_s(one)) is not None), None)
    if wait_s is None:
        wait_s = message_wait_s(message)
    first = chain[0] if chain else {}
    if named is None and http == 200 and envelope == "modelslab" and _is_list_of_fields(first):
        named = 400
    return Facts(
        http=http,
        status=(named or http) if http == 200 else http,
        codes=codes,
        params=frozenset(name for one in chain for name in _params(one)),
        quotas=frozenset(quota for one in chain for quota in _quotas(one)),
        wait_s=wait_s,
        message=message,
        envelope=envelope,
        fault=fault,
        asked=asked,
        own=_own(chain),
        cause=next((cause for one in reversed(chain) if (cause := _cause(one))), ""),
    )


def _data_of(body: bytes) -> tuple[Any, str | None]:
    """The JSON value of a body, or of the first event of one that is a stream; else its text."""
    if body_kind(body) == "sse":
        decoder = SseDecoder()
        events = decoder.feed(body) + decoder.close()
        body = events[0].encode("utf-8", "replace") if events else b""
    try:
        return parse_json(body), None
    except ReplyProblem:
        return None, _page_text(body)


def _error_in(data: Any) -> tuple[Envelope, Any]:
    """The error of a body and how it stands there."""
    if isinstance(data, list) and data:
        data = data[0]  # Google wraps its error object in a list
    if not isinstance(data, dict):
        return "none", None
    error = data.get("error")
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict) and error:
        return "error", error
    if isinstance(error, str) and error:
        return "error", {
            **data,
            "message": error,
            "error": None,
        }  # xAI, TGI and Ollama: a code may stand beside
    if data.get("status") == "error":
        return "modelslab", data
    if data.get("object") == "error" or "message" in data or "detail" in data:
        return "flat", data
    if "choices" not in data and isinstance(data.get("code"), str) and "msg" in data:
        return "flat", data
    return "none", None


def _chain(error: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """An error and those inside it, the outermost first.

    OpenRouter puts what the host behind it said into `metadata.raw`, as JSON in a string; Azure into
    `innererror`; Mistral puts a FastAPI body into `message`; LiteLLM puts the host's JSON there, as text
    after its own words.
    """
    if not isinstance(error, dict) or depth > _MAX_DEPTH:
        return
    yield error
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str):
        try:
            raw = parse_json(raw)
        except ReplyProblem:
            raw = {"message": _page_text(raw.encode("utf-8", "replace"))} if raw.strip() else None
    for inner in (
        raw,
        error.get("innererror"),
        error.get("inner_error"),
        error.get("message"),
        _wrapped(error.get("message")),
        error.get("error"),
    ):
        if isinstance(inner, dict | list):
            _, found = _error_in(inner)
            yield from _chain(
                found if found is not None else inner if isinstance(inner, dict) else None, depth + 1
            )


def _wrapped(message: Any) -> Any:
    """The JSON of a host's error in a message of LiteLLM's; None when there is none.

    It stands as text, or as Python shows bytes: `b'{"error": …}'`.
    """
    if not isinstance(message, str) or (wrapping := _WRAPPING.match(message)) is None:
        return None
    said = message[wrapping.end() :]
    try:
        if shown := _BYTES.match(said):
            said = ast.literal_eval(shown.group()).decode("utf-8", "replace")
        if not said.startswith(("{", "[{")):
            return None
        return json.JSONDecoder().raw_decode(said)[0]
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _status_named(chain: list[dict[str, Any]]) -> int | None:
    """An HTTP status that stands in an error's code or status, as a number or as digits."""
    for one in chain:
        for name in ("code", "status", "status_code"):
            value = one.get(name)
            if not isinstance(value, bool) and re.fullmatch(r"[45]\d\d", str(value)):
                return int(str(value))
    return None


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    for name in ("code", "type", "status", "error_type", "__type", "reason"):
        value = error.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1_000:
            yield str(value)  # Zhipu, MiniMax and others number their errors from 1000 on
        elif isinstance(value, str) and not re.fullmatch(r"|none|null|error|\d{1,3}", value.lower()):
            yield value.lower()
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("reasons"):
        yield "moderation"  # OpenRouter, 403
    filtered = error.get("content_filter_result") or error.get("content_filter_results")
    if isinstance(filtered, dict) and any(
        isinstance(one, dict) and one.get("filtered") is True for one in filtered.values()
    ):
        yield "content_filter"  # Azure
    for detail in _details(error):
        if isinstance(detail.get("reason"), str):
            yield detail["reason"].lower()  # google.rpc.ErrorInfo
    if isinstance(error.get("message"), str) and (named := _EXCEPTION.match(error["message"])):
        yield named.group(1).lower()


def _details(error: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    if isinstance(details, list):
        yield from (one for one in details if isinstance(one, dict))


def _retry_delay_s(error: Mapping[str, Any]) -> float | None:
    """google.rpc.RetryInfo: a protobuf Duration in JSON, "3.5s"."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and (found := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", delay)):
            return float(found.group(1))
    return None


def _quotas(error: Mapping[str, Any]) -> Iterator[str]:
    """google.rpc.QuotaFailure: which quotas are exceeded."""
    for detail in _details(error):
        violations = detail.get("violations")
        for one in violations if isinstance(violations, list) else ():
            if isinstance(one, dict):
                yield from (str(one[name]) for name in ("quotaId", "quotaMetric", "subject") if one.get(name))


def _params(error: Mapping[str, Any]) -> Iterator[str]:
    """Parameters that are named, by themselves or in FastAPI's list of places."""
    param = error.get("param")
    if isinstance(param, str) and param:
        yield from re.split(r"[.\[\]]+", param.strip("/#"))
    for name in ("detail", "message"):
        places = error.get(name)
        for one in places if isinstance(places, list) else ():
            loc = one.get("loc") if isinstance(one, dict) else None
            if isinstance(loc, list):
                yield from (str(part) for part in loc)


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


def _shown(chain: list[dict[str, Any]]) -> str:
    """The words of an error, and after them those of the host behind a router."""
    if not chain:
        return ""
    first, *inner = chain
    message = _message_of(first)
    wrapping = _WRAPPING.match(message)
    if wrapping is not None and inner and _wrapped(message) is not None:
        message = wrapping.group() + _message_of(inner[-1])
    metadata = first.get("metadata")
    behind = next((words for one in inner if (words := _message_of(one)) and words not in message), "")
    if not behind:
        return message
    name = metadata.get("provider_name") if isinstance(metadata, dict) else None
    said = f"{name}: {behind}" if isinstance(name, str) and name else behind
    return said if not message or message.startswith(("{", "[")) else f"{message}: {said}"


def _is_list_of_fields(error: Mapping[str, Any]) -> bool:
    """Whether a message is a validator's: what is wrong with each field, and no sentence."""
    return any(
        isinstance(error.get(name), dict | list) and error[name] for name in ("message", "messege", "errors")
    )


def _own(chain: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The provider's own words for batch output: those of the innermost error that has a code or type."""
    for one in reversed(chain):
        if any(one.get(name) for name in ("code", "type")):
            own = {name: one.get(name) for name in ("type", "code", "param")}
            kept = {
                name: value for name, value in own.items() if isinstance(value, str | int) or value is None
            }
            return {**kept, "message": _message_of(one)}
    return {"message": _message_of(chain[0])} if chain else None


def _cause(error: Mapping[str, Any]) -> str:
    for name in ("code", "type", "status", "error_type"):
        value = error.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value not in ("", "error"):
            return str(value)[:64]
    return ""


def _page_text(body: bytes) -> str:
    """The title, else the first words, of a body that is no JSON."""
    text = body[:MAX_SHOWN].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
    return (title.group(1) if title else re.sub(r"<[^>]*>", " ", text)).strip()[:300]
