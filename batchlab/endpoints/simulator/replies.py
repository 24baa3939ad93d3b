"""What the simulated model says: made-up prose or JSON, the same for the same request and seed."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batchlab.endpoints.simulator.content import MEDIA_TOKENS, media_parts
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
class Choice:
    """One of the answers to a request.

    Attributes:
        tool_call: (name, arguments as JSON text) instead of a text.
        logprobs: whether each token's log probability was asked for, and how many others beside it.
    """

    text: str
    finish_reason: str
    tokens: int
    tool_call: tuple[str, str] | None = None
    logprobs: int | None = None
    is_json: bool = False

    def saying(self, text: str, cap: int | None) -> Choice:
        """The same choice with another text, cut off at `cap` tokens."""
        count = token_count(text)
        if cap is None or count <= cap:
            return replace(self, text=text, finish_reason="stop", tokens=count)
        cut = text.encode()[: cap * 4].decode("utf-8", "ignore")
        return replace(self, text=cut, finish_reason="length", tokens=cap)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request, its usage in tokens; one choice more for each of `n` beyond 1."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int | None = None
    service_tier: str | None = None

    def served(self, *, tier: str | None, cached_tokens: int, cache_write_tokens: int | None) -> Reply:
        """The same reply with the tier it names, and what the cache held; None for what is not told."""
        return replace(
            self, service_tier=tier, cached_tokens=cached_tokens, cache_write_tokens=cache_write_tokens
        )

    def spoilt(self, how: str, cap: int | None) -> Reply:
        """The JSON reply as a sloppy model gives it; any other reply unchanged."""
        choices = (
            choice.saying(SPOILT[how](choice.text), cap) if choice.is_json else choice
            for choice in self.choices
        )
        return replace(self, choices=tuple(choices))

    @property
    def completion_tokens(self) -> int:
        """Of all choices."""
        return sum(choice.tokens for choice in self.choices)

    @property
    def usage(self) -> dict[str, Any]:
        """The usage object."""
        details = {"cached_tokens": self.cached_tokens}
        if self.cache_write_tokens is not None:
            details["cache_write_tokens"] = self.cache_write_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": details,
        }

    @property
    def _tier(self) -> dict[str, str]:
        return {} if self.service_tier is None else {"service_tier": self.service_tier}

    def plain(self) -> bytes:
        """The body of a plain reply."""
        body = {
            "id": self.id,
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            **self._tier,
            "choices": [self._whole(index, choice) for index, choice in enumerate(self.choices)],
        }
        return json.dumps({**body, "usage": self.usage}, ensure_ascii=False).encode()

    def _whole(self, index: int, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": choice.text}
        if choice.tool_call is not None:
            message = {**message, "content": None, "tool_calls": [self._call(index, choice.tool_call)]}
        whole = {"index": index, "message": message, "finish_reason": choice.finish_reason}
        if choice.logprobs is not None:
            whole["logprobs"] = self._logprobs(index, choice.text, choice.logprobs)
        return whole

    def _call(self, index: int, call: tuple[str, str]) -> dict[str, Any]:
        name, arguments = call
        function = {"name": name, "arguments": arguments}
        return {"id": f"call_{self.id}_{index}", "type": "function", "function": function}

    def _logprobs(self, index: int, text: str, top: int) -> dict[str, Any]:
        """Made-up log probabilities of a text's tokens, which are its words."""
        tokens = []
        for position, token in enumerate(_pieces(text)):
            seed = f"{self.id} {index} {position} {token}".encode()
            likely = -2 * chance(0, b"logprob", seed)
            others = [
                {"token": _WORDS[rank], "logprob": likely - rank, "bytes": None} for rank in range(1, top)
            ]
            first = {"token": token, "logprob": likely, "bytes": list(token.encode())}
            tokens.append({**first, "top_logprobs": [first, *others] if top else []})
        return {"content": tokens, "refusal": None}

    def chunks(self, *, include_usage: bool) -> Iterator[str]:
        """The data of a streamed reply's events, without `[DONE]`; choices come in turns."""
        for index in range(len(self.choices)):
            yield self._chunk(index, {"role": "assistant", "content": ""}, None)
        streams = [self._deltas(index, choice) for index, choice in enumerate(self.choices)]
        for turn in itertools.zip_longest(*streams):
            yield from (event for event in turn if event is not None)
        for index, choice in enumerate(self.choices):
            yield self._chunk(index, {}, choice.finish_reason)
        if include_usage:
            yield self._event({"choices": [], "usage": self.usage})

    def _deltas(self, index: int, choice: Choice) -> Iterator[str]:
        if choice.tool_call is not None:
            call = self._call(index, choice.tool_call)
            arguments = call["function"]["arguments"]
            start = {**call, "index": 0, "function": {"name": call["function"]["name"], "arguments": ""}}
            yield self._chunk(index, {"tool_calls": [start]}, None)
            for piece in (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]):
                yield self._chunk(
                    index, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, None
                )
            return
        logprobs: list[Any] = [None] * len(_pieces(choice.text))
        if choice.logprobs is not None:
            logprobs = self._logprobs(index, choice.text, choice.logprobs)["content"]
        for piece, logprob in zip(_pieces(choice.text), logprobs, strict=True):
            yield self._chunk(index, {"content": piece}, None, logprob)

    def _chunk(
        self, index: int, delta: dict[str, Any], finish_reason: str | None, logprob: Any = None
    ) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
        if logprob is not None:
            choice["logprobs"] = {"content": [logprob], "refusal": None}
        return self._event({"choices": [choice]})

    def _event(self, fields: dict[str, Any]) -> str:
        head = {"id": self.id, "object": "chat.completion.chunk", "created": 0, "model": self.model}
        return json.dumps({**head, **self._tier, **fields}, ensure_ascii=False)


def _pieces(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)


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
    messages = body["messages"]
    prompt = prompt_text(messages)

    def choice_of(content: bytes) -> Choice:
        return made_choice(body, content, prompt, seed=seed, median=tokens_median, sigma=tokens_sigma)

    others = (content + b"%d" % index for index in range(1, body.get("n") or 1))
    return Reply(
        id=f"sim-{content.hex()[:16]}",
        model=body["model"],
        choices=tuple(choice_of(one) for one in (content, *others)),
        prompt_tokens=prompt_tokens(messages),
    )


def prompt_tokens(messages: list[dict[str, Any]]) -> int:
    """Tokens of a request's messages, images and sounds included."""
    return token_count(prompt_text(messages)) + MEDIA_TOKENS * media_parts(messages)


def made_choice(
    body: dict[str, Any], content: bytes, prompt: str, *, seed: int, median: float, sigma: float
) -> Choice:
    """One answer to a prompt."""
    call = _tool_call(body, lambda *names: chance(seed, content, *names))
    if call is not None:
        return Choice("", "tool_calls", token_count("".join(call)), tool_call=call)
    logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
    cap = body.get("max_tokens") or body.get("max_completion_tokens")
    schema = wanted_schema(body, prompt)
    if schema is not None:
        value = instance_of(schema, lambda *parts: chance(seed, content, *parts), _WORDS)
        blank = Choice("", "stop", 0, logprobs=logprobs, is_json=True)
        return blank.saying(json.dumps(value, ensure_ascii=False), cap)
    wanted = round(lognormal(median, sigma, chance(seed, b"u1", content), chance(seed, b"u2", content)))
    wanted = min(max(1, wanted), 8_192)
    count = min(wanted, cap or wanted)
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
    return Choice(
        text=" ".join(words) + ("" if wanted > count else "."),
        finish_reason="length" if wanted > count else "stop",
        tokens=count,
        logprobs=logprobs,
    )


def _tool_call(body: dict[str, Any], draw: Callable[..., float]) -> tuple[str, str] | None:
    """The call of a tool that the request demands: its name, and made-up arguments as JSON text."""
    tools, demanded = body.get("tools"), body.get("tool_choice")
    if not tools or demanded in (None, "none", "auto"):
        return None
    functions = [tool["function"] for tool in tools]
    if isinstance(demanded, dict):
        functions = [one for one in functions if one["name"] == demanded["function"]["name"]]
    function = functions[int(draw(b"tool") * len(functions))]
    properties = (function.get("parameters") or {}).get("properties") or {}
    arguments = {
        name: _argument(schema, draw(b"argument", name.encode())) for name, schema in properties.items()
    }
    return function["name"], json.dumps(arguments)


def _argument(schema: Any, drawn: float) -> Any:
    schema = schema if isinstance(schema, dict) else {}
    options = schema.get("enum")
    if isinstance(options, list) and options:
        return options[int(drawn * len(options))]
    word = _WORDS[int(drawn * len(_WORDS))]
    values = {"integer": int(drawn * 100), "number": round(drawn * 100, 2), "boolean": drawn < 0.5}
    kind = schema.get("type")
    return {**values, "array": [], "object": {}}.get(kind, word) if isinstance(kind, str) else word
