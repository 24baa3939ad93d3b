"""What an error's body says for programs, in each envelope that services use, and which of its words count."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.outcomes.facts import MAX_WORDS, Asked, Facts, error_facts, unquoted


def facts(body, status=400, headers=None, **more):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_facts(status, headers or {}, raw, **more)


def said(body, status=400) -> tuple:
    """(envelope, status, codes, message) of a body."""
    found = facts(body, status)
    return found.envelope, found.status, set(found.codes), found.message


# body of a 200 → envelope, the status that it is judged by, codes, message
ENVELOPES = [
    ("nothing", b"", ("text", 200, set(), "")),
    ("no object", b"3", ("none", 200, set(), "")),
    ("an empty list", b"[]", ("none", 200, set(), "")),
    ("an answer", {"id": "x", "choices": [], "code": "x", "msg": "y"}, ("none", 200, set(), "")),
    ("OpenAI", {"error": {"message": "no", "type": "server_error", "param": None, "code": None}}, ("error", 500, {"server_error"}, "no")),
    ("a list of it: Google", [{"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}}], ("error", 429, {"resource_exhausted"}, "no")),
    ("a list in it", {"error": [{"message": "no", "code": "x"}]}, ("error", 200, {"x"}, "no")),
    ("a list beside nothing: Cloudflare", {"success": False, "errors": [{"code": 7003, "message": "no route"}]}, ("error", 200, {"7003"}, "no route")),
    ("a list beside a message", {"message": "no", "errors": [{"message": "field"}]}, ("flat", 200, set(), "no")),
    ("Ollama, TGI", {"error": "no", "error_type": "validation"}, ("error", 200, {"validation"}, "no")),
    ("xAI", {"code": "permission-denied", "error": "no"}, ("error", 200, {"permission-denied"}, "no")),
    ("vLLM, SGLang", {"object": "error", "message": "no", "type": "BadRequestError", "param": None, "code": 400}, ("flat", 400, {"badrequesterror"}, "no")),
    ("vLLM without its object", {"message": "no", "type": "NotFoundError", "code": 404}, ("flat", 404, {"notfounderror"}, "no")),
    ("object alone", {"object": "error", "type": "A"}, ("flat", 200, {"a"}, "")),
    ("Anthropic", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ("error", 529, {"overloaded_error"}, "Overloaded")),
    ("FastAPI", {"detail": "Not Found"}, ("flat", 200, set(), "Not Found")),
    ("API Gateway, Bedrock", {"Message": "User is not authorized"}, ("flat", 200, set(), "User is not authorized")),
    ("Bedrock", {"__type": "ThrottlingException", "message": "slow"}, ("flat", 200, {"throttlingexception"}, "slow")),
    ("Azure API Management", {"statusCode": 401, "message": "no key"}, ("flat", 401, set(), "no key")),
    ("DashScope's own", {"code": "InvalidParameter", "message": "no", "request_id": "r"}, ("flat", 200, {"invalidparameter"}, "no")),
    ("msg", {"code": "A", "msg": "no"}, ("flat", 200, {"a"}, "no")),
    ("msg without a code", {"code": 7, "msg": "no"}, ("none", 200, set(), "")),
    ("Baidu's first", {"error_code": 336003, "error_msg": "no"}, ("flat", 200, {"336003"}, "no")),
    ("MiniMax", {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, ("error", 200, {"minimax_1008"}, "insufficient balance")),
    ("MiniMax, a good one", {"choices": None, "base_resp": {"status_code": 0, "status_msg": ""}}, ("none", 200, set(), "")),
    ("MiniMax before OpenAI's (modelscope 1691)", {"error": {"http_code": "429", "message": "no", "type": "insufficient_balance_error"}}, ("error", 429, {"insufficient_balance_error"}, "no")),
    ("ModelsLab", {"status": "error", "messege": "queue"}, ("modelslab", 200, set(), "queue")),
    ("ModelsLab, tip", {"status": "error", "tip": "try this"}, ("modelslab", 200, set(), "try this")),
    ("ModelsLab, Laravel's validator", {"status": "error", "message": {"prompt": ["The prompt field is required."]}}, ("modelslab", 400, set(), '{"prompt": ["The prompt field is required."]}')),
    ("status that is fine", {"status": "fine", "type": "B"}, ("none", 200, set(), "")),
    ("error: true beside a message", {"error": True, "message": "no", "code": "x"}, ("flat", 200, {"x"}, "no")),
    ("an empty error", {"error": {}, "x": 1}, ("none", 200, set(), "")),
    ("an error of nothing", {"error": "", "errors": []}, ("none", 200, set(), "")),
    ("a page", b"<!DOCTYPE html><html><head><TITLE lang=x> 502\nBad </title></head>x", ("text", 200, set(), "502\nBad")),
    ("text", b"<p>busy<br>now</p>", ("text", 200, set(), "busy now")),
    ("the first event of a stream", b': hi\n\nevent: error\ndata: {"error": {"message": "no", "code": 503}}\n\ndata: x\n\n', ("error", 503, set(), "no")),
    ("llama.cpp's error field", b'error: {"code":400,"message":"no","type":"invalid_request_error"}\n\n', ("flat", 400, {"invalid_request_error"}, "no")),
    ("a stream of nothing", b": hi\n\n", ("text", 200, set(), "")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "expected"), [row[1:] for row in ENVELOPES], ids=[row[0] for row in ENVELOPES]
)
def test_an_error_is_read_in_its_envelope(body, expected):
    assert said(body, 200) == expected


def test_the_status_line_stands_before_the_status_in_a_body():
    assert facts({"error": {"message": "no", "code": 401}}, 400).status == 400
    assert facts({"error": {"message": "no", "code": 401}}, 200).status == 401
    assert facts({"error": {"message": "no", "code": 401}}, 200).http == 200
    assert facts(b"", None).http == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 401}, 401), ({"code": "401"}, 401), ({"status": "503"}, 503), ({"status_code": 429}, 429),
        ({"http_code": "429"}, 429), ({"statusCode": 404}, 404), ({"code": 399}, 200), ({"code": 400}, 400),
        ({"code": 599}, 599), ({"code": 600}, 200), ({"code": "4290"}, 200), ({"code": "399"}, 200),
        ({"code": True}, 200), ({"code": 401.0}, 200), ({"code": [401]}, 200), ({"code": "٤٠١"}, 200),
        ({"code": 10**30}, 200), ({"code": None, "status": 403}, 403),
        # google.rpc.Code; OpenAI's, Anthropic's, vLLM's and LiteLLM's types
        ({"status": "INVALID_ARGUMENT"}, 400), ({"status": "FAILED_PRECONDITION"}, 400),
        ({"status": "UNAUTHENTICATED"}, 401), ({"status": "PERMISSION_DENIED"}, 403),
        ({"status": "NOT_FOUND"}, 404), ({"status": "RESOURCE_EXHAUSTED"}, 429), ({"status": "INTERNAL"}, 500),
        ({"status": "UNAVAILABLE"}, 503), ({"status": "DEADLINE_EXCEEDED"}, 504),
        ({"type": "invalid_request_error"}, 400), ({"type": "validation_error"}, 400),
        ({"type": "authentication_error"}, 401), ({"type": "billing_error"}, 402),
        ({"type": "permission_error"}, 403), ({"type": "not_found_error"}, 404),
        ({"type": "request_too_large"}, 413), ({"type": "rate_limit_error"}, 429), ({"type": "api_error"}, 500),
        ({"type": "timeout_error"}, 504), ({"type": "overloaded_error"}, 529), ({"type": "server_error"}, 500),
        ({"type": "BadRequestError"}, 400), ({"type": "NotFoundError"}, 404),
        ({"type": "InternalServerError"}, 500), ({"code": "INTERNAL_SERVER_ERROR"}, 500),
        ({"type": "UnprocessableEntityError"}, 422), ({"type": "ServiceUnavailableError"}, 503),
        ({"type": "APIConnectionError"}, 500), ({"type": "PermissionDeniedError"}, 403),
        ({"code": "rate_limit_exceeded", "type": "invalid_request_error"}, 429),
        ({"message": "Error code: 400 - {'error': {'code': 'invalid_api_key'}}"}, 400),  # argo-proxy 91
        ({"message": "litellm.BadRequestError: OpenAIException - Error code: 422 - no"}, 422),
        ({"message": "said Error code: 400"}, 200), ({"message": "Error code: 4000"}, 200),
        ({"base": 1}, 200),
    ],
)  # fmt: skip
def test_a_200_is_judged_by_the_status_that_its_error_names(error, status):
    assert facts({"error": error}, 200).status == status


@pytest.mark.parametrize(
    ("error", "codes"),
    [
        ({"code": "X", "type": "Y", "status": "Z", "error_type": "V", "reason": "R"}, {"x", "y", "z", "v", "r"}),
        ({"code": "1301"}, {"1301"}),  # Zhipu: text
        ({"code": 1113}, {"1113"}),
        ({"type": "1113"}, {"1113"}),  # Zhipu in Anthropic's envelope (claude-code 9201)
        ({"code": 999}, set()),
        ({"code": 1000}, {"1000"}),
        ({"code": "999", "type": "12", "status": ""}, set()),
        ({"code": "None", "type": "NULL", "status": "error"}, set()),
        ({"code": True, "type": 1.5, "status": ["x"], "reason": {"y": 1}}, set()),
        ({"error_code": 336003}, {"336003"}),
        ({"metadata": {"error_type": "Provider_Unavailable"}}, {"provider_unavailable"}),  # OpenRouter, streams
        ({"metadata": {"reasons": ["violence"]}}, {"moderation"}),  # OpenRouter
        ({"metadata": {"reasons": []}}, set()),
        ({"metadata": "x"}, set()),
        ({"details": [{"@type": "google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}, {"reason": 5}, 7]}, {"api_key_invalid"}),
        ({"details": {"reason": "x"}}, set()),
        ({"content_filter_result": {"hate": {"filtered": True}}}, {"content_filter"}),  # Azure
        ({"content_filter_results": {"hate": {"filtered": True}}}, {"content_filter"}),
        ({"content_filter_result": {"hate": {"filtered": False}, "x": True, "y": {"filtered": 1}}}, set()),
        ({"content_filter_result": [{"filtered": True}]}, set()),
        ({"message": "litellm.RateLimitError: no"}, {"ratelimiterror"}),
        ({"message": "litellm.exceptions.RateLimitError: no"}, {"ratelimiterror"}),
        # OpenHands 4894: a class before each class
        ({"message": "litellm.BadRequestError: litellm.ContextWindowExceededError: AnthropicError - x"}, {"badrequesterror", "contextwindowexceedederror"}),
        ({"message": "I say litellm.RateLimitError: no"}, set()),
        ({"message": 5}, set()),
    ],
)  # fmt: skip
def test_codes_are_the_words_that_an_error_has_for_programs(error, codes):
    assert set(facts({"error": error}).codes) == codes


INNER = {"error": {"message": "inner words", "type": "inner_type", "code": "inner_code"}}


@pytest.mark.parametrize(
    "outer",
    [
        {"metadata": {"raw": json.dumps(INNER)}},  # OpenRouter (OmniRoute 3044)
        {"metadata": {"raw": f"  {json.dumps(INNER, indent=2)}\n"}},  # go-openrouter 21
        {"metadata": {"raw": INNER}},
        {"metadata": {"raw": json.dumps([INNER])}},
        {"metadata": {"raw": json.dumps({"error": {"metadata": {"raw": json.dumps(INNER)}}})}},  # a router's router
        {"metadata": {"raw": {"object": "error", **INNER["error"]}}},
        {"innererror": INNER["error"]},
        {"inner_error": INNER["error"]},
        {"provider_specific_fields": {"innererror": INNER["error"]}},  # LiteLLM (16231)
        {"message": json.dumps(INNER)},  # Gemini's front end (continue 10560)
        {"message": f"{json.dumps(INNER, indent=2)}\n"},
        {"message": INNER},
        {"message": [INNER]},
        {"message": json.dumps({"detail": json.dumps(INNER)})},
        {"detail": json.dumps(INNER)},
        {"detail": INNER},
        {"error": INNER["error"]},
        {"error": json.dumps(INNER)},
        {"message": f"AnthropicException - {json.dumps(INNER)}. Received Model Group=a"},
        {"message": f"litellm.BadRequestError: litellm.BadRequestError: AnthropicError - {json.dumps(INNER)}\nReceived"},
        {"message": f"litellm.BadRequestError: AnthropicException - b'{json.dumps(INNER)}'. Received"},  # brokk 540
        {"message": f"litellm.BadRequestError: XaiException - Error code: 400 - {json.dumps(INNER)}"},
        {"message": f"Error code: 400 - {json.dumps(INNER)}"},
        {"message": f"litellm.BadRequestError: {json.dumps(INNER)}"},
    ],
)  # fmt: skip
def test_an_error_inside_an_error_is_read_too(outer):
    found = facts({"error": outer})

    assert {"inner_code", "inner_type"} <= found.codes
    assert "inner words" in found.words
    assert "inner words" in found.message
    assert found.own == {"type": "inner_type", "code": "inner_code", "param": None, "message": "inner words"}
    assert found.cause == "inner_code"


@pytest.mark.parametrize(
    "outer",
    [
        {"message": f"the model was asked: {json.dumps(INNER)}"},
        {"message": f"messages[0].content {json.dumps(INNER)} is not allowed"},
        {"detail": [{"type": "string_type", "loc": ["body"], "msg": "Input should be text", "input": INNER}]},
        {"message": {"detail": [{"loc": ["body"], "msg": "x", "input": json.dumps(INNER)}]}},
        {"input": INNER},
        {"ctx": INNER},
        {"param": json.dumps(INNER)},
    ],
)
def test_what_the_user_wrote_is_no_error_inside_an_error(outer):
    found = facts({"error": outer})

    assert not {"inner_code", "inner_type"} & found.codes
    assert "inner words" not in found.words


def test_metadata_raw_may_be_a_sentence():
    """OpenRouter, open-webui/computer 293."""
    raw = "z-ai/glm is temporarily rate-limited upstream. Please retry shortly"
    body = {
        "error": {
            "message": "Provider returned error",
            "code": 429,
            "metadata": {"raw": raw, "provider_name": "BaseTen"},
        }
    }

    found = facts(body, 429)

    assert found.message == f"Provider returned error: BaseTen: {raw}"
    assert found.words == f"Provider returned error\n{raw}"
    assert facts({"error": {"message": "no", "metadata": {"raw": " "}}}).message == "no"
    assert facts({"error": {"message": "no", "metadata": {"raw": "<p>busy</p>"}}}).message == "no: busy"
    assert facts({"error": {"message": "no", "metadata": {"raw": "no", "provider_name": 5}}}).message == "no"
    assert (
        facts({"error": {"message": "no", "metadata": {"raw": "so", "provider_name": 5}}}).message == "no: so"
    )


def test_errors_inside_errors_end_somewhere():
    deep = {"message": "end", "code": "e9"}
    for level in range(8, -1, -1):
        deep = {"code": f"e{level}", "innererror": deep}

    assert set(facts({"error": deep}).codes) == {"e0", "e1", "e2", "e3", "e4"}
    text = json.dumps(INNER)
    wide = {
        name: {"message": text, "detail": text, "error": text}
        for name in ("message", "detail", "error", "innererror")
    }
    assert facts({"error": wide}).codes


DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [
        {"quotaMetric": "m", "quotaId": "RequestsPerDay", "x": 1},
        {"quotaId": 5},
        "y",
        {"subject": "s"},
    ],
}


def test_google_s_details_name_quotas_and_the_wait():
    """gemini-cli 8437."""
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.5s"}
    error = {
        "code": 429,
        "message": "You exceeded your current quota. Please retry in 9s.",
        "details": [DAY, "x", retry],
    }

    found = facts({"error": error}, 429)

    assert found.quotas == {"m", "RequestsPerDay", "s"}
    assert found.wait_s == 45.5
    assert facts({"error": {"details": [{"violations": {"quotaId": "x"}}]}}).quotas == frozenset()


@pytest.mark.parametrize(
    ("headers", "error", "wait_s"),
    [
        ({"retry-after": "7"}, {"details": [{"retryDelay": "3s"}]}, 7.0),
        ({}, {"details": [{"retryDelay": "3s"}], "message": "retry in 9s"}, 3.0),
        ({}, {"details": [{"retryDelay": "0s"}]}, 0.0),
        ({}, {"details": [{"retryDelay": "3"}]}, None),
        ({}, {"details": [{"retryDelay": "-3s"}]}, None),
        ({}, {"details": [{"retryDelay": "٣s"}]}, None),
        ({}, {"details": [{"retryDelay": 3}]}, None),
        ({}, {"error": {"details": [{"retryDelay": "3s"}]}}, 3.0),
        ({}, {"retry_after": 4}, 4.0),
        ({}, {"retry_after": -1}, None),
        ({}, {"retry_after": True}, None),
        ({}, {"retry_after": "4"}, None),
        ({}, {"retry_after": 0}, 0.0),
        ({}, {"metadata": {"retry_after_seconds": 2.5}}, 2.5),  # OpenRouter
        ({}, {"estimated_time": 20.0}, 20.0),  # Hugging Face, a model that is loading
        ({}, {"message": "Rate limit is exceeded. Try again in 9 seconds."}, 9.0),  # Azure
        ({}, {"message": "no 'x' here, try again in 9s"}, 9.0),
        ({}, {"message": "cannot read 'try again in 9s'"}, None),
        ({"retry-after": "soon"}, {"message": "try again in 9s"}, 9.0),
    ],
)  # fmt: skip
def test_the_wait_is_the_header_s_else_the_error_s_else_the_sentence_s(headers, error, wait_s):
    assert facts({"error": error}, 429, headers).wait_s == wait_s


def test_when_a_limit_is_over_is_read_of_a_429_alone_and_last():
    reset = {"ratelimit-reset": "30"}

    assert facts({"error": {"message": "no"}}, 429, reset).wait_s == facts(b"no", 429, reset).wait_s == 30.0
    assert facts({"error": {"message": "try again in 9s"}}, 429, reset).wait_s == 9.0
    assert facts({"error": {"message": "no"}}, 429, {**reset, "retry-after": "2"}).wait_s == 2.0
    # every answer has such headers, whatever is wrong with it
    assert facts({"error": {"message": "no"}}, 500, reset).wait_s is None


def test_a_wait_in_a_page_counts_and_in_half_an_answer_does_not():
    assert facts(b"<p>busy, try again in 9s</p>", 503).wait_s == 9.0
    assert facts(b"<p>try again in 9s</p>", 503, {"retry-after": "2"}).wait_s == 2.0
    assert facts(b'{"choices": [{"message": {"content": "try again in 9s', 200).wait_s is None
    now = datetime(2026, 1, 1, tzinfo=UTC)
    date = {"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}
    assert facts({}, 503, date, now=now).wait_s == facts(b"", 503, date, now=now).wait_s == 30.0


@pytest.mark.parametrize(
    ("error", "params"),
    [
        ({"param": "response_format"}, {"response_format"}),
        ({"param": "messages[0].content"}, {"messages", "0", "content", ""} - {""}),
        ({"param": "/body/x#"}, {"body/x"}),
        ({"param": ""}, set()),
        ({"param": "X"}, {"X"}),
        ({"param": 5}, set()),
        ({"param": ["x"]}, set()),
        ({"detail": [{"loc": ["body", "messages", 0, "user"], "msg": "x"}, {"loc": "y"}, 5]}, {"body", "messages", "user"}),
        ({"message": [{"loc": ["body", "tools"], "msg": "x"}]}, {"body", "tools"}),  # Mistral (php-mistral 76)
        ({"message": {"detail": [{"loc": ["body", "name"], "msg": "x"}]}}, {"body", "name"}),  # mistral-go 2
        ({"detail": {"loc": ["x"]}}, set()),
    ],
)  # fmt: skip
def test_parameters_are_named_by_param_or_by_a_validator_s_places(error, params):
    assert set(facts({"error": error}).params) - {""} == params


HERE = "the rate limit of the queue, unauthorized"


@pytest.mark.parametrize(
    "quoted",
    [
        f"'{HERE}'", f'"{HERE}"', f"`{HERE}`", f"“{HERE}”", f"„{HERE}”", f"«{HERE}»", f"「{HERE}」", f"『{HERE}』",
        f"b'{HERE}'", f'u"{HERE}"', f"'{HERE}", f'"{HERE}', f"`{HERE}", f"“{HERE}", f"«{HERE}", f"「{HERE}", f"『{HERE}",
        repr(f"it's {HERE}"), repr(f'"it\'s" {HERE}'), json.dumps(f'say "{HERE}" now'), json.dumps(HERE)[:-1],
        json.dumps(json.dumps(HERE)), f"&#39;{HERE}&#39;", f"&quot;{HERE}&quot;", f"&#x27;{HERE}",
        f"'don't {HERE}'", f"'''{HERE}'''", f'"""{HERE}"""', f"'{HERE}\\", f"'\n{HERE}\n'", f"['{HERE}']",
        f"{{'content': '{HERE}'}}", f"[type=string_type, input_value='{HERE}', input_type=str]",
        f"input_value={{'role': 'user', 'content': '{HERE}...",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "no: ", "messages.0.content=", "("])
def test_what_is_quoted_in_any_way_is_no_word_of_the_server(before, quoted):
    found = facts({"error": {"message": f"{before}{quoted}"}}, 403)

    assert not found.says("rate limit|queue|unauthorized")
    assert found.message == f"{before}{quoted}", "people see it all the same"
    assert unquoted(f"{before}{quoted}").startswith(before.strip())


def test_a_text_with_quotes_of_its_own_decides_no_wait_and_no_stop():
    """Nobody can tell where such a quote ends, so what follows the first is not heard for more than a row."""
    for text in (f"'I said ' {HERE} ' to him'", f'"a" {HERE} "b"', f"`a b` {HERE}", f"“a” {HERE}"):
        found = facts({"error": {"message": f"refused: {text}"}}, 403)

        assert found.plain_words == "refused: "
        assert not found.says_plainly("rate limit|queue|unauthorized")
        assert found.says("^refused")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("This model's maximum context length", "This model's maximum context length"),
        ("the users' limit", "the users' limit"),
        (
            "`inputs` tokens + `max_new_tokens` must be <= 8",
            "`inputs` tokens + `max_new_tokens` must be <= 8",
        ),
        ("Unsupported parameter: 'max_tokens' is not supported", "Unsupported parameter: … is not supported"),
        ("a\n b\t c ", "a b c"),
        ("R&amp;D &lt;x&gt;", "R&D <x>"),
        ("", ""),
    ],
)
def test_what_is_not_quoted_stays(message, words):
    assert unquoted(message) == words


def test_of_a_validator_s_list_only_its_own_sentences_are_words():
    detail = [
        {
            "type": "string_type",
            "loc": ["body", "messages", 0],
            "msg": "Input should be a valid string",
            "input": HERE,
        },
        {"type": "missing", "loc": ["body", "x"], "msg": "Field required", "input": {"content": HERE}},
    ]

    for body in (
        {"detail": detail},
        {"message": {"detail": detail}, "type": "x"},
        {"object": "Error", "message": detail},
    ):
        found = facts(body, 422)
        assert "Input should be a valid string; Field required" in found.words
        assert "queue" not in found.words
        assert "Field required" in found.message
    laravel = facts(
        {"status": "error", "message": {"prompt": ["The prompt field is required."], "n": "x"}}, 200
    )
    assert laravel.words == "The prompt field is required."
    assert facts({"detail": [{"loc": ["body"], "ctx": ["x"], "type": "t"}]}).words == ""
    assert facts({"message": {"message": "so"}}).words == "so"
    assert facts({"message": [[[["a"], {"x": ["b"]}, {"msg": "c"}]]]}).words == "a; c"
    assert facts({"message": [[{"x": ["b"]}]]}).words == "b"
    assert facts({"message": [[[[["a"]]]]], "detail": "d"}).words == ""
    assert facts({"message": [str(n) for n in range(99)]}).words == "; ".join(str(n) for n in range(16))


def test_words_are_the_beginning_and_a_line_for_each_error():
    long = "word " * 3_000
    found = facts({"error": {"message": long, "innererror": {"message": "second"}}})

    assert found.words == long[:MAX_WORDS]
    assert len(found.words) == len(found.plain_words) == 400
    assert len(found.plain_words) <= MAX_WORDS
    both = facts({"error": {"message": "first\nline", "innererror": {"message": "second"}}})
    assert both.words == both.plain_words == "first line\nsecond"
    assert both.says("^second$")
    assert both.says("FIRST line$")
    assert not both.says("^line")


def test_the_half_of_an_answer_has_no_words():
    found = facts(b'{"choices": [{"message": {"content": "Unauthorized', 200)

    assert (found.envelope, found.words, found.plain_words) == ("text", "", "")
    assert "Unauthorized" in found.message
    assert facts(b"Unauthorized", 401).words == "Unauthorized"


def test_long_texts_are_cut():
    assert len(facts({"error": {"message": ["x" * 9_000]}}).message) == 4_096
    assert len(facts(b"word " * 3_000).message) == 300
    assert facts(b" " * 4_095 + b"ab").message == "a"
    assert facts({"error": {"code": "c" * 99}}).cause == "c" * 64
    assert len(facts({"error": {"code": "c", "message": "x" * 9_000}}).own["message"]) == 1_000
    assert len(facts({"error": {"message": "x" * 9_000}}).own["message"]) == 1_000


@pytest.mark.parametrize(
    ("error", "own"),
    [
        ({"message": "m", "type": "t", "code": 5, "param": "p"}, {"type": "t", "code": 5, "param": "p", "message": "m"}),
        ({"message": "m", "type": "t", "code": [1], "param": {}}, {"type": "t", "message": "m"}),
        ({"message": "m"}, {"message": "m"}),
        ({"message": "m", "code": "c", "innererror": {"message": "i"}}, {"type": None, "code": "c", "param": None, "message": "m"}),
    ],
)  # fmt: skip
def test_the_provider_s_own_words_are_kept(error, own):
    assert facts({"error": error}).own == own
    assert facts({}).own is None
    assert facts(b"x").own is None


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ({"code": "c", "type": "t"}, "c"), ({"code": None, "type": "t"}, "t"), ({"code": 1302}, "1302"),
        ({"code": True, "status": "S"}, "S"), ({"type": "error", "error_type": "e"}, "e"), ({"status_code": 1008}, "1008"),
        ({"error_code": 7}, "7"), ({"message": "m"}, ""), ({"code": "c", "innererror": {"code": "i"}}, "i"),
        ({"code": "c", "innererror": {"message": "m"}}, "c"),
    ],
)  # fmt: skip
def test_the_cause_is_the_innermost_code(error, cause):
    assert facts({"error": error}).cause == cause


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"message": "m", "detail": "d"}, "m"), ({"messege": "m"}, "m"), ({"detail": "d", "tip": "t"}, "d"),
        ({"tip": "t"}, "t"), ({"msg": "g"}, "g"), ({"Message": "M"}, "M"), ({"status_msg": "s"}, "s"),
        ({"error_msg": "e"}, "e"), ({"message": 5, "detail": "b"}, "b"), ({"message": 5}, ""),
        ({"message": {}, "tip": "c"}, "c"), ({"message": "", "detail": "b"}, "b"),
        ({"message": ["é"]}, '["é"]'),
        ({"message": ["é"], "innererror": {"message": "i"}}, "i"),
        ({"message": "m", "innererror": {"message": "i"}}, "m: i"),
        ({"message": "all of m", "innererror": {"message": "m"}}, "all of m"),
        ({"message": "", "innererror": {"message": "i"}}, "i"),
        ({"message": '{"error": {"message": "i"}}'}, '{"error": {"message": "i"}}'),
        ({"message": '{"error": {"message": "i\\n"}}'}, "i\n"),
    ],
)  # fmt: skip
def test_what_people_are_shown(error, message):
    assert facts({"error": error}).message == message


def test_what_was_asked_and_what_failed_are_facts_too():
    asked = Asked(5, frozenset({"n"}))

    for body in (b"", b"{}"):
        found = error_facts(None, {}, body, fault="reset", asked=asked)
        assert (found.fault, found.asked, found.http, found.status) == ("reset", asked, 0, 0)


@pytest.mark.parametrize(
    ("body", "page"),
    [
        (b"<HTML>", True),
        (b"\n<!DOCTYPE x>", True),
        (b"html", False),
        (b" " * 4_096 + b"<html>", False),
        (b'{"error": "<html>"}', False),
    ],
)
def test_a_page_is_known_by_its_beginning(body, page):
    assert facts(body, 200).is_page is page


def test_codes_may_be_asked_for_with_a_star():
    found = facts({"error": {"code": "my_spend_limit_exceeded", "type": "billing_hard"}})

    assert found.is_one_of("*_spend_limit_exceeded")
    assert found.is_one_of("x", "billing_*")
    assert found.is_one_of("billing_hard")
    assert not found.is_one_of("*_spend_limit", "hard*", "spend_limit_exceeded", "billing")
    assert not facts({}).is_one_of("*")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["error", "429", HERE])
)
NAMES = st.sampled_from(
    "error errors code type status message detail details metadata raw innererror base_resp status_code violations "
    "quotaId retryDelay loc msg param object choices content_filter_result provider_specific_fields retry_after".split()
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_no_body_however_strange_raises(value):
    for body in (
        value,
        {"error": value},
        json.dumps(value),
        {"error": {"message": json.dumps(value), "detail": value}},
    ):
        found = facts(body, 200)
        assert found.wait_s is None or found.wait_s >= 0


@pytest.mark.parametrize("name", ["error", "message", "detail", "code", "innererror", "param", "details"])
@pytest.mark.parametrize("opening", ["[", '{"error":', '{"message":', '{"detail":['])
def test_no_depth_raises(name, opening):
    for depth in (100, 250, 500, 900, 1_000, 100_000):
        closing = opening.count("{") * "}" if not opening.endswith("[") else "]" + opening.count("{") * "}"
        body = f'{{"error": {{"{name}": {opening * depth}1{closing * depth}}}}}'.encode()
        assert facts(body, 200).http == 200


def test_nothing_is_known_of_an_answer_until_it_is_read():
    nothing = Facts()

    assert (nothing.http, nothing.status, nothing.wait_s, nothing.fault, nothing.own) == (
        0,
        0,
        None,
        None,
        None,
    )
    assert (nothing.message, nothing.words, nothing.plain_words, nothing.cause, nothing.envelope) == (
        "",
        "",
        "",
        "",
        "none",
    )
    assert not nothing.is_page
    assert not nothing.codes | nothing.told | nothing.params | nothing.quotas
