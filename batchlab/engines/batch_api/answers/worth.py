"""What a line of results came to, in money and tokens, whatever it is worth to its row."""

from __future__ import annotations

import contextlib
from typing import TypeAlias

from batchlab.engines.batch_api.answers.results import json_bytes
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.protocol.batches.dialect import LineResult
from batchlab.protocol.chat import parse_reply
from batchlab.protocol.completions import parse_completion
from batchlab.protocol.embeddings import parse_embeddings
from batchlab.protocol.values import ReplyProblem
from batchlab.records import ChatRequest, Reply, Usage
from batchlab.store.batches import Batch
from batchlab.totals import Totals

Waste: TypeAlias = tuple[Usage, float | None] | None  # what was paid and not kept


def worth_of(
    lane: BatchLane, batch: Batch, request: ChatRequest, line: LineResult | None, *, is_over: bool
) -> Totals:
    """What a line came to, whether that is taken now or not: its attempt, and what was billed.

    Args:
        is_over: a line of which nothing is said was asked all the same.
    """
    if line is None and is_over:
        return Totals(attempts=1, cut_off=1)
    if line is None or line.status is None:
        return Totals(attempts=int(not batch.is_cancelled))
    billed: Waste = None
    if 200 <= line.status < 300:
        with contextlib.suppress(Exception):  # whatever it is, it is one row's, and `Merging` tells of it
            billed = _billed(lane, batch, request, json_bytes(line.body))
    return Totals(attempts=1) + (Totals() if billed is None else wasted(*billed))


def _billed(lane: BatchLane, batch: Batch, request: ChatRequest, body: bytes) -> Waste:
    """What an answer was billed; None when nothing tells."""
    at = batch.created_at or batch.ordered_at
    try:
        reply = reply_of(request, body)
    except ReplyProblem as problem:
        usage = problem.usage
        if usage is None or usage.prompt_tokens is None:
            return None
        return usage, lane.wasted_usd(request, usage, at)
    return reply.usage, lane.usd(request, reply, at)


def wasted(usage: Usage, usd: float | None) -> Totals:
    """What an attempt counts for that was paid and not kept."""
    return Totals(
        wasted_prompt_tokens=usage.prompt_tokens or 0,
        wasted_completion_tokens=usage.completion_tokens or 0,
        cost_wasted_usd=usd or 0.0,
        waste_without_cost=int(usd is None),
    )


def reply_of(request: ChatRequest, body: bytes) -> Reply:
    """The answer to a request. Raises ReplyProblem."""
    match request.task:
        case "embeddings":
            return parse_embeddings(body, request.body)
        case "completions":
            return parse_completion(body)
    return parse_reply(body)
