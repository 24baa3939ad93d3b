"""Public list prices: the offline data of the package genai-prices, asked by its own function.

Importing this takes 0.2 s and 20 MB: only `costs.pricing` does, when a list price is first asked for.

A price is asked for once for each tier, hour and length class, and what an answer costs is then a sum of
four products: genai-prices' own calculation takes 60 µs an answer. `tests/costs/test_bills.py` holds one
against the other.
"""

from __future__ import annotations

import json
import math
import re
import time as clock
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import cached_property, partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from genai_prices import Usage as Counts
from genai_prices import calc_price
from genai_prices.types import (
    ModelPrice,
    PriceCalculation,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
    calc_unit_price,
)

from batchlab.costs.price import DETAIL, HOUR_S, PER_MTOK, Dearest, Price, Processing, Tariff
from batchlab.records import Usage

LIST_NAME = f"genai-prices {version('genai-prices')}"

_PLAIN = frozenset({"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"})
# Kinds of tokens with a price of their own at some models, and where usage objects count them
# (OpenAI's `*_tokens_details`, Anthropic's `cache_creation`).
_DETAILS: Mapping[str, tuple[str, ...]] = {
    "input_audio_tokens": ("prompt_tokens_details", "audio_tokens"),
    "input_image_tokens": ("prompt_tokens_details", "image_tokens"),
    "input_video_tokens": ("prompt_tokens_details", "video_tokens"),
    "cache_audio_read_tokens": ("prompt_tokens_details", "cached_tokens_details", "audio_tokens"),
    "cache_image_read_tokens": ("prompt_tokens_details", "cached_tokens_details", "image_tokens"),
    "cache_write_1h_tokens": ("cache_creation", "ephemeral_1h_input_tokens"),
    "output_audio_tokens": ("completion_tokens_details", "audio_tokens"),
    "output_image_tokens": ("completion_tokens_details", "image_tokens"),
    "output_citation_tokens": ("citation_tokens",),
}
_MEDIA = ("audio", "image", "video")


class ListedModel:
    """A model on the list, at the service behind a URL.

    Raises:
        LookupError: neither the model nor a model that the service takes from another is listed there.
    """

    def __init__(self, model: str, base_url: str) -> None:
        self._name = model
        self._url = urlsplit(base_url)._replace(scheme="https").geturl()  # the list knows https only
        self._found = self._asked(0.0, None, "live")

    @cached_property
    def tiers(self) -> tuple[str, ...]:
        """Tiers that some price is stated for at some time, beside the usual one."""
        named = (when.get("service_tier") for when, _ in self._variants() if set(when) == {"service_tier"})
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def states(self, at: float, *, tier: str | None = None, processing: Processing = "live") -> bool:
        """Whether the list has a price of its own for a tier, or for the batch API."""
        wanted = {"processing": "batch"} if processing == "batch" else {"service_tier": tier}
        moment = datetime.fromtimestamp(at, UTC)
        return any(
            when == wanted and (constraint is None or constraint.active(moment))
            for when, constraint in self._variants()
        )

    def tariff(self, tier: str | None, processing: Processing) -> Tariff | None:
        """What answers of a tier cost; None for a model that is not priced by tokens now."""
        if self._price(tier, processing, clock.time()) is None:
            return None
        return Tariff(partial(self._price, tier, processing), every_s=self._every_s)

    def _price(self, tier: str | None, processing: Processing, at: float) -> Price | None:
        return price_of(self._asked(at, tier, processing).model_price)

    def _asked(self, at: float, tier: str | None, processing: Processing) -> PriceCalculation:
        context = {} if tier is None else {"service_tier": tier}
        if processing == "batch":
            context["processing"] = processing
        return calc_price(
            Counts(),
            model_ref=self._name,
            provider_api_url=self._url,
            genai_request_timestamp=datetime.fromtimestamp(at, UTC),
            price_context=context,
        )

    def _variants(self) -> list[tuple[Mapping[str, str], Any]]:
        """What single ways of asking cost more or less: by which words, and when."""
        model, provider = self._found.model, self._found.provider
        if not any(model is own for own in provider.models):
            return []  # taken from another service, whose tiers are not this one's
        priced = (one for one in model.price_variants or () if vars(one.prices))
        return [(one.when, one.constraint) for one in priced]

    @property
    def _every_s(self) -> float | None:
        """How long a price lasts at the shortest; None for one without any clock."""
        model = self._found.model
        dated: list[Any] = (
            [] if isinstance(model.prices, ModelPrice) else [one.constraint for one in model.prices]
        )
        dated += [one.constraint for one in model.price_variants or ()]
        constraints = [one for one in dated if one is not None]
        if not constraints:
            return None
        seconds = int(HOUR_S)
        for one in constraints:
            if isinstance(one, TimeOfDateConstraint):
                seconds = math.gcd(seconds, _second(one.start_time), _second(one.end_time))
            elif not isinstance(one, StartDateConstraint):  # which begins at midnight, UTC
                return 1.0  # a kind of clock that this version does not know
        return float(seconds)


def _second(moment: time) -> int:
    """Of the day in UTC."""
    ahead = moment.utcoffset()
    seconds = moment.hour * 3_600 + moment.minute * 60 + moment.second
    return seconds if ahead is None else seconds - int(ahead.total_seconds())


def price_of(prices: ModelPrice) -> Price | None:
    """A price set of the list as ours; None when it has prices, but none for tokens.

    A price set without any price is that of something that is billed nothing for.
    """
    given = {name: value for name, value in vars(prices).items() if value is not None and name[0] != "_"}
    if given and not any(name.endswith("_mtok") for name in given):
        return None
    starts = sorted(
        {tier.start for value in given.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    )
    longer = tuple((start, _step(prices, given, start + 1)) for start in starts)
    special = {name for name in given.keys() - _PLAIN if name.endswith("_mtok")}
    exact = partial(_exact, prices, "output_reasoning_mtok" in special) if special else None
    return replace(_step(prices, given, 1), longer=longer, exact=exact)


def _step(prices: ModelPrice, given: Mapping[str, Decimal | TieredPrices], prompt: int) -> Price:
    """The price of a request with so many prompt tokens, measured with genai-prices' own calculation."""

    def usd(**counts: int) -> Decimal:
        return prices.calc_price(Counts(**counts))["total_price"]

    request, base = usd(), usd(input_tokens=prompt)

    def each(**counts: int) -> float:
        """USD per 1 M prompt tokens of a kind."""
        return float((usd(input_tokens=prompt, **counts) - request) / prompt * PER_MTOK)

    def most(side: str, *, media: bool) -> float:
        kinds = [name for name in given if name.startswith(side) and name.endswith("_mtok")]
        return max(
            (
                float(calc_unit_price(given[name], PER_MTOK, prompt, PER_MTOK))
                for name in kinds
                if media or not any(word in name for word in _MEDIA)
            ),
            default=0.0,
        )

    def dearest(*, media: bool) -> Dearest:
        return Dearest(
            max(most("input_", media=media), most("cache_", media=media)), most("output_", media=media)
        )

    return Price(
        input=each(),
        output=float(usd(input_tokens=prompt, output_tokens=PER_MTOK) - base),
        cached=each(cache_read_tokens=prompt),
        cache_write=each(cache_write_tokens=prompt),
        request=float(request),
        dearest=dearest(media=False),
        dearest_media=dearest(media=True),
    )


def _exact(prices: ModelPrice, reasoning: bool, usage: Usage) -> float | None:
    """The cost of an answer with tokens that have a price of their own; None when it has none such."""
    counted: dict[str, int] = {}
    if usage.raw is not None and re.search(DETAIL, usage.raw):
        counted = _counted(usage.raw)
    if not counted and not (reasoning and usage.reasoning_tokens):
        return None
    details = dict.fromkeys(_DETAILS, 0) | counted  # genai-prices takes what is not stated for unknown
    counts = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "cache_read_tokens": usage.cached_tokens or 0,
        "cache_write_tokens": usage.cache_write_tokens or 0,
        "output_reasoning_tokens": usage.reasoning_tokens or 0,
    }
    try:
        return float(prices.calc_price(Counts(**counts, **details))["total_price"])
    except ValueError:  # the counts contradict each other: they are priced by kind as text
        return None


def _counted(raw: str) -> dict[str, int]:
    """How many tokens of each of the kinds with details a usage object has."""
    try:
        usage = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    found = {}
    for kind, path in _DETAILS.items():
        value = usage
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if type(value) is int and value > 0:
            found[kind] = value
    return found
