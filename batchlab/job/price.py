"""`[price]`: what tokens cost, where the user says it."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.job.setting import setting

PRICED_WAYS = ("flex", "batch")  # ways to be answered that a stated price may have a price for


def _not_below_zero(value: object) -> str | None:
    return "must not be negative" if isinstance(value, int | float) and value < 0 else None


@dataclass(frozen=True, slots=True)
class PriceJob:
    """USD per 1 M tokens; None where the user gave none. `models` holds those of single models.

    `flex` and `batch` are a share of the price, or a price with `input`, `output`, `cached` and
    `cache_write`.
    """

    input: float | None = setting(
        None,
        flags="--price-in",
        unit="USD",
        check=_not_below_zero,
        own_keyword="price_in",
        help="Price of 1M prompt tokens.",
    )
    output: float | None = setting(
        None,
        flags="--price-out",
        unit="USD",
        check=_not_below_zero,
        own_keyword="price_out",
        help="Price of 1M completion tokens.",
    )
    cached: float | None = setting(
        None,
        flags="--price-cached",
        unit="USD",
        check=_not_below_zero,
        own_keyword="price_cached",
        shown="as {price.input}",
        help="Price of 1M cached prompt tokens.",
    )
    cache_write: float | None = setting(
        None,
        flags="--price-cache-write",
        unit="USD",
        check=_not_below_zero,
        own_keyword="price_cache_write",
        shown="as {price.input}",
        help="Price of 1M prompt tokens written to a cache.",
    )
    flex: PriceJob | float | None = setting(
        None,
        flags="--price-flex",
        unit="SHARE",
        own_keyword="price_flex",
        shown="1",
        help="Share of these prices that the tier flex costs.",
    )
    batch: PriceJob | float | None = setting(
        None,
        flags="--price-batch",
        unit="SHARE",
        own_keyword="price_batch",
        shown="1",
        help="Share of these prices that the batch API costs.",
    )
    models: dict[str, PriceJob] = setting(
        dict, unit="TABLES", own_keyword="price_models", help="Prices of single models, by name."
    )
