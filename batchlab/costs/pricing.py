"""What an answer costs. An unknown price is None, never 0.

`PriceBook.cost_usd` is the one answer to it: attempts kept and wasted, caps, plans, forecasts, books and
what-ifs all ask it, or the `Price` that it finds for a kind of answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchlab.costs.price import (
    FREE,
    HOUR_S,
    Ceiling,
    Price,
    Processing,
    Served,
    Tariff,
    asked_tier,
    billed_tier,
    different,
)
from batchlab.job import EndpointJob, Job, PriceJob
from batchlab.job.endpoint import is_this_machine
from batchlab.records import ChatRequest, Usage

if TYPE_CHECKING:
    from batchlab.costs.listed import ListedModel

MOST_KINDS = 1_000  # of answers that are remembered: a server may name another model with each of them


class PriceBook:
    """What each model costs at one endpoint.

    A price comes from the endpoint's own table, else from the job's, where a model's own entry wins
    and the plain one is about the job's model, or about any when the job names none; else it is 0 for
    a server of the user's own; else from genai-prices (`costs.listed`). A stated price goes by the model
    as asked; a listed one by the model as served, and as asked where the list does not know that name.
    """

    def __init__(self, endpoint: EndpointJob, job_price: PriceJob, model: str) -> None:
        self._endpoint = endpoint
        self._tables = (endpoint.price, job_price)
        self._model = model
        self._names: dict[str, ListedModel | None] = {}
        self._found: dict[Served, tuple[Tariff | None, str]] = {}
        self._ceilings: dict[tuple[str, str | None, int, float, Processing], Ceiling | None] = {}
        # how requests for a model were answered so far, as far as it matters to a price
        self._answers: dict[str, set[tuple[str | None, str | None]]] = {}

    def cost_usd(self, usage: Usage, served: Served, at: float) -> float | None:
        """What an answer costs that was asked at a Unix time; None when its price or a token count is
        unknown."""
        price = self.price(served, at)
        return None if price is None else price.cost_usd(usage)

    def price(self, served: Served, at: float) -> Price | None:
        """The price of an answer that was asked at a Unix time; None when nobody states one."""
        found = self._found.get(served)
        if found is None:
            if len(self._found) >= MOST_KINDS:
                for known in (self._found, self._names, self._answers):
                    known.clear()
            found = self._found[served] = self._find(served)
            self._answers.setdefault(served.model, set()).add((served.served_as, served.served_tier))
            self._ceilings.clear()
        return None if found[0] is None else found[0].at(at)

    def find(
        self, model: str, tier: str | None = None, processing: Processing = "live"
    ) -> tuple[Tariff | None, str]:
        """What `model` costs, as requests name it, and where that comes from."""
        return self._find(Served(model, tier, processing=processing))

    def ceiling(
        self, request: ChatRequest, at: float, within_s: float, processing: Processing = "live"
    ) -> Ceiling | None:
        """The most that a request may be billed which is sent in this hour or up to `within_s` after it.

        It counts with the tier that is asked for and the usual one, and with the models and tiers by
        which such requests were answered so far. None for an unknown price.
        """
        model, tier, hour = request.model, asked_tier(request.body), int(at // HOUR_S)
        key = (model, tier, hour, within_s, processing)
        if key not in self._ceilings:
            self._ceilings[key] = self._ceiling(model, tier, hour * HOUR_S, within_s, processing)
        found = self._ceilings[key]
        if found is not None and found.with_media is not None and _has_media(request.body):
            return found.with_media
        return found

    def states(self, served: Served, at: float) -> bool:
        """Whether somebody states a price for the tier, or the batch API, by which it was served."""
        tier, processing = billed_tier(served.tier, served.served_tier), served.processing
        if (given := self._stated(served.model)) is not None:
            return _other_price(given, tier, processing) is not None
        if self._is_free:
            return True
        listed = self._listed_as(served)
        return listed is not None and listed.states(at, tier=tier, processing=processing)

    def described(self, model: str, at: float, tier: str | None = None) -> str:
        """The price of `model` for a person: now, by length, hour and tier, and where it comes from."""
        tariff, source = self.find(model, tier)
        price = tariff.at(at) if tariff is not None else None
        if tariff is None or price is None:
            return f"unknown ({source})"
        asked = billed_tier(tier, None)
        told = [f"${price.input:g} in, ${price.output:g} out per 1M tokens"]
        if asked is not None and self.states(Served(model, asked), at):
            told[0] += f" at tier {asked}"
        kinds = [("cached", price.cached), ("written to a cache", price.cache_write)]
        told += [f"${value:g} {name}" for name, value in kinds if value not in (None, price.input)]
        told += [f"over {above:,} prompt tokens {longer.in_and_out()}" for above, longer in price.longer]
        others = tariff.between(at, at + 24 * HOUR_S)
        told += [f"at other hours {one.in_and_out()}" for one in others if one != price]
        told += [f"{name} {one.in_and_out()}" for name, one in self._ways(model, at) if name != asked]
        return f"{'; '.join(told)} ({source})"

    def _ways(self, model: str, at: float) -> Iterator[tuple[str, Price]]:
        """The tiers, and the batch API, that somebody states a price of."""
        if self._is_free:
            return
        listed = self._listed_as(Served(model)) if self._stated(model) is None else None
        ways: list[tuple[str, str | None, Processing]] = [
            (tier, tier, "live") for tier in (listed.tiers if listed is not None else ("flex",))
        ]
        for name, tier, processing in [*ways, ("batch", None, "batch")]:
            if self.states(Served(model, tier, processing=processing), at):
                tariff, _ = self.find(model, tier, processing)
                if tariff is not None and (price := tariff.at(at)) is not None:
                    yield name, price

    def _find(self, served: Served) -> tuple[Tariff | None, str]:
        model, tier, _, served_tier, processing = served
        billed = billed_tier(tier, served_tier)
        if (given := self._stated(model)) is not None:
            return _stated_tariff(given, billed, processing), "job"
        if self._is_free:
            return Tariff(lambda _: FREE), "this machine bills nothing"
        if self._endpoint.host == "simulator":
            return None, "simulated"
        if not self._is_public:
            return None, "no public price"
        from batchlab.costs.listed import LIST_NAME

        listed = self._listed_as(served)
        tariff = listed.tariff(billed, processing) if listed is not None else None
        if listed is None:
            return None, f"not in {LIST_NAME}"
        return tariff, LIST_NAME if tariff is not None else f"not by tokens in {LIST_NAME}"

    def _ceiling(
        self, model: str, tier: str | None, since: float, within_s: float, processing: Processing
    ) -> Ceiling | None:
        if self.find(model, tier, processing)[0] is None:
            return None
        ways = {(None, None), (None, "standard"), *self._answers.get(model, ())}
        tariffs = [
            self._find(Served(model, tier, served_as, served, processing))[0] for served_as, served in ways
        ]
        until = since + HOUR_S + within_s
        found = different(price for one in tariffs if one is not None for price in one.between(since, until))
        reasons_on = self._endpoint.service.reasons_beyond_cap
        return Ceiling(found, reasons_on=reasons_on) if found else None

    @property
    def _is_free(self) -> bool:
        return self._endpoint.host == "local" or self._endpoint.service.free

    def _asked_as(self, model: str) -> str:
        """The endpoint's own name for a model that requests name."""
        return self._endpoint.model if model == self._model and self._endpoint.model else model

    def _stated(self, model: str) -> PriceJob | None:
        """What the user states of a model."""
        for table in self._tables:
            given = table.models.get(model) or (table if self._model in (model, "") else None)
            if given is not None and given.input is not None and given.output is not None:
                return given
        return None

    @property
    def _is_public(self) -> bool:
        hostname = urlsplit(self._endpoint.base_url).hostname or ""
        return bool(hostname) and not is_this_machine(hostname)

    def _listed_as(self, served: Served) -> ListedModel | None:
        """The model on the public list: as served, and as asked where that name is not on it."""
        if not self._is_public:
            return None
        names = (served.served_as, self._asked_as(served.model))
        return next((found for name in names if name and (found := self._listed(name)) is not None), None)

    def _listed(self, name: str) -> ListedModel | None:
        """A model on the public list, at this endpoint's host: a reseller is never given another's price."""
        if name not in self._names:
            # here, because it takes 0.2 s and 20 MB: a job that states its price needs none of it
            from batchlab.costs.listed import ListedModel

            try:
                self._names[name] = ListedModel(name, self._endpoint.base_url)
            except (LookupError, ValueError):
                self._names[name] = None
        return self._names[name]


def price_book(job: Job, endpoint: EndpointJob) -> PriceBook:
    """What models cost at one of the job's endpoints."""
    return PriceBook(endpoint, job.price, job.request.model)


def stated_price(given: PriceJob) -> Price:
    """A price that the user states, with input and output."""
    assert given.input is not None, "checked with the job"
    assert given.output is not None, "checked with the job"
    return Price(given.input, given.output, given.cached, given.cache_write)


def _other_price(given: PriceJob, tier: str | None, processing: Processing) -> PriceJob | float | None:
    """What the user states of the batch API, or of a tier."""
    if processing == "batch":
        return given.batch
    return given.flex if tier == "flex" else None


def _stated_tariff(given: PriceJob, tier: str | None, processing: Processing) -> Tariff:
    """A stated price, or its share or table for flex or batch. What is not stated costs as much as live."""
    price, other = stated_price(given), _other_price(given, tier, processing)
    if isinstance(other, PriceJob):
        price = stated_price(other)
    elif other is not None:
        price = price.times(other)
    return Tariff(lambda _: price)


def _has_media(body: Mapping[str, Any]) -> bool:
    """Whether a request holds, or asks for, more than text."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return False
    parts = any(isinstance(one, dict) and isinstance(one.get("content"), list) for one in messages)
    return parts or "modalities" in body or "audio" in body
