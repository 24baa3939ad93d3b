"""The simulated `/completions` and `/embeddings`: what they refuse, and what they answer.

Refusals and limits are those of OpenAI's API reference: 2,048 texts and 300,000 tokens a request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batchlab.endpoints.simulator.replies import Choice, made_choice, token_count
from batchlab.endpoints.simulator.validation import parameters_problem

MAX_TEXTS = 2_048
MAX_TOKENS = 300_000


@dataclass(frozen=True, slots=True)
class TextReply:
    """Text completions of one prompt, and their usage in tokens; one choice more for each of `n` beyond 1."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        """Of all choices."""
        return sum(choice.tokens for choice in self.choices)

    @property
    def usage(self) -> dict[str, int]:
        """The usage object."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def plain(self) -> bytes:
        """The body of a plain reply."""
        choices = [
            _text_choice(index, choice.text, choice.finish_reason)
            for index, choice in enumerate(self.choices)
        ]
        return json.dumps({**self._head(choices), "usage": self.usage}).encode()

    def chunks(self, *, include_usage: bool) -> Iterator[str]:
        """The data of a streamed reply's events, without `[DONE]`."""
        for index, choice in enumerate(self.choices):
            for piece in re.findall(r"\S+\s*", choice.text):
                yield json.dumps(self._head([_text_choice(index, piece, None)]))
            yield json.dumps(self._head([_text_choice(index, "", choice.finish_reason)]))
        if include_usage:
            yield json.dumps({**self._head([]), "usage": self.usage})

    def served(self, *, tier: str | None, cached_tokens: int, cache_write_tokens: int | None) -> TextReply:
        """Unchanged: it names no tier, and its prompt is in no cache."""
        del tier, cached_tokens, cache_write_tokens
        return self

    def spoilt(self, how: str, cap: int | None) -> TextReply:
        """Unchanged: it is no JSON."""
        del how, cap
        return self

    def _head(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self.id, "object": "text_completion", "created": 0, "model": self.model}
        return {**head, "choices": choices}


def _text_choice(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors in the order of the texts, and their usage in tokens."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int
    encoded: bool
    completion_tokens: int = 0

    def plain(self) -> bytes:
        """The body of the reply."""
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(vector) if self.encoded else list(vector),
            }
            for index, vector in enumerate(self.vectors)
        ]
        usage = {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens}
        return json.dumps({"object": "list", "data": data, "model": self.model, "usage": usage}).encode()

    def chunks(self, *, include_usage: bool) -> Iterator[str]:
        """Embeddings are not streamed."""
        del include_usage
        yield self.plain().decode()

    def served(self, *, tier: str | None, cached_tokens: int, cache_write_tokens: int | None) -> Embeddings:
        """Unchanged: it names no tier, and its prompt is in no cache."""
        del tier, cached_tokens, cache_write_tokens
        return self

    def spoilt(self, how: str, cap: int | None) -> Embeddings:
        """Unchanged: it is no JSON."""
        del how, cap
        return self


def completion_problem(body: Any) -> str | None:
    """What is wrong with a completions request, or None."""
    problem = parameters_problem(body)
    if problem is not None:
        return problem
    prompt = body.get("prompt")
    if not isinstance(prompt, str | list) or (isinstance(prompt, list) and len(_texts(prompt)) != 1):
        return "'prompt' must be a string, or one in an array."
    count = body.get("n", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 128:
        return "'n' must be an integer from 1 to 128."
    return None


def completion_prompt(body: dict[str, Any]) -> str:
    """All text of a completions request."""
    return "\n".join(_texts(body["prompt"]))


def make_completion(
    body: dict[str, Any], prompt: str, content: bytes, *, seed: int, median: float, sigma: float
) -> TextReply:
    """The answer to a valid completions request. `content` is what tells requests apart."""
    asked = {"max_tokens": body.get("max_tokens")}
    others = (content + b"%d" % index for index in range(1, body.get("n") or 1))
    return TextReply(
        id=f"sim-{content.hex()[:16]}",
        model=str(body["model"]),
        choices=tuple(
            made_choice(asked, one, prompt, seed=seed, median=median, sigma=sigma)
            for one in (content, *others)
        ),
        prompt_tokens=token_count(prompt),
    )


def embeddings_problem(body: Any) -> str | None:
    """What is wrong with an embeddings request, or None."""
    problem = parameters_problem(body)
    if problem is not None:
        return problem
    given = body.get("input")
    if not isinstance(given, str | list):
        return "'input' must be a string or an array."
    texts = _texts(given)
    if not texts or any(not text for text in texts):
        return "'input' cannot be an empty string."
    if len(texts) > MAX_TEXTS:
        return f"'input' has {len(texts)} texts; the most is {MAX_TEXTS}."
    if sum(map(token_count, texts)) > MAX_TOKENS:
        return f"'input' has too many tokens; the most is {MAX_TOKENS} a request."
    size = body.get("dimensions")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 4_096):
        return "'dimensions' must be an integer from 1 to 4096."
    if body.get("encoding_format") not in (None, "float", "base64"):
        return "'encoding_format' must be 'float' or 'base64'."
    return None


def embedding_texts(body: dict[str, Any]) -> list[str]:
    """The texts of an embeddings request, in order."""
    return _texts(body["input"])


def make_embeddings(body: dict[str, Any], *, seed: int, dimensions: int) -> Embeddings:
    """The answer to a valid request."""
    texts = _texts(body["input"])
    size = body.get("dimensions") or dimensions
    return Embeddings(
        model=str(body["model"]),
        vectors=tuple(vector_of(text, seed=seed, dimensions=size) for text in texts),
        prompt_tokens=sum(map(token_count, texts)),
        encoded=body.get("encoding_format") == "base64",
    )


def vector_of(text: str, *, seed: int, dimensions: int) -> tuple[float, ...]:
    """A vector of length 1 that depends on the text and the seed alone, in numbers that a float32 holds."""
    key = seed.to_bytes(8, "little", signed=True)
    raw = hashlib.shake_128(key + text.encode("utf-8", "replace")).digest(2 * dimensions)
    numbers = [one / 32_768 for one in struct.unpack(f"<{dimensions}h", raw)]
    length = math.sqrt(math.fsum(one * one for one in numbers)) or 1.0
    packed = struct.pack(f"<{dimensions}f", *(one / length for one in numbers))
    return struct.unpack(f"<{dimensions}f", packed)


def _texts(given: Any) -> list[str]:
    """A string, strings, tokens or lists of tokens, as texts."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(one, int) for one in given):
        return [" ".join(map(str, given))]
    return [one if isinstance(one, str) else " ".join(map(str, one)) for one in given]


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
