"""Streams: any chunking gives the same events, and a cut one is no success."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.chat import ReplyProblem
from batchlab.protocol.sse import SseDecoder, StreamAssembler


def events(raw: bytes, cuts: list[int] | None = None) -> list[str]:
    """The events of `raw`, fed in pieces cut at the given places."""
    decoder = SseDecoder()
    found: list[str] = []
    edges = [0, *sorted({cut % (len(raw) + 1) for cut in cuts or []}), len(raw)]
    for start, end in zip(edges, edges[1:], strict=False):
        found += decoder.feed(raw[start:end])
    return found + decoder.close()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', ['{"a":1}', "[DONE]"]),
        (b'data: {"a":1}\r\n\r\ndata: [DONE]\r\n\r\n', ['{"a":1}', "[DONE]"]),
        (b'data: {"a":1}\r\rdata: [DONE]\r\r', ['{"a":1}', "[DONE]"]),
        (b'\xef\xbb\xbfdata: {"a":1}\n\n', ['{"a":1}']),
        (b': keep-alive\n\ndata:{"a":1}\n\n: OPENROUTER PROCESSING\n\n', ['{"a":1}']),
        (b'event: x\nid: 7\nretry: 10\ndata: {"a":1}\n\n', ['{"a":1}']),
        (b'data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']),
        (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n', ['{"a":1}', '{"b":2}', "[DONE]"]),
        (b'data: {"a":1}', ['{"a":1}']),
        ('data: {"a":"x\u2028y"}\n\n'.encode(), ['{"a":"x\u2028y"}']),
        (b"\n\n\n", []),
    ],
    ids=[
        "LF",
        "CRLF",
        "CR",
        "BOM",
        "comments",
        "fields",
        "multi-line",
        "single newlines",
        "cut end",
        "U+2028",
        "blank",
    ],
)
def test_framing(raw, expected):
    assert events(raw) == expected
    assert events(raw, list(range(len(raw)))) == expected


@given(
    parts=st.lists(
        st.sampled_from(
            [
                b"data: ",
                b'{"a":1}',
                b"[DONE]",
                b"\n",
                b"\r",
                b"\r\n",
                b"\n\n",
                b":",
                b" ",
                b"\xef\xbb\xbf",
                b"\xf0\x9f",
                "é".encode(),
                b"x",
            ]
        ),
        max_size=30,
    ),
    cuts=st.lists(st.integers(0, 200), max_size=20),
)
def test_any_chunking_gives_the_same_events(parts, cuts):
    raw = b"".join(parts)

    assert events(raw, cuts) == events(raw)


def chunk(delta=None, *, finish_reason=None, **more) -> str:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}]
    return json.dumps({"id": "c1", "model": "m", "choices": choices, **more})


def assembled(*data: str) -> StreamAssembler:
    stream = StreamAssembler()
    for item in data:
        stream.feed(item)
    return stream


def test_deltas_join_and_usage_comes_from_a_last_chunk_without_choices():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    stream = assembled(
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk(finish_reason="stop"),
        json.dumps({"choices": [], "usage": usage}),
        "[DONE]",
    )

    reply = stream.reply()

    assert (reply.completion, reply.reasoning, reply.finish_reason) == ("Hello", "hm", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 2)
    assert (reply.model, reply.response_id) == ("m", "c1")


def test_cumulative_usage_is_not_summed():
    stream = assembled(
        chunk({"content": "a"}, usage={"completion_tokens": 1}),
        chunk({"content": "b"}, usage={"completion_tokens": 2}),
        "[DONE]",
    )

    assert stream.reply().usage.completion_tokens == 2


def test_tool_calls_join_by_index():
    stream = assembled(
        chunk(
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "t1",
                        "type": "function",
                        "function": {"name": "add", "arguments": '{"a"'},
                    }
                ]
            }
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}),
        chunk(finish_reason="tool_calls"),
    )

    calls = json.loads(stream.reply().tool_calls)

    assert calls == [{"function": {"name": "add", "arguments": '{"a": 1}'}, "id": "t1", "type": "function"}]


@pytest.mark.parametrize(
    "data",
    [
        [chunk({"content": "half"})],
        [],
        ["[DONE]"],
        [chunk({"content": "a"}), '{"error": {"message": "x"}}', "[DONE]"],
        [chunk({"content": "a"}), "{broken", "[DONE]"],
        [chunk({"content": "a"}, finish_reason="error"), "[DONE]"],
    ],
    ids=["cut", "empty", "only DONE", "error event", "broken chunk", "finish_reason error"],
)
def test_a_stream_that_is_cut_or_broken_is_no_completion(data):
    with pytest.raises(ReplyProblem):
        assembled(*data).reply()


def test_a_finish_reason_without_done_is_enough():
    assert assembled(chunk({"content": "all"}), chunk(finish_reason="stop")).reply().completion == "all"


@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.recursive(
                st.none() | st.integers() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(
                            [
                                "choices",
                                "delta",
                                "content",
                                "index",
                                "usage",
                                "tool_calls",
                                "function",
                                "error",
                                "finish_reason",
                            ]
                        ),
                        inner,
                    )
                ),
                max_leaves=12,
            ).map(json.dumps),
        ),
        max_size=6,
    )
)
def test_no_event_however_strange_raises(data):
    stream = assembled(*data)
    try:
        stream.reply()
    except ReplyProblem:
        pass


def event(*choices: dict, **fields) -> str:
    return json.dumps({"choices": list(choices), **fields})


def choice(index: int, finish: str | None = None, logprobs: dict | None = None, **fields) -> dict:
    return {"index": index, "delta": fields, "finish_reason": finish, "logprobs": logprobs}


def whole(*chunks: str):
    return assembled(*chunks).reply()


def test_the_choices_of_a_stream_are_put_together_each_by_its_index():
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    more = {"index": 0, "function": {"arguments": "}"}}

    reply = whole(
        event(choice(1, role="assistant", content=""), choice(0, role="assistant", content="")),
        event(choice(0, content="a")),
        event(choice(2, content=None, tool_calls=[call])),
        event(choice(1, content="b"), choice(0, content="a")),
        event(choice(2, tool_calls=[more])),
        event(choice(0, "stop")),
        event(choice(2, "tool_calls")),
        event(choice(1, "length")),
    )

    assert (reply.completion, reply.finish_reason, reply.tool_calls) == ("aa", "stop", None)
    choices = json.loads(reply.choices)
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert [choice["message"]["content"] for choice in choices] == ["aa", "b", None]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "length", "tool_calls"]
    assert choices[2]["message"]["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]


def test_a_stream_that_is_cut_before_every_choice_has_ended_is_no_success():
    chunks = [event(choice(0, content="a")), event(choice(1, content="b")), event(choice(0, "stop"))]

    with pytest.raises(ReplyProblem, match="finish_reason of every choice"):
        whole(*chunks)
    assert json.loads(whole(*chunks, "[DONE]").choices)[1]["finish_reason"] is None


def test_the_log_probabilities_of_a_stream_are_joined():
    def of(token: str) -> dict:
        return {"content": [{"token": token, "logprob": -0.5}], "refusal": None}

    reply = whole(
        event(choice(0, logprobs=of("a"), content="a")),
        event(choice(0, logprobs=of("b"), content="b")),
        event(choice(0, "stop")),
    )

    logprobs = json.loads(reply.logprobs)
    assert [one["token"] for one in logprobs["content"]] == ["a", "b"]
    assert logprobs["refusal"] is None
    assert reply.choices is None
