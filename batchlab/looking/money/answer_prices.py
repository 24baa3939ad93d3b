"""What a run's answers cost, each as what it was: which price, for whoever sums or tries others."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, Protocol

from batchlab.costs.price import Price, Processing, Served, asked_tier
from batchlab.costs.pricing import PriceBook, price_book
from batchlab.job import Job


class Kind(NamedTuple):
    """What rows with one price have in common: model and tier as served, who answered, by which lane, and
    when they were asked (Unix seconds)."""

    model: str | None
    endpoint: str | None
    tier: str | None
    at: float
    lane: str | None = None


class PriceOf(Protocol):
    """What answers cost."""

    def __call__(self, kind: Kind, way: str | None = None) -> Price | None:
        """The price of answers, or of the same by a way of `cost_table.WAYS`; None when there is none."""
        ...


def prices_of(job: Job) -> PriceOf:
    """What a job's answers cost, each as what it was."""
    books: dict[str, PriceBook] = {endpoint.name: price_book(job, endpoint) for endpoint in job.endpoint}
    own = asked_tier(job.request.params)
    flex = {endpoint.name: endpoint.flex_tier for endpoint in job.endpoint}

    @cache
    def price_of(kind: Kind, way: str | None = None) -> Price | None:
        book = books.get(kind.endpoint or "", next(iter(books.values())))
        asked = job.request.model or kind.model or ""
        tier = flex.get(kind.endpoint or "") if kind.lane == "flex" else own
        processing: Processing = "batch" if kind.lane == "batch" else "live"
        served = Served(asked, tier, kind.model, kind.tier, processing)
        if way is not None:
            batch = way == "batch"
            served = Served(asked, None if batch else way, kind.model, None, "batch" if batch else "live")
            if not book.states(served, kind.at):
                return None
        return book.price(served, kind.at)

    return price_of
