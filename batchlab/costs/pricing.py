"""What tokens cost. An unknown price is None, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from batchlab.job import EndpointJob, Job, PriceJob
from batchlab.records import Usage

PER_MTOK = 1_000_000
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})  # hosts that no public list can know


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

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Cost of so many tokens, none of them from a cache."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / PER_MTOK


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


class PriceBook:
    """What each model costs at one endpoint.

    A price comes from the endpoint's own table, else from the job's, where a model's own entry wins
    and the plain one is about the job's model, or about any when the job names none; else it is 0 for
    a server of the user's own; else from `lookup`.
    """

    def __init__(self, endpoint: EndpointJob, job_price: PriceJob, model: str) -> None:
        self._endpoint = endpoint
        self._tables = (endpoint.price, job_price)
        self._model = model
        self._found: dict[str, tuple[Price | None, str]] = {}

    def price(self, model: str) -> Price | None:
        """The price of `model`, as requests name it; None when nobody states one."""
        return self.find(model)[0]

    def find(self, model: str) -> tuple[Price | None, str]:
        """The price of `model` and where it comes from."""
        if model not in self._found:
            self._found[model] = self._find(model)
        return self._found[model]

    def _find(self, model: str) -> tuple[Price | None, str]:
        for table in self._tables:
            given = table.models.get(model) or (table if self._model in (model, "") else None)
            if given is not None and given.input is not None and given.output is not None:
                return Price(given.input, given.output, given.cached), "job"
        if self._endpoint.host == "local" or self._endpoint.service.free:
            return Price(0.0, 0.0), "this machine bills nothing"
        if self._endpoint.host == "simulator":
            return None, "simulated"
        served = self._endpoint.model if model == self._model and self._endpoint.model else model
        return lookup(served, self._endpoint.base_url)


def price_book(job: Job, endpoint: EndpointJob) -> PriceBook:
    """What models cost at one of the job's endpoints."""
    return PriceBook(endpoint, job.price, job.request.model)


def lookup(model: str, base_url: str) -> tuple[Price | None, str]:
    """The public list price of `model` at an endpoint, and where it comes from.

    Looked up in the offline data of the `genai-prices` package, by the endpoint's host, so
    that a reseller is never given somebody else's price. None when it is not listed there.
    """
    host = urlsplit(base_url).hostname
    if not host or host in LOOPBACK:
        return None, "no public price"
    # Here, because it takes 0.2 s and 20 MB: a job that states its price needs none of it.
    from importlib.metadata import version

    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

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
        return None, f"not in genai-prices {version('genai-prices')}"
    return Price(prices[0], prices[1], float(both.total_price)), f"genai-prices {version('genai-prices')}"
