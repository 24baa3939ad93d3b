"""A chat as Messages, and a Message as a chat completion."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest

from batchlab.protocol.batches.dialect import Unfit
from batchlab.protocol.batches.messages import completion_of, params_of
from batchlab.protocol.chat import reply_of
from batchlab.protocol.finish import finish_meaning
from tests.protocol.batches.odd import ODD, mutated
from tests.protocol.batches.samples import MESSAGE

USER = {"role": "user", "content": "hello"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get",
        "description": "d",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get", "arguments": '{"a": 1}'}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


def chat(*messages, **more):
    return {"model": "claude-opus-4-6", "max_tokens": 9, "messages": list(messages or (USER,)), **more}


# (what, parameters of the chat, parameters of the Message)
CARRIED = [
    ("max_completion_tokens", {"max_completion_tokens": 5}, {"max_tokens": 5}),
    ("sampling", {"temperature": 0, "top_p": 0.5, "top_k": 3}, {"temperature": 0, "top_p": 0.5, "top_k": 3}),
    ("one stop", {"stop": "END"}, {"stop_sequences": ["END"]}),
    ("stops", {"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    ("no stops", {"stop": []}, {}),
    ("user", {"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
    ("metadata", {"metadata": {"user_id": "u-2"}}, {"metadata": {"user_id": "u-2"}}),
    ("thinking", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("effort", {"reasoning_effort": "high"}, {"output_config": {"effort": "high"}}),
    ("text", {"response_format": {"type": "text"}}, {}),
    ("schema", {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}}, {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
    ("what asks for nothing", {"n": 1, "logprobs": False, "seed": None, "presence_penalty": 0.0, "logit_bias": {}, "stream": True, "service_tier": "auto", "modalities": ["text"]}, {}),
    ("tools", {"tools": [TOOL]}, {"tools": [{"name": "get", "description": "d", "input_schema": {"type": "object", "properties": {}}, "strict": True}]}),
    ("a choice without tools", {"tool_choice": "auto"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "made"), [row[1:] for row in CARRIED], ids=[row[0] for row in CARRIED])
def test_parameters_that_both_have(given, made):
    assert params_of(chat(**given)) == {**chat(), **made}


@pytest.mark.parametrize(
    ("choice", "parallel", "made"),
    [
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ({"type": "function", "function": {"name": "get"}}, None, {"type": "tool", "name": "get"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (None, True, None),
        (None, None, None),
    ],
)
def test_the_choice_of_tools(choice, parallel, made):
    body = chat(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel)
    assert params_of(body).get("tool_choice") == made


def part(url):
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


# (what, messages of the chat, system, turns)
CONVERSATIONS = [
    ("system", [{"role": "system", "content": "be brief"}, USER], "be brief", [USER]),
    ("two of them, one late", [{"role": "system", "content": "a"}, USER, {"role": "developer", "content": [{"type": "text", "text": "b"}]}], "a\nb", [USER]),
    ("a system text to be cached", [{"role": "system", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}, USER], [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}], [USER]),
    ("turns", [USER, {"role": "assistant", "content": "hi"}, USER], None, [USER, {"role": "assistant", "content": "hi"}, USER]),
    ("an empty answer", [USER, {"role": "assistant", "content": None}, USER], None, [USER, USER]),
    ("a linked image", [{"role": "user", "content": [{"type": "text", "text": "what?"}, part("https://x.example/a.png")]}], None, [{"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}]}]),
    ("an image", [{"role": "user", "content": [part("data:image/png;base64,AAAA")]}], None, [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]}]),
    (
        "tools at work",
        [USER, {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call_2"}]}, {"role": "tool", "tool_call_id": "call_1", "content": "7"}, {"role": "tool", "tool_call_id": "call_2", "content": "8"}, USER],
        None,
        [
            USER,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "get", "input": {"a": 1}}, {"type": "tool_use", "id": "call_2", "name": "get", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "7"}, {"type": "tool_result", "tool_use_id": "call_2", "content": "8"}]},
            USER,
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "system", "turns"), [row[1:] for row in CONVERSATIONS], ids=[row[0] for row in CONVERSATIONS]
)
def test_conversations(given, system, turns):
    params = params_of(chat(*given))

    assert params.get("system") == system
    assert params["messages"] == turns


# what is refused, by the parameter that is named
REFUSED = [
    ("max_tokens", chat(max_tokens=None)),
    ("max_tokens", chat(max_tokens=0)),
    ("max_tokens", chat(max_tokens=2.5)),
    ("temperature", chat(temperature=1.1)),
    ("n", chat(n=2)),
    ("logprobs", chat(logprobs=True)),
    ("top_logprobs", chat(top_logprobs=3)),
    ("seed", chat(seed=7)),
    ("presence_penalty", chat(presence_penalty=0.1)),
    ("frequency_penalty", chat(frequency_penalty=-1)),
    ("logit_bias", chat(logit_bias={"1": 5})),
    ("audio", chat(audio={"voice": "x"})),
    ("modalities", chat(modalities=["text", "audio"])),
    ("service_tier", chat(service_tier="flex")),
    ("response_format", chat(response_format={"type": "json_object"})),
    ("response_format", chat(response_format={"type": "json_schema"})),
    ("reasoning_effort", chat(reasoning_effort="minimal")),
    ("metadata", chat(metadata={"team": "blue"})),
    ("stop", chat(stop=["a", "\n"])),
    ("stop", chat(stop=3)),
    ("functions", chat(functions=[{}])),
    ("tools", chat(tools=[{"type": "web_search"}])),
    ("tool_choice", chat(tools=[TOOL], tool_choice="sometimes")),
    ("messages", chat({"role": "system", "content": "a"})),
    ("messages", chat({"role": "user", "content": None})),
    ("messages", chat({"role": "user", "content": "a", "name": "bob"})),
    ("messages", chat({"role": "function", "content": "a"})),
    ("messages", chat({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]})),
    ("messages", chat({"role": "user", "content": [part("http://x.example/a.png")]})),
    ("messages", chat({"role": "user", "content": [part("data:image/bmp;base64,AAAA")]})),
    ("messages", chat(USER, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "get", "arguments": "{"}}]})),
    ("messages", chat(USER, {"role": "assistant", "content": [part("https://x.example/a.png")]})),
    ("messages", {"model": "m", "max_tokens": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), REFUSED)
def test_what_messages_cannot_carry_is_refused_by_its_name(name, body):
    with pytest.raises(Unfit, match=f"^{name}: "):
        params_of(body)


def message(*blocks, **more):
    return {**MESSAGE, "content": list(blocks), **more}


TEXT = {"type": "text", "text": "It is "}


def test_a_message_is_a_completion():
    reply = reply_of(completion_of(message(TEXT, {"type": "text", "text": "7."})))

    assert (reply.completion, reply.finish_reason) == ("It is 7.", "stop")
    assert (reply.model, reply.response_id) == ("claude-opus-4-6", "msg_014VwiXbi91y3JMjcpyGBHX5")
    assert (reply.reasoning, reply.refusal, reply.tool_calls) == (None, None, None)


def test_thoughts_and_tools_of_a_message():
    thought = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    calls = [{"type": "tool_use", "id": f"toolu_{n}", "name": "get", "input": asked} for n, asked in enumerate(({"a": 1}, {}))]  # fmt: skip

    made = completion_of(message(*thought, *calls, stop_reason="tool_use"))
    reply = reply_of(made)

    assert (reply.completion, reply.reasoning, reply.finish_reason) == (None, "hm", "tool_calls")
    assert [one["function"]["arguments"] for one in json.loads(reply.tool_calls or "")] == ['{"a":1}', "{}"]
    # and a correction turn can be asked with it
    again = params_of(chat(USER, made["choices"][0]["message"], USER))["messages"][1]
    assert again == {"role": "assistant", "content": calls}


@pytest.mark.parametrize(
    ("reason", "word", "meaning"),
    [
        ("end_turn", "stop", "ok"),
        ("stop_sequence", "stop", "ok"),
        ("tool_use", "tool_calls", "ok"),
        ("max_tokens", "length", "truncated"),
        ("model_context_window_exceeded", "length", "truncated"),
        ("refusal", "content_filter", "filtered"),
        ("pause_turn", "pause_turn", "ok"),
        ("compaction", "compaction", "unknown"),
        (None, None, "ok"),
    ],
)
def test_why_a_message_ended(reason, word, meaning):
    reply = reply_of(completion_of(message(TEXT, stop_reason=reason)))

    assert reply.finish_reason == word
    assert finish_meaning(reply.finish_reason) == meaning


def test_a_refusal_says_why():
    details = {"type": "refusal", "category": "bio", "explanation": "not this"}
    assert reply_of(completion_of(message(stop_reason="refusal", stop_details=details))).refusal == "not this"


# usage of a Message (prompt, completion, total, cached, written, reasoning)
USAGES = [
    ({"input_tokens": 11, "output_tokens": 36}, (11, 36, 47, None, None, None)),
    ({"input_tokens": 100, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 50}, (420, 50, 470, 300, 20, None)),
    ({"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 300, "output_tokens": 5}, (300, 5, 305, 300, 0, None)),
    ({"input_tokens": 9, "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 40}, "service_tier": "batch"}, (9, 50, 59, None, None, 40)),
    ({"input_tokens": "9", "output_tokens": None}, (9, None, None, None, None, None)),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "billed"), USAGES)
def test_a_message_is_billed_with_what_its_cache_had(raw, billed):
    usage = reply_of(completion_of(message(TEXT, usage=raw))).usage

    names = ("prompt", "completion", "total", "cached", "cache_write", "reasoning")
    assert tuple(getattr(usage, f"{name}_tokens") for name in names) == billed
    kept = json.loads(usage.raw or "")
    assert {name: kept[name] for name in raw} == raw, "the provider's own counts are kept as they came"


def test_a_batch_s_tier_is_seen():
    usage = {"input_tokens": 1, "output_tokens": 1, "service_tier": "batch"}
    assert reply_of(completion_of(message(TEXT, usage=usage))).service_tier == "batch"


def test_no_chat_raises_but_unfit_and_no_message_raises_at_all():
    chance = random.Random(19)
    bodies = (
        [chat(*row[1]) for row in CONVERSATIONS]
        + [chat(**row[1]) for row in CARRIED]
        + [row[1] for row in REFUSED]
    )
    answers = [
        message(TEXT, {"type": "tool_use", "input": {"a": 1}}),
        *(message(usage=row[0]) for row in USAGES),
        *ODD,
    ]

    for turn in range(5_000):
        body, given = chance.choice(bodies), chance.choice(answers)
        for _ in range(chance.randint(0, 3)):
            body, given = mutated(body, chance), mutated(given, chance)
        if isinstance(body, dict):
            with suppress(Unfit):
                params_of(body)
        assert isinstance(completion_of(given), dict), (turn, given)
