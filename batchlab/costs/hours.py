"""Which of the next hours is the cheapest to ask in. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchlab.costs.price import HOUR_S, Price, Tariff

DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class CheapHour:
    """The first moment at which answers are as cheap as they get.

    Attributes:
        at, until: Unix times; None for the end where the price stays so as far as was looked.
        usd, now_usd: what a row costs then, and now.
        then, now: prices of the first endpoint.
    """

    at: float
    until: float | None
    usd: float
    now_usd: float
    then: Price
    now: Price

    @property
    def saves(self) -> float:
        """The share of the cost that waiting saves."""
        return 1 - self.usd / self.now_usd if self.now_usd else 0.0


def cheap_hour(
    tariffs: Sequence[Tariff], row_usd: Callable[[Price], float], now: float, within_s: float = DAY_S
) -> CheapHour | None:
    """The cheapest time to begin within so many seconds; None where the price does not depend on the hour.

    Args:
        tariffs: of the endpoints that share the rows; they count alike.
        row_usd: what a row costs at a price.
    """
    moments = sorted({one for tariff in tariffs for one in tariff.moments(now, now + within_s)})
    costs = {at: usd for at in moments if (usd := _usd(tariffs, row_usd, at)) is not None}
    if len(set(costs.values())) < 2 or now not in costs:
        return None
    least = min(costs.values())
    at = next(one for one in moments if costs.get(one) == least)
    until = next((one for one in moments if one > at and costs.get(one) != least), None)
    then, before = tariffs[0].at(at), tariffs[0].at(now)
    assert then is not None, "it has a cost"
    assert before is not None, "it has a cost"
    return CheapHour(at, until, least, costs[now], then, before)


def _usd(tariffs: Sequence[Tariff], row_usd: Callable[[Price], float], at: float) -> float | None:
    prices = [tariff.at(at) for tariff in tariffs]
    known = [price for price in prices if price is not None]
    return sum(map(row_usd, known)) / len(known) if known and len(known) == len(prices) else None
