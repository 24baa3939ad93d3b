"""The outcome table: what each answer without a completion means, and who was read to say so.

Sources of the codes: OpenAI error codes and Batch API, Azure OpenAI content filtering, google.rpc error
details, OpenRouter, Groq, xAI, Moonshot, Zhipu and DashScope error pages, vLLM, SGLang, llama.cpp, LiteLLM
and Ollama server sources, ModelsLab's error page (`{"status": "error", "message" | "messege": ...}`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchlab.protocol.outcomes import wordings
from batchlab.protocol.outcomes.facts import Facts
from batchlab.protocol.outcomes.wordings import any_of
from batchlab.records import OutcomeClass

RETRY, WAIT, PAUSE = OutcomeClass.RETRY, OutcomeClass.WAIT, OutcomeClass.PAUSE
FAIL, STOP = OutcomeClass.FAIL, OutcomeClass.STOP

LOCAL_WAIT_S = 1.0  # out of descriptors or ports: they come back when requests in flight end


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: the first whose `holds` is true decides.

    Attributes:
        read_at: where it was read that servers say so.
        remedy: added to the message.
    """

    evidence: str
    kind: OutcomeClass
    error_class: str
    read_at: str
    holds: Callable[[Facts], bool]
    after: str = ""
    wait_s: float | None = None
    remedy: str = ""


_RFC = "RFC 9110"
_HTTPS = "The server speaks TLS: write https:// in base_url"
_OWN_SENTENCE = frozenset({400, 403, 422})  # ModelsLab's statuses for all that it refuses
_QUEUE, _KEY, _CREDIT = any_of(wordings.QUEUE), any_of(wordings.KEY), any_of(wordings.CREDIT)
_CONTEXT, _CONTENT = any_of(wordings.CONTEXT), any_of(wordings.CONTENT)
_DAILY = any_of(wordings.DAILY)
_FORMAT, _REFUSED = any_of(wordings.FORMAT), any_of(wordings.REFUSED)
_FORMAT_OPTIONS = frozenset(
    {"response_format", "guided_json", "grammar", "json_schema", "structured_outputs"}
)


def _refuses_format(e: Facts) -> bool:
    if e.status not in {400, 422}:
        return False
    asked = bool(_FORMAT_OPTIONS & e.asked.options)
    return bool(_FORMAT_OPTIONS & e.params) or (asked and e.says(_FORMAT))


def _is_too_large(e: Facts) -> bool:
    if e.status == 413:
        return not e.says(_CONTEXT)
    if e.status == 429 and wordings.asks_too_much(e.words, e.asked.prompt_tokens):
        return True
    return e.status in {400, 429} and e.says(wordings.TOO_LARGE)


def _has_no_room(e: Facts) -> bool:
    """Whether a request at the flex tier is refused because nothing is free there now; it is not billed."""
    if e.asked.tier != "flex":
        return False
    if e.status == 429:
        return e.is_one_of("resource_unavailable") or e.says_plainly(wordings.NO_ROOM)
    return e.status == 498 or (e.status == 503 and e.is_one_of("unavailable"))


def _refuses_tier(e: Facts) -> bool:
    if e.status not in {400, 422} or e.asked.tier is None:
        return False
    return "service_tier" in e.params or e.says(wordings.TIER)


def _refuses_request(e: Facts) -> bool:
    own = e.status == 200 and e.envelope in {"error", "flat", "modelslab"}
    return own and e.says(_REFUSED) and not e.says(_CONTEXT) and not e.says(_CONTENT)


def _speaks_for_itself(e: Facts, *statuses: int) -> bool:
    """Whether the words of an answer with one of `statuses` are an API's: a page may tell of anything, and a
    200 that is no JSON may be what the model said."""
    return e.status in statuses and not (e.envelope == "text" and (e.is_page or e.status == 200))


def _is_daily(e: Facts) -> bool:
    if any("perday" in quota.lower().replace("_", "").replace("-", "") for quota in e.quotas):
        return True
    return e.wait_s is None and e.says_plainly(_DAILY)


TABLE: tuple[Line, ...] = (
    # no response
    Line("TLS certificate refused", STOP, "tls", "aiohttp", lambda e: e.fault == "tls"),
    Line(
        "http:// to a port that answers in TLS",
        STOP,
        "tls",
        "RFC 8446, section 5.1",
        lambda e: e.fault == "tls_expected",
        remedy=_HTTPS,
    ),
    Line("invalid URL", STOP, "invalid_url", "aiohttp", lambda e: e.fault == "invalid_url"),
    Line(
        "connection refused, no route (no success yet: STOP after 3)",
        PAUSE,
        "connection",
        "aiohttp",
        lambda e: e.fault in {"connect", "timeout_connect"},
        after="no_success",
    ),
    Line(
        "host name not found (no success yet: STOP after 3)",
        PAUSE,
        "connection",
        "aiohttp",
        lambda e: e.fault == "dns",
        after="no_success",
    ),
    Line(
        "out of descriptors or ports on this machine",
        WAIT,
        "local",
        "errno(3)",
        lambda e: e.fault == "local",
        wait_s=LOCAL_WAIT_S,
    ),
    Line(
        "answer longer than max_response_bytes",
        FAIL,
        "too_large",
        "own limit",
        lambda e: e.fault == "too_large",
    ),
    Line(
        "total or idle timeout (2 attempts at most: it may have been paid)",
        RETRY,
        "timeout",
        "own limit",
        lambda e: e.fault in {"timeout_total", "timeout_idle"},
    ),
    Line("connection reset, broken body", RETRY, "connection", "aiohttp", lambda e: e.fault is not None),
    # what the error says for programs
    Line(
        "429 Resource Unavailable, 498, 503 UNAVAILABLE, for a request at the flex tier: no room there now",
        WAIT,
        "no_room",
        "OpenAI, Groq, Gemini",
        _has_no_room,
    ),
    Line(
        "400 or 422 that refuses the service_tier asked for (no success yet: STOP)",
        FAIL,
        "tier",
        "OpenAI, Azure",
        _refuses_tier,
        after="no_success",
        remedy="Not every model has every tier. For the usual one: lane live, and no service_tier",
    ),
    Line(
        "429 (Baidu: 200) with a QuotaFailure …PerDay…, or per day in words and no wait: the day's is gone",
        STOP,
        "quota",
        "Google, google.rpc.QuotaFailure",
        lambda e: _speaks_for_itself(e, 200, 429) and _is_daily(e),
        remedy="It is a quota by the day (Google's begin anew at midnight Pacific time, OpenRouter's in UTC)",
    ),
    Line(
        "429 with RetryInfo or a quota …PerMinute…, or RESOURCE_EXHAUSTED",
        WAIT,
        "rate_limit",
        "Google, google.rpc.RetryInfo",
        lambda e: e.status == 429 and (bool(e.quotas) or e.is_one_of("resource_exhausted")),
    ),
    Line(
        "429 of a quota by the minute, called insufficient_quota",
        WAIT,
        "rate_limit",
        "DashScope",
        lambda e: e.status == 429 and e.says_plainly(wordings.ALLOCATED),
    ),
    Line(
        "code insufficient_quota, credit_balance_exhausted, *_spend_limit_exceeded, *_usage_limit_exceeded, "
        "billing_*, insufficient_credit*, insufficient_balance, budget_exceeded, Arrearage, "
        "AccountOverdueError, NOT_ENOUGH_BALANCE, 1113, 1304, 1308, …",
        STOP,
        "quota",
        "OpenAI, Anthropic, DashScope, Zhipu, MiniMax, Moonshot, One API, LiteLLM, Volcengine, Novita",
        lambda e: e.is_one_of(
            "insufficient_quota",
            "credit_balance_exhausted",
            "*_spend_limit_exceeded",
            "*_usage_limit_exceeded",
            "billing_*",
            "insufficient_credit*",
            "budget_exceeded",  # LiteLLM's own, with a 422
            "insufficient_balance*",
            "insufficient_user_quota",
            "pre_consume_token_quota_failed",
            "arrearage",
            "1113",
            "exceeded_current_quota_error",
            "creditserror",
            "credit_limit",  # Together
            "accountoverdueerror",  # Volcengine
            "setlimitexceeded",  # Volcengine's, of a sum that one sets oneself
            "not_enough_balance",  # Novita
            "allocationquota.freetieronly",
            "1304",  # Zhipu: by the day
            "1308",  # Zhipu: of so many hours, which a plan has
            "1309",
            "1310",  # Zhipu: by the week or the month
            "minimax_1008",
        ),
    ),
    Line(
        "code context_length_exceeded, exceed_context_size_error, ContextWindowExceededError, 1261, …",
        FAIL,
        "context_length",
        "OpenAI, llama.cpp, LiteLLM, Zhipu",
        lambda e: e.is_one_of(
            "context_length_exceeded",
            "exceed_context_size_error",
            "contextwindowexceedederror",
            "context_window_exceeded",
            "context_length_error",
            "string_above_max_length",
            "input_too_long",
            "1261",
        ),
    ),
    Line(
        "code content_filter, content_policy_violation, data_inspection_failed, 1301, …; moderation metadata",
        FAIL,
        "content_filter",
        "OpenAI, Azure, DashScope, Zhipu, OpenRouter, LiteLLM",
        lambda e: e.is_one_of(
            "content_filter*",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "moderation",
            "data_inspection_failed",
            "datainspectionfailed",
            "contentpolicyviolationerror",
            "1301",
            "*sensitivecontentdetected",
            "safety_check_failed",
            "content_blocked",
            "prohibited_content",
            "*content_policy_violation",
            "invalid_prompt",
            "moderation_blocked",
            "safety_error",
            "minimax_1026",
            "minimax_1027",
        ),
    ),
    Line(
        "code invalid_api_key, authentication_error, API_KEY_INVALID, no_db_connection, expired_key",
        STOP,
        "auth",
        "OpenAI, Anthropic, Google, LiteLLM, AWS",
        lambda e: e.is_one_of(
            "invalid_api_key",
            "authentication_error",
            "invalid_authentication",
            "api_key_invalid",
            "invalid_authentication_error",
            "authenticationerror",
            "invalidapikey",
            "no_db_connection",  # LiteLLM without a data base: no key but its own is known; a 400
            "expired_key",  # LiteLLM, a 400
            "expiredtokenexception",
            "unrecognizedclientexception",
            "minimax_1004",
            "minimax_2049",
        ),
    ),
    Line(
        "code model_not_found, model_decommissioned, DeploymentNotFound, … (no success yet: STOP)",
        FAIL,
        "not_found",
        "OpenAI, Anthropic, vLLM, Azure, Groq, Mistral, Perplexity, Zhipu",
        lambda e: e.is_one_of(
            "model_not_found",
            "model_not_available",
            "model_decommissioned",
            "invalid_model",
            "not_found_error",
            "modelnotfound",
            "deploymentnotfound",  # its words ask to wait, for one that was made a moment ago
            "1211",
        ),
        after="no_success",
    ),
    Line(
        "code slow_down, overloaded, capacity_exceeded",
        WAIT,
        "overloaded",
        "OpenAI, Anthropic, Groq, Moonshot",
        lambda e: e.is_one_of(
            "slow_down",
            "overloaded",
            "overloaded_error",
            "capacity_exceeded",
            "engine_overloaded",
            "engine_overloaded_error",
        ),
    ),
    Line(
        "413; 429 whose own row is larger than the limit (Requested > Limit)",
        FAIL,
        "too_large",
        "OpenAI, Groq, Anthropic",
        _is_too_large,
    ),
    Line(
        "code rate_limit_exceeded, rate_limit_error, 1302, …; at any status ThrottlingException",
        WAIT,
        "rate_limit",
        "OpenAI, Anthropic, vLLM, Zhipu, MiniMax, AWS",
        lambda e: (
            e.is_one_of("throttlingexception", "*#throttlingexception")
            or (
                e.status in {200, 403, 429, 503}
                and e.is_one_of(
                    "rate_limit_exceeded",
                    "rate_limit_error",
                    "rate_limited",
                    "tokens",
                    "requests",
                    "too_many_requests",
                    "rate_limit",
                    "rate_limit_reached_error",
                    "limit_requests",
                    "limit_burst_rate",
                    "1302",
                    "1303",
                    "1305",
                    "minimax_1002",
                    "minimax_1039",
                    "minimax_1041",
                    "minimax_2045",
                    "minimax_2056",
                )
            )
        ),
    ),
    Line(
        "code json_validate_failed, tool_use_failed, output_parse_failed: the model's answer did not fit the "
        "schema or the tools",
        FAIL,
        "schema",
        "Groq",
        lambda e: e.is_one_of("json_validate_failed", "tool_use_failed", "output_parse_failed"),
    ),
    # the status, and the words of services that say no more
    Line(
        "400 that tells of plain HTTP at a port for HTTPS (no success yet: STOP)",
        FAIL,
        "tls",
        "nginx, Go",
        lambda e: e.http == 400 and e.envelope == "text" and e.says_plainly(wordings.PLAIN_TO_TLS),
        after="no_success",
        remedy=_HTTPS,
    ),
    Line(
        "200 that refuses the request, as its validator says it (the first 20 rows all: STOP)",
        FAIL,
        "bad_request",
        "ModelsLab, Laravel's validator",
        _refuses_request,
        after="first_rows",
    ),
    Line(
        "no credit left (429, 403 or 200, no wait asked for; 400, 412 and 500 only in sentences of "
        "Anthropic, Fireworks and MiniMax)",
        STOP,
        "quota",
        "OpenAI, OpenRouter, ModelsLab, Anthropic, MiniMax, xAI, Cohere, Fireworks",
        lambda e: (
            (_speaks_for_itself(e, 200, 403, 429) and e.says_plainly(_CREDIT) and e.wait_s is None)
            or (e.status == 429 and e.says_plainly(wordings.MONTHLY))
            or (e.status == 400 and e.says_plainly(wordings.CREDIT_400))
            or (e.status == 412 and e.says_plainly(wordings.CREDIT_412))
            or (e.status == 500 and e.says_plainly(wordings.CREDIT_500))
        ),
    ),
    Line(
        "402 with Retry-After",
        WAIT,
        "rate_limit",
        "OpenRouter",
        lambda e: e.status == 402 and e.wait_s is not None,
    ),
    Line(
        "402 payment required (after an earlier success: a second look)",
        STOP,
        "quota",
        _RFC,
        lambda e: e.status == 402,
    ),
    Line(
        "401 key refused (after an earlier success: a second look)",
        STOP,
        "auth",
        _RFC,
        lambda e: e.status == 401,
    ),
    Line("429 any other", WAIT, "rate_limit", "RFC 6585", lambda e: e.status == 429),
    Line(
        "498 or 529 out of capacity", WAIT, "overloaded", "Groq, Anthropic", lambda e: e.status in {498, 529}
    ),
    Line(
        "503 overloaded, slow down, loading model",
        WAIT,
        "overloaded",
        "OpenAI, llama.cpp, TGI",
        lambda e: e.status == 503 and e.says_plainly(wordings.OVERLOADED),
    ),
    Line(
        "404, 421, 423, 424 while a model is loading",
        WAIT,
        "overloaded",
        "Hugging Face, Triton, gateways",
        lambda e: (
            e.status in {404, 421, 423, 424} and (e.wait_s is not None or e.says_plainly(wordings.LOADING))
        ),
    ),
    Line(
        "400, 413, 422 with the words of a prompt too long; 500: input too large to process (llama.cpp)",
        FAIL,
        "context_length",
        ", ".join(wordings.CONTEXT.values()),
        lambda e: (
            (_speaks_for_itself(e, 200, 400, 413, 422) and e.says(_CONTEXT))
            or (e.status == 500 and e.says(wordings.CONTEXT_500))
        ),
    ),
    Line(
        "500 for an image, a sound or a film to a model without eyes or ears (the first 20 rows all: STOP)",
        FAIL,
        "bad_request",
        "llama.cpp",
        lambda e: e.status == 500 and e.says(wordings.UNFIT_500),
        after="first_rows",
    ),
    Line(
        "400/403 with the words of content refused",
        FAIL,
        "content_filter",
        ", ".join(wordings.CONTENT.values()),
        lambda e: _speaks_for_itself(e, 200, 400, 403, 422) and e.says(_CONTENT),
    ),
    Line(
        "400/422 that refuses response_format or the schema asked for (no success yet: STOP)",
        FAIL,
        "response_format",
        ", ".join(wordings.FORMAT.values()),
        _refuses_format,
        after="no_success",
        remedy="To ask without it: schema_mode json_object, or prompt",
    ),
    Line(
        "queue or rate limit in words (HTTP 200, 403; ModelsLab's own sentence at 400)",
        WAIT,
        "rate_limit",
        "ModelsLab",
        lambda e: (
            (_speaks_for_itself(e, 200, 403) and e.says_plainly(_QUEUE))
            or (
                e.envelope == "modelslab" and e.status in _OWN_SENTENCE and e.says_plainly(wordings.QUEUE_400)
            )
        ),
    ),
    Line(
        "key refused in words (HTTP 200, 403; ModelsLab's own sentence at 400)",
        STOP,
        "auth",
        "ModelsLab, gateways",
        lambda e: (
            (_speaks_for_itself(e, 200, 403) and e.says_plainly(_KEY))
            or (e.envelope == "modelslab" and e.status in _OWN_SENTENCE and e.says_plainly(wordings.KEY_400))
        ),
    ),
    Line(
        "200, or LiteLLM's 400, that says the model is unknown (no success yet: STOP)",
        FAIL,
        "not_found",
        "ModelsLab, LiteLLM",
        lambda e: (
            (_speaks_for_itself(e, 200) and e.says(wordings.UNKNOWN_MODEL))
            or (e.status == 400 and e.says(wordings.UNKNOWN_MODEL_400))
        ),
        after="no_success",
    ),
    Line(
        "403 forbidden (3 rows in a row: STOP)",
        FAIL,
        "forbidden",
        _RFC,
        lambda e: e.status == 403,
        after="row_streak",
    ),
    Line(
        "404 model or route, 410 that was there once (no success yet: STOP)",
        FAIL,
        "not_found",
        _RFC,
        lambda e: e.status in {404, 410},
        after="no_success",
    ),
    Line(
        "407: a proxy on the way wants a name and a password",
        STOP,
        "endpoint",
        _RFC,
        lambda e: e.status == 407,
        remedy="Write them into its address: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
    ),
    Line(
        "446: what guards a gateway refuses the text",
        FAIL,
        "content_filter",
        "Portkey",
        lambda e: e.status == 446,
    ),
    Line(
        "405, 501, 505: the endpoint does not do this",
        STOP,
        "endpoint",
        _RFC,
        lambda e: e.status in {405, 501, 505},
    ),
    Line(
        "408, 409, 421, 423-425", RETRY, "server", _RFC, lambda e: e.status in {408, 409, 421, 423, 424, 425}
    ),
    Line(
        "400, 422 any other, also inside a 200 (the first 20 rows all: STOP)",
        FAIL,
        "bad_request",
        _RFC,
        lambda e: e.status in {400, 422},
        after="first_rows",
    ),
    Line(
        "3xx: the base URL redirects (after an earlier success: a second look)",
        STOP,
        "redirect",
        _RFC,
        lambda e: 300 <= e.status < 400,
    ),
    Line("500, 502, 503, 504, 520-524 any other 5xx", RETRY, "server", _RFC, lambda e: e.status >= 500),
    Line(
        "unknown 4xx (the first 20 rows all: STOP)",
        FAIL,
        "bad_request",
        _RFC,
        lambda e: 400 <= e.status < 500 and e.status != 499,
        after="first_rows",
    ),
    Line("499 client closed request, by a proxy", RETRY, "server", "nginx", lambda e: e.status == 499),
    Line("201-299", FAIL, "invalid_response", _RFC, lambda e: 200 < e.status < 300),
    Line(
        "200 with a page, a text, or JSON of something else (no success yet: STOP after 3)",
        RETRY,
        "invalid_response",
        "LM Studio, Ollama, web servers",
        lambda e: e.status == 200 and (e.is_page or e.is_foreign or e.says(wordings.WRONG_ADDRESS)),
        after="wrong_address",
    ),
    Line(
        "200 with an error object",
        RETRY,
        "server",
        "OpenRouter, ModelsLab",
        lambda e: e.status == 200 and e.envelope not in {"none", "text"},
    ),
    Line(
        "200, but no completion: empty, no choices, a cut stream",
        RETRY,
        "invalid_response",
        "web servers",
        lambda e: e.status == 200,
    ),
    Line("anything else", FAIL, "invalid_response", _RFC, lambda _: True),
)
