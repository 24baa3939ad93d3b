"""Usage objects as services send them (answers.md, section 3), and what is billed for them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.usage import MAX_COUNT, billed_usage, count, usage_in, usage_of
from batchlab.records import NO_USAGE

NAMES = ("prompt", "completion", "total", "cached", "cache_write", "reasoning")


def counts(raw, model="") -> dict[str, int]:
    """The counts that are known."""
    usage = billed_usage(raw, model=model)
    every = {name: getattr(usage, f"{name}_tokens") for name in NAMES}
    return {name: value for name, value in every.items() if value is not None}


# (who sends it, the object, what is billed)
LAYOUTS = [
    ("OpenAI, reasoning inside the completion", {"prompt_tokens": 75, "completion_tokens": 1186, "total_tokens": 1261, "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 1024, "audio_tokens": 0}}, {"prompt": 75, "completion": 1186, "total": 1261, "cached": 0, "reasoning": 1024}),
    ("OpenAI from GPT-5.6 on, cache writes", {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306, "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 900}}, {"prompt": 2006, "completion": 300, "total": 2306, "cached": 1000, "cache_write": 900}),
    ("LiteLLM, cache writes in the details alone", {"prompt_tokens": 9, "prompt_tokens_details": {"cache_creation_tokens": 4}}, {"prompt": 9, "cache_write": 4}),
    ("vLLM", {"prompt_tokens": 11, "total_tokens": 20, "completion_tokens": 9, "prompt_tokens_details": None}, {"prompt": 11, "completion": 9, "total": 20}),
    # inspect_ai 5528, sub2api 5771, vercel/ai 12425: total = prompt + completion + reasoning
    ("xAI, reasoning beside the completion", {"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428, "prompt_tokens_details": {"cached_tokens": 128}, "completion_tokens_details": {"reasoning_tokens": 2809}}, {"prompt": 10120, "completion": 4308, "total": 14428, "cached": 128, "reasoning": 2809}),
    ("xAI, its documentation's example", {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "completion_tokens_details": {"reasoning_tokens": 94}}, {"prompt": 32, "completion": 103, "total": 135, "reasoning": 94}),
    ("Gemini behind a gateway that names the thoughts", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115, "completion_tokens_details": {"reasoning_tokens": 100}}, {"prompt": 10, "completion": 105, "total": 115, "reasoning": 100}),
    ("no total: as OpenAI", {"prompt_tokens": 10, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 40}}, {"prompt": 10, "completion": 50, "reasoning": 40}),
    ("a total that fits neither: as OpenAI", {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 99, "completion_tokens_details": {"reasoning_tokens": 40}}, {"prompt": 10, "completion": 50, "total": 99, "reasoning": 40}),
    ("no reasoning: nothing to add", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "completion_tokens_details": {"reasoning_tokens": 0}}, {"prompt": 10, "completion": 5, "total": 15, "reasoning": 0}),
    ("DeepSeek", {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27, "prompt_cache_hit_tokens": 16, "prompt_cache_miss_tokens": 4}, {"prompt": 20, "completion": 7, "total": 27, "cached": 16}),
    ("Moonshot, cached_tokens beside the counts", {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27, "cached_tokens": 12}, {"prompt": 20, "completion": 7, "total": 27, "cached": 12}),
    ("Groq, times beside the counts", {"queue_time": 0.03, "prompt_tokens": 18, "prompt_time": 0.001, "completion_tokens": 5, "completion_time": 0.02, "total_tokens": 23, "total_time": 0.02}, {"prompt": 18, "completion": 5, "total": 23}),
    # Anthropic Messages: input_tokens leaves out what was read from or written to a cache
    ("Anthropic", {"input_tokens": 100, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 50}, {"prompt": 420, "completion": 50, "cached": 300, "cache_write": 20}),
    ("Anthropic, only read", {"input_tokens": 100, "cache_read_input_tokens": 300, "output_tokens": 50}, {"prompt": 400, "completion": 50, "cached": 300}),
    ("Anthropic, only written", {"input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 50}, {"prompt": 120, "completion": 50, "cache_write": 20}),
    ("Responses behind a gateway: cached inside", {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 30}, "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 10}, "total_tokens": 150}, {"prompt": 100, "completion": 50, "total": 150, "cached": 30, "reasoning": 10}),
    ("LiteLLM before Anthropic: prompt has the cache", {"prompt_tokens": 420, "completion_tokens": 50, "total_tokens": 470, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "prompt_tokens_details": {"cached_tokens": 300, "cache_creation_tokens": 20}}, {"prompt": 420, "completion": 50, "total": 470, "cached": 300, "cache_write": 20}),
    ("a gateway that did not add the cache", {"prompt_tokens": 100, "completion_tokens": 50, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300}, {"prompt": 420, "completion": 50, "cached": 300, "cache_write": 20}),
    ("a prompt that is all from the cache", {"prompt_tokens": 320, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300}, {"prompt": 320, "cached": 300, "cache_write": 20}),
    ("less than the cache, but no Anthropic", {"prompt_tokens": 100, "cached_tokens": 300}, {"prompt": 100, "cached": 300}),
    ("reasoning beside the counts", {"prompt_tokens": 1, "completion_tokens": 2, "reasoning_tokens": 1}, {"prompt": 1, "completion": 2, "reasoning": 1}),
    ("details win over what stands beside them", {"prompt_tokens": 9, "cached_tokens": 8, "reasoning_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3}, "cache_write_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 2}}, {"prompt": 9, "cached": 4, "cache_write": 3, "reasoning": 2}),
    ("details that are no counts do not", {"prompt_tokens": 9, "cached_tokens": 8, "reasoning_tokens": 7, "prompt_tokens_details": {"cached_tokens": None, "cache_write_tokens": -1}, "cache_write_tokens": 5, "completion_tokens_details": {"reasoning_tokens": "x"}}, {"prompt": 9, "cached": 8, "cache_write": 5, "reasoning": 7}),
    ("counts as text and as floats", {"prompt_tokens": "12", "completion_tokens": 3.0, "total_tokens": "15"}, {"prompt": 12, "completion": 3, "total": 15}),
    ("a name that nobody reads", {"tokens": 5}, {}),
    ("lists for details", {"prompt_tokens": 1, "prompt_tokens_details": [4], "completion_tokens_details": "x"}, {"prompt": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "billed"), [row[1:] for row in LAYOUTS], ids=[row[0] for row in LAYOUTS])
def test_a_layout_is_billed_as_its_service_means_it(raw, billed):
    assert counts(raw) == billed
    assert json.loads(billed_usage(raw).raw) == raw, "the provider's own object is kept as it came"


def test_gemini_s_thoughts_are_told_by_the_total_alone():
    """Google's endpoint for OpenAI's format names no reasoning; python-genai counts it in the total."""
    raw = {"prompt_tokens": 8, "completion_tokens": 20, "total_tokens": 528}

    assert counts(raw, "models/Gemini-2.5-pro") == {
        "prompt": 8,
        "completion": 520,
        "total": 528,
        "reasoning": 500,
    }
    assert counts(raw, "gpt-4o") == {"prompt": 8, "completion": 20, "total": 528}
    assert counts({**raw, "total_tokens": 29}, "gemini-2.5-pro")["completion"] == 21
    assert counts({**raw, "total_tokens": 28}, "gemini-2.5-pro") == {
        "prompt": 8,
        "completion": 20,
        "total": 28,
    }
    assert counts({**raw, "total_tokens": 27}, "gemini-2.5-pro") == {
        "prompt": 8,
        "completion": 20,
        "total": 27,
    }
    assert counts({**raw, "reasoning_tokens": 0}, "gemini-2.5-pro")["completion"] == 20


@pytest.mark.parametrize("raw", [None, {}, [], [1], 0, 7, "usage", True, 1.5])
def test_what_is_no_usage_object_is_unknown_usage(raw):
    assert billed_usage(raw) == NO_USAGE
    assert billed_usage(raw).raw is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0), (1, 1), (MAX_COUNT, MAX_COUNT), (MAX_COUNT + 1, None), (-1, None), (2**63, None),
        (True, None), (False, None), (None, None), ([1], None), ({}, None),
        ("0", 0), ("12", 12), ("", None), ("-1", None), ("1.5", None), ("1e3", None), ("٣", None), ("²", None),
        (str(MAX_COUNT), MAX_COUNT), (str(MAX_COUNT + 1), None), ("9" * 5_000, None), ("0" * 18 + "1", 1),
        ("0" * 19 + "1", None), (3.0, 3), (0.0, 0), (-0.0, 0), (3.5, None), (-3.0, None),
        (2.0**48, MAX_COUNT), (2.0**49, None), (math.nan, None), (math.inf, None), (-math.inf, None),
    ],
)  # fmt: skip
def test_a_count_is_a_whole_number_that_a_request_may_have(value, expected):
    found = count(value)

    assert found == expected
    assert type(found) in {int, type(None)}


def test_a_sum_that_no_request_can_have_is_unknown_too():
    huge = {"input_tokens": MAX_COUNT, "cache_read_input_tokens": 1}
    beside = {
        "prompt_tokens": 0,
        "completion_tokens": MAX_COUNT - 1,
        "total_tokens": MAX_COUNT,
        "reasoning_tokens": 1,
    }

    assert "prompt" not in counts(huge)
    assert counts(beside)["completion"] == MAX_COUNT
    assert "prompt" not in counts({"prompt_tokens": 5, "cache_creation_input_tokens": MAX_COUNT})


USAGE = {"prompt_tokens": 3, "completion_tokens": 1}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"usage": USAGE}, USAGE),
        ({"usage": None, "x_groq": {"id": "r", "usage": USAGE}}, USAGE),  # Groq, last chunk
        ({"choices": [{"index": 0, "usage": USAGE}]}, USAGE),  # Kimi (earendil-works/pi 2017)
        ({"choices": [{"usage": {"prompt_tokens": 9}}, {"usage": USAGE}]}, USAGE),  # the last one is the newest
        ({"choices": [{"usage": USAGE}, {"usage": None}, 4]}, USAGE),
        ({"usage": {}, "choices": [{"usage": USAGE}]}, USAGE),
        ({"usage": USAGE, "x_groq": {"usage": {"prompt_tokens": 9}}}, USAGE),
        ({"usage": [], "x_groq": 5, "choices": {"usage": USAGE}}, None),
        ({"usage": "many"}, None),
        ({"x_groq": {"usage": {}}}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)  # fmt: skip
def test_usage_is_found_wherever_its_service_puts_it(answer, found):
    assert usage_in(answer) == found
    assert usage_of(answer) == billed_usage(found)


def test_the_model_as_served_tells_whose_total_it_is():
    answer = {
        "model": "gemini-2.5-flash",
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 5},
    }

    assert usage_of(answer).completion_tokens == 4
    assert usage_of({**answer, "model": ["gemini"]}).completion_tokens == 1


def test_numbers_that_are_none_stay_out_of_the_kept_object():
    raw = json.loads('{"prompt_tokens": NaN, "completion_tokens": -Infinity, "times": [1e400, {"a": NaN}]}')

    usage = billed_usage(raw)

    assert (usage.prompt_tokens, usage.completion_tokens) == (None, None)
    assert json.loads(usage.raw) == {
        "prompt_tokens": None,
        "completion_tokens": None,
        "times": [None, {"a": None}],
    }


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(
    "prompt_tokens completion_tokens total_tokens input_tokens output_tokens prompt_tokens_details "
    "completion_tokens_details cached_tokens cache_read_input_tokens cache_creation_input_tokens "
    "cache_write_tokens reasoning_tokens prompt_cache_hit_tokens".split()
)


@given(
    raw=st.dictionaries(KEYS, SCALARS | st.integers(0, 50) | st.dictionaries(KEYS, SCALARS)),
    model=st.sampled_from(["", "gemini"]),
)
def test_whatever_comes_each_count_is_one_or_none(raw, model):
    assert all(0 <= value <= MAX_COUNT for value in counts(raw, model).values())
