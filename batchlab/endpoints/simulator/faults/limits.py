"""Limits and quotas: what a 429 may mean.

Sources: OpenAI rate limit guide; Google's `RetryInfo` and `QuotaFailure` as reported in RooCodeInc/Roo-Code
3883 and continuedev/continue 12744, in an array at its OpenAI-compatible address (n4ze3m/page-assist 406);
Anthropic's token limit (continuedev/continue 12057); Groq's 413 (RooCodeInc/Roo-Code 5729);
OpenAI's flex processing guide ("429 Resource Unavailable", not charged); OpenRouter (402 in flight).
"""

from __future__ import annotations

from typing import Any

from batchlab.endpoints.simulator.faults.drafts import Asked, Change, FaultKind, answer, error

_GOOGLE = "type.googleapis.com/google.rpc"
_PLAN = (
    "You exceeded your current quota, please check your plan and billing details. For more information "
    "on this "
    "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)


def _rate_limit(**headers: str) -> Change:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return error(429, "Rate limit reached.", "requests", "rate_limit_exceeded", headers=named)


def _google(message: str, *details: dict[str, Any], listed: bool = True) -> Change:
    said = {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}}
    if details:
        said["error"]["details"] = list(details)
    return answer(429, [said] if listed else said)


def _quota(quota_id: str, value: str) -> dict[str, Any]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": quota_id,
        "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
        "quotaValue": value,
    }
    return {"@type": f"{_GOOGLE}.QuotaFailure", "violations": [violation]}


def _retry(delay: str) -> dict[str, Any]:
    return {"@type": f"{_GOOGLE}.RetryInfo", "retryDelay": delay}


_HELP = {
    "@type": f"{_GOOGLE}.Help",
    "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev"}],
}


def _organization(tokens: int) -> dict[str, Any]:
    message = (
        f"This request would exceed your organization's rate limit of {tokens:,} input tokens per minute "
        "(org: 00000000-0000-0000-0000-000000000000, model: claude-sonnet-4-6). For details, refer to: "
        "https://docs.claude.com/en/api/rate-limits. Please reduce the prompt length or the maximum tokens "
        "requested, or try again later."
    )
    return {"type": "error", "error": {"type": "rate_limit_error", "message": message}}


def _smaller_than_the_row(asked: Asked) -> dict[str, Any]:
    return _organization(max(1, asked.prompt_tokens // 2))


LIMITS: dict[str, FaultKind] = {
    "rate_limit": FaultKind("429 without a time (OpenAI)", _rate_limit()),
    "rate_limit_retry_after": FaultKind("429, Retry-After in seconds", _rate_limit(Retry_After="1")),
    "rate_limit_date": FaultKind(
        "429, Retry-After as a date gone by", _rate_limit(Retry_After="Wed, 01 Jan 2020 00:00:00 GMT")
    ),
    "rate_limit_ms": FaultKind("429, retry-after-ms (Azure)", _rate_limit(retry_after_ms="200")),
    "rate_limit_zero": FaultKind("429, Retry-After 0", _rate_limit(Retry_After="0")),
    "rate_limit_huge": FaultKind("429, Retry-After of 30 years", _rate_limit(Retry_After="1000000000")),
    "insufficient_quota": FaultKind(
        "429, the quota is gone (OpenAI)",
        error(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
    ),
    "in_flight_budget": FaultKind(
        "402 for requests in flight, with Retry-After (OpenRouter)",
        error(
            402,
            "Too much in flight for your credits.",
            None,
            "in_flight_budget",
            headers={"Retry-After": "1"},
        ),
    ),
    "too_large": FaultKind(
        "429 that names the row as larger than the limit (OpenAI)",
        error(
            429,
            "Request too large for model on tokens per min: Limit 30000, Requested 40000.",
            "tokens",
            "rate_limit_exceeded",
        ),
    ),
    "too_large_413": FaultKind(
        "413 with the wording of a limit (Groq)",
        error(
            413,
            "Request too large for model `m` in organization `org_0` service tier `on_demand` on tokens per "
            "minute (TPM): Limit 10000, Requested 21247, please reduce your message size and try again.",
            "tokens",
            "rate_limit_exceeded",
        ),
    ),
    "too_large_organization": FaultKind(
        "429, the limit is half of what the row has (Anthropic)", answer(429, _smaller_than_the_row)
    ),
    "organization_limit": FaultKind(
        "429, the same words, but the limit is larger than the row (Anthropic)",
        answer(429, _organization(2_000_000), headers={"retry-after": "1"}),
    ),
    "google_exhausted": FaultKind(
        "429 RESOURCE_EXHAUSTED without details (Google)",
        _google("Resource has been exhausted (e.g. check quota)."),
    ),
    "google_retry_info": FaultKind(
        "429 that speaks of quota and billing, and asks for 1.2 s (Google)",
        _google(_PLAN, _HELP, _retry("1.2s"), listed=False),
    ),
    "google_per_minute": FaultKind(
        "429, a quota per minute, and 1 s (Google)",
        _google(
            _PLAN,
            _quota("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000"),
            _HELP,
            _retry("1s"),
        ),
    ),
    "google_per_day": FaultKind(
        "429, the quota of a day is gone, and 41 s all the same (Google)",
        _google(
            _PLAN, _quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250"), _HELP, _retry("41s")
        ),
    ),
    "google_in_a_string": FaultKind(
        "429 whose message is the whole error as JSON (Google behind a gateway)",
        answer(
            429,
            {
                "error": {
                    "message": '{\n  "error": {\n    "code": 429,\n    "message": "Resource has been '
                    "exhausted "
                    '(e.g. check quota).",\n    "status": "RESOURCE_EXHAUSTED",\n    "details": [{"@type": '
                    f'"{_GOOGLE}.RetryInfo", "retryDelay": "1s"}}]\n  }}\n}}\n',
                    "code": 429,
                    "status": "Too Many Requests",
                }
            },
        ),
    ),
    "resource_unavailable": FaultKind(
        "429, the flex tier has no room, not charged (OpenAI)",
        error(
            429,
            "Resource Unavailable: there are not enough resources for this flex request. Please try "
            "again later "
            "or use the default service tier.",
            "resource_unavailable",
            "resource_unavailable",
        ),
    ),
}
