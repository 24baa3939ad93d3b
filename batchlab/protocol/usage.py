"""What an answer says it used, in every layout that services have, as it is billed.

Sources: OpenAI API reference (usage; `cache_write_tokens` from GPT-5.6 on); Anthropic Messages
(`input_tokens` without what was read from or written to a cache); DeepSeek (`prompt_cache_hit_tokens`);
Moonshot (`cached_tokens` beside the counts, usage on the choice of a stream); Groq (`x_groq.usage`); LiteLLM
(`prompt_tokens_details.cache_creation_tokens`); xAI and Gemini (reasoning beside the completion).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchlab.protocol.values import json_text
from batchlab.records import NO_USAGE, Usage

MAX_COUNT = 2**48  # no request has as many; the sum of a part's rows still fits int64

# where a count may stand, under details or beside them; the first that is a count wins
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_COMPLETION_DETAILS = ("completion_tokens_details", "output_tokens_details")
_CACHED = ("cached_tokens",), ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_CACHE_WRITE = (
    ("cache_write_tokens", "cache_creation_tokens"),
    ("cache_write_tokens", "cache_creation_input_tokens"),
)
_REASONING = ("reasoning_tokens",), ("reasoning_tokens",)


def usage_in(answer: Any) -> Mapping[str, Any] | None:
    """The usage object of an answer, or of one chunk of a stream, wherever its service puts it."""
    if not isinstance(answer, dict):
        return None
    groq = answer.get("x_groq")
    places = [answer.get("usage"), groq.get("usage") if isinstance(groq, dict) else None]
    choices = answer.get("choices")
    if isinstance(choices, list):
        places += [choice.get("usage") for choice in reversed(choices) if isinstance(choice, dict)]
    return next((place for place in places if isinstance(place, dict) and place), None)


def usage_of(answer: Any) -> Usage:
    """The tokens that an answer is billed for; see `billed_usage`."""
    model = answer.get("model") if isinstance(answer, dict) else None
    return billed_usage(usage_in(answer), model=model if isinstance(model, str) else "")


def billed_usage(raw: Any, *, model: str = "") -> Usage:
    """A usage object as `records.Usage` has it; None for a count that is missing or is none.

    Whether reasoning is inside the completion tokens is told by the total: where it is the sum of
    prompt, completion and reasoning, they stand beside each other and all are billed as output.

    Args:
        model: as served. Gemini behind OpenAI's format counts its thoughts in the total only.
    """
    if not isinstance(raw, Mapping) or not raw:
        return NO_USAGE
    cached, written = _either(raw, _PROMPT_DETAILS, *_CACHED), _either(raw, _PROMPT_DETAILS, *_CACHE_WRITE)
    prompt = count(raw.get("prompt_tokens"))
    in_cache = (cached or 0) + (written or 0)
    if prompt is None:
        prompt = count(raw.get("input_tokens"))
        if prompt is not None and _is_beside_cache(raw):
            prompt += in_cache
    elif prompt < in_cache and "cache_creation_input_tokens" in raw:
        prompt += in_cache
    completion, total = count(raw.get("completion_tokens")), count(raw.get("total_tokens"))
    if completion is None:
        completion = count(raw.get("output_tokens"))
    reasoning = _either(raw, _COMPLETION_DETAILS, *_REASONING)
    if prompt is not None and completion is not None and total is not None:
        beside = total - prompt - completion
        if reasoning and beside == reasoning:
            completion += reasoning
        elif reasoning is None and beside > 0 and "gemini" in model.lower():
            completion, reasoning = completion + beside, beside
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
        raw=json_text(raw),
    )


def _is_beside_cache(raw: Mapping[str, Any]) -> bool:
    """Whether `input_tokens` is Anthropic's, which leaves out what a cache had or got."""
    return "cache_read_input_tokens" in raw or "cache_creation_input_tokens" in raw


def _either(
    raw: Mapping[str, Any], details: tuple[str, ...], inside: tuple[str, ...], beside: tuple[str, ...]
) -> int | None:
    for outer in details:
        inner = raw.get(outer)
        if isinstance(inner, dict):
            for name in inside:
                if name in inner and (found := count(inner[name])) is not None:
                    return found
    for name in beside:
        if name in raw and (found := count(raw[name])) is not None:
            return found
    return None


def count(value: Any) -> int | None:
    """A token count: a whole number from 0 up to int64, also when it came as text or as a float."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return count(int(value))
    if isinstance(value, float) and value.is_integer() and 0 <= value < 2.0**53:
        return int(value)
    return None
