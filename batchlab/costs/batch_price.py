"""What a line of a batch costs: as cap and books count it, and as it is expected to be billed.

The two differ only where nobody states a price of batches. Then cap and books count the live price, so that
none is passed, and what chooses lanes or plans reckons with the share of it that the service's pages name.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.costs.price import Price, Served
from batchlab.costs.pricing import PriceBook


@dataclass(frozen=True, slots=True)
class BatchPrice:
    """The price of a line.

    Attributes:
        booked: what cap and books count; None when it is unknown.
        source: who says so.
        share: of `booked`, that is expected to be billed; 1.0 where somebody states the price.
        is_stated: whether somebody does.
    """

    booked: Price | None
    source: str
    share: float
    is_stated: bool

    @property
    def unstated(self) -> str:
        """What is to be said of a price that nobody states; "" for one that is, or that is unknown."""
        if self.booked is None or self.is_stated:
            return ""
        said = "stated by nobody, so that cap and books count as much as for live calls"
        if self.share == 1:
            return f"{said}; {{price.batch}} says another share"
        return (
            f"{said}, and a choice of lanes reckons with {self.share:g} of it, by the service's pages; "
            f"{{price.batch}} states the share, such as {self.share:g}"
        )


def batch_price(prices: PriceBook, model: str, at: float, share: float) -> BatchPrice:
    """The price of a line that is ordered at a Unix time.

    Args:
        share: of the live price, by the service's pages.
    """
    tariff, source = prices.find(model, None, "batch")
    booked = tariff.at(at) if tariff is not None else None
    is_stated = booked is not None and prices.states(Served(model, processing="batch"), at)
    return BatchPrice(booked, source, 1.0 if is_stated else share, is_stated)
