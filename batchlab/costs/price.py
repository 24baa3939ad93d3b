"""A price: what an answer costs by its tokens, by the clock, and at the most. Unknown is None, never 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from batchlab.records import Usage

PER_MTOK = 1_000_000
HOUR_S = 3_600.0  # a price is never kept past the hour that it was asked for
ECHOES = frozenset({"", "default", "auto"})  # as a tier these say nothing of what was served
# In a usage object: tokens that have a price of their own at some models, and some of them.
DETAIL = r'"(?:audio|image|video|citation|ephemeral_1h_input)_tokens"\s*:\s*[1-9]'

Processing: TypeAlias = Literal["live", "batch"]


class Dearest(NamedTuple):
    """The most that one token of any kind may cost, in USD per 1 M."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Price:
    """USD per 1 M tokens, with everything settled that it depends on but the length of the request.

    Attributes:
        cached, cache_write: of prompt tokens read from a cache, and written to one; as `input` when None.
        request: USD of a request, beside its tokens.
        longer: prices of requests with more prompt tokens than so many, ascending. Such a price is that
            of all tokens of the request, not only of those past the threshold.
        dearest, dearest_media: of a token of any kind that a request of text, and one with pictures or
            sound, may be billed for; by the prices above when None.
        exact: prices an answer some of whose tokens have a price of their own, beside the four kinds; None
            from it when the answer has no such tokens.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    request: float = 0.0
    longer: tuple[tuple[int, Price], ...] = ()
    dearest: Dearest | None = None
    dearest_media: Dearest | None = None
    exact: Callable[[Usage], float | None] | None = field(default=None, compare=False)

    @property
    def cached_input(self) -> float:
        """USD per 1 M cached prompt tokens."""
        return self.input if self.cached is None else self.cached

    @property
    def written_input(self) -> float:
        """USD per 1 M prompt tokens that were written to a cache."""
        return self.input if self.cache_write is None else self.cache_write

    @property
    def is_free(self) -> bool:
        """Whether nothing is ever billed."""
        return not any((self.input, self.output, self.cached, self.cache_write, self.request, self.longer))

    def at_length(self, prompt_tokens: float) -> Price:
        """The price of a request with so many prompt tokens; its own `longer` says nothing."""
        found = self
        for above, price in self.longer:
            if prompt_tokens <= above:
                break
            found = price
        return found

    def cost_usd(self, usage: Usage) -> float | None:
        """Cost of one answer; None when a token count is unknown.

        (prompt - cached - written) · input + cached · cached price + written · price of writing +
        completion · output + request. Counts that contradict each other are cut to what the prompt holds.
        """
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        if prompt is None or completion is None:
            return None
        if self.exact is not None and (usd := self.exact(usage)) is not None:
            return usd
        price = self.at_length(prompt) if self.longer else self
        total = completion * price.output
        if cached := min(usage.cached_tokens or 0, prompt):
            total += cached * price.cached_input
            prompt -= cached
        if written := min(usage.cache_write_tokens or 0, prompt):
            total += written * price.written_input
            prompt -= written
        return (total + prompt * price.input) / PER_MTOK + price.request

    def most_usd(self, prompt_tokens: float, completion_tokens: float, *, media: bool = False) -> float:
        """The most that a request of up to so many tokens may be billed: every length that it can have,
        and every kind of token that they can be."""
        most, bounds = 0.0, [*(above for above, _ in self.longer), math.inf]
        for (above, price), end in zip([(-1, self), *self.longer], bounds, strict=True):
            if prompt_tokens > above:
                dear = price.most_of_a_token(media=media)
                tokens = min(prompt_tokens, end) * dear.input + completion_tokens * dear.output
                most = max(most, tokens / PER_MTOK + price.request)
        return most

    def times(self, share: float) -> Price:
        """A share of a stated price."""

        def of(value: float | None) -> float | None:
            return None if value is None else value * share

        return Price(self.input * share, self.output * share, of(self.cached), of(self.cache_write))

    def in_and_out(self) -> str:
        """For a person: `$5 in, $30 out`."""
        return f"${self.input:g} in, ${self.output:g} out"

    @property
    def has_dear_media(self) -> bool:
        """Whether tokens of pictures or sound may cost more than text."""
        classes = (self, *(price for _, price in self.longer))
        return any(one.dearest_media not in (None, one.dearest) for one in classes)

    def most_of_a_token(self, *, media: bool) -> Dearest:
        """The most that a token of any kind costs."""
        given = self.dearest_media if media and self.dearest_media is not None else self.dearest
        return given or Dearest(max(self.input, self.cached_input, self.written_input), self.output)


FREE = Price(0.0, 0.0)


class Served(NamedTuple):
    """What an answer was, as far as its price depends on it, beside its usage and when it was asked.

    Attributes:
        model, tier: as asked.
        served_as, served_tier: as the answer says; None when it does not.
    """

    model: str
    tier: str | None = None
    served_as: str | None = None
    served_tier: str | None = None
    processing: Processing = "live"


def asked_tier(body: Mapping[str, Any]) -> str | None:
    """The tier that a request's body asks for, in its own word."""
    tier = body.get("service_tier")
    return tier if isinstance(tier, str) else None


def billed_tier(asked: str | None, served: str | None) -> str | None:
    """The tier that an answer is priced at, None for the usual one.

    As served; as asked where the server says nothing or echoes `default`. genai-prices prices a word that
    it does not know as the usual tier, and so do we.
    """
    for said in (served, asked):
        word = (said or "").strip().lower()
        if word not in ECHOES:
            return None if word == "standard" else word
    return None


class Tariff:
    """What answers of one kind cost, by the clock.

    Args:
        ask: the price at a Unix time; None when there is none then.
        every_s: how long one may last at the shortest, a divisor of an hour; None when it never changes.
    """

    def __init__(self, ask: Callable[[float], Price | None], *, every_s: float | None = None) -> None:
        self._ask = ask
        self._every_s = every_s
        self._known: dict[int, Price | None] = {}

    def at(self, when: float) -> Price | None:
        """The price of what was asked at a Unix time."""
        span = 0 if self._every_s is None else int(when // self._every_s)
        try:
            return self._known[span]
        except KeyError:
            found = self._known[span] = self._ask(when)
            return found

    def moments(self, since: float, until: float) -> list[float]:
        """When it may be another one than before, from one Unix time to another."""
        every = self._every_s
        if every is None:
            return [since]
        return [since, *(n * every for n in range(int(since // every) + 1, int(until // every) + 1))]

    def between(self, since: float, until: float) -> list[Price]:
        """The different prices from one Unix time to another, at most those of a day."""
        last = min(until, since + 24 * HOUR_S)
        return different(self.at(moment) for moment in self.moments(since, last))


def different(prices: Iterable[Price | None]) -> list[Price]:
    """Each of the known prices once."""
    found: list[Price] = []
    for price in prices:
        if price is not None and price not in found:
            found.append(price)
    return found


class Ceiling:
    """The most that a request may be billed, whatever tier, hour and length of those possible it meets.

    Attributes:
        reasons_on: whether reasoning may be billed beyond max_tokens.
        with_media: that of requests with pictures or sound, if it is another.
    """

    def __init__(self, prices: Sequence[Price], *, reasons_on: bool = False, media: bool = False) -> None:
        self.reasons_on = reasons_on
        self.with_media: Ceiling | None = None
        self._prices = prices
        self._media = media
        # one price without a threshold is nearly every request: no loop for it
        plain = len(prices) == 1 and not prices[0].longer and not prices[0].request
        self._dearest = prices[0].most_of_a_token(media=media) if plain else None
        if not media and any(one.has_dear_media for one in prices):
            self.with_media = Ceiling(prices, reasons_on=reasons_on, media=True)

    def most_usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """For up to so many tokens."""
        if (dear := self._dearest) is not None:
            return (prompt_tokens * dear.input + completion_tokens * dear.output) / PER_MTOK
        return max(
            price.most_usd(prompt_tokens, completion_tokens, media=self._media) for price in self._prices
        )
