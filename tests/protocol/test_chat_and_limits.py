"""Replies, usage and rate headers as providers really send them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.chat import ReplyProblem, parse_reply, parse_usage, reply_of
from batchlab.protocol.limits import message_wait_s, rate_limits, retry_after_s, window_s
from batchlab.protocol.redact import printable, redact

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def body(message=None, **more) -> bytes:
    choice = {
        "index": 0,
        "message": message or {"role": "assistant", "content": "hi"},
        "finish_reason": "stop",
    }
    return json.dumps({"id": "x", "model": "m", "choices": [choice], **more}).encode()


def test_a_plain_reply_is_read_whole():
    reply = parse_reply(
        body(usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}, system_fingerprint="f")
    )

    assert (reply.completion, reply.finish_reason, reply.model, reply.system_fingerprint) == (
        "hi",
        "stop",
        "m",
        "f",
    )
    assert reply.usage.total_tokens == 4


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "completion", "ab"),
        ({"content": None, "refusal": "no"}, "refusal", "no"),
        ({"content": "x", "reasoning": "r"}, "reasoning", "r"),
        ({"content": "x", "reasoning_content": "r"}, "reasoning", "r"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls", '[{"id":"1"}]'),
        ({"content": None}, "completion", None),
        ({"content": "half \ud83d"}, "completion", "half \ufffd"),
    ],
)
def test_variants_of_a_message(message, field, value):
    assert getattr(parse_reply(body(message)), field) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [1]}',
        b'{"choices": NaN}',
        b"<html>",
        b"[" * 100_000,
        b'{"error": {"message": "x"}, "choices": [{"message": {"content": "y"}}]}',
        b'{"choices": [{"finish_reason": "error", "message": {"content": "y"}}]}',
    ],
)
def test_what_is_no_completion_is_refused(raw):
    with pytest.raises(ReplyProblem):
        parse_reply(raw)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, (None, None, None, None)),
        ({}, (None, None, None, None)),
        ({"prompt_tokens": "12", "completion_tokens": 3.0}, (12, 3, None, None)),
        ({"prompt_tokens": -1, "completion_tokens": True}, (None, None, None, None)),
        (
            {
                "prompt_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            (9, None, 4, 2),
        ),
        ({"prompt_cache_hit_tokens": 7}, (None, None, 7, None)),
        ({"prompt_tokens": 1e400}, (None, None, None, None)),
    ],
)
def test_usage_that_is_unknown_is_none_never_zero(usage, expected):
    got = parse_usage(usage)

    assert (got.prompt_tokens, got.completion_tokens, got.cached_tokens, got.reasoning_tokens) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("soon", None),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2015 00:00:30 GMT", 0.0),
        ("1000000000", 1e9),
    ],
)
def test_retry_after(text, seconds):
    assert retry_after_s({"retry-after": text}, now=NOW) == seconds


def test_a_retry_date_is_measured_by_the_server_s_own_clock():
    headers = {"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT", "date": "Thu, 01 Jan 2026 00:00:10 GMT"}

    assert retry_after_s(headers, now=datetime(2030, 1, 1, tzinfo=UTC)) == 20.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("7.66s", 7.66),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("30", 30.0),
        (str(int(NOW.timestamp()) + 40), 40.0),
        (str((int(NOW.timestamp()) + 40) * 1000), 40.0),
        ("2026-01-01T00:00:50Z", 50.0),
        ("never", None),
    ],
)
def test_reset_formats(text, seconds):
    limits = rate_limits({"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": text}, now=NOW)

    assert limits is not None
    assert limits.reset_requests_s == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(("limit", "remaining"), [("-1", "5"), ("0", "5"), ("nan", "1"), ("x", "y")])
def test_lying_limits_are_ignored(limit, remaining):
    assert (
        rate_limits({"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining})
        is None
    )


def test_the_window_is_inferred_from_the_time_to_full():
    assert window_s(5000, 4999, 0.012) == 60.0  # OpenAI
    assert window_s(14400, 14370, 179.56) == 86_400.0  # Groq's requests are per day
    assert window_s(100, 99, 1e-9) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 9m38.016s", 578.016),
        ("try again in 20s.", 20.0),
        ("try again in 120ms", 0.12),
        ("no", None),
    ],
)
def test_a_wait_in_a_message(text, seconds):
    assert message_wait_s(text) == seconds


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "date",
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
                "x-ratelimit-reset-tokens",
                "x-ratelimit-limit-tokens",
            ]
        ),
        st.one_of(st.text(max_size=40), st.floats().map(str), st.integers().map(str)),
    )
)
def test_no_header_however_strange_raises(headers):
    waits = [retry_after_s(headers, now=NOW)]
    limits = rate_limits(headers, now=NOW)
    waits += [limits.reset_requests_s, limits.reset_tokens_s] if limits else []

    assert all(wait is None or wait >= 0 for wait in waits)


def test_redaction_hides_secrets_and_what_looks_like_one():
    text = redact("key canary and Bearer abcdef123456 and sk-proj-0123456789", ["canary"])

    assert "canary" not in text
    assert "abcdef" not in text
    assert "0123456789" not in text


def test_printable_strips_what_could_fool_a_terminal():
    assert printable("a\x1b[2Jb\r\nc\u202ed") == "a [2Jb c d"


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


def test_log_probabilities_are_kept_as_they_came():
    logprobs = {"content": [{"token": "a", "logprob": -1.5, "bytes": [97], "top_logprobs": []}]}
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}

    assert json.loads(reply_of({"choices": [choice | {"logprobs": logprobs}]}).logprobs) == logprobs
    assert reply_of({"choices": [choice | {"logprobs": None}]}).logprobs is None
