"""The simulator is a provider: the official SDK works against it unchanged."""

from __future__ import annotations

import json

import openai
import pytest

from tests.conftest import CANARY, simulating
from tests.proofs.simulator.sdks import OPTIONS, python_lines

MESSAGES = [{"role": "user", "content": "Why does ice float?"}]


def test_without_a_word_for_a_key_anyone_is_served(simulator):
    """As Ollama and vLLM do, which it stands in for."""
    server = simulator(models=["sim"], api_key="")
    with openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["sim"]


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


def test_the_official_sdk_goes_through_all_of_it():
    """Tools, tiers, models, errors, waiting, broken and held streams, batches; see `sdks.py` for Node."""
    with simulating(**OPTIONS) as server:
        assert len(python_lines(server.base_url)) == 13


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


PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYPgPAAEDAQAIicLsAAAAAElFTkSuQmCC"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["c", "f"]},
                "days": {"type": "integer"},
            },
        },
    },
}


def collected(client, **body) -> tuple[dict[int, str], dict[int, str], dict[int, int], int]:
    """Text, tool arguments and log probabilities of each choice of a streamed answer; its completion tokens."""
    texts: dict[int, str] = {}
    arguments: dict[int, str] = {}
    logprobs: dict[int, int] = {}
    tokens = 0
    for chunk in client.chat.completions.create(
        model="sim", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **body
    ):
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            for call in choice.delta.tool_calls or []:
                arguments[choice.index] = arguments.get(choice.index, "") + (call.function.arguments or "")
            logprobs[choice.index] = logprobs.get(choice.index, 0) + len(
                choice.logprobs.content if choice.logprobs else []
            )
    return texts, arguments, logprobs, tokens


def test_several_choices_with_log_probabilities_are_the_same_plain_and_streamed(client):
    asked = {"n": 3, "max_tokens": 9, "logprobs": True, "top_logprobs": 2}
    plain = client.chat.completions.create(model="sim", messages=MESSAGES, **asked)

    texts, _, logprobs, tokens = collected(client, **asked)

    assert texts == {choice.index: choice.message.content for choice in plain.choices}
    assert len(set(texts.values())) == 3
    assert logprobs == {choice.index: len(choice.logprobs.content) for choice in plain.choices}
    assert all(len(one.top_logprobs) == 2 for one in plain.choices[0].logprobs.content)
    assert tokens == plain.usage.completion_tokens == 27


def test_a_demanded_tool_is_called_with_arguments_of_its_schema(client):
    asked = {"tools": [TOOL], "tool_choice": "required"}
    answer = client.chat.completions.create(model="sim", messages=MESSAGES, **asked).choices[0]

    arguments = json.loads(answer.message.tool_calls[0].function.arguments)
    assert (answer.finish_reason, answer.message.content) == ("tool_calls", None)
    assert isinstance(arguments["city"], str)
    assert arguments["unit"] in {"c", "f"}
    assert json.loads(collected(client, **asked)[1][0]) == arguments
    assert (
        client.chat.completions.create(model="sim", messages=MESSAGES, tools=[TOOL])
        .choices[0]
        .message.content
    )


def test_an_image_counts_as_prompt_tokens(client):
    def tokens(*parts: dict) -> int:
        messages = [{"role": "user", "content": [{"type": "text", "text": "What?"}, *parts]}]
        return client.chat.completions.create(model="sim", messages=messages).usage.prompt_tokens

    image = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}

    assert tokens(image, sound) == tokens() + 2 * 765


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,bm90aGluZw=="}},
            "Could not process image",
        ),
        ({"type": "image_url", "image_url": {"url": "/local/a.png"}}, "url must be an http"),
        ({"type": "image_url", "image_url": {"url": PIXEL, "detail": "huge"}}, "detail must be one of"),
        ({"type": "image_url", "image_url": PIXEL}, "must be a text, image_url or input_audio part"),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "ogg"}},
            "format must be one of mp3, wav",
        ),
        ({"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}, "data is not base64"),
        ({"type": "video"}, "unknown type 'video'"),
    ],
    ids=range(7),
)
def test_a_content_part_that_no_provider_takes_is_refused(client, part, said):
    with pytest.raises(openai.BadRequestError, match=said):
        client.chat.completions.create(model="sim", messages=[{"role": "user", "content": [part]}])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n": 0}, "'n' must be an integer"),
        ({"logprobs": 1}, "'logprobs' must be a boolean"),
        ({"top_logprobs": 2}, "'top_logprobs' needs"),
        ({"logprobs": True, "top_logprobs": 21}, "between 0 and 20"),
        ({"tools": []}, "'tools' must be a non-empty array"),
        ({"tools": [{"type": "x"}]}, r"'tools\[0\]' must be a function"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "'tool_choice' must be"),
        ({"tool_choice": "auto"}, "only allowed when 'tools'"),
    ],
    ids=range(8),
)
def test_parameters_that_no_provider_takes_are_refused(client, asked, said):
    with pytest.raises(openai.BadRequestError, match=said):
        client.chat.completions.create(model="sim", messages=MESSAGES, **asked)


def test_the_official_sdk_gets_embeddings_and_they_are_those_of_their_texts(client):
    """By default the SDK asks for base64."""
    texts = ["one", "two", "one"]
    encoded = client.embeddings.create(model="sim", input=texts, dimensions=8)
    plain = client.embeddings.create(model="sim", input=texts, dimensions=8, encoding_format="float")
    tokens = client.embeddings.create(model="sim", input=[[1, 2], [3]])

    assert [item.index for item in encoded.data] == [0, 1, 2]
    assert [item.embedding for item in encoded.data] == [item.embedding for item in plain.data]
    assert encoded.data[0].embedding == encoded.data[2].embedding != encoded.data[1].embedding
    assert sum(number**2 for number in plain.data[0].embedding) == pytest.approx(1, abs=1e-6)
    assert encoded.usage.prompt_tokens == encoded.usage.total_tokens == 3
    assert [len(item.embedding) for item in tokens.data] == [256, 256]
    for wrong in ({"input": ""}, {"input": []}, {"input": ["a"] * 2049}, {"input": "a", "dimensions": 0}):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="sim", **wrong)


def test_the_official_sdk_gets_a_text_completion_plain_and_streamed(client):
    plain = client.completions.create(model="sim", prompt="Once upon", max_tokens=9)
    stream = client.completions.create(
        model="sim", prompt="Once upon", max_tokens=9, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)

    assert plain.object == "text_completion"
    assert plain.choices[0].text.strip() == "".join(c.choices[0].text for c in chunks if c.choices).strip()
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens <= 9
    for wrong in ({"prompt": ["a", "b"]}, {"prompt": 7}, {"prompt": "a", "temperature": 9}):
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model="sim", **wrong)
