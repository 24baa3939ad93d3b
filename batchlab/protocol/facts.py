"""What an answer that gave no completion says for programs, read into one value.

Whatever decides about an attempt reads it here: the HTTP status, the error's code, type, status and
details, the error inside an error, the headers. Its words are kept to be shown, and come last.
"""

from __future__ import annotations

import ast
import functools
import html
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from batchlab.protocol.chat import is_minimax_error
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
MAX_OWN = 1_000  # characters of a provider's message that are kept beside its code and type
_MAX_DEPTH = 4  # errors inside errors
_MAX_ERRORS = 16  # that are read of one answer
# where an error's own words stand; ModelsLab writes `messege` at some routes, FastAPI `detail`, Bedrock
# `Message`, MiniMax `status_msg`, Baidu `error_msg`
_MESSAGE = ("message", "messege", "detail", "tip", "msg", "error", "Message", "status_msg", "error_msg")
_CODE = ("code", "type", "status", "error_type", "__type", "reason", "status_code", "error_code")
_STATUS = ("code", "status", "status_code", "statusCode", "http_code")
_WAIT = ("retry_after", "retry_after_seconds", "estimated_time")  # OpenRouter, gateways; Hugging Face

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
    "permissiondeniederror": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "not_found": 404,
    "request_too_large": 413,
    "unprocessableentityerror": 422,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "ratelimiterror": 429,
    "resource_exhausted": 429,
    "internalservererror": 500,
    "server_error": 500,
    "api_error": 500,
    "apiconnectionerror": 500,
    "internal": 500,
    "internal_server_error": 500,
    "unavailable": 503,
    "serviceunavailableerror": 503,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "minimax_2013": 400,
    "overloaded_error": 529,
}
# What may be the user's own text, quoted in any way, up to the text's end when the quote is cut off.
# `…` without a blank names a parameter and stays. An escaped quote does not end one.
_QUOTED = re.compile(
    r"""(?:(?<!\w)|(?<=\b[bBuUrR]))(['"])(?:\\.|(?!\1(?!\w))[^\\])*(?:\1|\\?$)"""
    r"""|(?P<name>`[^`\s]+`)|`[^`]*(?:`|$)"""
    r"""|[“„][^”]*(?:”|$)|«[^»]*(?:»|$)|「[^」]*(?:」|$)|『[^』]*(?:』|$)""",
    re.DOTALL,
)
QUOTE = "…"
# LiteLLM's proxy names its classes, each before the next; OpenAI's library names the status
_EXCEPTIONS = re.compile(r"(?:litellm\.(?:exceptions\.)?\w+: )+")
_SDK_STATUS = re.compile(r"(?:\w+ - )?Error code: ([45]\d\d)\b")
# an error in JSON, at the beginning or behind an exception's name
# bytes as Python shows them
_BYTES = re.compile(r"""b(['"])(?:[^'"\\]|\\.|(?!\1)['"])*\1""", re.DOTALL)
_BEFORE_JSON = re.compile(
    r"(?:\w+(?:Exception|Error)(?: -|:) )?(?:Error code: \d{3} - )?(?:b['\"])?(?=[{\[])"
)


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
        told: those of the codes that only a text tells of, which may be the user's own.
        params: names of the request's parameters that it complains of.
        quotas: ids of the quotas that it says are exceeded (Google).
        wait_s: seconds it asks us to wait; None when it did not say.
        message: its words, to be shown.
        words: the beginning of those that may decide: without what they quote, which may be the user's own
            text. Each error inside another begins a line.
        plain_words: of those, what stands before anything quoted: a text that has quotes itself may seem to
            end at one.
        envelope: how the error stands in the body: under `error`, as the body itself (`flat`), in
            ModelsLab's; `none` in a JSON without one, `text` in a body that is no JSON.
        fault: why no response came.
        own: the provider's `type`, `code`, `message` and `param`, as they came; empty when it has none.
    """

    http: int = 0
    status: int = 0
    codes: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    params: frozenset[str] = frozenset()
    quotas: frozenset[str] = frozenset()
    wait_s: float | None = None
    message: str = ""
    words: str = ""
    plain_words: str = ""
    envelope: Envelope = "none"
    fault: FaultKind | None = None
    asked: Asked = NOTHING_ASKED
    own: Mapping[str, Any] | None = None
    cause: str = ""
    is_page: bool = False

    def says(self, pattern: str) -> bool:
        """Whether the words match `pattern`, whatever the case."""
        return re.search(pattern, self.words, re.IGNORECASE | re.MULTILINE) is not None

    def says_plainly(self, pattern: str) -> bool:
        """The same of its plain words, for what makes a run wait or stop."""
        return re.search(pattern, self.plain_words, re.IGNORECASE | re.MULTILINE) is not None

    def is_one_of(self, *codes: str) -> bool:
        """Whether one of the error's codes is one of `codes`; `*` at an end matches anything."""
        if not self.codes.isdisjoint(codes):
            return True
        return any(
            own.endswith(code[1:]) if code.startswith("*") else own.startswith(code[:-1])
            for code in _starred(codes)
            for own in self.codes
        )


@functools.cache
def _starred(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Those with a `*`: few, of lists that the table asks for again and again."""
    return tuple(code for code in codes if "*" in code)


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
    wait_s = retry_after_s(headers, now=now)
    if text is not None:
        page = body[:MAX_SHOWN].lower()
        # the half of an answer is no message: its words are the model's
        own = "" if body_kind(body) == "json" else unquoted(text)
        plain = own.partition(QUOTE)[0]
        return Facts(
            http=http,
            status=http,
            wait_s=message_wait_s(own) if wait_s is None else wait_s,
            message=text,
            words=own[:MAX_WORDS],
            plain_words=plain[:MAX_WORDS],
            envelope="text",
            fault=fault,
            asked=asked,
            is_page=b"<html" in page or b"<!doctype" in page,
        )
    envelope, error = _error_in(data)
    found = list(itertools.islice(_chain(error), _MAX_ERRORS))
    chain = [one for one, _ in found]
    said = [words for words in dict.fromkeys(unquoted(_spoken(one)) for one in chain) if words]
    if wait_s is None:
        wait_s = next((wait for one in chain if (wait := _retry_delay_s(one)) is not None), None)
    meant = [code for one, in_text in found if not in_text for code in _codes(one)]
    told = [code for one, in_text in found for code in (*(_codes(one) if in_text else ()), *_exceptions(one))]
    codes = [*meant, *told]
    named = _status_named(chain) or next((STATUS_OF[code] for code in codes if code in STATUS_OF), None)
    if named is None and envelope == "modelslab" and chain and _is_list_of_fields(chain[0]):
        named = 400
    return Facts(
        http=http,
        status=(named or http) if http == 200 else http,
        codes=frozenset(codes),
        told=frozenset(told).difference(meant),
        params=frozenset(name for one in chain for name in _params(one)),
        quotas=frozenset(quota for one in chain for quota in _quotas(one)),
        wait_s=message_wait_s("\n".join(said)) if wait_s is None else wait_s,
        message=_shown(chain),
        words="\n".join(said)[:MAX_WORDS],
        plain_words="\n".join(words.partition(QUOTE)[0] for words in said)[:MAX_WORDS],
        envelope=envelope,
        fault=fault,
        asked=asked,
        own=_own(chain),
        cause=next((cause for one in reversed(chain) if (cause := _cause(one))), ""),
    )


def unquoted(text: str) -> str:
    """A text on one line, with `QUOTE` for all that it quotes, however it is quoted."""
    text = text[:MAX_SHOWN]
    if "&" in text:
        text = html.unescape(text)
    return " ".join(_QUOTED.sub(lambda quote: quote["name"] or QUOTE, text).split())


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


def _chain(error: Any, depth: int = 0, *, in_text: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """An error and those inside it, the outermost first, and whether it stood in a message's text.

    OpenRouter puts what the host behind it said into `metadata.raw`; Azure its own into `innererror`, which
    LiteLLM puts into `provider_specific_fields`; gateways put a whole body into `message`, `detail` or
    `error`. Each may be JSON in a string.
    """
    if not isinstance(error, dict) or depth > _MAX_DEPTH:
        return
    yield error, in_text
    raw = _member(error, "metadata", "raw")
    if isinstance(raw, str) and raw.strip() and _json_in(raw) is None:
        yield {"message": _page_text(raw.encode("utf-8", "replace"))}, in_text
    meant = (
        _json_in(raw) if isinstance(raw, str) else raw,
        error.get("innererror"),
        error.get("inner_error"),
        _member(error, "provider_specific_fields", "innererror"),
    )
    texts = (error.get("message"), error.get("detail"), error.get("error"))
    for inner in (*meant, *texts):
        value, told = (_json_in(inner), True) if isinstance(inner, str) else (inner, in_text)
        if isinstance(value, dict | list):
            _, found = _error_in(value)
            yield from _chain(value if found is None else found, depth + 1, in_text=told)


def _member(error: Mapping[str, Any], outer: str, inner: str) -> Any:
    value = error.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _json_in(text: str) -> Any:
    """The JSON value that a text is, or that stands behind an exception's name in it; else None."""
    if "{" not in text:
        return None
    text = text[:MAX_SHOWN]
    named = _EXCEPTIONS.match(text)
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


def _status_named(chain: list[dict[str, Any]]) -> int | None:
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
            named = _EXCEPTIONS.match(message)
            found = _SDK_STATUS.match(message, 0 if named is None else named.end())
            if found is not None:
                return int(found.group(1))
    return None


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    for value in (*(error.get(name) for name in _CODE), _member(error, "metadata", "error_type")):
        if type(value) is int and value >= 1_000:
            # Zhipu and others number their errors from 1000 on; so does MiniMax, who means others
            yield f"minimax_{value}" if "status_msg" in error else str(value)
        elif isinstance(value, str) and not re.fullmatch(r"|none|null|error|[0-9]{1,3}", value.lower()):
            yield value.lower()
    if _member(error, "metadata", "reasons"):
        yield "moderation"  # OpenRouter, 403
    filtered = error.get("content_filter_result") or error.get("content_filter_results")
    if isinstance(filtered, dict) and any(
        isinstance(one, dict) and one.get("filtered") is True for one in filtered.values()
    ):
        yield "content_filter"  # Azure
    for detail in _details(error):
        if isinstance(detail.get("reason"), str):
            yield detail["reason"].lower()  # google.rpc.ErrorInfo


def _exceptions(error: Mapping[str, Any]) -> Iterator[str]:
    """Names of LiteLLM's classes, the last one first: it is nearest to the cause."""
    message = error.get("message")
    if isinstance(message, str) and (named := _EXCEPTIONS.match(message)) is not None:
        yield from (name.rpartition(".")[2].lower() for name in reversed(named.group().split(": ")[:-1]))


def _details(error: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    if isinstance(details, list):
        yield from (one for one in details if isinstance(one, dict))


def _retry_delay_s(error: Mapping[str, Any]) -> float | None:
    """Seconds in google.rpc.RetryInfo, a protobuf Duration in JSON ("3.5s"), or in a member that says so."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and (found := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s", delay)):
            return float(found.group(1))
    for name in _WAIT:
        for seconds in (error.get(name), _member(error, "metadata", name)):
            if isinstance(seconds, int | float) and type(seconds) is not bool and 0 <= seconds < math.inf:
                return float(seconds)
    return None


def _quotas(error: Mapping[str, Any]) -> Iterator[str]:
    """google.rpc.QuotaFailure: which quotas are exceeded."""
    for detail in _details(error):
        violations = detail.get("violations")
        for one in violations if isinstance(violations, list) else ():
            if isinstance(one, dict):
                for name in ("quotaId", "quotaMetric", "subject"):
                    if isinstance(one.get(name), str):
                        yield one[name]


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


def _spoken(error: Mapping[str, Any]) -> str:
    """What an error says itself: not the values that a validator shows, not the JSON that it carries."""
    value = next((error[name] for name in _MESSAGE if error.get(name)), "")
    if isinstance(value, str):
        return "" if value.lstrip().startswith(("{", "[")) else value
    return "; ".join(itertools.islice(_sentences(value), _MAX_ERRORS))


def _sentences(value: Any, depth: int = 0) -> Iterator[str]:
    """A validator's, of pydantic (`msg`) and of Laravel ({field: [sentence]})."""
    if isinstance(value, str):
        yield value
    elif depth < _MAX_DEPTH and isinstance(value, list):
        for one in value:
            yield from _sentences(one, depth + 1)
    elif depth < _MAX_DEPTH and isinstance(value, dict):
        said = value.get("msg") or value.get("message")
        if isinstance(said, str):
            yield said
        elif "loc" not in value:
            for one in value.values():
                if isinstance(one, list):
                    yield from _sentences(one, depth + 1)


def _shown(chain: list[dict[str, Any]]) -> str:
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
            return {**kept, "message": _message_of(one)[:MAX_OWN]}
    return {"message": _message_of(chain[0])[:MAX_OWN]} if chain else None


def _cause(error: Mapping[str, Any]) -> str:
    for name in ("code", "type", "status", "error_type", "status_code", "error_code"):
        value = error.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value not in ("", "error"):
            return str(value)[:64]
    return ""


def _page_text(body: bytes) -> str:
    """The title, else the first words, of a body that is no JSON."""
    text = body[:MAX_SHOWN].decode("utf-8", "replace")
    title = re.search(r"<title[^<>]*>([^<]*)</title", text, re.IGNORECASE)
    return (title.group(1) if title else re.sub(r"<[^<>]*>", " ", text)).strip()[:300]
