"""The classifier, value by value: every status, code and wording, written out by hand."""

from __future__ import annotations

import json

import pytest

from batchlab.protocol.outcomes import wordings
from batchlab.protocol.outcomes.classify import TransportFault, classify, explained
from batchlab.protocol.outcomes.table import TABLE

STATUSES = (200, 201, 400, 401, 402, 403, 404, 413, 418, 422, 429, 500, 503)


def verdict(status: int | None, body: object = b"{}", fault: str | None = None, **headers: str):
    """(class, error_class, after) of an answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    outcome = classify(status, named, raw, TransportFault(fault, "x") if fault else None)
    return outcome.kind.value, outcome.error_class, outcome.after


OWN = {
    200: ("RETRY", "invalid_response", "wrong_address"),
    400: ("FAIL", "bad_request", "first_rows"),
    401: ("STOP", "auth", ""),
    402: ("STOP", "quota", ""),
    403: ("FAIL", "forbidden", "row_streak"),
    404: ("FAIL", "not_found", "no_success"),
    405: ("STOP", "endpoint", ""),
    407: ("STOP", "endpoint", ""),
    408: ("RETRY", "server", ""),
    409: ("RETRY", "server", ""),
    410: ("FAIL", "not_found", "no_success"),
    413: ("FAIL", "too_large", ""),
    421: ("RETRY", "server", ""),
    422: ("FAIL", "bad_request", "first_rows"),
    423: ("RETRY", "server", ""),
    424: ("RETRY", "server", ""),
    425: ("RETRY", "server", ""),
    446: ("FAIL", "content_filter", ""),
    429: ("WAIT", "rate_limit", ""),
    498: ("WAIT", "overloaded", ""),
    499: ("RETRY", "server", ""),
    501: ("STOP", "endpoint", ""),
    505: ("STOP", "endpoint", ""),
    529: ("WAIT", "overloaded", ""),
}


def by_status(status: int) -> tuple[str, str, str]:
    """What an answer without a word means."""
    if status in OWN:
        return OWN[status]
    if 200 < status < 300:
        return "FAIL", "invalid_response", ""
    if 300 <= status < 400:
        return "STOP", "redirect", ""
    if 400 <= status < 500:
        return "FAIL", "bad_request", "first_rows"
    return ("RETRY", "server", "") if status >= 500 else ("FAIL", "invalid_response", "")


def test_every_status_without_a_word():
    wrong = {status: verdict(status) for status in range(100, 700) if verdict(status) != by_status(status)}

    assert wrong == {}


CODES = {
    ("STOP", "quota", ""): "insufficient_quota credit_balance_exhausted daily_spend_limit_exceeded "
    "x_usage_limit_exceeded billing_hard_limit_reached insufficient_credits insufficient_balance "
    "insufficient_balance_error insufficient_user_quota pre_consume_token_quota_failed Arrearage 1113 "
    "exceeded_current_quota_error CreditsError minimax_1008 credit_limit AccountOverdueError "
    "SetLimitExceeded NOT_ENOUGH_BALANCE AllocationQuota.FreeTierOnly 1304 1308 1309 1310",
    ("FAIL", "context_length", ""): "context_length_exceeded exceed_context_size_error "
    "ContextWindowExceededError context_window_exceeded context_length_error string_above_max_length "
    "input_too_long 1261",
    ("FAIL", "content_filter", ""): "content_filter content_filter_error content_policy_violation "
    "ResponsibleAIPolicyViolation moderation data_inspection_failed DataInspectionFailed "
    "ContentPolicyViolationError 1301 InputTextSensitiveContentDetected safety_check_failed content_blocked "
    "PROHIBITED_CONTENT my_content_policy_violation invalid_prompt moderation_blocked safety_error "
    "minimax_1026 minimax_1027",
    ("STOP", "auth", ""): "invalid_api_key authentication_error invalid_authentication API_KEY_INVALID "
    "invalid_authentication_error AuthenticationError InvalidApiKey minimax_1004 minimax_2049 "
    "expired_key ExpiredTokenException UnrecognizedClientException",
    ("FAIL", "not_found", "no_success"): "model_not_found model_not_available not_found_error ModelNotFound "
    "model_decommissioned invalid_model DeploymentNotFound 1211",
    ("WAIT", "overloaded", ""): "slow_down overloaded overloaded_error capacity_exceeded engine_overloaded "
    "engine_overloaded_error",
}
ALL = [(expected, code) for expected, codes in CODES.items() for code in codes.split()]


@pytest.mark.parametrize(("expected", "code"), ALL, ids=[code for _, code in ALL])
def test_a_code_decides_whatever_the_status(expected, code):
    for status in STATUSES:
        assert verdict(status, {"error": {"code": code}}) == expected
        assert verdict(status, {"error": {"type": code.upper()}}) == expected
        assert verdict(status, {"error": {"code": f"not{code}_"}}) == error_by_status(status)


def error_by_status(status: int) -> tuple[str, str, str]:
    """The same for an error of which nothing is known."""
    return by_status(status) if status != 200 else ("RETRY", "server", "")


@pytest.mark.parametrize(
    "code",
    "rate_limit_error rate_limited tokens requests too_many_requests rate_limit rate_limit_exceeded "
    "rate_limit_reached_error limit_requests limit_burst_rate 1302 1303 1305 minimax_1002 "
    "minimax_1039 minimax_1041 minimax_2045 minimax_2056".split(),
)
def test_a_rate_limit_code_counts_where_providers_send_it(code):
    for status in STATUSES:
        limited = status in {200, 403, 429, 503}

        found = verdict(status, {"error": {"code": code}})

        assert found == (("WAIT", "rate_limit", "") if limited else by_status(status)), status


def test_aws_throttles_at_any_status():
    for status in STATUSES:
        if status == 413:
            continue
        assert verdict(status, {"__type": "ThrottlingException", "message": "x"}) == LATER
        assert verdict(status, {"__type": "com.amazon.coral#ThrottlingException", "message": "x"}) == LATER
        named = {"x_amzn_errortype": "ThrottlingException:http://internal.amazon.com/"}
        assert verdict(status, {"message": "Rate exceeded"}, **named) == LATER
    assert verdict(400, {"__type": "ValidationException", "message": "x"}) == REFUSED


@pytest.mark.parametrize("code", ["json_validate_failed", "tool_use_failed", "output_parse_failed"])
def test_a_schema_that_the_model_missed_is_the_row_s(code):
    assert {verdict(status, {"error": {"code": code}}) for status in STATUSES if status != 413} == {
        ("FAIL", "schema", "")
    }


TOO_LARGE = ("FAIL", "too_large", "")
CONTEXT = ("FAIL", "context_length", "")
CONTENT = ("FAIL", "content_filter", "")
QUOTA = ("STOP", "quota", "")
LATER = ("WAIT", "rate_limit", "")
AUTH = ("STOP", "auth", "")
BUSY = ("WAIT", "overloaded", "")
REFUSED = ("FAIL", "bad_request", "first_rows")
WORDINGS = [
    (TOO_LARGE, {400, 413, 429}, "Request too large for model"),
    (TOO_LARGE, {200, 400, 413, 429}, "litellm.BadRequestError: Request too large"),
    (TOO_LARGE, {400, 413, 429}, "Request Entity Too Large"),
    (TOO_LARGE, {413, 429}, "Limit 30000, Requested 40000"),
    (TOO_LARGE, {413}, "that is a very long tale in which there is a request too large"),
    *((CONTEXT, {200, 400, 413, 422}, words) for words in (
        "This model's maximum context length is 8192", "its context length is only 4096",
        "is longer than the maximum model length of 9", "too long to fit into the model", "the model's context window",
        "the model context size", "model maximum context length", "model's max context length",
        "Input length (9 tokens) exceeds the maximum allowed length", "input length 9 exceeds the maximum allowed input length",
        "token count exceeds the model's max", "tokens exceed the max", "`inputs` tokens + `max_new_tokens`",
        "`inputs` must have less than 9", "exceeds the available context", "exceed the context", "when context the overflows",
        "when context overflows", "of only 9 tokens, which is not enough", "greater than the context length",
        "configured context size is 9", "prompt is too long", "prompt too long; exceeded context length",
        "exceed context limit", "The input token count (9) exceeds", "input token count is 9 but model only supports",
        "maximum prompt length is 9", "Range of input length should be", "exceeded model token limit",
        "context window exceeds limit", "prompt token count of 9 exceeds the limit of 8", "Please reduce the length of the messages",
        "reduce the length of your prompt", "too large for model with 9 maximum context", "too many tokens: 9",
        "Input is too long for requested model", "longer than the context window", "larger than the maximum context size",
        "exceeds the model's context window", "input tokens exceed the configured limit", "Prompt 超长", "prompt超长", "输入长度超过", "输入超出", "输入过长",
    )),
    (("FAIL", "context_length", ""), {500}, "input (9 tokens) is too large to process"),
    *((CONTENT, {200, 400, 403, 422}, words) for words in (
        "Content Exists Risk", "Input data may contain inappropriate content", "Output text data may contain inappropriate content",
        "Content violates usage guidelines", "content violating the usage guidelines", "SAFETY_CHECK_TYPE_BIO", "Failed check: safety",
        "content management policy", "against our content policy", "stopped by the content filter", "content_filter",
        "content_policy", "blocked by content filtering", "rejected as a result of our safety system", "flagged for policies",
        "blocked: policy", "rejected by risk control", "violates our usage policies", "violating the content policy", "was flagged as bad",
        "the prompt was flagged", "the request was flagged", "requires moderation on", "refused by moderation", "stopped by the moderation",
        "PROHIBITED_CONTENT", "prohibited content", "不安全或敏感内容", "内容安全", "敏感内容", "new_sensitive",
    )),
    *((QUOTA, {200, 402, 403, 429}, words) for words in (
        "Insufficient credit on this account", "insufficient balance", "insufficient account balance", "insufficient funds", "insufficient quota",
        "you are out of credits", "out of credit", "You exceeded your current quota", "there is no credit", "no credits",
        "the subscription has expired", "plan ended", "balance is insufficient", "user quota is not enough", "余额不足", "欠费",
        "has used all available credits", "used all your credits", "exhausted its credits", "your team doesn't have any credits yet",
        "does not have any free credits", "not enough balance", "You have exhausted your wallet balance", "balance of your account is insufficient",
        "an overdue balance", "in arrears", "Key limit exceeded (total limit)", "the free tier of the model has been exhausted",
        "has reached its monthly spending limit", "exceeded your monthly included credits", "Monthly limit exceeded", "monthly spending limit reached",
    )),
    *((QUOTA, {200, 402, 429}, words) for words in (
        "free-models-per-day", "tokens per day", "your daily free allocation of 9", "daily quota", "已达到今日调用次数上限",
    )),
    (QUOTA, {402, 429}, "a Trial key, which is limited to 1000 API calls / month."),
    (QUOTA, {400, 402}, "You have reached your specified API usage limits. You will regain access on 2026-12-01"),
    (QUOTA, {400, 402}, "You have reached your specified workspace API usage limits."),
    (QUOTA, {402, 412}, "Account x is suspended, possibly due to reaching the monthly spending limit"),
    (QUOTA, {400, 402}, "Your credit balance is too low to access the Anthropic API."),
    (QUOTA, {200, 402, 403, 429, 500}, "insufficient balance (1008)"),
    (BUSY, {498, 503, 529}, "the engine is overloaded"),
    (BUSY, {498, 503, 529}, "please slow down"),
    (BUSY, {498, 503, 529}, "slowdown"),
    (BUSY, {404, 421, 423, 424, 498, 503, 529}, "Loading model"),
    (BUSY, {498, 503, 529}, "no capacity"),
    (BUSY, {498, 503, 529}, "server busy"),
    (BUSY, {404, 421, 423, 424, 498, 503, 529}, "try again in a minute"),
    (BUSY, {498, 503, 529}, "try again"),
    (BUSY, {404, 421, 423, 424, 498, 529}, "warming up"),
    (BUSY, {404, 421, 423, 424, 498, 529}, "starting up"),
    (BUSY, {404, 421, 423, 424, 498, 529}, "please wait"),
    (BUSY, {404, 421, 423, 424, 498, 529}, "not ready"),
    *((LATER, {200, 403, 429}, words) for words in (
        "you are in the queue", "queue limit", "queued: wait", "queue is full", "queue size reached", "queue exceeded", "the limit of the queue",
        "your place in the queue", "too many requests", "too many concurrent", "too many queued", "maximum concurrency", "max concurrency", "concurrency limit",
        "concurrent requests", "concurrency exceeded", "limit of concurrency", "rate-limit", "ratelimit", "limit reached", "limit exceeded", "reached the limit",
        "exceeded your daily limit", "Out of call volume quota.",
    )),
    *((AUTH, {200, 401, 403}, words) for words in (
        "Invalid API key", "incorrect api_key", "missing api key", "wrong apikey", "no api key", "Unauthorized", "unauthorised", "invalid token",
        "an API key is required", "API key is invalid", "api key not valid", "Invalid access token.",
        "The security token included in the request is expired",
    )),
    *((REFUSED, {200, 400, 422}, words) for words in (
        "The prompt field is required.", "The selected model is invalid.", "The max tokens must be a number.", "The prompt may not be empty.",
        "The prompt may only contain letters.", "The name has already been taken.", "The image format is wrong.", "The seed does not match.",
        "messages is required", "messages are missing", "model is not supported", "temperature is invalid", "invalid model", "unsupported parameter", "unknown request",
        "missing message", "invalid value", "unknown field", "missing argument", "invalid type", "invalid json", "unsupported role",
        "1 validation error", "validation failed",
    )),
    (("FAIL", "not_found", "no_success"), {200, 404}, "The model x was not found"),
    (("FAIL", "not_found", "no_success"), {200, 404}, "model x does not exist"),
    (("FAIL", "not_found", "no_success"), {200, 404}, "model x is not available"),
    (("FAIL", "not_found", "no_success"), {200, 404}, "model x do not exist"),
    (("FAIL", "not_found", "no_success"), {200, 400, 404}, "Model Not Exist"),
    (("FAIL", "not_found", "no_success"), {200, 400, 404}, "Model does not exist. Please check it carefully."),
    (("FAIL", "not_found", "no_success"), {200, 404}, "model_id not found"),
    (("FAIL", "not_found", "no_success"), {200, 404}, "modelid not found"),
    (("RETRY", "invalid_response", "wrong_address"), {200}, "Unexpected endpoint or method. (POST /x)"),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "statuses", "words"), WORDINGS, ids=[row[2] for row in WORDINGS])
def test_a_wording_counts_at_the_statuses_it_is_known_from(expected, statuses, words):
    for status in {*STATUSES, 412, 421, 423, 424, 498, 529}:
        found = verdict(status, {"error": {"message": words}})
        assert found == (expected if status in statuses else error_by_status(status)), status
        if not words.startswith("litellm."):
            assert verdict(status, {"error": {"message": words.upper()}}) == found, "whatever the case"


@pytest.mark.parametrize(
    "words",
    [
        "a queue", "the limit", "an api key", "no key", "credit", "quota", "the subscription", "concurrency", "token",
        "context", "a safety belt", "content", "flagged", "policies", "moderation", "prompt", "so the prompt field is required",
        "so invalid model", "I say messages is required", "maximum", "a validation", "say model x not found", "endpoint",
    ],
)  # fmt: skip
def test_a_word_alone_says_nothing(words):
    for status in STATUSES:
        assert verdict(status, {"error": {"message": words}}) == error_by_status(status), status


def test_words_of_a_page_count_only_where_a_status_says_the_same():
    for words in (
        "rate limit",
        "unauthorized",
        "out of credits",
        "prompt is too long",
        "content policy",
        "model x not found",
    ):
        page = f"<html><title>{words}</title></html>".encode()
        assert verdict(200, page) == ("RETRY", "invalid_response", "wrong_address")
        assert verdict(200, words.encode()) == ("RETRY", "invalid_response", "wrong_address")
        assert verdict(200, b'{"choices": [], "text": "' + words.encode()) == (
            "RETRY",
            "invalid_response",
            "",
        )
        assert verdict(403, page) == by_status(403)
        assert verdict(400, page) == by_status(400)
    assert verdict(403, b"rate limit") == LATER
    assert verdict(503, b"<html><title>overloaded</title></html>") == BUSY
    assert verdict(200, b"Unexpected endpoint or method") == ("RETRY", "invalid_response", "wrong_address")


TLS = ("FAIL", "tls", "no_success")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<title>400 The plain HTTP request was sent to HTTPS port</title>", TLS),
        (b"The plain HTTP request was sent to HTTPS port", TLS),
        (b"Client sent an HTTP request to an HTTPS server.", TLS),
        (b"so: Client sent an HTTP request to an HTTPS server.", REFUSED),
        (b'{"message": "Client sent an HTTP request to an HTTPS server."}', REFUSED),
    ],
)
def test_plain_http_at_a_port_for_https_is_known_by_its_page(body, expected):
    assert verdict(400, body) == expected
    assert verdict(500, body) == by_status(500)


@pytest.mark.parametrize(
    ("message", "known"),
    [
        ("Queue limit reached", True), ("queue rate limit", True), ("You have reached the queue limit", True),
        ("you have exceeded your rate limit", True), ("you've reached the request limit", True),
        ("your concurrency limit", True), ("Exceeded the concurrent limit", True), ("the queue is full", True),
        ("Your queue is full", True), ("queue is full", True), ("limit reached", False), ("in the queue limit", False),
        ("my queue is full", False), ("the queue is", False),
    ],
)  # fmt: skip
def test_modelslab_s_sentences_of_its_queue_at_a_400(message, known):
    for status in (400, 422):
        found = verdict(status, {"status": "error", "message": message})
        assert found == (LATER if known else REFUSED)
        assert verdict(status, {"error": {"message": message}}) == REFUSED


@pytest.mark.parametrize(
    "message", ["Invalid API key", "incorrect api-key", "missing api_key", "wrong apikey!"]
)
def test_modelslab_s_sentences_of_its_key_at_a_400(message):
    for status in (400, 422):
        assert verdict(status, {"status": "error", "message": message}) == AUTH
        assert verdict(status, {"status": "error", "message": f"the {message}"}) == REFUSED
        assert verdict(status, {"status": "error", "message": f"{message}s"}) == REFUSED or message.endswith(
            "!"
        )


def test_every_wording_has_someone_who_says_it_and_is_one_of_the_table_s():
    for table in (
        wordings.CONTEXT,
        wordings.CONTENT,
        wordings.FORMAT,
        wordings.QUEUE,
        wordings.KEY,
        wordings.CREDIT,
        wordings.DAILY,
        wordings.REFUSED,
    ):
        assert all(table.values())
        assert wordings.any_of(table).count("(?:") >= len(table)
    assert wordings.any_of({"a": "x", "b|c": "y"}) == "(?:a)|(?:b|c)"


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        ("response_format", True), ("response format", True), ("json_schema", True), ("json schema", True), ("json_object", True),
        ("json mode", True), ("structured output", True), ("structured_outputs", True), ("guided_json", True), ("guided_decoding", True),
        ("Failed to parse grammar", True), ("invalid grammar", True), ("initializing grammar", True), ("unsupported grammar", True),
        ("grammar error", True), ("grammar", False), ("json", False),
    ],
)  # fmt: skip
def test_words_of_a_refused_format_count_where_one_was_asked_for(words, counts):
    from batchlab.protocol.outcomes.facts import Asked

    body = json.dumps({"error": {"message": words}}).encode()
    for status in (400, 422):
        found = classify(status, {}, body, asked=Asked(options=frozenset({"grammar"})))
        assert found.error_class == ("response_format" if counts else "bad_request")
        assert classify(status, {}, body).error_class == "bad_request"


FAULTS = [
    ("tls", ("STOP", "tls", "")),
    ("tls_expected", ("STOP", "tls", "")),
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
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS)
def test_every_fault_of_the_transport(fault, expected):
    assert verdict(None, b"", fault) == expected


def test_a_shortage_of_this_machine_waits_a_second():
    assert classify(None, {}, b"", TransportFault("local", "")).wait_s == 1.0


def test_credit_words_with_a_wait_are_a_rate_limit():
    body = {"error": {"message": "exceeded your current quota"}}

    assert verdict(429, body, retry_after="5") == LATER
    assert verdict(402, {}, retry_after="5") == LATER
    assert verdict(402, {}, retry_after="0") == LATER
    assert (
        verdict(
            400,
            {"error": {"message": "Your credit balance is too low to access the Claude API"}},
            retry_after="5",
        )
        == QUOTA
    )


@pytest.mark.parametrize("status", [404, 421, 423, 424])
def test_a_404_and_its_like_wait_when_they_say_how_long(status):
    assert verdict(status, {}, retry_after="5") == BUSY
    assert verdict(status, {}, retry_after="0") == BUSY
    assert verdict(400, {}, retry_after="5") == REFUSED


@pytest.mark.parametrize("day", ["RequestsPerDay", "requests_per_day", "requests-per-day-x", "PERDAY"])
def test_a_quota_by_the_day_is_gone_and_any_other_comes_back(day):
    def body(*ids):
        return {"error": {"code": 429, "details": [{"violations": [{"quotaId": one} for one in ids]}]}}

    assert verdict(429, body(day)) == QUOTA
    assert verdict(429, body("RequestsPerMinute", day)) == QUOTA
    assert verdict(429, body("RequestsPerMinute")) == LATER
    assert (
        verdict(429, {"error": {"status": "RESOURCE_EXHAUSTED", "message": "exceeded your current quota"}})
        == LATER
    )
    assert verdict(200, body(day)) == QUOTA
    assert verdict(400, body(day)) == REFUSED
    assert verdict(403, {"error": {"status": "RESOURCE_EXHAUSTED"}}) == by_status(403)


def test_a_star_in_a_code_stands_for_anything_but_what_follows_it():
    assert verdict(400, {"error": {"code": "overspend_limit_exceeded"}}) == by_status(400)
    assert verdict(400, {"error": {"code": "my_billing_"}}) == by_status(400)


def test_the_table_for_a_person_begins_with_success():
    first, *rest = explained()

    assert first[1:3] == ("OK", "")
    # before it stands what an answer's vectors are judged by
    assert len(rest) == len(TABLE) + 2
    assert [row[3] for row in rest[2:]] == [line.read_at for line in TABLE]


def test_an_error_in_a_200_is_judged_by_the_status_it_names():
    assert verdict(200, {"error": {"message": "no", "code": 401}}) == AUTH
    assert verdict(400, {"error": {"message": "no", "code": 401}}) == REFUSED
    assert classify(200, {}, b'{"error": {"code": 401}}').code == 200
    for status in range(400, 600):
        assert verdict(200, {"error": {"code": status}}) == by_status(status)


def test_a_code_that_only_a_text_tells_of_stops_no_run_by_a_400():
    inner = {"error": {"code": "invalid_api_key", "message": "x"}}

    for status in (400, 413, 422):
        assert verdict(status, {"error": {"message": json.dumps(inner)}}) == by_status(status)
        assert verdict(status, {"error": {"message": "litellm.AuthenticationError: x"}}) == by_status(status)
        assert verdict(status, {"error": {"message": json.dumps(inner), "code": "invalid_api_key"}}) == AUTH
        assert verdict(status, {"error": {"innererror": inner["error"]}}) == AUTH
    context = {"error": {"code": "context_length_exceeded"}}
    assert verdict(400, {"error": {"message": json.dumps(context)}}) == CONTEXT
    assert (
        verdict(401, {"error": {"message": json.dumps({"error": {"code": "insufficient_quota"}})}}) == QUOTA
    )


def test_x_should_retry_changes_fail_and_retry_only():
    assert verdict(400, b"{}", x_should_retry="TRUE") == ("RETRY", "bad_request", "")
    assert verdict(500, b"{}", X_Should_Retry="false") == ("FAIL", "server", "")
    assert verdict(401, b"{}", x_should_retry="true") == ("STOP", "auth", "")
    assert verdict(429, b"{}", x_should_retry="false") == LATER
    assert verdict(400, b"{}", x_should_retry="yes") == REFUSED
    assert verdict(400, b"{}", x_should_retry="false") == REFUSED
    assert verdict(500, b"{}", x_should_retry="true") == by_status(500)


@pytest.mark.parametrize(
    ("status", "headers", "body", "message"),
    [
        (307, {"Location": "https://x.example"}, b"", "the base URL redirects to https://x.example; set it as base_url"),
        (399, {}, b"", "the base URL redirects to an unnamed place; set it as base_url"),
        (400, {"location": "https://x.example"}, b"{}", "HTTP 400 without a message"),
        (300, {}, b'{"message": "no"}', "the base URL redirects to an unnamed place; set it as base_url"),
        (200, {}, b"{}", "the answer has status 200 but is no completion: {}"),
        (200, {}, b"", "the answer has status 200 but is no completion"),
        (200, {}, b'{"version": "1"}', 'the answer has status 200 but is no completion: {"version": "1"}'),
        (500, {}, b"{}", "HTTP 500 without a message"),
        (500, {}, b'{"message": "no"}', "no"),
    ],
)  # fmt: skip
def test_what_a_person_is_told(status, headers, body, message):
    assert classify(status, headers, body).message == message


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("no choices", "the answer has status 200 but is no completion (no choices)"),
        ("the answer has status 200 but no embeddings", "the answer has status 200 but is no completion (no embeddings)"),
        ("", "the answer has status 200 but is no completion"),
    ],
)  # fmt: skip
def test_a_200_that_says_nothing_is_explained_by_what_is_wrong_with_it(problem, message):
    assert classify(200, {}, b'{"choices": []}', problem=problem).message == message
    assert classify(200, {}, b'{"error": "no"}', problem=problem).message == "no"


def test_a_fault_without_words_is_named():
    assert classify(None, {}, b"", TransportFault("timeout_idle", "")).message == "timeout idle"
    assert classify(None, {}, b"", TransportFault("reset", "cut off")).message == "cut off"
