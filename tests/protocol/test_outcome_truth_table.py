"""The classifier, value by value: every status, code and wording, written out by hand."""

from __future__ import annotations

import json

import pytest
from batchlab.protocol.error_facts import ErrorFacts, error_facts

from batchlab.protocol.outcomes import TABLE, TransportFault, classify, explained

STATUSES = (200, 201, 400, 401, 402, 403, 404, 413, 418, 422, 429, 500, 503)


def verdict(status: int | None, body: object = b"{}", fault: str | None = None, **headers: str):
    """(class, error_class, after) of an answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    outcome = classify(status, named, raw, TransportFault(fault, "x") if fault else None)
    return outcome.kind.value, outcome.error_class, outcome.after


def by_status(status: int) -> tuple[str, str, str]:
    """What an answer without a word means."""
    own = {
        200: ("RETRY", "invalid_response", ""),
        400: ("FAIL", "bad_request", "first_rows"),
        401: ("STOP", "auth", ""),
        402: ("STOP", "quota", ""),
        403: ("FAIL", "forbidden", "row_streak"),
        404: ("FAIL", "not_found", "no_success"),
        405: ("STOP", "endpoint", ""),
        408: ("RETRY", "server", ""),
        409: ("RETRY", "server", ""),
        413: ("FAIL", "too_large", ""),
        422: ("FAIL", "bad_request", "first_rows"),
        425: ("RETRY", "server", ""),
        429: ("WAIT", "rate_limit", ""),
        498: ("WAIT", "overloaded", ""),
        499: ("RETRY", "server", ""),
        501: ("STOP", "endpoint", ""),
        505: ("STOP", "endpoint", ""),
        529: ("WAIT", "overloaded", ""),
    }
    if status in own:
        return own[status]
    if 200 < status < 300:
        return "FAIL", "invalid_response", ""
    if 300 <= status < 400:
        return "STOP", "redirect", ""
    if 400 <= status < 500:
        return "FAIL", "bad_request", ""
    return ("RETRY", "server", "") if status >= 500 else ("FAIL", "invalid_response", "")


def test_every_status_without_a_word():
    wrong = {status: verdict(status) for status in range(100, 700) if verdict(status) != by_status(status)}

    assert wrong == {}


CODES = {
    ("STOP", "quota", ""): "insufficient_quota credit_balance_exhausted daily_spend_limit_exceeded "
    "x_usage_limit_exceeded billing_hard_limit_reached",
    ("FAIL", "context_length", ""): "context_length_exceeded exceed_context_size_error",
    ("FAIL", "content_filter", ""): "content_filter content_policy_violation ResponsibleAIPolicyViolation",
    ("STOP", "auth", ""): "invalid_api_key authentication_error invalid_authentication",
    ("FAIL", "not_found", "no_success"): "model_not_found model_not_available not_found_error",
    ("WAIT", "overloaded", ""): "slow_down overloaded overloaded_error capacity_exceeded engine_overloaded",
}


@pytest.mark.parametrize(("expected", "codes"), CODES.items())
@pytest.mark.parametrize("status", STATUSES)
def test_a_code_decides_whatever_the_status(status, expected, codes):
    for code in codes.split():
        assert verdict(status, {"error": {"code": code}}) == expected, code
        assert verdict(status, {"error": {"type": code.upper()}}) == expected, code
        assert verdict(status, {"error": {"code": f"not_{code}_"}}) != expected or expected == by_status(
            status
        )


@pytest.mark.parametrize(
    "code", "rate_limit_exceeded rate_limit_error rate_limited tokens requests too_many_requests".split()
)
@pytest.mark.parametrize("status", STATUSES)
def test_a_rate_limit_code_counts_where_providers_send_it(status, code):
    limited = status in {200, 403, 429, 503}

    found = verdict(status, {"error": {"code": code}})

    assert found == (("WAIT", "rate_limit", "") if limited else by_status(status))


TOO_LARGE = ("FAIL", "too_large", "")
WORDINGS = [
    (TOO_LARGE, {200, 400, 413, 429}, "Request too large for model"),
    (TOO_LARGE, {200, 400, 413, 429}, "please reduce the length of the messages"),
    (TOO_LARGE, {200, 400, 413, 429}, "Limit 30000, Requested 40000"),
    (("STOP", "quota", ""), {200, 402, 403, 429}, "Insufficient credit on this account"),
    (("STOP", "quota", ""), {200, 402, 403, 429}, "insufficient balance"),
    (("STOP", "quota", ""), {200, 402, 403, 429}, "insufficient funds"),
    (("STOP", "quota", ""), {200, 402, 403, 429}, "you are out of credits"),
    (("STOP", "quota", ""), {200, 402, 403, 429}, "You exceeded your current quota"),
    (("STOP", "quota", ""), {200, 402, 403, 429}, "there is no credit"),
    (("STOP", "quota", ""), {400, 402}, "Your credit balance is too low to use this"),
    (("WAIT", "overloaded", ""), {498, 503, 529}, "the engine is overloaded"),
    (("WAIT", "overloaded", ""), {498, 503, 529}, "please slow down"),
    (("WAIT", "overloaded", ""), {498, 503, 529}, "Loading model"),
    (("WAIT", "overloaded", ""), {498, 503, 529}, "no capacity"),
    (("WAIT", "overloaded", ""), {498, 503, 529}, "server busy"),
    (("FAIL", "context_length", ""), {200, 400, 422}, "maximum context length is 8192"),
    (("FAIL", "context_length", ""), {200, 400, 422}, "its context length is only 4096"),
    (("FAIL", "context_length", ""), {200, 400, 422}, "longer than the context window"),
    (("FAIL", "context_length", ""), {200, 400, 422}, "exceeds the available context"),
    (("FAIL", "content_filter", ""), {200, 400, 403}, "stopped by the content filter"),
    (("FAIL", "content_filter", ""), {200, 400, 403}, "content management policy"),
    (("FAIL", "content_filter", ""), {200, 400, 403}, "against our content policy"),
    (("FAIL", "content_filter", ""), {200, 400, 403}, "refused by moderation"),
    (("FAIL", "content_filter", ""), {200, 400, 403}, "the prompt was flagged"),
    (("WAIT", "rate_limit", ""), {200, 400, 403, 429}, "you are in the queue"),
    (("WAIT", "rate_limit", ""), {200, 400, 403, 429}, "too many requests"),
    (("WAIT", "rate_limit", ""), {200, 400, 403, 429}, "maximum concurrency"),
    (("WAIT", "rate_limit", ""), {200, 400, 403, 429}, "rate-limit"),
    (("WAIT", "rate_limit", ""), {200, 400, 403, 429}, "limit reached"),
    (("WAIT", "rate_limit", ""), {200, 400, 403, 429}, "limit exceeded"),
    (("STOP", "auth", ""), {200, 400, 401, 403}, "Invalid API key"),
    (("STOP", "auth", ""), {200, 400, 401, 403}, "incorrect api_key"),
    (("STOP", "auth", ""), {200, 400, 401, 403}, "Unauthorized"),
    (("STOP", "auth", ""), {200, 400, 401, 403}, "invalid token"),
    (("STOP", "auth", ""), {200, 400, 401, 403}, "an API key is required"),
]


@pytest.mark.parametrize(("expected", "statuses", "words"), WORDINGS, ids=[row[2] for row in WORDINGS])
def test_a_wording_counts_at_the_statuses_it_is_known_from(expected, statuses, words):
    for status in {*STATUSES, 498, 529}:
        found = verdict(status, {"error": {"message": words}})
        if status in statuses:
            assert found == expected, status
        else:
            plain = by_status(status) if status != 200 else ("RETRY", "server", "")
            assert found == plain, status


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("tls", ("STOP", "tls", "")),
        ("invalid_url", ("STOP", "invalid_url", "")),
        ("connect", ("PAUSE", "connection", "no_success")),
        ("timeout_connect", ("PAUSE", "connection", "no_success")),
        ("dns", ("PAUSE", "connection", "no_success")),
        ("local", ("WAIT", "local", "")),
        ("too_large", ("FAIL", "too_large", "")),
        ("timeout_total", ("RETRY", "timeout", "")),
        ("timeout_idle", ("RETRY", "timeout", "")),
        ("reset", ("RETRY", "connection", "")),
        ("payload", ("RETRY", "connection", "")),
    ],
)
def test_every_fault_of_the_transport(fault, expected):
    assert verdict(None, b"", fault) == expected


def test_a_shortage_of_this_machine_waits_a_second():
    assert classify(None, {}, b"", TransportFault("local", "")).wait_s == 1.0


def test_credit_words_with_a_wait_are_a_rate_limit():
    body = {"error": {"message": "exceeded your current quota"}}

    assert verdict(429, body, retry_after="5") == ("WAIT", "rate_limit", "")
    assert verdict(402, {}, retry_after="5") == ("WAIT", "rate_limit", "")


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (b"", ErrorFacts(is_json=False)),
        (b"{}", ErrorFacts()),
        (b"[]", ErrorFacts()),
        (b"3", ErrorFacts()),
        (b'{"error": ""}', ErrorFacts()),
        (b'{"error": []}', ErrorFacts()),
        (b'{"error": "no"}', ErrorFacts(message="no")),
        (b'{"error": [{"message": "no"}]}', ErrorFacts(message="no")),
        (b'[{"error": {"message": "no", "code": 429}}]', ErrorFacts(message="no", status=429)),
        (b'{"object": "error", "message": "no", "code": 404}', ErrorFacts(message="no", status=404)),
        (b'{"object": "error", "type": "A"}', ErrorFacts(frozenset({"a"}))),
        (b'{"status": "error", "messege": "no"}', ErrorFacts(message="no")),
        (b'{"status": "error", "type": "B"}', ErrorFacts(frozenset({"b"}))),
        (b'{"status": "fine", "type": "B"}', ErrorFacts()),
        (b'{"message": "no"}', ErrorFacts(message="no")),
        (b'{"detail": [{"loc": 1}]}', ErrorFacts(message='[{"loc": 1}]')),
        (b'{"status": "error", "tip": "try this"}', ErrorFacts(message="try this")),
        (b'{"error": {"code": "503", "type": "12"}}', ErrorFacts(status=503)),
        (b'{"error": {"code": true}}', ErrorFacts()),
        (b'{"error": {"code": "4290"}}', ErrorFacts()),
        (b'{"error": {"code": "399"}}', ErrorFacts()),
        (b'{"error": {"code": "X", "innererror": {"code": "Y"}}}', ErrorFacts(frozenset({"x", "y"}))),
        (b'{"error": {"metadata": {"reasons": ["z"]}}}', ErrorFacts(frozenset({"moderation"}))),
        (b'{"error": {"metadata": {"reasons": []}}}', ErrorFacts()),
        (b'{"error": {"message": 5, "detail": "b"}}', ErrorFacts(message="b")),
        (b'{"error": {"message": 5}}', ErrorFacts()),
        (b'{"error": {"message": {}, "tip": "c"}}', ErrorFacts(message="c")),
        (b'{"error": {"message": "", "detail": "b", "tip": "c"}}', ErrorFacts(message="b")),
        (b"<html><TITLE lang=x> 502\nBad </title>x", ErrorFacts(message="502\nBad", is_json=False)),
        (b"<p>busy<br>now</p>", ErrorFacts(message="busy now", is_json=False)),
    ],
)
def test_the_facts_of_an_error_body(body, facts):
    assert error_facts(body) == facts


def test_a_star_in_a_code_stands_for_anything_but_what_follows_it():
    assert verdict(400, {"error": {"code": "overspend_limit_exceeded"}}) == by_status(400)
    assert verdict(400, {"error": {"code": "my_billing_"}}) == by_status(400)


def test_the_table_for_a_person_begins_with_success():
    first, *rest = explained()

    assert first[1:] == ("OK", "")
    # before it stands what an answer's vectors are judged by
    assert len(rest) == len(TABLE) + 2


def test_long_texts_are_cut():
    long = json.dumps({"error": {"message": ["x" * 9_000]}}).encode()
    assert len(error_facts(long).message) == 4_096
    assert len(error_facts(b"word " * 3_000).message) == 300
    assert error_facts(b" " * 4_095 + b"ab").message == "a"


def test_an_error_in_a_200_is_judged_by_the_status_it_names():
    assert verdict(200, {"error": {"message": "no", "code": 401}}) == ("STOP", "auth", "")
    assert verdict(400, {"error": {"message": "no", "code": 401}}) == ("FAIL", "bad_request", "first_rows")
    assert classify(200, {}, b'{"error": {"code": 401}}').code == 200


def test_x_should_retry_changes_fail_and_retry_only():
    assert verdict(400, b"{}", x_should_retry="TRUE") == ("RETRY", "bad_request", "")
    assert verdict(500, b"{}", X_Should_Retry="false") == ("FAIL", "server", "")
    assert verdict(401, b"{}", x_should_retry="true") == ("STOP", "auth", "")
    assert verdict(429, b"{}", x_should_retry="false") == ("WAIT", "rate_limit", "")
    assert verdict(400, b"{}", x_should_retry="yes") == ("FAIL", "bad_request", "first_rows")


@pytest.mark.parametrize(
    ("status", "headers", "body", "message"),
    [
        (307, {"location": "https://x.example"}, b"", "redirects to https://x.example; set it as base_url"),
        (399, {}, b"", "redirects to an unnamed place"),
        (400, {"location": "https://x.example"}, b"{}", "HTTP 400 without a message"),
        (300, {}, b'{"message": "no"}', "redirects to"),
        (200, {}, b"{}", "status 200 but is no completion"),
        (500, {}, b"{}", "HTTP 500 without a message"),
        (500, {}, b'{"message": "no"}', "no"),
    ],
)
def test_what_a_person_is_told(status, headers, body, message):
    assert message in classify(status, headers, body).message


def test_a_fault_without_words_is_named():
    assert classify(None, {}, b"", TransportFault("timeout_idle", "")).message == "timeout idle"
    assert classify(None, {}, b"", TransportFault("reset", "cut off")).message == "cut off"
