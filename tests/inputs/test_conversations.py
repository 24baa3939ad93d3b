"""Conversations of a job, histories of rows, and what they come to."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from batchlab.errors import UsageError
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.arrow_files.rows import arrow_rows
from batchlab.inputs.templates import RowFault
from batchlab.job.file import job_from
from batchlab.records import Row

FEW_SHOT = [
    {"role": "system", "content": "Be {tone}."},
    {"role": "user", "content": 'An example: {"a": 1}'},
    {"role": "assistant", "content": "fine"},
    {"role": "user", "content": "{q}"},
]
TURNS = [{"role": "user", "content": "before"}, {"role": "assistant", "content": "yes"}]


def builder(columns=("q", "tone", "past"), path: str = "x.jsonl", **request) -> RequestBuilder:
    data = {"input": {"path": path}, "request": {"model": "m", **request}}
    return RequestBuilder(job_from(data), list(columns))


def messages(made: RequestBuilder, **values) -> list[dict]:
    return made.build(Row(0, {"q": "now", "tone": "kind", "past": None} | values)).body["messages"]


def test_a_job_s_messages_are_templates_each_and_examples_stay_as_written():
    request = builder(messages=FEW_SHOT).build(Row(0, {"q": "now", "tone": "{q}", "past": None}))

    assert request.body["messages"] == [
        {"role": "system", "content": "Be {q}."},
        *FEW_SHOT[1:3],
        {"role": "user", "content": "now"},
    ]
    assert request.prompt_bytes == sum(len(message["content"]) for message in request.body["messages"])


def test_an_unknown_column_names_the_message():
    with pytest.raises(UsageError, match=r"messages\[0\]: there is no column 'ton'; did you mean \{tone\}"):
        builder(messages=[{"role": "user", "content": "{ton}"}])


@pytest.mark.parametrize(
    "value", [TURNS, json.dumps(TURNS), [{**turn, "tool_calls": None} for turn in TURNS]]
)
def test_a_history_comes_before_what_the_user_says_last(value):
    user = {"role": "user", "content": "now"}

    assert messages(builder(prompt="{q}", history="past"), past=value) == [*TURNS, user]
    assert messages(builder(prompt="{q}", system="S", history="past"), past=value) == [
        {"role": "system", "content": "S"},
        *TURNS,
        user,
    ]
    assert messages(builder(messages=FEW_SHOT, history="past"), past=value)[3:] == [*TURNS, user]


@pytest.mark.parametrize("nothing", [None, "", [], "[]"])
def test_a_row_may_have_no_history(nothing):
    assert messages(builder(prompt="{q}", history="past"), past=nothing) == [
        {"role": "user", "content": "now"}
    ]


def test_parts_of_an_arrow_history_lose_their_absent_fields():
    part = {"type": "text", "text": "hi", "image_url": None}
    made = builder(prompt="{q}", history="past", path="x.parquet")
    batch = pa.RecordBatch.from_pylist([{"q": "now", "past": [{"role": "user", "content": [part]}]}])
    (values,) = arrow_rows(batch)

    assert made.build(Row(0, values)).body["messages"][0]["content"] == [{"type": "text", "text": "hi"}]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("not json", "is text, but not a JSON list of messages"),
        ('{"role": "user"}', "is not a list of messages"),
        (["hi"], "a message needs a role and content"),
        ([{"role": "user"}], "a message needs a role and content"),
        ([{"role": "user", "content": 7}], "a message needs a role and content"),
        ([{"role": "robot", "content": "x"}], "no role 'robot'; one of system, developer, user"),
        ('[{"role": "user", "content": "\\ud83d"}]', "has half a surrogate pair"),
        ("[" * 100_000, "not a JSON list"),
    ],
    ids=range(8),
)
def test_a_bad_history_is_its_row_s_fault(value, problem):
    with pytest.raises(RowFault, match="column 'past'") as caught:
        messages(builder(prompt="{q}", history="past"), past=value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            {"messages": FEW_SHOT, "prompt": "x"},
            "request.prompt: [[request.messages]] are the whole conversation",
        ),
        ({"messages": FEW_SHOT, "system": "x"}, "request.system: [[request.messages]]"),
        ({"messages": []}, "request.messages: expected [[request.messages]]"),
        ({"messages": [{"role": "user"}]}, "message 1 needs a role and content"),
        (
            {"messages": [{"role": "bot", "content": "x"}]},
            "message 1: no role 'bot'; one of system, developer",
        ),
        ({"messages": [{"role": "user", "content": 1}]}, "message 1: content = 1"),
        ({"prompt": "x", "image": 7}, "request.image: expected a column or a list of columns, got 7"),
        ({"prompt": "x", "images": "a"}, "request.images: unknown key; did you mean 'image'"),
        ({"prompt": "x", "image_detail": "low"}, "request.image_detail: needs a column with images"),
        ({"prompt": "x", "image": "a", "image_max_side": 0}, "request.image_max_side: must be at least 1"),
    ],
    ids=range(10),
)
def test_what_is_wrong_with_a_job_s_messages_is_said_at_once(request_, said):
    with pytest.raises(UsageError) as caught:
        job_from({"input": {"path": "x.csv"}, "request": {"model": "m", **request_}})
    assert said in str(caught.value)


def test_openai_s_own_audio_parameter_is_no_column():
    job = job_from({"input": {"path": "x.csv"}, "request": {"model": "m", "audio": {"voice": "alloy"}}})

    assert job.request.params == {"audio": {"voice": "alloy"}}
    assert job.request.audio == []


def test_a_conversation_column_and_a_history_are_refused_together():
    with pytest.raises(UsageError, match="rows have whole conversations in 'messages'"):
        builder(columns=["messages", "past"], history="past")


def test_settings_differ_by_all_of_it_and_are_those_of_an_earlier_batchlab_without_it():
    def settings(**request) -> dict:
        data = {"input": {"path": "x.csv"}, "request": {"model": "m", **request}}
        return job_from(data).request_settings()

    plain = settings(prompt="x")
    assert not {"request.messages", "request.history", "request.image"} & plain.keys()
    assert settings(prompt="x", max_image_bytes=9, tokens_per_image=1) == plain
    several = [
        plain,
        settings(messages=FEW_SHOT),
        settings(messages=FEW_SHOT[:-1]),
        settings(prompt="x", history="h"),
        settings(prompt="x", image="i"),
        settings(prompt="x", image=["i", "j"]),
        settings(prompt="x", image="i", image_detail="low"),
        settings(prompt="x", image="i", image_max_side=9),
        settings(prompt="x", audio="i"),
        settings(prompt="x", tools=[{"type": "function"}]),
    ]
    assert len({json.dumps(one) for one in several}) == len(several)
