"""Embeddings and text completions as providers send them."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from batchlab.protocol.completions import parse_completion
from batchlab.protocol.embeddings import EmbeddingsProblem, input_count, parse_embeddings, vector_bytes
from batchlab.protocol.values import ReplyProblem

TWO = {"input": ["a", "b"], "model": "m"}


def item(index, vector) -> dict:
    return {"object": "embedding", "index": index, "embedding": vector}


def answer(*items, usage=None, **more) -> bytes:
    usage = usage or {"prompt_tokens": 8, "total_tokens": 8}
    return json.dumps({"object": "list", "data": list(items), "model": "e", "usage": usage, **more}).encode()


def floats(text: str) -> list[float]:
    data = vector_bytes(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def test_each_text_gets_the_vector_of_its_index_whatever_the_order():
    reply = parse_embeddings(answer(item(1, [0.5, -2]), item(0, [1, 0.25])), TWO)

    assert [floats(one) for one in reply.vectors] == [[1, 0.25], [0.5, -2]]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (8, 0, 8)
    assert (reply.model, reply.completion, reply.finish_reason) == ("e", None, None)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 3.4028235e38, 1.1754944e-38, 1e-45, -0.0, 1 + 2**-23])
def test_a_float32_survives_as_a_number_and_as_base64_alike(value):
    packed = struct.pack("<f", value)
    [exact] = struct.unpack("<f", packed)
    numbers = json.dumps({"data": [item(0, [exact])]}).encode()
    encoded = answer(item(0, base64.b64encode(packed).decode()))

    assert vector_bytes(parse_embeddings(numbers, {"input": "a"}).vectors[0]) == packed
    assert vector_bytes(parse_embeddings(encoded, {"input": "a"}).vectors[0]) == packed


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (answer(item(0, [1.0])), "1 embedding for 2 texts"),
        (answer(item(0, [1.0]), item(0, [2.0])), "index 0 is doubled or out of range for 2 texts"),
        (answer(item(0, [1.0]), item(2, [2.0])), "index 2 is doubled or out of range for 2 texts"),
        (answer(item(0, [1.0]), item(-1, [2.0])), "index -1 is doubled"),
        (answer(item(0, [1.0]), item(True, [2.0])), "an embedding without an index"),
        (answer(item(0, [1.0]), {"embedding": [2.0]}), "an embedding without an index"),
        (answer(item(0, [1.0]), item(1, [2.0, 3.0])), "embeddings of different lengths: [1, 2]"),
        (answer(item(0, [1.0]), item(1, [])), "embedding 1 is empty or has numbers that are none"),
        (answer(item(0, [1.0]), item(1, [None])), "embedding 1 is empty or has numbers"),
        (answer(item(0, [1.0]), item(1, [True])), "embedding 1 is empty or has numbers"),
        (answer(item(0, [1.0]), item(1, [1e39])), "embedding 1 is empty or has numbers"),
        (answer(item(0, [1.0]), item(1, [10**400])), "embedding 1 is empty or has numbers"),
        (answer(item(0, [1.0]), item(1, [float("nan")])), "embedding 1 is empty or has numbers"),
        (answer(item(0, [1.0]), item(1, "AAAA*A==")), "embedding 1 is empty or has numbers"),
        (answer(item(0, [1.0]), item(1, "AAA=")), "embedding 1 is empty or has numbers"),
        (answer(item(0, [1.0]), "x"), "an embedding that is no object"),
        (answer(data=None), "the answer has status 200 but no embeddings"),
    ],
)
def test_an_answer_that_lacks_anything_gives_no_row_a_vector_and_says_what_it_cost(body, said):
    with pytest.raises(EmbeddingsProblem) as problem:
        parse_embeddings(body, TWO)

    assert said in str(problem.value)
    assert problem.value.usage.prompt_tokens == 8
    assert not problem.value.is_refusal


def test_a_number_of_dimensions_that_was_not_asked_for_is_the_endpoint_s_own_doing():
    with pytest.raises(EmbeddingsProblem) as problem:
        parse_embeddings(answer(item(0, [1.0]), item(1, [2.0])), {**TWO, "dimensions": 256})

    assert str(problem.value) == "the embedding has 1 dimension, and 256 were asked for"
    assert problem.value.is_refusal


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b'{"error": {"message": "no"}}'])
def test_what_is_no_embeddings_answer_is_left_to_the_classifier(body):
    with pytest.raises(ReplyProblem) as problem:
        parse_embeddings(body, TWO)

    assert not isinstance(problem.value, EmbeddingsProblem)


@pytest.mark.parametrize(
    ("given", "count"),
    [("a", 1), (["a"], 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([[1]], 1), ([], 1)],
)
def test_how_many_texts_an_input_holds(given, count):
    assert input_count(given) == count


def test_a_provider_that_states_no_usage_has_used_an_unknown_number_of_tokens():
    reply = parse_embeddings(b'{"data": [{"embedding": [1.0]}]}', {"input": "a"})

    assert reply.usage.prompt_tokens is None
    assert reply.usage.completion_tokens is None
    total = parse_embeddings(answer(item(0, [1.0]), usage={"total_tokens": 5}), {"input": "a"}).usage
    assert (total.prompt_tokens, total.completion_tokens) == (5, 0)


def test_a_text_completion_has_its_text_finish_reason_and_usage():
    choice = {"index": 0, "text": "and they lived", "finish_reason": "length", "logprobs": None}
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    body = {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": [choice], "usage": usage}

    reply = parse_completion(json.dumps(body).encode())

    assert (reply.completion, reply.finish_reason, reply.response_id) == (
        "and they lived",
        "length",
        "cmpl-1",
    )
    assert reply.usage.completion_tokens == 3
    for broken in ([], [{"text": None}], [{"message": {"content": "x"}}], None):
        with pytest.raises(ReplyProblem):
            parse_completion(json.dumps({**body, "choices": broken}).encode())
    with pytest.raises(ReplyProblem):
        parse_completion(b"[]")


def test_an_error_with_status_200_is_left_to_the_classifier_with_its_usage():
    """LiteLLM, vLLM's flat error, MiniMax."""
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    for error in (
        {"error": "no"},
        {"object": "error"},
        {"status": "error"},
        {"base_resp": {"status_code": 1}},
    ):
        with pytest.raises(ReplyProblem) as problem:
            parse_embeddings(answer(item(0, [1.0]), usage=usage, **error), {"input": "a"})
        assert not isinstance(problem.value, EmbeddingsProblem)
        assert problem.value.usage.prompt_tokens == 4


def test_the_choices_of_a_text_completion_are_kept_as_they_came():
    choices = [{"index": n, "text": t, "finish_reason": "stop"} for n, t in ((1, "b"), (0, "a"))]

    reply = parse_completion(json.dumps({"choices": choices}).encode())

    assert reply.completion == "a"
    assert json.loads(reply.choices) == choices[::-1]


def test_a_text_completion_that_is_none_says_what_it_used():
    usage = {"prompt_tokens": 4, "completion_tokens": 1}
    for broken in (
        {"choices": [{"text": None}]},
        {"choices": [{"text": "a", "finish_reason": "error"}]},
        {"error": "no"},
    ):
        with pytest.raises(ReplyProblem) as problem:
            parse_completion(json.dumps({**broken, "usage": usage}).encode())
        assert problem.value.usage.completion_tokens == 1
    for choices in ([{"error": {"code": 429}}], [{"text": "a"}, {"text": "", "error": {"code": 429}}]):
        with pytest.raises(ReplyProblem) as problem:
            parse_completion(json.dumps({"choices": choices}).encode())
        assert problem.value.evidence == b'{"error":{"code":429}}', "judged by its own facts"
