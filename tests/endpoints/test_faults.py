"""Each kind of fault sends the bytes that it promises, read by a client that only knows sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from batchlab.endpoints.simulator import FAULTS
from tests.conftest import SimulatorHandle, simulating
from tests.endpoints.promises import ANY, DONE, GOOD, NOTHING, PLAIN, STREAMED
from tests.endpoints.raw import PATIENCE_S, Heard, ask, chat, connect, heard, request

HELD_S = 2.0
QUIET_S = 0.8  # a connection on which nothing comes for so long is held open
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}


@pytest.fixture(scope="module")
def provider(tmp_path_factory) -> Iterator[SimulatorHandle]:
    """All faults at once: each strikes the requests that name it."""
    faults = [{"kind": kind, "rows": [f"<{kind}>"], "times": 0} for kind in FAULTS]
    ledger = tmp_path_factory.mktemp("ledger") / "bills.jsonl"
    with simulating(faults=faults, hang_s=HELD_S, tokens_median=9.0, ledger_path=str(ledger)) as server:
        object.__setattr__(server, "bills", ledger)
        yield server


def hit(provider: SimulatorHandle, kind: str, *, stream: bool, quiet_s: float = PATIENCE_S, **more) -> Heard:
    """The answer to a request that a fault strikes."""
    text = f"<{kind}> quota, rate limit, unauthorized: why does ice float?"
    if kind == "tier_unsupported":
        more = {"service_tier": "flex", **more}
    return ask(provider.base_url, chat(text, stream=stream, **more), quiet_s=quiet_s)


def last_bill(provider: SimulatorHandle) -> dict:
    return json.loads(provider.bills.read_text().splitlines()[-1])


def test_every_kind_is_promised_and_every_promise_is_a_kind():
    assert set(FAULTS) == {*ANY, *STREAMED, *NOTHING}
    assert all(kind.says for kind in FAULTS.values())


@pytest.mark.parametrize("kind", [*ANY, *STREAMED])
def test_a_streamed_answer_is_as_promised(provider, kind):
    status, there, missing = {**ANY, **STREAMED}[kind]

    came = hit(provider, kind, stream=True)

    what = came.head + b"\r\n\r\n" + came.body
    assert came.status == status
    assert [one for one in there if one not in what] == []
    assert [one for one in missing if one in what] == []


@pytest.mark.parametrize("kind", [*ANY, *PLAIN])
def test_a_plain_answer_is_as_promised(provider, kind):
    status, there, missing = {**ANY, **PLAIN}[kind]

    came = hit(provider, kind, stream=False)

    what = came.head + b"\r\n\r\n" + came.body
    assert came.status == status
    assert [one for one in there if one not in what] == []
    assert [one for one in missing if one in what] == []


@pytest.mark.parametrize("kind", sorted({*STREAMED} - {*PLAIN}))
def test_what_only_hits_streams_leaves_a_plain_answer_alone(provider, kind):
    came = hit(provider, kind, stream=False)

    assert (came.status, came.json["choices"][0]["finish_reason"], came.ended) == (200, "stop", "whole")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", NOTHING)
def test_nothing_comes(provider, kind, stream):
    came = hit(provider, kind, stream=stream, quiet_s=QUIET_S)

    assert came.data == b""
    assert came.ended == ("quiet" if kind == "hang" else "closed")


@pytest.mark.parametrize(
    ("kind", "ended"),
    [
        ("stream_held", "quiet"),
        ("stream_held_undone", "quiet"),
        ("stream_reset", "reset"),
        ("stream_reset_undone", "reset"),
        ("stream_no_last_chunk", "closed"),
        ("stream_undone", "whole"),
        ("stream_unfinished", "whole"),
        ("cut_stream", "closed"),
        ("error_event", "whole"),
        ("stream_error_object", "whole"),
    ],
)
def test_a_stream_ends_as_promised(provider, kind, ended):
    assert hit(provider, kind, stream=True, quiet_s=QUIET_S).ended == ended


@pytest.mark.parametrize("kind", ["reset_body", "cut_stream", "error_event"])
def test_a_plain_body_is_cut_off(provider, kind):
    came = hit(provider, kind, stream=False)

    assert came.ended == "closed"
    assert len(came.body) < int(came.header("Content-Length"))


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_comes_twice(provider, stream):
    with connect(provider.base_url) as connection:
        connection.sendall(
            request(provider.base_url, "/chat/completions", chat("<answer_twice>", stream=stream))
        )
        came = heard(connection, more=True)

    assert came.rest == came.data


def test_a_late_408_comes_on_the_idle_connection(provider):
    with connect(provider.base_url) as connection:
        connection.sendall(request(provider.base_url, "/chat/completions", chat("<late_408>")))
        came = heard(connection, more=True)
        connection.sendall(request(provider.base_url, "/chat/completions", chat("another")))
        following = heard(connection)

    assert came.rest.startswith(b"HTTP/1.1 408 ")
    assert int(Heard(came.rest, "whole").header("Content-Length")) == len(Heard(came.rest, "whole").body)
    assert following.status == 200


def test_a_good_answer_keeps_its_connection(provider):
    with connect(provider.base_url) as connection:
        for stream in (False, True, False):
            connection.sendall(request(provider.base_url, "/chat/completions", chat("good", stream=stream)))
            came = heard(connection)
            assert (came.status, came.ended) == (200, "whole")


def test_pieces_cut_characters_and_lines(provider):
    came = hit(provider, "drip", stream=True)

    assert {len(chunk) for chunk in came.chunks[:-1]} == {3}
    assert GOOD in came.body
    assert DONE in came.body


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("json_fenced", "```json"),
        ("json_in_prose", "Here is the JSON"),
        ("json_after_reasoning", "<think>"),
        ("json_broken", ", }"),
    ],
)
def test_json_is_spoilt_and_charged_as_it_is(provider, kind, seen):
    came = hit(provider, kind, stream=False, response_format=SCHEMA)

    assert seen in came.json["choices"][0]["message"]["content"]
    assert last_bill(provider)["completion_tokens"] == came.json["usage"]["completion_tokens"]


def calls_of(events: list[dict]) -> list[dict]:
    return [
        call
        for event in events
        for choice in event.get("choices", [])
        for call in choice["delta"].get("tool_calls", [])
    ]


@pytest.mark.parametrize(
    ("kind", "indices", "ids"),
    [
        ("tools_usual", [0, 0, 0, 1, 1, 1], ["call_weather_1", None, None, "call_clock_2", None, None]),
        ("tools_in_turns", [0, 1, 0, 1, 0, 1], ["call_weather_1", "call_clock_2", None, None, None, None]),
        ("tools_one_index", [0] * 6, ["call_weather_1", None, None, "call_clock_2", None, None]),
        ("tools_one_index_whole", [0, 0], ["call_weather_1", "call_clock_2"]),
        ("tools_no_index", [None] * 2, ["call_weather_1", "call_clock_2"]),
        ("tools_no_index_pieces", [None] * 6, ["call_weather_1", None, None, "call_clock_2", None, None]),
        ("tools_no_index_ids", [None] * 6, ["call_weather_1", "call_clock_2"] * 3),
    ],
)
def test_two_tool_calls_are_streamed_as_promised(provider, kind, indices, ids):
    calls = calls_of(hit(provider, kind, stream=True).events)

    assert [call.get("index") for call in calls] == indices
    assert [call.get("id") for call in calls] == ids
    plain = hit(provider, kind, stream=False).json["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in plain] == [
        {"city": "Oslo", "unit": "c"},
        {"zone": "UTC"},
    ]
    streamed = "".join(call["function"]["arguments"] for call in calls)
    assert sorted(streamed) == sorted("".join(call["function"]["arguments"] for call in plain))


# what each layout says of a bill of p prompt, c completion, r read and w written tokens
LAYOUTS = {
    "usage_reasoning_inside": lambda p, c, r, w: {
        "prompt_tokens": p,
        "completion_tokens": c,
        "total_tokens": p + c,
        "completion_tokens_details": {"reasoning_tokens": 7},
    },
    "usage_reasoning_outside": lambda p, c, r, w: {
        "prompt_tokens": p,
        "completion_tokens": c - 7,
        "total_tokens": p + c,
        "completion_tokens_details": {"reasoning_tokens": 7},
    },
    "usage_no_total": lambda p, c, r, w: {"prompt_tokens": p, "completion_tokens": c},
    "usage_cached_top_level": lambda p, c, r, w: {
        "prompt_tokens": p,
        "completion_tokens": c,
        "total_tokens": p + c,
        "cached_tokens": r,
    },
    "usage_cache_hit": lambda p, c, r, w: {
        "prompt_tokens": p,
        "completion_tokens": c,
        "total_tokens": p + c,
        "prompt_cache_hit_tokens": r,
        "prompt_cache_miss_tokens": p - r,
    },
    "usage_cache_read": lambda p, c, r, w: {
        "prompt_tokens": p,
        "completion_tokens": c,
        "total_tokens": p + c,
        "prompt_tokens_details": {"cached_tokens": r, "cache_write_tokens": 0},
    },
    "usage_cache_write": lambda p, c, r, w: {
        "prompt_tokens": p,
        "completion_tokens": c,
        "total_tokens": p + c,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": w},
    },
    "usage_cache_creation": lambda p, c, r, w: {
        "prompt_tokens": p,
        "completion_tokens": c,
        "total_tokens": p + c,
        "cache_creation_input_tokens": w,
        "cache_read_input_tokens": 0,
    },
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_usage_in_each_layout_is_what_was_billed(provider, kind, stream):
    came = hit(provider, kind, stream=stream)
    bill = last_bill(provider)

    usage = came.events[-1]["usage"] if stream else came.json["usage"]
    assert usage == LAYOUTS[kind](
        bill["prompt_tokens"], bill["completion_tokens"], bill["cached_tokens"], bill["cache_write_tokens"]
    )
    assert bill["seen"]
    assert bill["fault"] == kind
    assert bill["cached_tokens"] + bill["cache_write_tokens"] > 0 or "cach" not in kind


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("usage_in_choice", lambda value: value["choices"][-1]["usage"]),
        ("usage_x_groq", lambda value: value["x_groq"]["usage"]),
    ],
)
def test_usage_elsewhere_is_what_was_billed(provider, kind, found, stream):
    came = hit(provider, kind, stream=stream)
    bill = last_bill(provider)

    usage = found(came.events[-1] if stream else came.json)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (
        bill["prompt_tokens"],
        bill["completion_tokens"],
    )
    assert bill["seen"]


def test_usage_so_far_in_every_chunk_ends_with_what_was_billed(provider):
    events = hit(provider, "usage_every_chunk", stream=True).events
    bill = last_bill(provider)

    counts = [event["usage"]["completion_tokens"] for event in events]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert counts[-1] == bill["completion_tokens"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("choice_error", True),
        ("empty_choices_billed", True),
        ("no_choices_billed", True),
        ("null_content", True),
        ("no_usage", False),
        ("usage_nan", False),
        ("usage_text", False),
        ("usage_huge", False),
        ("usage_negative", False),
        ("cut_stream", False),
        ("tools_one_index", True),
        ("finish_MAX_TOKENS", True),
    ],
)
def test_a_faulty_answer_that_was_paid_is_in_the_books(provider, kind, seen, stream):
    before = provider.ledger()["billed"]

    hit(provider, kind, stream=stream)

    assert provider.ledger()["billed"] == before + 1
    assert (last_bill(provider)["fault"], last_bill(provider)["seen"]) == (kind, seen)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        "http_500",
        "rate_limit",
        "resource_unavailable",
        "error_object",
        "html",
        "empty_choices",
        "reset",
        "quotes_prompt",
    ],
)
def test_an_error_is_not_charged(provider, kind, stream):
    before = provider.ledger()["billed"]

    hit(provider, kind, stream=stream)

    assert provider.ledger()["billed"] == before
