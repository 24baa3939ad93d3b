"""Plain replies as services really send them (answers.md, section 1)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.chat import content_texts, holds_media, parse_reply, reply_of
from batchlab.protocol.values import MAX_ID_CHARS, ReplyProblem, id_of, json_text, parse_json, word_of

USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


def body(message=None, **more) -> bytes:
    choice = {
        "index": 0,
        "message": message or {"role": "assistant", "content": "hi"},
        "finish_reason": "stop",
    }
    return json.dumps({"id": "x", "model": "m", "choices": [choice], **more}).encode()


def test_a_plain_reply_is_read_whole():
    reply = parse_reply(body(usage=USAGE, system_fingerprint="f", service_tier="default"))

    assert (reply.completion, reply.finish_reason, reply.model) == ("hi", "stop", "m")
    assert (reply.system_fingerprint, reply.service_tier, reply.response_id) == ("f", "default", "x")
    assert reply.usage.total_tokens == 4
    assert not reply.is_lossy


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "completion", "ab"),
        ({"content": ["a", {"type": "output_text", "text": "b"}, 5, {"type": "image"}]}, "completion", "ab"),
        ({"content": []}, "completion", ""),
        ({"content": 5}, "completion", None),
        ({"content": {"text": "a"}}, "completion", None),
        ({"content": None, "refusal": "no"}, "refusal", "no"),
        ({"content": None, "refusal": ["no"]}, "refusal", None),
        ({"content": "x", "reasoning": "r"}, "reasoning", "r"),  # OpenRouter, Groq, vLLM from 0.11
        ({"content": "x", "reasoning_content": "r"}, "reasoning", "r"),  # DeepSeek, SGLang, Moonshot
        ({"content": "x", "thinking": "r"}, "reasoning", "r"),  # Ollama
        ({"content": "x", "reasoning_content": "", "reasoning": "r"}, "reasoning", "r"),
        ({"content": "x", "reasoning_content": "r", "reasoning": "r"}, "reasoning", "r"),
        ({"content": "x", "reasoning": {"effort": "low"}}, "reasoning", None),
        ({"content": "x", "reasoning": [{"type": "reasoning", "text": "a"}, {"type": "text", "text": "b"}]}, "reasoning", "ab"),
        # Mistral: magistral's content; Anthropic-like gateways
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]}, "reasoning", "t"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]}, "completion", "a"),
        ({"content": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "a"}]}, "reasoning", "t"),
        ({"content": [{"type": "reasoning", "reasoning": "t"}]}, "reasoning", "t"),
        ({"content": [{"type": "thinking"}, {"type": "text", "text": "a"}]}, "reasoning", None),
        ({"content": [{"type": "thinking", "thinking": "t"}], "reasoning_content": "r"}, "reasoning", "r"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls", '[{"id":"1"}]'),
        ({"content": "x", "tool_calls": []}, "tool_calls", None),
        ({"content": None}, "completion", None),
        ({"content": "half \ud83d"}, "completion", "half \ufffd"),
    ],
)  # fmt: skip
def test_a_message_is_read_in_every_spelling(message, field, value):
    assert getattr(parse_reply(body(message)), field) == value


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not JSON"), (b"null", "not an object"), (b"[]", "not an object"), (b"3", "not an object"), (b'"x"', "not an object"),
        (b"{}", "no choices"), (b'{"choices": []}', "no choices"), (b'{"choices": [1]}', "no choices"),
        (b'{"choices": null}', "no choices"), (b'{"choices": {"0": {}}}', "no choices"), (b'{"choices": NaN}', "no choices"),
        (b'{"choices": [{}]}', "no message"), (b'{"choices": [{"message": null}]}', "no message"), (b'{"choices": [{"message": "x"}]}', "no message"),
        (b"<html>", "not JSON"), (b"[" * 100_000, "not JSON"), (b'{"choices": [{"message": {"content": "half', "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_completion_is_refused(raw, said):
    with pytest.raises(ReplyProblem, match=said) as problem:
        parse_reply(raw)

    assert problem.value.evidence is None, "all of it is judged"


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "x"}}, {"error": "x"}, {"error": True}, {"object": "error"}, {"status": "error"},
        {"base_resp": {"status_code": 1008}},
    ],
)  # fmt: skip
def test_an_error_outweighs_a_good_choice_and_its_usage_was_billed(error):
    with pytest.raises(ReplyProblem, match="an error with status 200") as problem:
        parse_reply(body(usage=USAGE, **error))

    assert problem.value.usage.total_tokens == 4


@pytest.mark.parametrize(
    "error", [{"message": "m", "code": 5}, {"message": "m", "type": "t"}, {"base_resp": {"status_code": 1}}]
)
def test_a_flat_error_has_no_choices(error):
    with pytest.raises(ReplyProblem, match="an error with status 200"):
        reply_of(error)
    for other in (
        {"message": "m"},
        {"code": 5},
        {"type": "t", "message": ""},
        {"base_resp": {"status_code": 0}},
    ):
        with pytest.raises(ReplyProblem, match="no choices"):
            reply_of(other)


@pytest.mark.parametrize(
    "fine",
    [
        {"error": None}, {"error": {}}, {"error": ""}, {"status": "completed"}, {"message": "m", "code": 5, "type": "t"},
        {"base_resp": {"status_code": 0, "status_msg": ""}}, {"base_resp": {"status_code": True}}, {"base_resp": 5}, {"object": "x"},
    ],
)  # fmt: skip
def test_a_good_answer_may_have_members_of_an_error(fine):
    assert reply_of({**json.loads(body()), **fine}).completion == "hi"


def test_an_error_on_any_choice_is_an_error_judged_by_its_own_facts():
    good = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    for bad in (
        {"error": {"code": 429}},
        {"error": {"code": 429}, "finish_reason": "stop", "message": {"content": "b"}},
    ):
        for choices in ([bad], [good, {**bad, "index": 1}]):
            with pytest.raises(ReplyProblem, match="an error on the choice") as problem:
                reply_of({"choices": choices, "usage": USAGE})
            assert problem.value.evidence == b'{"error":{"code":429}}'
            assert problem.value.usage.total_tokens == 4
    assert reply_of({"choices": [{**good, "error": None}]}).completion == "a"


@pytest.mark.parametrize(
    "word", ["error", "abort", "network_error", "insufficient_system_resource", "CANCELLED"]
)
def test_a_server_that_broke_off_gave_no_answer(word):
    good = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    for choices in ([{**good, "finish_reason": word}], [good, {**good, "index": 1, "finish_reason": word}]):
        with pytest.raises(ReplyProblem, match=f"the server broke off: finish_reason {word}") as problem:
            reply_of({"choices": choices, "usage": USAGE})
        assert problem.value.usage.total_tokens == 4


@pytest.mark.parametrize("word", ["stop", "length", "SAFETY", "Hamburger", None])
def test_any_other_finish_word_is_kept(word):
    assert reply_of({"choices": [{"message": {}, "finish_reason": word}]}).finish_reason == word


@pytest.mark.parametrize("strange", [5, ["stop"], {"a": 1}, True])
def test_what_is_no_word_is_no_finish_reason(strange):
    reply = reply_of(
        {
            "choices": [{"message": {}, "finish_reason": strange}],
            "model": strange,
            "id": strange,
            "service_tier": strange,
        }
    )

    assert (reply.finish_reason, reply.model, reply.response_id, reply.service_tier) == (None,) * 4


@pytest.mark.parametrize("bad", [{"choices": []}, {"choices": [{"message": None}]}, {"choices": [5]}])
def test_usage_of_an_answer_that_is_none_was_billed_all_the_same(bad):
    with pytest.raises(ReplyProblem) as problem:
        reply_of({**bad, "usage": USAGE})

    assert problem.value.usage.completion_tokens == 1


def test_the_tier_may_stand_in_the_usage():
    """Anthropic-like gateways."""
    answer = {"choices": [{"message": {}}]}

    assert reply_of({**answer, "usage": {"service_tier": "batch"}}).service_tier == "batch"
    assert (
        reply_of({**answer, "usage": {"service_tier": "batch"}, "service_tier": "flex"}).service_tier
        == "flex"
    )
    assert reply_of({**answer, "usage": ["x"]}).service_tier is None


def test_several_choices_are_kept_and_the_first_is_that_of_index_0():
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in ((1, "second"), (0, "first"))
    ]

    reply = reply_of({"choices": choices})

    assert reply.completion == "first"
    assert [choice["message"]["content"] for choice in json.loads(reply.choices)] == ["first", "second"]
    assert reply_of({"choices": choices[:1]}).choices is None
    unnumbered = [{"message": {"content": "a"}}, {"message": {"content": "b"}, "index": None}]
    assert json.loads(reply_of({"choices": unnumbered}).choices) == unnumbered
    assert reply_of({"choices": [*choices, 5]}).completion == "second", "as they came"


def test_log_probabilities_are_kept_as_they_came():
    logprobs = {"content": [{"token": "a", "logprob": -1.5, "bytes": [97], "top_logprobs": []}]}
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}

    assert json.loads(reply_of({"choices": [choice | {"logprobs": logprobs}]}).logprobs) == logprobs
    assert reply_of({"choices": [choice | {"logprobs": None}]}).logprobs is None


@pytest.mark.parametrize(
    "tail", [b"", b"\n", b"\n\ndata: [DONE]\n\n", b"data:[DONE]", b" data: [DONE]", b"[DONE]", b"\ndata:\n"]
)
@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf", b"\n \t", b"\xef\xbb\xbf\n"])
def test_what_stands_around_an_answer_is_cut_off(head, tail):
    assert parse_reply(head + body() + tail).completion == "hi"


def test_what_is_not_utf_8_is_read_with_replacement():
    raw = body({"content": "caf@"}).replace(b"@", b"\xe9")

    assert parse_reply(raw).completion == "caf\ufffd"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18"), ("a b", "a b"), (" a\n\tb\x00c\u202ed ", "a b c d"), ("", ""), ("é", "é"),
        ("sk-abcdefghijkl", "****"), ("x Bearer abcdefgh", "x Bearer ****"), ("risk-free", "risk-free"), ("gsk-1234567890", "****"),
        (5, None), (None, None), (["x"], None), ("x" * MAX_ID_CHARS, "x" * MAX_ID_CHARS), ("x" * (MAX_ID_CHARS + 1), "x" * (MAX_ID_CHARS - 1) + "…"),
    ],
)  # fmt: skip
def test_a_name_is_one_short_line_without_a_key(value, name):
    assert id_of(value) == name


def test_a_word_is_shorter():
    assert word_of("x" * 64) == "x" * 64
    assert word_of("x" * 65) == "x" * 63 + "…"
    assert word_of(None) is None
    assert word_of(5) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, None), ([], None), (None, None), (0, None), ({"a": 1}, '{"a":1}'), ({"é": "ü"}, '{"é":"ü"}'),
        ({"a": 2**70}, '{"a":1180591620717411303424}'), ({"a": float("nan")}, '{"a":null}'), ([2**70, float("inf"), [float("-inf")], "é"], '[1180591620717411303424,null,[null],"é"]'),
    ],
)  # fmt: skip
def test_a_kept_object_is_json_whatever_its_numbers(value, text):
    assert json_text(value) == text


def test_a_kept_object_that_is_too_deep_is_left_out():
    deep: list = [1]
    for _ in range(300):
        deep = [deep]
    assert json.loads(json_text(deep)) == deep
    for _ in range(100_000):
        deep = [deep]
    assert json_text(deep) is None
    while deep and isinstance(deep[0], list):
        deep = deep[0]


def test_json_that_python_alone_reads_is_read():
    assert parse_json(b'{"a": NaN, "b": ["\\ud83d"], "\\ud83d": 1}')["b"] == ["\ufffd"]
    assert "\ufffd" in parse_json('{"\\ud83d": 1}')
    with pytest.raises(ReplyProblem, match="not JSON"):
        parse_json("9" * 5_000 + "x")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["stop", "error"])
)
NAMES = st.sampled_from(
    "choices message content index finish_reason usage error status object code type tool_calls reasoning thinking text "
    "reasoning_content refusal logprobs id model service_tier base_resp x_groq".split()
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


@given(JSON, JSON)
def test_no_answer_however_strange_raises_anything_but_a_problem(value, message):
    choice = {"message": message, "finish_reason": value, "logprobs": value}
    for answer in (
        value,
        {"choices": value},
        {"choices": [choice]},
        {
            "choices": [{"message": {"content": value, "reasoning": message, "tool_calls": value}}],
            "usage": value,
        },
    ):
        try:
            reply_of(answer)
        except ReplyProblem:
            pass


@pytest.mark.parametrize("depth", [100, 250, 450, 900, 1_000, 100_000])
def test_no_depth_raises_anything_but_a_problem(depth):
    for opening, closing in (("[", "]"), ('{"a":', "}"), ('[{"type":"thinking","thinking":', "}]")):
        deep = f"{opening * depth}1{closing * depth}"
        for raw in (
            deep,
            f'{{"choices":{deep}}}',
            f'{{"choices":[{{"message":{{"content":{deep},"tool_calls":{deep}}},"logprobs":{deep}}}],"usage":{deep}}}',
            f'{{"choices":[{{"message":{{"content":{deep}}},"error":{deep}}}]}}',
        ):
            try:
                parse_reply(raw.encode())
            except ReplyProblem:
                pass


def test_thoughts_in_thoughts_end_somewhere():
    part: object = "t"
    for _ in range(5):
        part = [{"type": "thinking", "thinking": part}]

    assert content_texts(part) == ("", "t")


def one(**message):
    """The reply of an answer with this message."""
    return reply_of({"choices": [{"index": 0, "message": {"role": "assistant", **message}}]})


def test_a_call_from_before_there_were_tools_is_one():
    call = {"name": "f", "arguments": "{}"}

    assert json.loads(one(content=None, function_call=call).tool_calls) == [
        {"type": "function", "function": call}
    ]
    own = [{"id": "t1", "type": "function", "function": call}]
    assert json.loads(one(tool_calls=own, function_call=call).tool_calls) == own
    assert (
        one(content="a", function_call={}).tool_calls
        is one(content="a", function_call="f").tool_calls
        is None
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
        ("audio", {"id": "a1", "data": "AA==", "transcript": "hello"}),
        ("annotations", [{"type": "url_citation", "url_citation": {"url": "https://example.org"}}]),
    ],
)
def test_what_no_column_holds_is_kept_with_the_whole_answer(name, value):
    reply = one(content="a", **{name: value})

    assert json.loads(reply.choices)[0]["message"][name] == value
    assert holds_media(reply.choices) == (name != "annotations")
    assert one(content="a", **{name: type(value)()}).choices is None


@pytest.mark.parametrize(
    ("details", "thought"),
    [
        ([{"type": "reasoning.text", "text": "h"}, {"type": "reasoning.text", "text": "m"}], "hm"),
        ([{"type": "reasoning.summary", "summary": "hm"}], "hm"),
        ([{"type": "reasoning.encrypted", "data": "AA=="}, "x"], None),
        ("hm", None),
    ],
)
def test_reasoning_may_come_in_details_alone(details, thought):
    assert one(content="a", reasoning_details=details).reasoning == thought
    assert one(content="a", reasoning="own", reasoning_details=details).reasoning == "own"
