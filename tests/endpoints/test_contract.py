"""ModelsLab's OpenAPI document, as the simulator keeps it."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from tests.conftest import ROOT
from tests.endpoints.raw import ask, chat

CONTRACT = json.loads((ROOT / "tests/proofs/simulator/openapi.json").read_text())


def fits(name: str, value) -> bool:
    """Whether a value is what the contract calls by a name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    return jsonschema_rs.validator_for(schema).is_valid(value)


@pytest.fixture
def server(simulator):
    return simulator(models=["maker/model-1", "other"], context_tokens=1_000)


def test_a_request_without_a_model_or_a_message_is_taken(server):
    nameless = ask(server.base_url, {"messages": [{"role": "user", "content": "Why?"}]})
    empty = ask(server.base_url, {"model": "other", "messages": []})

    assert (nameless.status, nameless.json["model"]) == (200, "maker/model-1")
    assert (empty.status, empty.json["choices"][0]["finish_reason"]) == (200, "stop")


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (b"{", 400, "invalid_request"),
        ([], 400, "invalid_request"),
        ({}, 400, "invalid_request"),
        ({"messages": "Why?"}, 400, "invalid_request"),
        ({"messages": [{"role": "nobody", "content": ""}]}, 400, "invalid_request"),
        (chat("Why?", temperature=9), 400, "invalid_request"),
        (chat("Why?", model=7), 400, "invalid_request"),
        (chat("Why?", service_tier=7), 400, "invalid_request"),
        (chat("Why?", model="other", service_tier="scale"), 400, "unsupported_value"),
        (chat("Why?", model="none"), 404, "model_not_found"),
        (chat("Why? " * 1_000, model="other"), 400, "context_length_exceeded"),
    ],
    ids=range(11),
)
def test_a_refusal_has_a_code_that_is_text(server, asked, status, code):
    came = ask(server.base_url, asked)

    assert came.status == status
    assert fits("Error", came.json)
    error = came.json["error"]
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert isinstance(error["message"], str)


def test_a_wrong_key_has_a_code_that_is_text(server):
    came = ask(server.base_url, chat("Why?"), key="wrong")

    assert (came.status, came.json["error"]["code"]) == (401, "invalid_api_key")


def test_a_limit_has_a_code_that_is_text(simulator):
    server = simulator(rpm=60)
    came = [ask(server.base_url, chat("Why?")) for _ in range(2)][1]

    assert (came.status, came.json["error"]["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/nowhere", 404, "not_found"),
        ("GET", "/chat", 404, "not_found"),
        ("GET", "/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/models", 405, "method_not_allowed"),
    ],
)
def test_what_is_no_route_is_answered_in_json(server, method, path, status, code):
    came = ask(server.base_url, {}, path, method=method)

    assert (came.status, came.json["error"]["code"]) == (status, code)
    assert came.header("Content-Type").startswith(b"application/json")


def test_a_model_can_be_looked_up_by_its_name(server):
    known = ask(server.base_url, {}, "/models/maker/model-1", method="GET")
    unknown = ask(server.base_url, {}, "/models/nobody/knows", method="GET")
    stranger = ask(server.base_url, {}, "/models/other", method="GET", key="wrong")

    assert known.json == {"id": "maker/model-1", "object": "model", "created": 0, "owned_by": "simulator"}
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")
    assert stranger.status == 401


def test_answers_are_as_the_contract_states(server):
    plain = ask(server.base_url, chat("Why?", model="other", max_tokens=3))
    listed = ask(server.base_url, {}, "/models", method="GET")

    assert fits("ChatRequest", chat("Why?"))
    assert fits("ChatCompletion", plain.json)
    assert not fits("ChatCompletion", {**plain.json, "choices": []})
    assert all(fits("Model", model) for model in listed.json["data"])


@pytest.mark.parametrize(
    "name", ["stream", "streaming", "stream_options", "model_id", "max_tokens", "n", "logprobs"]
)
def test_null_is_as_good_as_nothing(server, name):
    assert ask(server.base_url, {**chat("Why?", model="other"), name: None}).status == 200


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stream": 0}, "'stream' must be a boolean"),
        ({"streaming": ""}, "'streaming' must be a boolean"),
        ({"model_id": 7}, "'model_id' must be a string"),
        ({"stream_options": []}, "'stream_options.include_usage' must be a boolean"),
        ({"stream_options": {"include_usage": "yes"}}, "'stream_options.include_usage' must be a boolean"),
        ({"max_tokens": 1.5}, "'max_tokens' must be a positive integer"),
        ({"logprobs": 0}, "'logprobs' must be a boolean"),
        ({"messages": [{"role": {}, "content": "Why?"}]}, "'messages[0].role' must be one of"),
        ({"messages": [7]}, "'messages[0].role' must be one of"),
        ({"response_format": {"type": []}}, "'response_format.type' must be one of"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "", "detail": {}}}],
                    }
                ]
            },
            "detail must be one of",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "x"}}], "tool_choice": {}},
            "'tool_choice' must be",
        ),
    ],
    ids=range(12),
)
def test_a_wrong_type_is_refused_even_when_it_is_empty(server, wrong, said):
    came = ask(server.base_url, {**chat("Why?", model="other"), **wrong})

    assert came.status == 400
    assert said in came.json["error"]["message"]


def test_a_whole_number_may_be_written_with_a_point(server):
    """In JSON Schema 8.0 is an integer."""
    came = ask(server.base_url, chat("Why?", model="other", max_tokens=2.0))

    assert came.json["usage"]["completion_tokens"] == 2


def test_the_other_name_of_stream_streams(server):
    came = ask(server.base_url, {**chat("Why?", model="other"), "stream": None, "streaming": True})

    assert came.body.startswith(b"data: {")
