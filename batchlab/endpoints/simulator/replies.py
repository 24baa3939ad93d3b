"""What the simulated model says: made-up prose or JSON, the same for the same request and seed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batchlab.endpoints.simulator.faults import chance
from batchlab.endpoints.simulator.instances import instance_of, wanted_schema

_WORDS = """
the a of and to in is that it for with as was on by this from which are at one has more than
result question answer part reason example short long clear simple common useful small large
quality price service delivery product customer order week day morning summary detail shows means
keeps gives takes needs offers suggests explains follows remains depends usually often rarely mostly
partly however therefore instead because while although before after
""".split()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer and its usage in tokens."""

    id: str
    model: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    is_json: bool = False

    def saying(self, text: str, cap: int | None) -> Reply:
        """The same reply with another text, cut off at `cap` tokens."""
        count = token_count(text)
        if cap is None or count <= cap:
            return replace(self, text=text, finish_reason="stop", completion_tokens=count)
        cut = text.encode()[: cap * 4].decode("utf-8", "ignore")
        return replace(self, text=cut, finish_reason="length", completion_tokens=cap)

    def spoilt(self, how: str, cap: int | None) -> Reply:
        """The JSON reply as a sloppy model gives it; any other reply unchanged."""
        return self.saying(SPOILT[how](self.text), cap) if self.is_json else self

    @property
    def usage(self) -> dict[str, Any]:
        """The usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def plain(self) -> bytes:
        """The body of a plain reply."""
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        body = {
            "id": self.id,
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [choice],
        }
        return json.dumps({**body, "usage": self.usage}, ensure_ascii=False).encode()

    def chunks(self, *, include_usage: bool) -> Iterator[str]:
        """The data of a streamed reply's events, without `[DONE]`."""
        yield self._chunk({"role": "assistant", "content": ""}, None)
        for piece in re.findall(r"\S+\s*", self.text):
            yield self._chunk({"content": piece}, None)
        yield self._chunk({}, self.finish_reason)
        if include_usage:
            yield self._event({"choices": [], "usage": self.usage})

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> str:
        return self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})

    def _event(self, fields: dict[str, Any]) -> str:
        head = {"id": self.id, "object": "chat.completion.chunk", "created": 0, "model": self.model}
        return json.dumps({**head, **fields}, ensure_ascii=False)


def _unfit(text: str) -> str:
    """JSON that fits next to no schema: the values of an object are all nested once more."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict):
        return json.dumps({name: {"value": one} for name, one in value.items()})
    return json.dumps({"answer": value})


SPOILT: Mapping[str, Callable[[str], str]] = {
    "fenced": lambda text: f"```json\n{text}\n```",
    "in_prose": lambda text: f"Here is the JSON:\n{text}\nLet me know if it helps.",
    "after_reasoning": lambda text: f"<think>It asks for {{JSON}}, so I write it.</think>\n{text}",
    "broken": lambda text: text.rstrip('}]"') + ", }",
    "unfit": _unfit,
}


def prompt_text(messages: list[dict[str, Any]]) -> str:
    """All text of a request's messages."""
    texts: list[str] = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            texts += [
                part["text"]
                for part in content
                if isinstance(part, dict) and isinstance(part.get("text"), str)
            ]
    return "\n".join(texts)


def token_count(text: str) -> int:
    """Tokens of a prompt, by 4 bytes a token."""
    return max(1, math.ceil(len(text.encode()) / 4))


def lognormal(median: float, sigma: float, uniform_1: float, uniform_2: float) -> float:
    """A lognormal value from two uniform ones (Box-Muller)."""
    normal = math.sqrt(-2 * math.log(1 - uniform_1)) * math.cos(2 * math.pi * uniform_2)
    return median * math.exp(sigma * normal)


def make_reply(
    body: dict[str, Any], content: bytes, *, seed: int, tokens_median: float, tokens_sigma: float
) -> Reply:
    """The answer to a valid request. `content` is what tells requests apart.

    A request for JSON (a `response_format`, or a schema in its messages) gets JSON that fits the schema.
    """
    prompt = prompt_text(body["messages"])
    schema = wanted_schema(body, prompt)
    if schema is not None:
        value = instance_of(schema, lambda *parts: chance(seed, content, *parts), _WORDS)
        reply = Reply(
            f"sim-{content.hex()[:16]}", str(body["model"]), "", "stop", token_count(prompt), 0, is_json=True
        )
        cap = body.get("max_tokens") or body.get("max_completion_tokens")
        return reply.saying(json.dumps(value, ensure_ascii=False), cap)
    wanted = round(
        lognormal(tokens_median, tokens_sigma, chance(seed, b"u1", content), chance(seed, b"u2", content))
    )
    wanted = min(max(1, wanted), 8_192)
    cap = body.get("max_tokens") or body.get("max_completion_tokens") or wanted
    count = min(wanted, cap)
    state = int(chance(seed, b"text", content) * 2**63)
    echo = re.findall(r"\w{4,}", prompt[:2_000])[:40]
    words: list[str] = []
    for position in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        pick = state >> 33
        source = echo if echo and pick % 5 == 0 else _WORDS
        word = source[(pick >> 3) % len(source)]
        words.append(word.capitalize() if position % 14 == 0 else word)
        if position % 14 == 13:
            words[-1] += "."
    return Reply(
        id=f"sim-{content.hex()[:16]}",
        model=str(body["model"]),
        text=" ".join(words) + ("" if wanted > cap else "."),
        finish_reason="length" if wanted > cap else "stop",
        prompt_tokens=token_count(prompt),
        completion_tokens=count,
    )
