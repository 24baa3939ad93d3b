"""What an answer means: one pure function over one table.

Evidence is weighed in this order: transport fault → `x-should-retry` (only among RETRY and
FAIL) → the error's code → its type → the HTTP status → patterns in its message. Success is
decided by the body before this module is asked: a status of 200 that reaches `classify` is
an error.

Sources of the codes: OpenAI error codes and Batch API, Azure OpenAI content filtering,
OpenRouter and Groq error pages, vLLM, llama.cpp and Ollama server sources, ModelsLab's
error page (`{"status": "error", "message" | "messege": ...}`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeAlias

from batchlab.protocol.error_facts import error_facts
from batchlab.protocol.limits import message_wait_s, retry_after_s
from batchlab.protocol.redact import MAX_MESSAGE_CHARS, printable, redact
from batchlab.records import Outcome, OutcomeClass

FaultKind: TypeAlias = Literal[
    "connect",
    "dns",
    "reset",
    "timeout_connect",
    "timeout_idle",
    "timeout_total",
    "tls",
    "payload",
    "too_large",
    "local",
    "invalid_url",
]

RETRY, WAIT, PAUSE = OutcomeClass.RETRY, OutcomeClass.WAIT, OutcomeClass.PAUSE
FAIL, STOP = OutcomeClass.FAIL, OutcomeClass.STOP

LOCAL_WAIT_S = 1.0  # out of descriptors or ports: they come back when requests in flight end


@dataclass(frozen=True, slots=True)
class TransportFault:
    """No response came, or none that could be read; from `dispatch.transport`."""

    kind: FaultKind
    message: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to judge by. `codes` holds the error's code and type, lower case."""

    status: int
    codes: frozenset[str]
    message: str
    fault: FaultKind | None
    has_wait: bool
    is_json: bool

    def says(self, pattern: str) -> bool:
        """Whether the message matches `pattern`, whatever the case."""
        return re.search(pattern, self.message, re.IGNORECASE) is not None

    def is_one_of(self, *codes: str) -> bool:
        """Whether the error's code or type is one of `codes`; `*` at an end matches anything."""
        for code in codes:
            if code.startswith("*") and any(own.endswith(code[1:]) for own in self.codes):
                return True
            if code.endswith("*") and any(own.startswith(code[:-1]) for own in self.codes):
                return True
            if code in self.codes:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: the first whose `holds` is true decides."""

    evidence: str
    kind: OutcomeClass
    error_class: str
    holds: Callable[[Evidence], bool]
    after: str = ""
    wait_s: float | None = None
    remedy: str = ""


# OpenAI, Groq ("response format `json_schema`"), vLLM, llama.cpp, Mistral
_FORMAT = (
    r"response[_ ]format|json[_ ]schema|json_object|json[_ ]mode|structured[_ ]?outputs?"
    r"|guided_(json|decoding)|(parse|invalid|initializ\w*|unsupported) grammar|grammar error"
)
_CONTEXT = r"maximum context length|context length is only|context window|exceeds? the (available )?context"
_TOO_LARGE = r"request too large|reduce the length|limit \d+,? requested \d+"
_QUEUE = r"queue|too many (concurrent|requests|queued)|concurren|rate.?limit|limit reached|limit exceeded"
_KEY = (
    r"(invalid|incorrect|missing|wrong|no) api.?key|unauthori[sz]ed|invalid token|api key.*(required|invalid)"
)
_CREDIT = r"insufficient (credit|balance|fund|quota)|out of credits?|exceeded your current quota|no credits?"
# Anthropic says so with a 400; other 400s may quote the prompt, so only the very beginning counts
_CREDIT_400 = r"^your credit balance is too low"

TABLE: tuple[Line, ...] = (
    # no response
    Line("TLS certificate refused", STOP, "tls", lambda e: e.fault == "tls"),
    Line("invalid URL", STOP, "invalid_url", lambda e: e.fault == "invalid_url"),
    Line(
        "connection refused, no route (no success yet: STOP after 3)",
        PAUSE,
        "connection",
        lambda e: e.fault in {"connect", "timeout_connect"},
        after="no_success",
    ),
    Line(
        "host name not found (no success yet: STOP after 3)",
        PAUSE,
        "connection",
        lambda e: e.fault == "dns",
        after="no_success",
    ),
    Line(
        "out of descriptors or ports on this machine",
        WAIT,
        "local",
        lambda e: e.fault == "local",
        wait_s=LOCAL_WAIT_S,
    ),
    Line("answer longer than --max-response-bytes", FAIL, "too_large", lambda e: e.fault == "too_large"),
    Line(
        "total or idle timeout (2 attempts at most: it may have been paid)",
        RETRY,
        "timeout",
        lambda e: e.fault in {"timeout_total", "timeout_idle"},
    ),
    Line("connection reset, broken body", RETRY, "connection", lambda e: e.fault is not None),
    # the error's own code or type
    Line(
        "code insufficient_quota, credit_balance_exhausted, *_spend_limit_exceeded, *_usage_limit_exceeded, "
        "billing_*",
        STOP,
        "quota",
        lambda e: e.is_one_of(
            "insufficient_quota",
            "credit_balance_exhausted",
            "*_spend_limit_exceeded",
            "*_usage_limit_exceeded",
            "billing_*",
        ),
    ),
    Line(
        "code context_length_exceeded, exceed_context_size_error",
        FAIL,
        "context_length",
        lambda e: e.is_one_of("context_length_exceeded", "exceed_context_size_error"),
    ),
    Line(
        "code content_filter, content_policy_violation, ResponsibleAIPolicyViolation",
        FAIL,
        "content_filter",
        lambda e: e.is_one_of(
            "content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation"
        ),
    ),
    Line(
        "code invalid_api_key, authentication_error",
        STOP,
        "auth",
        lambda e: e.is_one_of("invalid_api_key", "authentication_error", "invalid_authentication"),
    ),
    Line(
        "code model_not_found (no success yet: STOP)",
        FAIL,
        "not_found",
        lambda e: e.is_one_of("model_not_found", "model_not_available", "not_found_error"),
        after="no_success",
    ),
    Line(
        "code slow_down, overloaded, capacity_exceeded",
        WAIT,
        "overloaded",
        lambda e: e.is_one_of(
            "slow_down", "overloaded", "overloaded_error", "capacity_exceeded", "engine_overloaded"
        ),
    ),
    Line(
        "message: request too large for the limit",
        FAIL,
        "too_large",
        lambda e: e.status in {200, 400, 413, 429} and e.says(_TOO_LARGE),
    ),
    Line(
        "code rate_limit_exceeded, rate_limit_error",
        WAIT,
        "rate_limit",
        lambda e: (
            e.is_one_of(
                "rate_limit_exceeded",
                "rate_limit_error",
                "rate_limited",
                "tokens",
                "requests",
                "too_many_requests",
            )
            and e.status in {200, 403, 429, 503}
        ),
    ),
    # the status
    Line(
        "message: no credit left",
        STOP,
        "quota",
        lambda e: (
            (e.status in {200, 402, 403, 429} and e.says(_CREDIT) and not e.has_wait)
            or (e.status == 400 and e.says(_CREDIT_400))
        ),
    ),
    Line("402 with Retry-After", WAIT, "rate_limit", lambda e: e.status == 402 and e.has_wait),
    Line("402 payment required", STOP, "quota", lambda e: e.status == 402),
    Line(
        "401 key refused (after an earlier success: two more looks, 5 s apart)",
        STOP,
        "auth",
        lambda e: e.status == 401,
    ),
    Line("413 request too large", FAIL, "too_large", lambda e: e.status == 413),
    Line("429 any other", WAIT, "rate_limit", lambda e: e.status == 429),
    Line("498 or 529 out of capacity", WAIT, "overloaded", lambda e: e.status in {498, 529}),
    Line(
        "503 overloaded, slow down, loading model",
        WAIT,
        "overloaded",
        lambda e: e.status == 503 and e.says(r"overload|slow.?down|loading|capacity|busy|try again"),
    ),
    Line(
        "400 message: maximum context length; 500: input too large to process (llama.cpp)",
        FAIL,
        "context_length",
        lambda e: (
            (e.status in {200, 400, 422} and e.says(_CONTEXT))
            or (e.status == 500 and e.says(r"tokens\) is too large to process"))
        ),
    ),
    Line(
        "code json_validate_failed: the model's answer did not fit the schema (Groq)",
        FAIL,
        "schema",
        lambda e: e.is_one_of("json_validate_failed"),
    ),
    Line(
        "400/422 message: response_format or the schema refused (no success yet: STOP)",
        FAIL,
        "response_format",
        lambda e: e.status in {200, 400, 422} and e.says(_FORMAT),
        after="no_success",
        remedy="To ask without it: --schema-mode json_object, or --schema-mode prompt",
    ),
    Line(
        "400/403 message: content filter or moderation",
        FAIL,
        "content_filter",
        lambda e: (
            e.status in {200, 400, 403} and e.says(r"content.?(filter|management|policy)|moderation|flagged")
        ),
    ),
    Line(
        "message: queue or rate limit (ModelsLab, HTTP 200 or 4xx)",
        WAIT,
        "rate_limit",
        lambda e: e.status in {200, 400, 403} and e.says(_QUEUE),
    ),
    Line(
        "message: key refused (HTTP 200, 400, 403)",
        STOP,
        "auth",
        lambda e: e.status in {200, 400, 403} and e.says(_KEY),
    ),
    Line(
        "403 forbidden (3 rows in a row: STOP)",
        FAIL,
        "forbidden",
        lambda e: e.status == 403,
        after="row_streak",
    ),
    Line(
        "404 model or route (no success yet: STOP)",
        FAIL,
        "not_found",
        lambda e: e.status == 404,
        after="no_success",
    ),
    Line(
        "405, 501, 505: the endpoint does not do this",
        STOP,
        "endpoint",
        lambda e: e.status in {405, 501, 505},
    ),
    Line("408, 409, 425", RETRY, "server", lambda e: e.status in {408, 409, 425}),
    Line(
        "400, 422 any other (the first 20 rows all: STOP)",
        FAIL,
        "bad_request",
        lambda e: e.status in {400, 422},
        after="first_rows",
    ),
    Line("3xx: the base URL redirects", STOP, "redirect", lambda e: 300 <= e.status < 400),
    Line("500, 502, 503, 504, 520-524 any other 5xx", RETRY, "server", lambda e: e.status >= 500),
    Line("499 or unknown 4xx", FAIL, "bad_request", lambda e: 400 <= e.status < 500 and e.status != 499),
    Line("499 client closed request, by a proxy", RETRY, "server", lambda e: e.status == 499),
    Line("201-299", FAIL, "invalid_response", lambda e: 200 < e.status < 300),
    Line(
        "200 with an error object",
        RETRY,
        "server",
        lambda e: e.status == 200 and bool(e.codes or (e.message and e.is_json)),
    ),
    Line(
        "200, but no completion: HTML, empty, no choices, a cut stream",
        RETRY,
        "invalid_response",
        lambda e: e.status == 200,
    ),
    Line("anything else", FAIL, "invalid_response", lambda _: True),
)


def classify(
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    fault: TransportFault | None = None,
    *,
    now: datetime | None = None,
) -> Outcome:
    """What is to be done about an attempt that gave no completion. Never raises, never OK.

    Args:
        status: HTTP status; None when `fault` says why there is no response.
        headers: the response's, with case-insensitive look-up for anything but lower case.
        body: at most its first 64 KiB.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    error = error_facts(body)
    message = error.message
    wait_s = retry_after_s(lower, now=now)
    if wait_s is None:
        wait_s = message_wait_s(message)
    evidence = Evidence(
        # an error inside a 200 is judged as the status it names (OpenRouter)
        status=(error.status or status) if status == 200 else status or 0,
        codes=error.codes,
        message=message,
        fault=fault.kind if fault is not None else None,
        has_wait=wait_s is not None,
        is_json=error.is_json,
    )
    line = next(line for line in TABLE if line.holds(evidence))
    outcome = Outcome(
        kind=line.kind,
        error_class=line.error_class,
        code=status,
        message=_with_remedy(printable(redact(_message(evidence, fault, lower))), line.remedy),
        wait_s=line.wait_s if wait_s is None else wait_s,
        after=line.after,
    )
    should_retry = lower.get("x-should-retry", "").lower()
    if should_retry == "true" and outcome.kind is FAIL:
        return replace(outcome, kind=RETRY, after="")
    if should_retry == "false" and outcome.kind is RETRY:
        return replace(outcome, kind=FAIL)
    return outcome


def explained() -> list[tuple[str, str, str]]:
    """The table for a person: (evidence, class, error_class) in the order of decision."""
    return [
        ("200 with non-empty choices (a stream: with [DONE] or a finish_reason)", "OK", ""),
        ("200 with a vector for every text (embeddings)", "OK", ""),
        (
            "200, but the vectors have not the dimensions asked for (no success yet: STOP)",
            "FAIL",
            "dimensions",
        ),
        *((line.evidence, line.kind.value, line.error_class) for line in TABLE),
    ]


def _with_remedy(message: str, remedy: str) -> str:
    return f"{message[: MAX_MESSAGE_CHARS - 200].rstrip('.')}. {remedy}." if remedy else message


def _message(evidence: Evidence, fault: TransportFault | None, headers: Mapping[str, str]) -> str:
    if fault is not None:
        return fault.message or fault.kind.replace("_", " ")
    if 300 <= evidence.status < 400:
        return f"the base URL redirects to {headers.get('location', 'an unnamed place')}; set it as base_url"
    if evidence.message:
        return evidence.message
    if evidence.status == 200:
        return "the answer has status 200 but is no completion"
    return f"HTTP {evidence.status} without a message"
