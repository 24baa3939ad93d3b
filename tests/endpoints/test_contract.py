"""ModelsLab's OpenAPI document, as the simulator keeps it."""

from __future__ import annotations

import pytest

from tests.endpoints.raw import ask, chat


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
