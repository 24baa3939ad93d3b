"""What tokens cost. An unknown price is None, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from batchlab.records import Usage

PER_MTOK = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """USD per 1 M tokens. `cached` is the price of cached prompt tokens; as `input` when None."""

    input: float
    output: float
    cached: float | None = None

    @property
    def cached_input(self) -> float:
        """USD per 1 M cached prompt tokens."""
        return self.input if self.cached is None else self.cached


def cost_usd(price: Price | None, usage: Usage) -> float | None:
    """Cost of one answer; None when the price or a token count is unknown.

    (prompt − cached) · input + cached · cached price + completion · output. Reasoning tokens are
    inside the completion tokens, cached ones inside the prompt tokens (OpenAI's usage object).
    """
    if price is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
    total = (
        (usage.prompt_tokens - cached) * price.input
        + cached * price.cached_input
        + usage.completion_tokens * price.output
    )
    return total / PER_MTOK


def lookup(model: str, base_url: str) -> tuple[Price | None, str]:
    """The public list price of `model` at an endpoint, and where it comes from.

    Looked up in the offline data of the `genai-prices` package, by the endpoint's host, so
    that a reseller is never given somebody else's price. None when it is not listed there.
    """
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    if not urlsplit(base_url).hostname:
        return None, "no public price"
    try:
        # a million tokens of each kind priced apart gives the price itself
        prices = [
            float(
                calc_price(
                    PricedUsage(**{kind: PER_MTOK}), model_ref=model, provider_api_url=base_url
                ).total_price
            )
            for kind in ("input_tokens", "output_tokens")
        ]
        both = calc_price(
            PricedUsage(input_tokens=PER_MTOK, cache_read_tokens=PER_MTOK),
            model_ref=model,
            provider_api_url=base_url,
        )
    except (LookupError, ValueError):
        return None, "not in genai-prices"
    return Price(prices[0], prices[1], float(both.total_price)), "genai-prices"
