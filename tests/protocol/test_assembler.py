"""Streams put together: what is an answer, what is none, and what it used (answers.md, section 1)."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.assembler import StreamAssembler
from batchlab.protocol.outcomes.classify import classify
from batchlab.protocol.sse import ErrorEvent, SseDecoder
from batchlab.protocol.values import ReplyProblem

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(delta=None, *, finish_reason=None, **more) -> str:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}]
    return json.dumps(
        {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": choices, **more}
    )


END = "[DONE]"


def event(*choices: dict, **fields) -> str:
    return json.dumps({"choices": list(choices), **fields})


def choice(index: int, finish: str | None = None, logprobs: dict | None = None, **fields) -> dict:
    return {"index": index, "delta": fields, "finish_reason": finish, "logprobs": logprobs}


def assembled(*data: str, **given) -> StreamAssembler:
    stream = StreamAssembler(**given)
    for item in data:
        stream.feed(item)
    return stream


def whole(*chunks: str):
    return assembled(*chunks).reply()


def problem(*chunks: str) -> ReplyProblem:
    with pytest.raises(ReplyProblem) as caught:
        whole(*chunks)
    return caught.value


HI, END, USED = (
    chunk({"content": "hi"}),
    chunk(finish_reason="stop"),
    json.dumps({"choices": [], "usage": USAGE}),
)


def test_deltas_join_and_usage_comes_from_a_last_chunk_without_choices():
    reply = whole(
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Hel"}, system_fingerprint="fp", service_tier="flex"),
        chunk({"content": "lo"}, model="other", id="other"),
        END,
        USED,
        "[DONE]",
    )

    assert (reply.completion, reply.reasoning, reply.finish_reason) == ("Hello", "hm", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 2)
    assert (reply.model, reply.response_id, reply.system_fingerprint, reply.service_tier) == (
        "m",
        "c1",
        "fp",
        "flex",
    )
    assert (reply.refusal, reply.tool_calls, reply.choices, reply.logprobs) == (None, None, None, None)


def test_what_is_nowhere_in_a_stream_is_unknown():
    reply = whole(event({"delta": {"content": "a"}, "finish_reason": "stop"}))

    assert (reply.model, reply.response_id, reply.system_fingerprint, reply.service_tier) == (None,) * 4
    assert reply.usage.raw is None
    assert whole(chunk({"role": "assistant"}), END).completion is None
    assert whole(chunk({"content": ""}), END).completion == ""


def test_names_are_taken_where_they_are_texts_first():
    first = json.dumps(
        {
            "choices": [],
            "model": None,
            "id": 5,
            "system_fingerprint": "sk-abcdefghijkl",
            "service_tier": ["x"],
        }
    )

    reply = whole(first, chunk({"content": "a"}, service_tier="default"), END)

    assert (reply.model, reply.response_id, reply.service_tier) == ("m", "c1", "default")
    assert reply.system_fingerprint == "****", "no key gets into a column"


@pytest.mark.parametrize(
    ("delta", "field", "value"),
    [
        ({"content": "a", "role": "assistant"}, "completion", "a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "completion", "ab"),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]},
            "reasoning",
            "t",
        ),  # Mistral
        (
            {"content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}]},
            "completion",
            "a",
        ),
        ({"reasoning": "r"}, "reasoning", "r"),  # OpenRouter, Groq, vLLM
        ({"reasoning_content": "r", "content": None}, "reasoning", "r"),  # DeepSeek
        ({"thinking": "r"}, "reasoning", "r"),  # Ollama
        ({"refusal": "no"}, "refusal", "no"),
        ({"refusal": None, "content": 5}, "completion", None),
    ],
)
def test_a_delta_is_read_in_every_spelling(delta, field, value):
    stream = assembled(chunk(delta))

    assert stream.started is any(map(bool, delta.values())) or delta.get("content") == 5
    stream.feed(END)
    assert getattr(stream.reply(), field) == value


@pytest.mark.parametrize(
    ("data", "started"),
    [
        (chunk({"role": "assistant", "content": ""}), False),
        (chunk({"content": ""}), False),
        (chunk({"content": None}), False),
        (chunk({"content": "a"}), True),
        (chunk({"content": "", "reasoning": "a"}), True),
        (chunk({"content": "", "tool_calls": []}), False),  # vLLM sends an empty list with every chunk
        (chunk({"tool_calls": [{"index": 0}]}), True),
        (event({"index": 0, "text": ""}), False),
        (event({"index": 0, "text": "a"}), True),
        (event({"index": 1, "delta": {"content": "a"}}), True),
        (USED, False),
        ("[DONE]", False),
    ],
)
def test_an_answer_has_started_with_its_first_token(data, started):
    assert assembled(data).started is started
    assert assembled(chunk({"content": "a"}), data).started


def test_the_last_usage_counts_and_none_is_added():
    """Some servers send a running total with each chunk (vLLM's continuous_usage_stats, Perplexity)."""
    running = [chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": n}) for n in (1, 2, 3)]

    stream = assembled(
        *running, chunk({"content": "b"}, usage=None), chunk({"content": "c"}, usage={}), "[DONE]"
    )

    assert stream.reply().usage.completion_tokens == 3
    assert stream.usage.completion_tokens == 3


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"choices": [], "usage": USAGE}),
        json.dumps({"choices": [], "x_groq": {"id": "r", "usage": USAGE}}),  # Groq
        event(
            {"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}
        ),  # Kimi (earendil-works/pi 2017)
        json.dumps({"usage": USAGE}),
        json.dumps({"choices": None, "usage": USAGE}),
    ],
)
def test_usage_is_read_wherever_a_stream_has_it(data):
    assert whole(HI, END, data).usage.total_tokens == 5


def test_a_usage_that_is_none_leaves_the_one_before():
    for other in ({"usage": "x"}, {"usage": [1]}, {"x_groq": None}, {"x_groq": {"usage": {}}}):
        assert whole(HI, END, USED, json.dumps({"choices": [], **other})).usage.total_tokens == 5
    bare = event({"index": 0, "usage": {}, "delta": {}}, {"index": 0, "usage": "x", "delta": {}})
    assert whole(HI, END, USED, bare).usage.total_tokens == 5


def test_a_stream_s_tier_may_stand_in_its_usage():
    used = json.dumps({"choices": [], "usage": {**USAGE, "service_tier": "batch"}})

    assert whole(HI, END, used).service_tier == "batch"


def test_a_gemini_stream_s_thoughts_are_billed():
    used = json.dumps({"choices": [], "usage": {**USAGE, "total_tokens": 105}})

    assert whole(chunk({"content": "a"}, model="gemini-2.5-pro"), END, used).usage.completion_tokens == 102


# what comes → done, finished, whole when usage was asked for and when not
@pytest.mark.parametrize(
    ("data", "done", "finished", "whole_with_usage", "whole_without"),
    [
        ((HI,), False, False, False, False),
        ((HI, END), False, True, False, True),
        ((HI, END, USED), False, True, True, True),
        ((HI, USED), False, False, False, False),
        ((HI, "[DONE]"), True, False, True, True),
        ((HI, " [DONE]\t"), True, False, True, True),
        ((HI, "[DONE]".ljust(31)), True, False, True, True),
        ((HI, "[DONE]".ljust(32)), False, False, False, False),
        (
            (HI, chunk(finish_reason="")),
            False,
            False,
            False,
            False,
        ),  # Ollama, until the last one (ollama 4357)
        ((HI, chunk(finish_reason=None)), False, False, False, False),
        ((HI, event({"index": 0, "delta": {}, "finish_reason": 5})), False, False, False, False),
    ],
)
def test_it_is_known_when_all_has_come(data, done, finished, whole_with_usage, whole_without):
    stream = assembled(*data, usage_follows=True)

    assert (stream.is_done, stream.is_finished, stream.is_whole) == (done, finished, whole_with_usage)
    assert assembled(*data).is_whole is whole_without
    assert not stream.is_refused


def test_of_several_choices_each_must_end():
    both = [event(choice(0, content="a")), event(choice(1, content="b")), event(choice(0, "stop"))]

    assert not assembled(*both, choices=2).is_finished
    assert not assembled(*both[::2], choices=2).is_finished
    assert assembled(*both[::2], choices=1).is_finished
    assert assembled(*both, event(choice(1, "stop")), choices=2).is_finished
    assert assembled(*both, event(choice(1, "stop")), choices=2).is_whole


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([HI], "the stream ended with neither [DONE] nor a finish_reason"),
        ([], "the stream ended with neither [DONE] nor a finish_reason"),
        (["[DONE]"], "the stream ended with neither [DONE] nor a finish_reason"),
        ([USED, "[DONE]"], "the stream ended with neither [DONE] nor a finish_reason"),
        ([event({"index": 1, "delta": {"content": "a"}, "finish_reason": "stop"})], "neither [DONE] nor a finish_reason"),
        ([event({"index": "x", "delta": {"content": "a"}, "finish_reason": "stop"}), "[DONE]"], "neither [DONE] nor"),
        ([event(5, None, "x"), "[DONE]"], "neither [DONE] nor"),
        ([HI, "{broken", END, "[DONE]"], "an event that is no chunk"),
        ([HI, "3", END, "[DONE]"], "an event that is no chunk"),
        ([HI, '["a"]', END, "[DONE]"], "an event that is no chunk"),
        ([HI, "null", END, "[DONE]"], "an event that is no chunk"),
    ],
)  # fmt: skip
def test_a_stream_that_is_cut_or_broken_is_no_completion(data, said):
    stream = assembled(*data)

    with pytest.raises(ReplyProblem) as caught:
        stream.reply()

    assert said in str(caught.value)
    assert not stream.is_refused
    outcome = classify(200, {}, caught.value.evidence)
    assert (outcome.kind, outcome.error_class) == ("RETRY", "invalid_response")


ERRORS = [
    ({"error": {"message": "m", "code": 502}}, "server"),  # OpenRouter, vLLM
    ({"error": {"message": "m", "code": 502}, "choices": []}, "server"),  # OmniRoute 8210
    ({"error": {"code": "server_error", "message": "m"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}, "server"),  # agent-os 2214
    ({"error": {"code": 502, "message": "m", "metadata": {"error_type": "rate_limit_exceeded"}}}, "server"),
    ({"error": {"message": "m", "type": "rate_limit_error"}}, "rate_limit"),
    ({"error": "m"}, "server"),
    ({"error": {"code": "1301", "message": "m"}}, "content_filter"),  # Zhipu
    ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, "bad_request"),  # vLLM
    ({"object": "error", "message": "maximum context length is 9", "code": 400, "choices": []}, "context_length"),
    ({"object": "error", "type": "BadRequestError", "code": 400}, "bad_request"),
    ({"status": "error"}, "server"),
    ({"message": "m", "type": "InternalServerError", "code": 500}, "server"),  # vLLM without its object
    ({"message": "m", "type": "invalid_request_error"}, "bad_request"),
    ({"message": "m", "code": 401}, "auth"),
    ({"status": "error", "message": "Invalid API key"}, "auth"),  # ModelsLab
    ({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "m"}}, "quota"),  # MiniMax
    ({"base_resp": {"status_code": 1026, "status_msg": "m"}}, "content_filter"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "error_class"), ERRORS)
def test_an_error_in_a_chunk_outweighs_every_good_sign(error, error_class):
    for before, after in itertools.product(
        ((), (HI,), (HI, END), (HI, END, USED)), ((), ("[DONE]",), (USED, "[DONE]"), (HI, END))
    ):
        stream = assembled(*before, json.dumps(error), *after)
        with pytest.raises(ReplyProblem, match="an error event") as caught:
            stream.reply()

        assert stream.is_refused
        assert classify(200, {}, caught.value.evidence).error_class == error_class
        has_usage = USED in before or USED in after
        assert caught.value.usage.total_tokens == (5 if has_usage else None), "it was billed"


@pytest.mark.parametrize(
    "member",
    [
        {"error": None}, {"error": {}}, {"error": ""}, {"status": "completed"}, {"status": None}, {"message": "hi", "code": 1},
        {"message": ""}, {"object": "x"}, {"base_resp": {"status_code": 0}}, {"base_resp": None}, {"base_resp": {"status_code": "1008"}},
    ],
)  # fmt: skip
def test_a_good_chunk_may_have_members_of_an_error(member):
    assert whole(chunk({"content": "a"}, **member), END).completion == "a"


def test_a_message_without_choices_is_no_error_by_itself():
    assert (
        whole(HI, json.dumps({"message": "m"}), json.dumps({"code": 5, "type": "ping"}), END).completion
        == "hi"
    )
    assert (
        whole(HI, json.dumps({"message": "", "code": 5, "base_resp": {"status_code": 0}}), END).completion
        == "hi"
    )


@pytest.mark.parametrize("error", [{"message": "m", "code": 429}, "m", True, ["m"]])
def test_an_error_on_a_choice_is_an_error(error):
    """OpenRouter; `choices[i].error`."""
    for index in (0, 1):
        bad = event(
            {"index": index, "delta": {"content": ""}, "finish_reason": None, "error": error, "usage": USAGE}
        )
        for after in ((), (END, "[DONE]")):
            stream = assembled(HI, bad, *after)
            with pytest.raises(ReplyProblem, match="an error on the choice") as caught:
                stream.reply()
            assert stream.is_refused
            assert caught.value.usage.total_tokens == 5
            outcome = classify(200, {}, caught.value.evidence)
            assert outcome.kind == ("WAIT" if isinstance(error, dict) else "RETRY")


def test_an_empty_error_on_a_choice_is_none():
    for error in (None, {}, "", False):
        assert whole(event({"index": 0, "delta": {"content": "a"}, "error": error}), END).completion == "a"


def test_an_event_that_is_named_an_error_is_one_whatever_it_says():
    decoder = SseDecoder()
    raw = f"data: {HI}\n\nevent: error\ndata: {END}\n\ndata: [DONE]\n\n".encode()

    stream = assembled(*decoder.feed(raw))

    assert stream.is_refused
    with pytest.raises(ReplyProblem, match="an error event") as caught:
        stream.reply()
    assert caught.value.evidence == END.encode()
    assert assembled(ErrorEvent("[DONE]")).is_refused


def test_the_first_error_says_why_and_a_broken_event_only_without_one():
    one, two = json.dumps({"error": {"message": "one"}}), json.dumps({"error": {"message": "two"}})
    on_choice = event({"index": 0, "error": {"message": "three"}})

    assert problem(one, two).evidence == problem(one, "{broken").evidence == one.encode()
    assert problem("{broken", one, two).evidence == one.encode()
    assert problem("{broken", on_choice, one).evidence == b'{"error":{"message":"three"}}'
    assert problem(one, on_choice).evidence == one.encode()
    assert problem("{broken", "{also").evidence == b"{broken"
    assert problem("\ud83d", "x").evidence == b"?"


@pytest.mark.parametrize("error", [json.dumps({"error": "m"}), ErrorEvent("m"), "{broken", HI, USED])
def test_what_follows_done_changes_nothing(error):
    """A reader stops at [DONE], so it must not matter what came in the same packet."""
    reply = whole(HI, END, "[DONE]", error)

    assert reply == whole(HI, END, "[DONE]")


@pytest.mark.parametrize(
    "word",
    [
        "error",
        "ERROR",
        "abort",
        "aborted",
        "network_error",
        "insufficient_system_resource",
        "cancelled",
        "unknown_error",
    ],
)
def test_a_finish_word_of_a_server_that_broke_off_is_no_answer_though_done_follows(word):
    for index in (0, 1):
        found = (
            problem(HI, event(choice(index, word)), USED, "[DONE]")
            if index == 0
            else problem(HI, END, event(choice(index, word)), USED, "[DONE]")
        )

        assert str(found) == f"the server broke off: finish_reason {word}"
        assert (found.evidence, found.usage.total_tokens) == (b"", 5)
        assert classify(200, {}, found.evidence).kind == "RETRY"


@pytest.mark.parametrize("word", ["stop", "length", "content_filter", "SAFETY", "tool_calls", "Hamburger"])
def test_any_other_finish_word_ends_an_answer_and_is_kept(word):
    assert whole(HI, chunk(finish_reason=word)).finish_reason == word


def test_a_finish_word_is_one_short_line():
    assert whole(HI, chunk(finish_reason="a\nb\x1b" + "x" * 99)).finish_reason == f"a b {'x' * 59}…"


def test_a_finish_reason_without_done_is_enough_and_done_without_one_too():
    assert whole(HI, END).completion == "hi"
    assert (whole(HI, "[DONE]").completion, whole(HI, "[DONE]").finish_reason) == ("hi", None)


def test_an_end_that_is_taken_back_by_no_word_stays():
    assert whole(HI, END, chunk({"content": "!"})).finish_reason == "stop"
    assert whole(HI, END, chunk(finish_reason="")).finish_reason == "stop"


def test_the_choices_of_a_stream_are_put_together_each_by_its_index():
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    more = {"index": 0, "function": {"arguments": "}"}}

    reply = whole(
        event(choice(1, role="assistant", content=""), choice(0, role="assistant", content="")),
        event(choice(0, content="a")),
        event(choice(2, content=None, tool_calls=[call], reasoning="r", refusal="no")),
        event(choice(1, content="b", ), choice(0, content="a")),
        event(choice(2, tool_calls=[more])),
        event(choice(0, "stop")),
        event(choice(2, "tool_calls")),
        event(choice(1, "length", {"content": [{"token": "b"}]})),
    )  # fmt: skip

    assert (reply.completion, reply.finish_reason, reply.tool_calls) == ("aa", "stop", None)
    assert json.loads(reply.choices) == [
        {"index": 0, "message": {"role": "assistant", "content": "aa"}, "logprobs": None, "finish_reason": "stop"},
        {"index": 1, "message": {"role": "assistant", "content": "b"}, "logprobs": {"content": [{"token": "b"}]}, "finish_reason": "length"},
        {
            "index": 2,
            "message": {
                "role": "assistant",
                "content": None,
                "reasoning_content": "r",
                "refusal": "no",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        },
    ]  # fmt: skip


def test_a_stream_that_is_cut_before_every_choice_has_ended_is_no_success():
    chunks = [event(choice(0, content="a")), event(choice(1, content="b")), event(choice(0, "stop"))]

    neither = "the stream ended with neither [DONE] nor a finish_reason"
    assert (str(problem(*chunks)), str(problem(chunks[0]))) == (f"{neither} of every choice", neither)
    assert problem(*chunks).evidence == b""
    assert json.loads(whole(*chunks, "[DONE]").choices)[1]["finish_reason"] is None


def test_the_log_probabilities_of_a_stream_are_joined():
    def of(token: str, **more) -> dict:
        return {"content": [{"token": token, "logprob": -0.5}], "refusal": None, **more}

    reply = whole(
        event(choice(0, logprobs=of("a", text_offset=1), content="a")),
        event({**choice(0, content="b"), "logprobs": [5]}),
        event(choice(0, logprobs=of("b", text_offset=2), content="b")),
        event(choice(0, logprobs={"content": None, "refusal": None, "text_offset": None})),
        event(choice(0, "stop")),
    )

    logprobs = json.loads(reply.logprobs)
    assert [one["token"] for one in logprobs["content"]] == ["a", "b"]
    assert logprobs["refusal"] is None
    assert logprobs["text_offset"] == 2
    assert reply.choices is None


def test_a_plain_answer_in_one_event_is_an_answer():
    body = {"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi", "reasoning_content": "r"}, "finish_reason": "stop"}], "usage": USAGE}  # fmt: skip

    for end in ((), ("[DONE]",)):
        reply = whole(json.dumps(body), *end)
        assert (reply.completion, reply.reasoning, reply.finish_reason, reply.usage.total_tokens) == (
            "hi",
            "r",
            "stop",
            5,
        )
    assert assembled(json.dumps(body), usage_follows=True).is_whole


def test_a_streamed_text_completion_is_put_together_from_its_texts():
    def text(text: str, finish_reason: str | None = None) -> str:
        return event({"index": 0, "text": text, "finish_reason": finish_reason}, id="c", model="m")

    stream = assembled(
        text("once "), text("upon"), event({"index": 0, "text": 5}), text("", "length"), "[DONE]"
    )

    assert (stream.reply().completion, stream.reply().finish_reason) == ("once upon", "length")


def call(**fields) -> str:
    named = {name: value for name, value in fields.items() if name in ("name", "arguments")}
    own = {name: value for name, value in fields.items() if name not in named}
    return chunk({"tool_calls": [{**own, "function": named}]})


def calls_of(*pieces: str) -> list[tuple]:
    found = json.loads(whole(*pieces, chunk(finish_reason="tool_calls")).tool_calls)
    return [(one.get("id"), one["function"]["name"], one["function"]["arguments"]) for one in found]


A, B = ("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')
CALLS = {
    "OpenAI: id first, then by index": ([call(index=0, id="a", name="f", arguments=""), call(index=0, arguments='{"x"'), call(index=0, arguments=":1}"), call(index=1, id="b", name="g", arguments='{"y"'), call(index=1, arguments=":2}")], [A, B]),
    "both at once": ([call(index=1, id="b", name="g"), call(index=0, id="a", name="f"), call(index=0, arguments='{"x":1}'), call(index=1, arguments='{"y":2}')], [A, B]),
    "vLLM: id, type and name with every piece (spring-ai 5973)": ([call(index=0, id="a", type="function", name="f", arguments='{"x"'), call(index=0, id="a", type="function", name="f", arguments=":1}")], [A]),
    "Ollama, Gemini: index 0 for all, whole (ollama 15457, apache/maka 1976)": ([call(index=0, id="a", name="f", arguments='{"x":1}'), call(index=0, id="b", name="g", arguments='{"y":2}')], [A, B]),
    "index 0 for all, in pieces": ([call(index=0, id="a", name="f", arguments='{"x"'), call(index=0, arguments=":1}"), call(index=0, id="b", name="g", arguments='{"y"'), call(index=0, arguments=":2}")], [A, B]),
    "index 0 for all, by id": ([call(index=0, id="a", name="f", arguments='{"x"'), call(index=0, id="b", name="g", arguments='{"y"'), call(index=0, id="a", arguments=":1}"), call(index=0, id="b", arguments=":2}")], [A, B]),
    "no index, by id": ([call(id="a", name="f", arguments='{"x"'), call(id="b", name="g", arguments='{"y"'), call(id="a", arguments=":1}"), call(id="b", arguments=":2}")], [A, B]),
    "no index, by order": ([call(id="a", name="f", arguments='{"x"'), call(arguments=":1}"), call(id="b", name="g", arguments='{"y"'), call(arguments=":2}")], [A, B]),
    "no index, no id, by name": ([call(name="f", arguments='{"x"'), call(arguments=":1}"), call(name="g", arguments='{"y":2}')], [(None, *A[1:]), (None, *B[1:])]),
    "the index comes later": ([call(id="a", name="f", arguments='{"x"'), call(id="a", index=0, arguments=":"), call(index=0, arguments="1}")], [A]),
    "an index, then none": ([call(index=0, id="a", name="f", arguments='{"x"'), call(arguments=":1}")], [A]),
    "the id comes later": ([call(index=0, name="f", arguments='{"x"'), call(index=0, id="a", arguments=":1}")], [A]),
    "an index that is none": ([call(index=None, id="a", name="f", arguments='{"x"'), call(index="0", id="a", arguments=":1}")], [A]),
    "empty ids": ([call(index=0, id="", name="f", arguments='{"x"'), call(index=0, id="", arguments=":1}"), call(index=1, id="", name="g", arguments='{"y":2}')], [(None, *A[1:]), (None, *B[1:])]),
    "Mistral: id null in text (langchain 40028)": ([call(index=0, id="a", name="f", arguments='{"x"'), call(index=0, id="null", arguments=":1}"), call(index=1, id="null", name="g", arguments='{"y":2}')], [A, (None, *B[1:])]),
    "ids that are no text": ([call(index=0, id=5, name="f", arguments='{"x"'), call(index=0, id=5, arguments=":1}")], [(None, *A[1:])]),
    "arguments as an object: Ollama": ([call(index=0, id="a", name="f", arguments={"x": 1}), call(index=1, id="b", name="g", arguments={})], [A, ("b", "g", "{}")]),
    "a name in pieces": ([call(index=0, id="a", name="get_"), call(index=0, name="weather", arguments="{}")], [("a", "get_weather", "{}")]),
    "strange pieces": ([chunk({"tool_calls": [5, None, {}, {"function": 5}]}), call(index=0, id="a", name=5, arguments=["x"])], [(None, "", ""), ("a", "", "")]),
    "indices in a strange order": ([call(index=7, id="b", name="g", arguments='{"y":2}'), call(index=-1, id="a", name="f", arguments='{"x":1}')], [A, B]),
    "several in a piece": ([chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}, {"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"y":2}'}}]})], [A, B]),
}  # fmt: skip


@pytest.mark.parametrize(("pieces", "expected"), CALLS.values(), ids=CALLS)
def test_there_is_one_tool_call_for_each_that_was_meant(pieces, expected):
    assert calls_of(*pieces) == expected


def test_a_tool_call_is_kept_as_a_plain_answer_has_it():
    pieces = [call(index=0, id="a", type="function", name="f"), call(index=0, type="", arguments="{}"), END]

    assert json.loads(whole(*pieces).tool_calls) == [
        {"function": {"name": "f", "arguments": "{}"}, "id": "a", "type": "function"}
    ]
    assert whole(HI, chunk({"tool_calls": {"index": 0}}), END).tool_calls is None


@pytest.mark.parametrize("index", [None, 0, False, 0.0])
def test_a_choice_without_a_number_is_the_first(index):
    assert (
        whole(event({"index": index, "delta": {"content": "a"}, "finish_reason": "stop"})).completion == "a"
    )
    assert whole(event({"delta": {"content": "a"}, "finish_reason": "stop"})).completion == "a"


def test_a_choice_whose_number_is_none_is_left_out():
    strange = [
        event({"index": index, "delta": {"content": "b"}, "finish_reason": "stop"})
        for index in ("1", 1.5, True, [1])
    ]

    reply = whole(HI, *strange, END)

    assert (reply.completion, reply.choices) == ("hi", None)


@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.text(max_size=5).map(ErrorEvent),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.text(max_size=5)
                | st.sampled_from(["stop", "error"]),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(
                            "choices delta message content index usage x_groq tool_calls function arguments id name error "
                            "finish_reason logprobs text thinking type object status base_resp model".split()
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


@pytest.mark.parametrize("depth", [100, 250, 450, 900, 1_000, 100_000])
def test_no_depth_raises(depth):
    for opening, closing in (("[", "]"), ('{"a":', "}"), ('[{"type":"thinking","thinking":', "}]")):
        deep = f"{opening * depth}1{closing * depth}"
        for data in (
            deep,
            f'{{"choices":{deep}}}',
            f'{{"choices":[{{"delta":{{"content":{deep},"tool_calls":[{{"function":{{"arguments":{deep}}}}}]}},"logprobs":{deep},"error":{deep}}}],"usage":{deep}}}',
            f'{{"choices":[{{"delta":{{"content":{deep}}},"logprobs":{{"a":{deep}}},"finish_reason":"stop"}}],"usage":{{"a":{deep}}}}}',
        ):
            stream = assembled(data, END)
            try:
                stream.reply()
            except ReplyProblem:
                pass


def test_a_call_from_before_there_were_tools_is_put_together():
    reply = whole(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a"'}}),
        chunk({"function_call": {"arguments": ":1}"}}),
        chunk({"function_call": {}}, finish_reason="function_call"),
        END,
    )

    assert json.loads(reply.tool_calls) == [
        {"type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


def test_pictures_notes_and_a_sound_are_put_together_and_kept():
    reply = whole(
        chunk({"content": "a", "images": ["one"], "annotations": [1]}),
        chunk({"images": ["two"], "audio": {"id": "s", "data": "AA", "transcript": "hel"}}),
        chunk({"audio": {"data": "BB", "transcript": "lo", "expires_at": 9}, "annotations": "odd"}),
        chunk(finish_reason="stop"),
        END,
    )

    (kept,) = json.loads(reply.choices)
    assert kept["message"] == {
        "role": "assistant",
        "content": "a",
        "images": ["one", "two"],
        "annotations": "odd",
        "audio": {"id": "s", "data": "AABB", "transcript": "hello", "expires_at": 9},
    }


def test_reasoning_in_details_alone_is_put_together():
    reply = whole(
        chunk({"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "h"}]}),
        chunk({"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "m"}]}),
        chunk({"content": "b"}, finish_reason="stop"),
        END,
    )

    assert (reply.completion, reply.reasoning) == ("b", "hm")
