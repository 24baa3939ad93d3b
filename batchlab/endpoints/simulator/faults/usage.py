"""Usage in the layouts of many services, and usage that cannot be true.

Sources: OpenAI API reference (details; `cache_write_tokens`); xAI and Gemini behind gateways (reasoning
beside the completion, only the total tells); Kimi (`choices[i].usage` and `cached_tokens` beside:
AstrBotDevs/AstrBot 6614); Groq (`x_groq.usage`); DeepSeek (`prompt_cache_hit_tokens`);
Anthropic behind gateways (`cache_creation_input_tokens`, `cache_read_input_tokens`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from batchlab.endpoints.simulator.faults.drafts import (
    Change,
    Draft,
    FaultKind,
    Object,
    last_choice,
    together,
    unseen,
)
from batchlab.endpoints.simulator.tariff import Bill

REASONING_TOKENS = 7

Layout: TypeAlias = Callable[[Bill], Any]


def _sums(bill: Bill, **more: Any) -> Object:
    """The three numbers, and more."""
    prompt, completion = bill.prompt_tokens, bill.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **more,
    }


def _stated(draft: Draft, usage: Any) -> Draft:
    """The usage in the place of the one that is there: plain, and in the stream's last event if asked for."""
    body = {**draft.body, "usage": usage} if isinstance(draft.body, dict) else draft.body
    events = tuple(
        {**event, "usage": usage} if isinstance(event, dict) and event.get("usage") is not None else event
        for event in draft.events
    )
    return replace(draft, body=body, events=events)


def _laid_out(layout: Layout, bill: Callable[[Bill], Bill] = lambda bill: bill) -> Change:
    """Usage in another layout; `bill` is what was used then."""

    def change(draft: Draft) -> Draft:
        if draft.bill is None:
            return draft
        used = bill(draft.bill)
        return replace(_stated(draft, layout(used)), bill=used)

    return change


def _thought(bill: Bill) -> Bill:
    return replace(bill, completion_tokens=bill.completion_tokens + REASONING_TOKENS)


def _reading(bill: Bill) -> Bill:
    """What the cache held; half the prompt, where the provider has no cache."""
    if bill.cached_tokens or bill.cache_write_tokens:
        return bill
    return replace(bill, cached_tokens=bill.prompt_tokens // 2)


def _writing(bill: Bill) -> Bill:
    """What was written to the cache; half the prompt, where the provider has no cache."""
    if bill.cached_tokens or bill.cache_write_tokens:
        return bill
    return replace(bill, cache_write_tokens=bill.prompt_tokens // 2)


def _inside(bill: Bill) -> Object:
    return _sums(bill, completion_tokens_details={"reasoning_tokens": REASONING_TOKENS})


def _outside(bill: Bill) -> Object:
    """The completion without its reasoning; only the total tells."""
    return {**_inside(bill), "completion_tokens": bill.completion_tokens - REASONING_TOKENS}


def _no_total(bill: Bill) -> Object:
    return {name: value for name, value in _sums(bill).items() if name != "total_tokens"}


def _hits(bill: Bill) -> Object:
    hit = bill.cached_tokens
    return _sums(bill, prompt_cache_hit_tokens=hit, prompt_cache_miss_tokens=bill.prompt_tokens - hit)


def _details(bill: Bill) -> Object:
    details = {"cached_tokens": bill.cached_tokens, "cache_write_tokens": bill.cache_write_tokens}
    return _sums(bill, prompt_tokens_details=details)


def _creation(bill: Bill) -> Object:
    return _sums(
        bill,
        cache_creation_input_tokens=bill.cache_write_tokens,
        cache_read_input_tokens=bill.cached_tokens,
    )


def _removed(draft: Draft) -> Draft:
    """No usage in its usual place."""
    body = (
        {name: value for name, value in draft.body.items() if name != "usage"}
        if isinstance(draft.body, dict)
        else draft.body
    )
    events = tuple(
        event for event in draft.events if not (isinstance(event, dict) and event.get("usage") is not None)
    )
    return replace(draft, body=body, events=events)


def _elsewhere(place: Callable[[Object, Object], Object]) -> Change:
    """Usage in another place of the answer and of the stream's last chunk, asked for or not."""

    def change(draft: Draft) -> Draft:
        if draft.bill is None:
            return draft
        usage = _sums(draft.bill)
        moved = _removed(draft)
        if isinstance(moved.body, dict):
            moved = replace(moved, body=place(moved.body, usage))
        at = last_choice(moved.events)
        if at >= 0:
            events = (*moved.events[:at], place(moved.events[at], usage), *moved.events[at + 1 :])
            moved = replace(moved, events=events)
        return replace(moved, bill=replace(draft.bill, seen=True))

    return change


def _in_choice(value: Object, usage: Object) -> Object:
    choices = [dict(choice) for choice in value.get("choices") or ()]
    if choices:
        choices[-1]["usage"] = usage
    return {**value, "choices": choices}


def _in_x_groq(value: Object, usage: Object) -> Object:
    return {**value, "x_groq": {"id": "req_0", "usage": usage}}


def _every_chunk(draft: Draft) -> Draft:
    """What was used so far, in each chunk; the last is right."""
    if draft.bill is None:
        return draft
    chunks = [at for at, event in enumerate(draft.events) if isinstance(event, dict) and event.get("choices")]
    events = list(draft.events)
    for turn, at in enumerate(chunks, start=1):
        so_far = draft.bill.completion_tokens * turn // len(chunks)
        events[at] = {**events[at], "usage": _sums(replace(draft.bill, completion_tokens=so_far))}
    return replace(draft, events=tuple(events), bill=replace(draft.bill, seen=True))


def _false(usage: Mapping[str, Any] | None) -> Change:
    """Usage that says nothing true: the client cannot know what it was charged for."""
    return together(_laid_out(lambda _: usage), unseen)


USAGE: dict[str, FaultKind] = {
    "usage_reasoning_inside": FaultKind(
        "reasoning is part of the completion (OpenAI, vLLM, Groq)", _laid_out(_inside, _thought)
    ),
    "usage_reasoning_outside": FaultKind(
        "reasoning is beside the completion, only the total tells (xAI, Gemini)",
        _laid_out(_outside, _thought),
    ),
    "usage_no_total": FaultKind("no total", _laid_out(_no_total)),
    "usage_in_choice": FaultKind("on the choice (Kimi)", _elsewhere(_in_choice)),
    "usage_x_groq": FaultKind("in x_groq (Groq)", _elsewhere(_in_x_groq)),
    "usage_cached_top_level": FaultKind(
        "cached_tokens beside the sums (Moonshot)",
        _laid_out(lambda bill: _sums(bill, cached_tokens=bill.cached_tokens), _reading),
    ),
    "usage_cache_hit": FaultKind("prompt_cache_hit_tokens (DeepSeek)", _laid_out(_hits, _reading)),
    "usage_cache_read": FaultKind(
        "prompt_tokens_details.cached_tokens (OpenAI)", _laid_out(_details, _reading)
    ),
    "usage_cache_write": FaultKind(
        "prompt_tokens_details.cache_write_tokens (OpenAI)", _laid_out(_details, _writing)
    ),
    "usage_cache_creation": FaultKind(
        "cache_creation_input_tokens (Anthropic behind gateways)", _laid_out(_creation, _writing)
    ),
    "usage_every_chunk": FaultKind("what was used so far, in each chunk", _every_chunk),
    "usage_negative": FaultKind(
        "negative", _false({"prompt_tokens": -5, "completion_tokens": -1, "total_tokens": -6})
    ),
    "usage_nan": FaultKind(
        "NaN",
        _false({"prompt_tokens": float("nan"), "completion_tokens": float("nan"), "total_tokens": None}),
    ),
    "usage_huge": FaultKind(
        "more than an int64 holds",
        _false({"prompt_tokens": 2**63, "completion_tokens": 10**30, "total_tokens": 10**30 + 2**63}),
    ),
    "usage_text": FaultKind(
        "text that is no number",
        _false({"prompt_tokens": "many", "completion_tokens": "", "total_tokens": "∞"}),
    ),
    "usage_list": FaultKind(
        "a list", together(_laid_out(lambda bill: [bill.prompt_tokens, bill.completion_tokens]), unseen)
    ),
    "usage_empty": FaultKind("an object without members", _false({})),
    "usage_null": FaultKind("null", _false(None)),
}
