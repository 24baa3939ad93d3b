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

_NOTHING: Mapping[str, Any] = {}
_PLAIN = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_WRITTEN = ("cache_write_tokens", "cache_creation_input_tokens")
_BESIDE = frozenset({*_CACHED, *_WRITTEN, "reasoning_tokens"})  # counts that may stand beside the details


def usage_in(answer: Any) -> Mapping[str, Any] | None:
    """The usage object of an answer, or of one chunk of a stream, wherever its service puts it."""
    if not isinstance(answer, dict):
        return None
    usage = answer.get("usage")
    if isinstance(usage, dict) and usage:
        return usage
    groq, choices = answer.get("x_groq"), answer.get("choices")
    places = [groq, *(reversed(choices) if isinstance(choices, list) else ())]
    found = (place.get("usage") for place in places if isinstance(place, dict))
    return next((usage for usage in found if isinstance(usage, dict) and usage), None)


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
    if not isinstance(raw, dict) or not raw:
        return NO_USAGE
    cached = written = reasoning = None
    if not _PLAIN.issuperset(raw):
        details = _details(raw, "prompt_tokens_details", "input_tokens_details")
        cached = count(details.get("cached_tokens"))
        written = _first(details, ("cache_write_tokens", "cache_creation_tokens"))
        details = _details(raw, "completion_tokens_details", "output_tokens_details")
        reasoning = count(details.get("reasoning_tokens"))
        if not _BESIDE.isdisjoint(raw):
            cached = _first(raw, _CACHED) if cached is None else cached
            written = _first(raw, _WRITTEN) if written is None else written
            reasoning = count(raw.get("reasoning_tokens")) if reasoning is None else reasoning
    in_cache = (cached or 0) + (written or 0)
    prompt = count(raw.get("prompt_tokens"))
    if prompt is None:
        prompt = count(raw.get("input_tokens"))
        if prompt is not None and _is_beside_cache(raw):
            prompt = count(prompt + in_cache)
    elif prompt < in_cache and "cache_creation_input_tokens" in raw:
        prompt = count(prompt + in_cache)
    completion, total = count(raw.get("completion_tokens")), count(raw.get("total_tokens"))
    if completion is None:
        completion = count(raw.get("output_tokens"))
    if prompt is not None and completion is not None and total is not None:
        beside = total - prompt - completion
        if reasoning and beside == reasoning:
            completion = count(completion + reasoning)
        elif reasoning is None and beside > 0 and "gemini" in model.lower():
            completion, reasoning = count(completion + beside), beside
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


def _details(raw: Mapping[str, Any], name: str, other: str) -> Mapping[str, Any]:
    details = raw.get(name)
    if not isinstance(details, dict):
        details = raw.get(other)
    return details if isinstance(details, dict) else _NOTHING


def _first(counts: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of `names` that is a count."""
    for name in names:
        if name in counts and (found := count(counts[name])) is not None:
            return found
    return None


def count(value: Any) -> int | None:
    """A token count: a whole number from 0 to `MAX_COUNT`, also when it came as text or as a float."""
    if value is None:
        return None
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return count(int(value))
    if isinstance(value, float) and value.is_integer():
        return count(int(value))
    return None
