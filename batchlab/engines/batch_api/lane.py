"""An endpoint's batch lane: its dialect, its service, and what its answers cost."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.costs.batch_price import batch_price
from batchlab.costs.price import Ceiling, Served, asked_tier
from batchlab.dispatch.http.access import Access
from batchlab.dispatch.http.batch_service import BatchService
from batchlab.engines.endpoint import Endpoint
from batchlab.job import TASK_PATHS
from batchlab.protocol.batches.dialect import Dialect
from batchlab.records import ChatRequest, Reply, Usage

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class BatchLane:
    """Where batches go.

    Attributes:
        access: how the endpoint spells requests.
    """

    endpoint: Endpoint
    access: Access
    service: BatchService

    @property
    def name(self) -> str:
        """The endpoint's."""
        return self.endpoint.job.name

    @property
    def dialect(self) -> Dialect:
        """The service's."""
        return self.service.dialect

    def ceiling(self, request: ChatRequest, at: float) -> Ceiling | None:
        """The most that a line may be billed; None for an unknown price."""
        return self.endpoint.prices.ceiling(request, at, DAY_S, "batch")

    def usd(self, request: ChatRequest, reply: Reply, at: float) -> float | None:
        """What an answer costs that was ordered at a Unix time; None when unknown."""
        served = Served(request.model, asked_tier(request.body), reply.model, reply.service_tier, "batch")
        return self.endpoint.prices.cost_usd(reply.usage, served, at)

    def wasted_usd(self, request: ChatRequest, usage: Usage, at: float) -> float | None:
        """What a line costs that was billed and gave no answer."""
        served = Served(request.model, asked_tier(request.body), processing="batch")
        return self.endpoint.prices.cost_usd(usage, served, at)

    def price_note(self, model: str, at: float) -> str | None:
        """What is to be said of a price of batches that nobody states."""
        told = batch_price(self.endpoint.prices, model, at, self.dialect.price_share).unstated
        return f"{self.name}: price of a batch of {model}: {told}" if told else None

    def path(self, task: str) -> str:
        """The path of the calls that its lines stand for."""
        return f"/v1/{TASK_PATHS[task]}"
