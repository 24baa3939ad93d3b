"""Two tool calls, as services stream them.

Sources: OpenAI API reference (an index for each call); Gemini and Ollama (every call at index 0:
ollama/ollama 15457, omnigent-ai/omnigent 28); older Ollama (no index: ollama/ollama 7881).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from batchlab.endpoints.simulator.faults.drafts import Change, Draft, FaultKind, Object
from batchlab.endpoints.simulator.tariff import Bill

CALLS = (
    ("call_weather_1", "weather", '{"city": "Oslo", "unit": "c"}'),
    ("call_clock_2", "clock", '{"zone": "UTC"}'),
)
TOKENS = math.ceil(sum(len(name) + len(arguments) for _, name, arguments in CALLS) / 4)


def _whole(id_: str, name: str, arguments: str) -> Object:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def _pieces(id_: str, name: str, arguments: str) -> Iterator[Object]:
    """One call as it is streamed: its name first, then its arguments in two pieces."""
    half = len(arguments) // 2
    yield _whole(id_, name, "")
    yield {"function": {"arguments": arguments[:half]}}
    yield {"function": {"arguments": arguments[half:]}}


def _usual() -> Iterator[Object]:
    for index, call in enumerate(CALLS):
        for piece in _pieces(*call):
            yield {"index": index, **piece}


def _in_turns() -> Iterator[Object]:
    for turn in zip(*(_pieces(*call) for call in CALLS), strict=True):
        for index, piece in enumerate(turn):
            yield {"index": index, **piece}


def _one_index() -> Iterator[Object]:
    for call in CALLS:
        for piece in _pieces(*call):
            yield {"index": 0, **piece}


def _one_index_whole() -> Iterator[Object]:
    for call in CALLS:
        yield {"index": 0, **_whole(*call)}


def _no_index() -> Iterator[Object]:
    for call in CALLS:
        yield _whole(*call)


def _no_index_pieces() -> Iterator[Object]:
    for call in CALLS:
        yield from _pieces(*call)


def _no_index_ids() -> Iterator[Object]:
    """In turns, each piece with its call's id."""
    for turn in zip(*(_pieces(*call) for call in CALLS), strict=True):
        for (id_, _, _), piece in zip(CALLS, turn, strict=True):
            yield {**piece, "id": id_}


def _calls(deltas: Callable[[], Iterator[Object]]) -> Change:
    """An answer of two calls, streamed as `deltas` has them."""

    def change(draft: Draft) -> Draft:
        prompt = draft.asked.prompt_tokens
        usage = {"prompt_tokens": prompt, "completion_tokens": TOKENS, "total_tokens": prompt + TOKENS}
        own = {"id": "sim-tools", "created": 0, "model": draft.asked.model}
        message = {"role": "assistant", "content": None, "tool_calls": [_whole(*call) for call in CALLS]}
        body = {
            **own,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": usage,
        }

        def event(delta: Object, finish: str | None = None) -> Object:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return {**own, "object": "chat.completion.chunk", "choices": [choice]}

        events = [event({"role": "assistant", "content": None})]
        events += [event({"tool_calls": [delta]}) for delta in deltas()]
        events.append(event({}, "tool_calls"))
        if draft.asked.wants_usage:
            events.append({**own, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        tier = draft.bill.tier if draft.bill is not None else "default"
        seen = draft.asked.wants_usage or not draft.streams
        bill = Bill(prompt, TOKENS, tier=tier, seen=seen)
        return replace(draft, body=body, events=tuple(events), bill=bill)

    return change


TOOLS: dict[str, FaultKind] = {
    "tools_usual": FaultKind("an index for each call (OpenAI)", _calls(_usual)),
    "tools_in_turns": FaultKind("an index for each call, their pieces in turns", _calls(_in_turns)),
    "tools_one_index": FaultKind("two ids at index 0, in pieces (Ollama)", _calls(_one_index)),
    "tools_one_index_whole": FaultKind("two ids at index 0, each whole (Gemini)", _calls(_one_index_whole)),
    "tools_no_index": FaultKind("no index, each whole (older Ollama)", _calls(_no_index)),
    "tools_no_index_pieces": FaultKind("no index, in pieces, one after the other", _calls(_no_index_pieces)),
    "tools_no_index_ids": FaultKind("no index, in pieces by turns, each with its id", _calls(_no_index_ids)),
}
