"""What can be asked of the simulated provider: a path, its validation and its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.replies import make_reply, prompt_text, prompt_tokens, token_count
from batchlab.endpoints.simulator.texts import (
    completion_problem,
    completion_prompt,
    embedding_texts,
    embeddings_problem,
    make_completion,
    make_embeddings,
)
from batchlab.endpoints.simulator.validation import request_problem


class Answered(Protocol):
    """An answer of any kind, and its usage in tokens."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...

    def plain(self) -> bytes:
        """The body of a plain reply."""
        ...

    def chunks(self, *, include_usage: bool) -> Iterator[str]:
        """The data of a streamed reply's events, without `[DONE]`."""
        ...

    def served(self, *, tier: str | None, cached_tokens: int, cache_write_tokens: int | None) -> Answered:
        """The same answer with the tier it names, and what the cache held; None for what is not told."""
        ...

    def spoilt(self, how: str, cap: int | None) -> Answered:
        """The same answer as a sloppy model gives it."""
        ...


def _as_it_is(status: int, body: bytes) -> bytes:
    del status
    return body


@dataclass(frozen=True, slots=True)
class Kind:
    """One endpoint.

    Attributes:
        problem: what is wrong with a body, or None.
        asked: a valid body's text, its tokens, and those of the longest piece that must fit the context.
        reply: the answer, of body, text, what tells requests apart, and the options.
        cached: whether beginnings of its prompts are kept in the cache.
        tiers: that it knows beside those on offer.
        headers: that it demands.
        envelope: an error object of OpenAI's in this kind's own, of status and body.
    """

    path: str
    problem: Callable[[Any], str | None]
    asked: Callable[[dict[str, Any]], tuple[str, int, int]]
    reply: Callable[[dict[str, Any], str, bytes, SimulatorOptions], Answered]
    streams: bool = True
    cached: bool = False
    tiers: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    envelope: Callable[[int, bytes], bytes] = _as_it_is


def _chat_asked(body: dict[str, Any]) -> tuple[str, int, int]:
    tokens = prompt_tokens(body["messages"])
    return prompt_text(body["messages"]), tokens, tokens


def _completions_asked(body: dict[str, Any]) -> tuple[str, int, int]:
    prompt = completion_prompt(body)
    return prompt, token_count(prompt), token_count(prompt)


def _embeddings_asked(body: dict[str, Any]) -> tuple[str, int, int]:
    texts = embedding_texts(body)
    counts = [token_count(text) for text in texts]
    return "\n".join(texts), sum(counts), max(counts)


def _chat_reply(body: dict[str, Any], prompt: str, content: bytes, options: SimulatorOptions) -> Answered:
    del prompt
    return make_reply(
        body,
        content,
        seed=options.seed,
        tokens_median=options.tokens_median,
        tokens_sigma=options.tokens_sigma,
    )


def _text_reply(body: dict[str, Any], prompt: str, content: bytes, options: SimulatorOptions) -> Answered:
    return make_completion(
        body,
        prompt,
        content,
        seed=options.seed,
        median=options.tokens_median,
        sigma=options.tokens_sigma,
    )


def _vectors(body: dict[str, Any], prompt: str, content: bytes, options: SimulatorOptions) -> Answered:
    del prompt, content
    return make_embeddings(body, seed=options.seed, dimensions=options.dimensions)


KINDS = (
    Kind("chat/completions", request_problem, _chat_asked, _chat_reply, cached=True),
    Kind("completions", completion_problem, _completions_asked, _text_reply),
    Kind("embeddings", embeddings_problem, _embeddings_asked, _vectors, streams=False),
)
