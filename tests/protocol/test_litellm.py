"""LiteLLM's proxy, 1.108.7, word for word: what it makes of other hosts' errors is still what it was.

The first table was taken from a proxy before the simulator (`python -m tests.proofs.real.litellm --answers`), the
second is put together as `litellm_core_utils/exception_mapping_utils.py` does for hosts that answer in JSON.
"""

from __future__ import annotations

import json

import pytest

from batchlab.protocol.outcomes.classify import classify

END = "\n\nLiteLLM: model group 'sim' failed with the error above. No fallback was attempted."
GEMINI_DETAILS = [
    {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
    },
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"},
]
GEMINI = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": GEMINI_DETAILS,
    }
}


def said(message: str, type_: str, code: str, status: int | None = None, **headers: str):
    """(class, error_class, after, wait) of an answer of the proxy's."""
    body = {"error": {"message": message, "type": type_, "param": None, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    outcome = classify(status or int(code), named, json.dumps(body).encode())
    return outcome.kind.value, outcome.error_class, outcome.after, outcome.wait_s


@pytest.mark.parametrize(
    ("message", "type_", "code", "made"),
    [
        (
            "litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached.",
            "throttling_error",
            "429",
            ("WAIT", "rate_limit", "", None),
        ),
        (
            "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota.",
            "throttling_error",
            "429",
            ("STOP", "quota", "", None),
        ),
        (
            "litellm.RateLimitError: RateLimitError: OpenAIException - Request too large.",
            "throttling_error",
            "429",
            ("FAIL", "too_large", "", None),
        ),
        (
            (
                "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: "
                "OpenAIException - This model's maximum context length is 8192 tokens.\nmodel=sim. "
                "context_window_fallbacks=None. fallbacks=None."
            ),
            "invalid_request_error",
            "400",
            ("FAIL", "context_length", "", None),
        ),
        (
            "litellm.BadRequestError: OpenAIException - Invalid value for 'temperature'.",
            "invalid_request_error",
            "400",
            ("FAIL", "bad_request", "first_rows", None),
        ),
        (
            (
                "litellm.ServiceUnavailableError: ServiceUnavailableError: OpenAIException - The engine is "
                "currently overloaded."
            ),
            "internal_server_error",
            "503",
            ("WAIT", "overloaded", "", None),
        ),
        (
            (
                "/chat/completions: Invalid model name passed in model=nope. Call `/v1/models` to view available "
                "models for your key."
            ),
            "invalid_request_error",
            "400",
            ("FAIL", "not_found", "no_success", None),
        ),
        ("No connected db.", "no_db_connection", "400", ("STOP", "auth", "", None)),
        (
            "Budget has been exceeded! Current cost: 0.11, Max budget: 0.1",
            "budget_exceeded",
            "422",
            ("STOP", "quota", "", None),
        ),
        (
            "No deployments available for selected model, Try again in 5 seconds. Passed model=sim.",
            "None",
            "429",
            ("WAIT", "rate_limit", "", 5.0),
        ),
    ],
)
def test_an_error_of_the_proxy_s_means_what_it_meant_at_the_host(message, type_, code, made):
    end = END if message.startswith("litellm.") else ""

    assert said(message + end, type_, code) == made


@pytest.mark.parametrize("shown", [json.dumps(GEMINI, indent=2), repr(json.dumps(GEMINI, indent=2).encode())])
def test_a_host_s_json_in_the_proxy_s_words_is_read(shown):
    message = f"litellm.RateLimitError: litellm.RateLimitError: geminiException - {shown}{END}"

    assert said(message, "throttling_error", "429") == ("WAIT", "rate_limit", "", 3.0)


def test_a_host_s_own_sentence_is_known_behind_the_proxy_s_words():
    error = {
        "type": "invalid_request_error",
        "message": "Your credit balance is too low to access the Anthropic API.",
    }
    message = f"litellm.BadRequestError: AnthropicException - {json.dumps({'type': 'error', 'error': error})}"

    assert said(message + END, "invalid_request_error", "400") == ("STOP", "quota", "", None)


def test_json_that_is_no_error_of_a_host_s_is_not_looked_into():
    """Only LiteLLM's own words tell where the host's begin: what follows others may be the prompt."""
    quoted = json.dumps({"error": {"code": "insufficient_quota", "message": "no credit"}})

    made = said(f"ValueError: {quoted}", "invalid_request_error", "400")

    assert made == ("FAIL", "bad_request", "first_rows", None)


def test_the_host_s_retry_after_that_the_proxy_renames_is_honoured():
    message = f"litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached.{END}"

    for headers, wait_s in (
        ({"llm_provider-retry-after": "7"}, 7.0),
        ({"llm_provider-retry-after-ms": "200"}, 0.2),
        ({"llm_provider-retry-after": "7", "retry-after": "2"}, 2.0),
    ):
        body = json.dumps({"error": {"message": message, "type": "throttling_error", "code": "429"}})
        assert classify(429, headers, body.encode()).wait_s == wait_s


def test_an_error_in_a_stream_is_judged_by_the_status_that_it_names():
    event = {
        "error": {"message": "litellm.RateLimitError: x - y", "type": None, "param": None, "code": "429"}
    }

    assert classify(200, {}, json.dumps(event).encode()).error_class == "rate_limit"


def test_an_image_for_a_model_without_eyes_is_its_row_s_failure():
    """llama.cpp's server, word for word: a `server_error`, at which no row would ever be answered."""
    message = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    body = json.dumps({"error": {"code": 500, "message": message, "type": "server_error"}}).encode()

    outcome = classify(500, {}, body)

    assert (outcome.kind.value, outcome.error_class, outcome.after) == ("FAIL", "bad_request", "first_rows")


def test_a_class_of_litellm_s_names_the_status_where_nothing_else_does():
    """In a stream its errors have no status, and some of its versions put no code there."""
    error = {"message": "litellm.RateLimitError: x - y", "type": None, "param": None, "code": None}

    assert classify(200, {}, json.dumps({"error": error}).encode()).error_class == "rate_limit"
