"""Our bills against genai-prices' own, over every way that its list knows to be billed.

    python -m tests.proofs.costs.bills            a few minutes
    python -m tests.proofs.costs.bills --every 20

For each listed model at services we have a URL of: its tiers and the batch API, hours on both sides of each
of its clocks, lengths on both sides of each of its thresholds, shares of the prompt read from a cache and
written to one, usage as services lay it out. Prints how many bills were compared and the largest difference.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from genai_prices import Usage as Counts
from genai_prices import calc_price
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from batchlab.costs.price import Processing, Served
from batchlab.costs.pricing import PriceBook
from batchlab.job import EndpointJob, PriceJob
from batchlab.records import Usage
from tests.proofs.arguments import ended, options

URLS = {
    "openai": "https://api.openai.com/v1",
    "azure": "https://case.openai.azure.com/openai/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "x-ai": "https://api.x.ai/v1",
    "deepseek": "https://api.deepseek.com",
    "openrouter": "https://openrouter.ai/api/v1",
    "together": "https://api.together.xyz/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "cohere": "https://api.cohere.ai/compatibility/v1",
    "moonshotai": "https://api.moonshot.ai/v1",
    "perplexity": "https://api.perplexity.ai",
    "cerebras": "https://api.cerebras.ai/v1",
    "novita": "https://api.novita.ai/v3/openai",
    "zai": "https://api.z.ai/api/paas/v4",
    "minimax": "https://api.minimax.io/v1",
    "avian": "https://api.avian.io/v1",
    "quicksilverpro": "https://api.quicksilverpro.io/v1",
}
# what Azure takes from others' lists: those prices know none of its tiers
TAKEN = [
    ("azure", "gpt-5.5"),
    ("azure", "gpt-4.1"),
    ("azure", "claude-opus-4-6"),
    ("google", "claude-opus-4-6"),
]
TIERS = ("flex", "priority", "fast", "scale", "Flex")  # the fourth is on no list, the fifth is the first
# 2026-11-25, a Wednesday, around each clock of the list, in seconds of the day
MIDNIGHT = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp())
HOURS = [MIDNIGHT + hour * 1_800 + second for hour in range(48) for second in (0, 1_799)]
LAYOUTS = ("openai", "reasoning outside", "anthropic", "silent", "sound")


@dataclass(frozen=True, slots=True)
class Bill:
    """One answer: what it was, what was used of each kind, and its usage object as the service lays it out."""

    url: str
    asked: str
    served: Served
    at: float
    prompt: int
    completion: int
    cached: int
    written: int
    reasoning: int
    sound: int
    layout: str

    def usage(self) -> Usage:
        """As the wire's reader has it: `prompt_tokens` with the cached, `completion_tokens` with reasoning."""
        raw = None
        if self.layout == "anthropic":
            raw = {
                "input_tokens": self.prompt - self.cached - self.written,
                "cache_read_input_tokens": self.cached,
            }
        elif self.layout == "sound":
            raw = {"prompt_tokens": self.prompt, "prompt_tokens_details": {"audio_tokens": self.sound}}
        elif self.layout == "reasoning outside":
            raw = {"completion_tokens": self.completion - self.reasoning}
        silent = self.layout == "silent"  # of what is nothing it says nothing
        return Usage(
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            total_tokens=None if silent else self.prompt + self.completion,
            cached_tokens=self.cached or (None if silent else 0),
            cache_write_tokens=self.written or (None if silent else 0),
            reasoning_tokens=self.reasoning or (None if silent else 0),
            raw=None if raw is None else json.dumps(raw),
        )

    def truth(self) -> float:
        """By genai-prices."""
        _, tier, served_as, served_tier, processing = self.served
        words = [
            word.lower() for word in (served_tier, tier) if word and word.lower() not in {"default", "auto"}
        ]
        context = {"service_tier": words[0]} if words else {}
        if processing == "batch":
            context["processing"] = "batch"
        counts = {
            "input_tokens": self.prompt,
            "output_tokens": self.completion,
            "cache_read_tokens": self.cached,
            "cache_write_tokens": self.written,
            "output_reasoning_tokens": self.reasoning,
            "input_audio_tokens": self.sound,
            "cache_audio_read_tokens": 0,
            "cache_audio_write_tokens": 0,
        }
        found = calc_price(
            Counts(**counts),
            model_ref=self.asked if served_as is None else served_as,
            provider_api_url=self.url,
            genai_request_timestamp=datetime.fromtimestamp(self.at, UTC),
            price_context=context,
        )
        return float(found.total_price)


def books() -> dict[tuple[str, str], PriceBook]:
    """A book for each model: (service, model)."""
    names = [
        (provider.id, model.id)
        for provider in providers
        if provider.id in URLS
        for model in provider.models
        if _by_tokens(model) and _is_found(provider.id, model.id)
    ]
    return {
        (service, model): PriceBook(EndpointJob(base_url=URLS[service]), PriceJob(), model)
        for service, model in dict.fromkeys([*names, *TAKEN])
    }


def _is_found(service: str, name: str) -> bool:
    """Some entries go by other names than their own."""
    try:
        model_of(service, name)
    except LookupError:
        return False
    return True


def _price_sets(model: ModelInfo) -> list[ModelPrice]:
    return [model.prices] if isinstance(model.prices, ModelPrice) else [one.prices for one in model.prices]


def _by_tokens(model: ModelInfo) -> bool:
    sets = [vars(prices) for prices in _price_sets(model)]
    return all(not one or any(name.endswith("_mtok") for name in one) for one in sets)


def model_of(service: str, name: str) -> ModelInfo:
    """The list's own entry that a request is priced by."""
    return calc_price(Counts(), model_ref=name, provider_api_url=URLS[service]).model


def lengths(model: ModelInfo) -> list[int]:
    """Prompts on both sides of each threshold, and a short one."""
    sets = [*_price_sets(model), *(one.prices for one in model.price_variants or ())]
    starts = {
        tier.start for one in sets for price in vars(one).values() if isinstance(price, TieredPrices)
        for tier in price.tiers
    }  # fmt: skip
    return sorted({1_000, *starts, *(start + 1 for start in starts)})


def ways(model: ModelInfo) -> list[tuple[str | None, str | None, Processing]]:
    """Tier as asked and as served, and how it was answered."""
    found: list[tuple[str | None, str | None, Processing]] = [
        (None, None, "live"),
        ("auto", "default", "live"),
    ]
    if model.price_variants:
        found += [(tier, tier, "live") for tier in TIERS]
        found += [("flex", "default", "live"), ("flex", None, "live"), ("priority", "flex", "live")]
        found += [(None, None, "batch"), (None, "default", "batch"), ("flex", None, "batch")]
    return found


def hours(model: ModelInfo) -> list[int]:
    """Moments on both sides of each of its clocks; one for a model without a clock."""
    clocks = not isinstance(model.prices, ModelPrice) or any(
        one.constraint for one in model.price_variants or ()
    )
    return HOURS if clocks else HOURS[:1]


def bills(service: str, name: str) -> Iterator[Bill]:
    """Every way that the list knows to bill a model."""
    model = model_of(service, name)
    splits = ((0, 0), (0.75, 0), (0, 0.9), (0.5, 0.25))
    for (asked, tier, processing), at, prompt in itertools.product(ways(model), hours(model), lengths(model)):
        for number, (read, written) in enumerate(splits):
            layout = LAYOUTS[number % len(LAYOUTS)]
            yield Bill(
                url=URLS[service],
                asked=name,
                served=Served(name, asked, name if number % 2 else None, tier, processing),
                at=at,
                prompt=prompt,
                completion=prompt // 3,
                cached=int(prompt * read),
                written=int(prompt * written),
                reasoning=0 if number % 2 else prompt // 7,
                sound=0,
                layout=layout,
            )
        yield Bill(
            URLS[service],
            name,
            Served(name, asked, None, tier, processing),
            at,
            prompt,
            10,
            0,
            0,
            0,
            500,
            "sound",
        )


def compare(every: int = 1) -> tuple[int, int, float]:
    """Compares every such bill of each `every`-th model: models, bills, and the largest difference in USD."""
    compared, largest, chosen = 0, 0.0, list(books().items())[::every]
    for (service, name), book in chosen:
        for bill in bills(service, name):
            ours = book.cost_usd(bill.usage(), bill.served, bill.at)
            difference = float("inf") if ours is None else abs(ours - bill.truth())
            if difference > 1e-9:
                print(f"{difference:g} USD: {bill}", file=sys.stderr)
            compared, largest = compared + 1, max(largest, difference)
    return len(chosen), compared, largest


def main() -> None:
    """Prints how many were compared; exits with 1 when a bill differs by more than 1e-9 USD."""
    given = options(__doc__, every=1)
    models, compared, largest = compare(given.every)
    print(f"{models:,} models, {compared:,} bills; largest difference {largest:.1e} USD")
    ended(["a bill differs"] if largest > 1e-9 else [])


if __name__ == "__main__":
    main()
