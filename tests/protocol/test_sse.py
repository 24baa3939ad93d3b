"""Server-sent events: any chunking gives the same events, and a body's kind is seen from its first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.sse import ErrorEvent, SseDecoder, body_kind


def events(raw: bytes, cuts: list[int] | None = None) -> list[str]:
    """The events of `raw`, fed in pieces cut at the given places; an error event has a ! before it."""
    decoder = SseDecoder()
    found: list[str] = []
    edges = [0, *sorted({cut % (len(raw) + 1) for cut in cuts or []}), len(raw)]
    for start, end in zip(edges, edges[1:], strict=False):
        found += decoder.feed(raw[start:end])
    return [f"!{one}" if type(one) is ErrorEvent else one for one in found + decoder.close()]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', ['{"a":1}', "[DONE]"]),
        (b'data: {"a":1}\r\n\r\ndata: [DONE]\r\n\r\n', ['{"a":1}', "[DONE]"]),
        (b'data: {"a":1}\r\rdata: [DONE]\r\r', ['{"a":1}', "[DONE]"]),
        (b'\xef\xbb\xbfdata: {"a":1}\n\n', ['{"a":1}']),
        (b'\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n', ["a"]),
        (b': keep-alive\n\ndata:{"a":1}\n\n: OPENROUTER PROCESSING\n\n', ['{"a":1}']),
        (b'event: x\nid: 7\nretry: 10\ndata: {"a":1}\n\n', ['{"a":1}']),
        (b'data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b'data: {"a":\ndata: 1}\ndata: {"b":2}\n\n', ['{"a":\n1}', '{"b":2}']),
        (b"data: 1\ndata: 2\n\n", ["1\n2"]),
        (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n', ['{"a":1}', '{"b":2}', "[DONE]"]),
        (b'data: [DONE]\ndata: {"b":2}\n', ["[DONE]", '{"b":2}']),
        (b'data: {"a":1}', ['{"a":1}']),
        (b'data: {"a":1}\n', ['{"a":1}']),
        (b"data: [DONE]", ["[DONE]"]),
        ('data: {"a":"x\u2028y"}\n\n'.encode(), ['{"a":"x\u2028y"}']),
        ("data: é\x85\x0b\x1c\n\n".encode(), ["é\x85\x0b\x1c"]),
        (b"\n\n\n", []),
        (b"data:\n\n", []),
        (b"data: \n\n", []),
        (b"data\n\n", []),
        (b"data:  a \n\n", [" a "]),
        (b"data: a\nother: b\n\n", ["a"]),
        (b"date: a\n\n", []),
        (b'error: {"message":"m"}\n\n', ['!{"message":"m"}']),  # llama.cpp's server until 2025
        (b'error:m\ndata: a\n\n', ["!m", "a"]),
        (b'data: a\n\nerror: m\n\ndata: [DONE]\n\n', ["a", "!m", "[DONE]"]),
        (b"event: error\ndata: m\n\ndata: a\n\n", ["!m", "a"]),
        (b"event: error \r\ndata: m\r\n\r\ndata: a\r\n\r\n", ["!m", "a"]),
        (b"data: m\nevent: error\n\n", ["!m"]),
        (b"event: error\n\ndata: a\n\n", ["a"]),
        (b"event: error\nevent: x\ndata: a\n\n", ["a"]),
        (b"event: errors\ndata: a\n\n", ["a"]),
        (b"event: error\ndata: m", ["!m"]),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_framing(raw, expected):
    assert events(raw) == expected
    assert events(raw, list(range(len(raw)))) == expected
    for cut in range(len(raw)):
        assert events(raw, [cut]) == expected


@given(
    parts=st.lists(
        st.sampled_from(
            [
                b"data: ", b"error: ", b"event: error", b"event: x", b'{"a":1}', b"[DONE]", b"\n", b"\r", b"\r\n",
                b"\n\n", b":", b" ", b"\xef\xbb\xbf", b"\xf0\x9f", "é".encode(), b"x",
            ]
        ),
        max_size=30,
    ),
    cuts=st.lists(st.integers(0, 200), max_size=20),
)  # fmt: skip
def test_any_chunking_gives_the_same_events(parts, cuts):
    raw = b"".join(parts)

    assert events(raw, cuts) == events(raw)


def test_bytes_that_are_no_utf_8_are_replaced_and_noted():
    decoder = SseDecoder()

    assert decoder.feed(b"data: caf\xc3") == []
    assert not decoder.is_lossy
    assert decoder.feed(b"\xa9\n\n") == ["café"]
    assert not decoder.is_lossy
    assert decoder.feed(b"data: caf\xe9\n\n") == ["caf\ufffd"]
    assert decoder.is_lossy
    assert decoder.feed(b"data: a\n\n") == ["a"]
    assert decoder.is_lossy, "once is enough"


def test_a_character_that_is_cut_off_at_the_end_is_replaced():
    decoder = SseDecoder()
    decoder.feed(b"data: caf\xc3")

    assert decoder.close() == ["caf\ufffd"]
    assert decoder.close() == [], "it is given once"


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"{", "json"), (b"[", "json"), (b" \r\n\t{", "json"), (b'\xef\xbb\xbf{"a":1}', "json"), (b"\xef\xbb\xbf\n[", "json"),
        (b"data:", "sse"), (b"data: x", "sse"), (b"event: x", "sse"), (b"id: 7", "sse"), (b"retry: 1", "sse"), (b"error: x", "sse"),
        (b": ping", "sse"), (b":", "sse"), (b"\n\ndata: x", "sse"), (b"\xef\xbb\xbfdata: x", "sse"),
        (b"", None), (b" \n", None), (b"d", None), (b"data", None), (b"even", None), (b"i", None), (b"retr", None), (b"erro", None),
        (b"<html>", "other"), (b"dat:", "other"), (b"dataa", "other"), (b"hello", "other"), (b'"x"', "other"), (b"3", "other"), (b"\xef\xbb\xbf", None),
    ],
)  # fmt: skip
def test_a_body_s_kind_is_seen_from_its_first_bytes(start, kind):
    assert body_kind(start) == kind
