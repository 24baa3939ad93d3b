"""What a request may be billed, and what an attempt of it was."""

from __future__ import annotations

import time

from batchlab.costs.price import HOUR_S, Ceiling, Served
from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.lanes import Lane
from batchlab.records import ChatRequest, Usage


def ceiling(request: ChatRequest, lane: Lane) -> Ceiling | None:
    """The most that the request may be billed there, if there is a price."""
    # it may wait for money, and then for its answer, into the next hour
    return lane.prices.ceiling(request, time.time(), HOUR_S + lane.timeout_s, tier=lane.tier_of(request))


def no_ceiling(request: ChatRequest, lane: Lane) -> None:
    """The same where there is no cap on the cost."""


def answer_usd(request: ChatRequest, answer: Answer, lane: Lane) -> float | None:
    """What an answer costs, as what it was."""
    reply = answer.reply
    served = Served(request.model, lane.tier_of(request), reply.model, reply.service_tier)
    return lane.prices.cost_usd(reply.usage, served, answer.started_at)


def failure_usd(request: ChatRequest, usage: Usage | None, lane: Lane, at: float) -> float | None:
    """What an attempt costs that was billed and gave no answer."""
    if usage is None:
        return None
    return lane.prices.cost_usd(usage, Served(request.model, lane.tier_of(request)), at)
