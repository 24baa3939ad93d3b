"""The outcome table, line by line, with bodies as providers send them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.outcomes import TABLE, TransportFault, classify, explained
from batchlab.records import OutcomeClass

RETRY, WAIT, PAUSE = OutcomeClass.RETRY, OutcomeClass.WAIT, OutcomeClass.PAUSE
FAIL, STOP = OutcomeClass.FAIL, OutcomeClass.STOP


def openai(message="", *, type_=None, code=None, **more):
    return {"error": {"message": message, "type": type_, "param": None, "code": code, **more}}


# (what, status, headers, body, class, error_class)
ANSWERS = [
    # OpenAI
    ("rate limit", 429, {}, openai("Rate limit reached for gpt-4o", type_="requests", code="rate_limit_exceeded"), WAIT, "rate_limit"),
    ("quota by type", 429, {}, openai("You exceeded your current quota", type_="insufficient_quota"), STOP, "quota"),
    ("quota by code", 429, {"Retry-After": "1"}, openai("", code="insufficient_quota"), STOP, "quota"),
    ("spend limit", 429, {}, openai("", code="project_spend_limit_exceeded"), STOP, "quota"),
    ("usage limit", 429, {}, openai("", code="organization_usage_limit_exceeded"), STOP, "quota"),
    ("credit", 429, {}, openai("", code="credit_balance_exhausted"), STOP, "quota"),
    ("billing", 400, {}, openai("", code="billing_hard_limit_reached"), STOP, "quota"),
    ("too large for the limit", 429, {}, openai("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.", type_="tokens", code="rate_limit_exceeded"), FAIL, "too_large"),
    ("slow down", 503, {}, openai("", code="slow_down"), WAIT, "overloaded"),
    ("overloaded text", 503, {}, openai("The engine is currently overloaded"), WAIT, "overloaded"),
    ("503 plain", 503, {}, openai("Service unavailable"), RETRY, "server"),
    ("bad key", 401, {}, openai("Incorrect API key provided", code="invalid_api_key"), STOP, "auth"),
    ("401 without a body", 401, {}, b"", STOP, "auth"),
    ("context", 400, {}, openai("This model's maximum context length is 8192 tokens", code="context_length_exceeded"), FAIL, "context_length"),
    ("unsupported parameter", 400, {}, openai("Unsupported parameter: 'max_tokens'", code="unsupported_parameter"), FAIL, "bad_request"),
    ("unknown model", 404, {}, openai("The model `x` does not exist", code="model_not_found"), FAIL, "not_found"),
    ("server error", 500, {}, openai("The server had an error", type_="server_error"), RETRY, "server"),
    # Azure
    ("Azure content filter", 400, {}, openai("filtered", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}), FAIL, "content_filter"),
    # vLLM, llama.cpp, Ollama
    ("vLLM flat context", 400, {}, {"object": "error", "message": "This model's maximum context length is 4096 tokens", "type": "BadRequestError", "param": None, "code": 400}, FAIL, "context_length"),
    ("vLLM nested int code", 400, {}, openai("context length is only 4096", type_="BadRequestError", code=400), FAIL, "context_length"),
    ("llama.cpp input for a vector", 500, {}, openai("input (3501 tokens) is too large to process. increase the physical batch size (current batch size: 2048)", type_="server_error", code=500), FAIL, "context_length"),
    ("llama.cpp context", 400, {}, openai("the request exceeds the available context size", type_="exceed_context_size_error", code=400), FAIL, "context_length"),
    ("llama.cpp loading", 503, {}, openai("Loading model", type_="unavailable_error", code=503), WAIT, "overloaded"),
    ("Ollama string", 500, {}, {"error": "llama runner process has terminated"}, RETRY, "server"),
    # OpenRouter
    ("credits", 402, {}, openai("Insufficient credits", code=402), STOP, "quota"),
    ("in-flight budget", 402, {"Retry-After": "2"}, openai("in_flight_budget", code=402), WAIT, "rate_limit"),
    ("moderation", 403, {}, openai("flagged", code=403, metadata={"reasons": ["violence"]}), FAIL, "content_filter"),
    ("200 with an upstream error", 200, {}, openai("Provider returned error", code=502), RETRY, "server"),
    ("200 with a rate limit", 200, {}, openai("Rate limited", code=429), WAIT, "rate_limit"),
    ("200 with a refused key", 200, {}, openai("No auth", code=401), STOP, "auth"),
    # Groq, Anthropic-like gateways, Cloudflare
    ("Groq capacity", 498, {}, openai("", code="capacity_exceeded"), WAIT, "overloaded"),
    ("413", 413, {}, openai("Request too large"), FAIL, "too_large"),
    ("529", 529, {}, openai("Overloaded", type_="overloaded_error"), WAIT, "overloaded"),
    ("524 page", 524, {}, b"<html><title>A timeout occurred</title></html>", RETRY, "server"),
    ("502 page", 502, {}, b"<html>Bad gateway</html>", RETRY, "server"),
    ("firewall page", 403, {}, b"<html><title>Access denied</title></html>", FAIL, "forbidden"),
    # ModelsLab
    ("queue, HTTP 429", 429, {}, {"status": "error", "message": "queue limit reached"}, WAIT, "rate_limit"),
    ("queue, HTTP 200", 200, {}, {"status": "error", "messege": "You have reached the limit of queued requests"}, WAIT, "rate_limit"),
    ("key, HTTP 200", 200, {}, {"status": "error", "message": "Invalid API key"}, STOP, "auth"),
    ("credit, HTTP 200", 200, {}, {"status": "error", "message": "Insufficient credits"}, STOP, "quota"),
    ("something, HTTP 200", 200, {}, {"status": "error", "message": "Failed"}, RETRY, "server"),
    # 200, but no completion
    ("empty", 200, {}, b"", RETRY, "invalid_response"),
    ("null", 200, {}, b"null", RETRY, "invalid_response"),
    ("page", 200, {}, b"<html>Maintenance</html>", RETRY, "invalid_response"),
    ("no choices", 200, {}, {"id": "x"}, RETRY, "invalid_response"),
    ("deep", 200, {}, b"[" * 100_000, RETRY, "invalid_response"),
    # the rest of the statuses
    ("201", 201, {}, b"{}", FAIL, "invalid_response"),
    ("204", 204, {}, b"", FAIL, "invalid_response"),
    ("redirect", 307, {"Location": "https://elsewhere.example/"}, b"", STOP, "redirect"),
    ("404 route", 404, {}, b"not found", FAIL, "not_found"),
    ("405", 405, {}, b"", STOP, "endpoint"),
    ("501", 501, {}, b"", STOP, "endpoint"),
    ("408", 408, {}, b"", RETRY, "server"),
    ("409", 409, {}, b"", RETRY, "server"),
    ("425", 425, {}, b"", RETRY, "server"),
    ("499", 499, {}, b"", RETRY, "server"),
    ("418", 418, {}, b"", FAIL, "bad_request"),
    ("422", 422, {}, {"detail": [{"msg": "field required"}]}, FAIL, "bad_request"),
    ("599", 599, {}, b"", RETRY, "server"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "status", "headers", "body", "kind", "error_class"), ANSWERS, ids=[row[0] for row in ANSWERS]
)
def test_an_answer_means_what_the_table_says(what, status, headers, body, kind, error_class):
    outcome = classify(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())

    assert (outcome.kind, outcome.error_class) == (kind, error_class)
    assert outcome.code == status
    assert outcome.message


@pytest.mark.parametrize(
    ("fault", "kind", "error_class", "after"),
    [
        ("connect", PAUSE, "connection", "no_success"),
        ("timeout_connect", PAUSE, "connection", "no_success"),
        ("dns", PAUSE, "connection", "no_success"),
        ("reset", RETRY, "connection", ""),
        ("payload", RETRY, "connection", ""),
        ("timeout_idle", RETRY, "timeout", ""),
        ("timeout_total", RETRY, "timeout", ""),
        ("tls", STOP, "tls", ""),
        ("invalid_url", STOP, "invalid_url", ""),
        ("too_large", FAIL, "too_large", ""),
        ("local", WAIT, "local", ""),
    ],
)
def test_a_transport_fault_means_what_the_table_says(fault, kind, error_class, after):
    outcome = classify(None, {}, b"", TransportFault(fault, "what the library said"))

    assert (outcome.kind, outcome.error_class, outcome.after) == (kind, error_class, after)


@pytest.mark.parametrize(
    ("status", "after"),
    [(404, "no_success"), (403, "row_streak"), (400, "first_rows"), (422, "first_rows"), (413, "")],
)
def test_what_may_stop_the_run_later_says_after_what(status, after):
    assert classify(status, {}, b"").after == after


@pytest.mark.parametrize(
    ("headers", "message", "wait_s"),
    [
        ({"Retry-After": "20"}, "", 20.0),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, "", 1.5),
        ({}, "Please try again in 9m38.016s.", 578.016),
        ({}, "Please retry after 12 seconds.", 12.0),
        ({"Retry-After": "soon"}, "", None),
        ({"Retry-After": "-1"}, "", None),
    ],
)
def test_the_wait_comes_from_the_headers_else_from_the_message(headers, message, wait_s):
    assert classify(429, headers, json.dumps(openai(message)).encode()).wait_s == wait_s


def test_x_should_retry_is_obeyed_between_retry_and_fail_only():
    assert classify(400, {"x-should-retry": "true"}, b"").kind is RETRY
    assert classify(500, {"x-should-retry": "false"}, b"").kind is FAIL
    assert classify(401, {"x-should-retry": "true"}, b"").kind is STOP
    assert classify(429, {"x-should-retry": "false"}, b"").kind is WAIT


def test_a_message_shows_no_key_and_no_control_characters():
    body = json.dumps(openai("bad key sk-abcdefghijklmnop\x1b[31m \u202egnp.exe")).encode()

    message = classify(401, {}, body).message

    assert "sk-abc" not in message
    assert message.isprintable()


def test_a_message_that_echoes_the_prompt_is_cut():
    assert len(classify(400, {}, json.dumps(openai("x" * 100_000)).encode()).message) <= 2_000


def test_every_line_of_the_table_is_explained():
    assert [line.evidence for line in TABLE] == [one[0] for one in explained()[-len(TABLE) :]]
    assert all(row[0] and row[1] for row in explained())


@given(
    status=st.one_of(st.none(), st.integers(100, 999)),
    headers=st.dictionaries(
        st.sampled_from(
            ["retry-after", "Retry-After", "x-should-retry", "retry-after-ms", "date", "location"]
        ),
        st.text(),
    ),
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["error", "code", "type", "message", "status", "x"]), inner)
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_no_answer_however_strange_raises(status, headers, body):
    fault = TransportFault("reset", "") if status is None else None

    outcome = classify(status, headers, body, fault)

    assert outcome.kind is not OutcomeClass.OK
    assert outcome.wait_s is None or outcome.wait_s >= 0
