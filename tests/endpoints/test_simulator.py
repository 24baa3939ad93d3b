"""The simulator is a provider: the official SDK works against it unchanged."""

from __future__ import annotations

import openai
import pytest

from tests.conftest import CANARY

MESSAGES = [{"role": "user", "content": "Why does ice float?"}]


@pytest.fixture
def client(simulator):
    server = simulator(models=["sim"])
    with openai.OpenAI(base_url=server.base_url, api_key=CANARY, max_retries=0) as made:
        yield made


def test_the_official_sdk_gets_a_plain_completion(client):
    answer = client.chat.completions.create(model="sim", messages=MESSAGES, max_tokens=30)

    assert answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_official_sdk_gets_the_same_completion_streamed(client):
    plain = client.chat.completions.create(model="sim", messages=MESSAGES, max_tokens=30)
    text, usage = "", None
    for chunk in client.chat.completions.create(
        model="sim", messages=MESSAGES, max_tokens=30, stream=True, stream_options={"include_usage": True}
    ):
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        usage = chunk.usage or usage

    assert text == plain.choices[0].message.content
    assert usage.total_tokens == plain.usage.total_tokens


def test_the_official_sdk_lists_models_and_understands_the_errors(client, simulator):
    assert [model.id for model in client.models.list()] == ["sim"]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="sim", messages=MESSAGES, temperature=9)
    with (
        openai.OpenAI(base_url=str(client.base_url), api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.chat.completions.create(model="sim", messages=MESSAGES)


def test_a_rate_limit_is_a_429_with_the_time_to_wait(simulator):
    server = simulator(rpm=60)
    with openai.OpenAI(base_url=server.base_url, api_key=CANARY, max_retries=0) as client:
        client.chat.completions.create(model="sim", messages=MESSAGES)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="sim", messages=MESSAGES)

    assert 0 < float(caught.value.response.headers["retry-after"]) <= 1
    assert caught.value.response.headers["x-ratelimit-limit-requests"] == "60"


def test_max_tokens_cuts_the_answer_and_says_so(client):
    answer = client.chat.completions.create(model="sim", messages=MESSAGES, max_tokens=2)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rmp": 1}, "unknown option 'rmp'"),
        ({"rpm": -1}, "rpm"),
        ({"faults": [{"kind": "nope"}]}, "unknown fault 'nope'"),
    ],
)
def test_a_wrong_option_is_one_line(simulator, options, message):
    with pytest.raises(ValueError, match=message):
        simulator(**options)
