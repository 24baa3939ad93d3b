"""Results that JSON or a part cannot hold as they are: recorded as well as may be, and read back."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from batchlab.records import Completion, Failure, Parsed, Reply, Timing, Usage
from batchlab.store.journals.journal import back_record, decode, result_of, result_record, storable

HALF = "caf\udce9 \ud800"
USAGE = Usage(3, 2, 5, 0, 0, 0, "{}")
GOOD = Completion(
    7,
    "7",
    bytes(16),
    "ok",
    Reply("text", usage=USAGE, vectors=("AAAA",)),
    1,
    Timing(1.0, 2.0, 3.0),
    parsed=Parsed("{}", "note"),
    cost_usd=0.5,
)
FAILED = Failure(7, "7", "server", "message", error_raw="{}", request_hash=bytes(16), attempts=1)


def recorded(result):
    """As `OpenShard.append` writes it, read back."""
    try:
        record = result_record(result)
    except TypeError:
        record = result_record(storable(result))
    return result_of(decode(record))


def texts(value):
    return [one.name for one in fields(value) if "str" in str(one.type) and "tuple" not in str(one.type)]


@pytest.mark.parametrize("name", texts(Reply))
def test_half_a_surrogate_pair_in_any_text_of_an_answer_is_recorded_as_question_marks(name):
    back = recorded(replace(GOOD, reply=replace(GOOD.reply, **{name: HALF})))

    assert getattr(back.reply, name) == "caf? ?"
    assert replace(back, reply=GOOD.reply) == GOOD


@pytest.mark.parametrize("name", ["custom_id", "request_id", "endpoint", "error_class"])
def test_so_is_it_in_the_other_texts_of_a_row(name):
    assert getattr(recorded(replace(GOOD, **{name: HALF})), name) == "caf? ?"


@pytest.mark.parametrize(
    "name", ["custom_id", "request_id", "endpoint", "error_class", "error_message", "error_raw"]
)
def test_and_in_those_of_a_failure(name):
    assert getattr(recorded(replace(FAILED, **{name: HALF})), name) == "caf? ?"


@pytest.mark.parametrize("name", ["text", "note", "problem"])
def test_and_in_what_was_parsed(name):
    back = recorded(replace(GOOD, parsed=replace(GOOD.parsed, **{name: HALF})))

    assert getattr(back.parsed, name) == "caf? ?"


@pytest.mark.parametrize("count", [2**63, 2**64, 10**40, -(10**40)])
@pytest.mark.parametrize("name", [one.name for one in fields(Usage) if one.name != "raw"])
def test_a_count_that_no_part_can_hold_is_unknown(name, count):
    if -(2**63) <= count < 0:
        pytest.skip("fits")
    back = recorded(replace(GOOD, reply=replace(GOOD.reply, usage=replace(USAGE, **{name: count}))))

    assert getattr(back.reply.usage, name) is None
    assert back.reply.usage.raw == "{}"


def test_a_count_that_a_part_can_just_hold_stays():
    back = recorded(replace(GOOD, reply=replace(GOOD.reply, usage=replace(USAGE, total_tokens=2**63 - 1))))

    assert back.reply.usage.total_tokens == 2**63 - 1


@pytest.mark.parametrize("cost", [float("nan"), float("inf")])
def test_a_cost_that_is_no_number_is_unknown(cost):
    assert recorded(replace(GOOD, cost_usd=cost)).cost_usd is None


def test_an_object_that_has_no_place_in_a_result_is_named_by_its_type():
    odd = replace(GOOD, reply=replace(GOOD.reply, finish_reason=object()))

    assert recorded(odd).reply.finish_reason == "<object>"


def test_a_usage_that_cannot_be_written_does_not_lose_that_the_request_came_back():
    back = decode(back_record(7, replace(USAGE, raw=HALF, total_tokens=10**40), 0.5))

    assert back is not None
    assert (back["row"], back["usd"]) == (7, 0.5)
    assert back["usage"]["total_tokens"] is None
