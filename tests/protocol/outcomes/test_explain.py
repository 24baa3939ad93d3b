"""An answer that somebody saved is judged as it would be in a run."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from batchlab.cli.setup import explain_errors
from batchlab.protocol.outcomes.classify import explained
from batchlab.protocol.outcomes.explain import explained_answer

ANSWER = {
    "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1_200, "completion_tokens": 2},
}
REFUSAL = b'{"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}'


def explain(data: bytes, *words: str) -> list[str]:
    """What the command prints about `data`."""
    result = CliRunner().invoke(explain_errors, [*words, "-"], input=data, standalone_mode=False)
    assert result.exception is None, result.exception
    return result.output.splitlines()


def test_an_answer_is_told_with_what_it_was_billed():
    said = explain(json.dumps(ANSWER).encode())

    assert said == [
        "OK: an answer, kept as ok",
        "finish_reason: stop",
        "billed: 1,200 prompt, 2 completion tokens",
    ]


@pytest.mark.parametrize(
    ("word", "kept"),
    [("length", "truncated"), ("SAFETY", "filtered"), ("end_turn", "ok"), (None, "ok"), ("zap", "ok")],
)
def test_a_finish_reason_is_told_with_what_it_means(word, kept):
    answer = {"choices": [{"message": {"content": "hi"}, "finish_reason": word}]}

    said = explained_answer(json.dumps(answer).encode())

    assert said[0] == f"OK: an answer, kept as {kept}"
    assert ("in no table" in said[1]) == (word == "zap")
    assert said[-1] == "usage: none reported"


def test_a_stream_is_read_as_one():
    events = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'

    assert explained_answer(events)[0] == "OK: an answer, kept as ok"
    assert explained_answer(events[:-14])[0] == "RETRY invalid_response"


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_a_head_is_read_where_it_was_saved_too(line_end):
    head = [
        b"HTTP/1.1 100 Continue",
        b"",
        b"HTTP/2 429 ",
        b"Retry-After: 7",
        b"x-Request-ID: a",
        b"",
        REFUSAL,
    ]

    said = explain(line_end.join(head))

    assert said[0] == "WAIT rate_limit"
    assert "status: 429" in said
    assert "asks to wait: 7 s" in said
    assert any(line.startswith("the provider's own:") and "rate_limit_exceeded" in line for line in said)
    assert explained_answer(line_end.join([b"HTTP/1.1 401 Unauthorized", b"", b""]))[0] == "STOP auth"
    assert explained_answer(b"HTTP/1.1 503 x")[1:] == explained_answer(b"", 503)[1:]


def test_a_body_alone_has_the_status_that_is_given():
    assert explain(REFUSAL, "--status", "429")[0] == "WAIT rate_limit"
    assert (
        explain(b"{}", "--status", "400")[0]
        == "FAIL bad_request; when the first 20 rows all end so, the run stops"
    )


def test_what_was_billed_for_no_answer_is_told():
    said = explained_answer(json.dumps({**ANSWER, "choices": []}).encode())

    assert said[0] == "RETRY invalid_response"
    assert said[-1] == "billed all the same: 1,200 prompt, 2 completion tokens"


def test_the_table_says_of_each_line_where_it_was_read():
    printed = CliRunner().invoke(explain_errors, [], standalone_mode=False).output

    for evidence, kind, error_class, read_at in explained():
        assert evidence in printed
        assert read_at, evidence
        assert kind in printed
        assert error_class in printed
    assert printed.count("read at: ") == len(explained())
