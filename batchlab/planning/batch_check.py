"""What is known of a batch API before it is used, and a batch of one line to find out the rest."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from batchlab.costs.batch_price import batch_price
from batchlab.costs.pricing import PriceBook
from batchlab.counts import counted
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.batch_calls import UncertainOrder
from batchlab.dispatch.http.batch_service import BatchService
from batchlab.dispatch.http.transport import encoded
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.batch_api.answers.downloads import download
from batchlab.engines.batch_api.orders.ordering import names_the_file
from batchlab.engines.batch_api.orders.recognizing import LABEL
from batchlab.engines.endpoint import Endpoint, access_to
from batchlab.job import TASK_PATHS, Job
from batchlab.protocol.batches.dialect import BatchState, Dialect, LineResult, Order, Phase, Unfit
from batchlab.protocol.batches.openai import NO_ROOM
from batchlab.protocol.values import ReplyProblem, parse_json
from batchlab.records import ChatRequest, Outcome

MIB = 1_000_000
PATIENCE_S = 30.0  # with a service that has trouble
WAIT_S = 30.0  # for the batch's end; then it is cancelled
UNSEEN_TRIES = 10  # of an order whose file is not to be seen yet


def limits_text(dialect: Dialect) -> str:
    """What one batch may hold, for a person."""
    limits = dialect.limits
    said = [f"at most {counted(limits.lines, 'line')} and {limits.size // MIB:,} MB a batch"]
    said += [f"{limits.line // MIB:,} MB a line"] if limits.line else []
    said += [f"{limits.inputs:,} texts to embed a batch"] if limits.inputs else []
    said.append(f"for {', '.join(sorted(limits.tasks))}")
    said += [] if limits.media else ["text only"]
    return f"{'; '.join(said)}; answered within {dialect.windows[0]}"


def price_text(prices: PriceBook, model: str, dialect: Dialect, at: float) -> str:
    """What a line costs, and who says so."""
    price = batch_price(prices, model, at, dialect.price_share)
    if price.booked is None:
        return f"unknown ({price.source}); {price.share:g} of the live price, by {dialect.name}'s pages"
    return price.unstated or f"{price.booked.in_and_out()} per 1M tokens in a batch ({price.source})"


def known_lines(endpoint: Endpoint, job: Job, dialect: Dialect) -> Iterator[str]:
    """What is known of an endpoint's batch API without asking it."""
    yield f"batch API: {dialect.name}'s: {limits_text(dialect)}"
    yield f"price of a batch: {price_text(endpoint.prices, job.request.model, dialect, time.time())}"
    for remark in dialect.remarks:
        yield f"  {remark}"


def try_batch(endpoint: Endpoint, job: Job, dialect: Dialect, request: ChatRequest) -> tuple[str, bool]:
    """Orders a batch of one line, and takes it back if it does not end soon: what to say, and whether all is
    well."""
    key = f"blcheck-{secrets.token_hex(6)}"
    try:
        return asyncio.run(_tried(endpoint, job, dialect, request, key))
    except Unfit as problem:
        return f"{dialect.name} takes no such request in a batch: {problem}", False
    except UncertainOrder as error:
        return f"the order was not answered ({error}); look for a batch of one line, {key}-0", False
    except ApiError as error:
        return _refused(error.outcome), False


def _refused(outcome: Outcome) -> str:
    """Why there is no batch: that an account may use none is said only where the service has refused it."""
    code = f"HTTP {outcome.code}, " if outcome.code else ""
    said = f"{code}{outcome.message}"
    if outcome.cause in NO_ROOM:
        return f"not now: its queue of batches is full ({said})"
    if outcome.kind.may_pass:
        return f"not answered ({said}): whether this account may use batches is not known; try again later"
    return f"refused ({said}): this account may use no batch of this model"


async def _tried(
    endpoint: Endpoint, job: Job, dialect: Dialect, request: ChatRequest, key: str
) -> tuple[str, bool]:
    access, path = access_to(endpoint, job), f"/v1/{TASK_PATHS[request.task]}"
    body = access.body(request)
    limits = dataclasses.replace(job.limits, max_outage_s=PATIENCE_S)
    with tempfile.TemporaryDirectory(prefix="batchlab-") as scratch:
        lines = Path(scratch) / "check.jsonl"
        lines.write_bytes(encoded(dict(dialect.line(body, f"{key}-0", path))) + b"\n")
        async with BatchService(access, dialect, limits=limits, stop=StopSignal()) as service:
            began = time.monotonic()
            file = await service.upload(lines) if dialect.files is not None else None
            asked = Order(str(body["model"]), path, dialect.windows[0], {LABEL: key}, file)
            state = await _ordered(service, asked, lines)
            try:
                return await _followed(service, state, began, Path(scratch) / "results.jsonl")
            except ApiError as error:
                with contextlib.suppress(ApiError):
                    await service.cancel(state.id)
                return (
                    f"accepted ({state.id}), and then not to be looked at ({error}): end it there",
                    False,
                )


async def _followed(
    service: BatchService, state: BatchState, began: float, results: Path
) -> tuple[str, bool]:
    """Waits for the batch's end, for a while."""
    while not state.phase.has_ended and time.monotonic() - began < WAIT_S:
        await asyncio.sleep(1.0)
        state = await service.state(state.id)
    if not state.phase.has_ended:
        await service.cancel(state.id)
        after = "cancelled again" if service.dialect.cancels else "it goes on: there is no way to cancel it"
        return f"accepted ({state.id}, {state.word} after {WAIT_S:.0f} s), and {after}", True
    took = f"{time.monotonic() - began:.1f} s"
    return await _came(service, state, took, results)


async def _ordered(service: BatchService, asked: Order, lines: Path) -> BatchState:
    for _ in range(UNSEEN_TRIES):
        try:
            return await service.order(asked, lines)
        except UncertainOrder:
            raise
        except ApiError as error:
            if not names_the_file(error, asked.file):
                raise
            await asyncio.sleep(2.0)
    return await service.order(asked, lines)


async def _came(service: BatchService, state: BatchState, took: str, path: Path) -> tuple[str, bool]:
    """What became of the batch and of its line."""
    if state.phase is not Phase.COMPLETED:
        why = "; ".join(state.problems[:3]) or "no reason given"
        return f"{state.word} after {took}: {why}", False
    results = [service.dialect.result(one) for one in state.inline or ()]
    for file in state.files:
        await download(service, file, path)
        results += _read(service.dialect, path)
    if len(results) != 1 or results[0].status is None or not 200 <= results[0].status < 300:
        said = f"HTTP {results[0].status}, {results[0].body}"[:300] if results else "no line of results"
        return f"completed in {took}, and its line has failed: {said}", False
    return f"ok, one line in {took}: this account may use batches of this model", True


def _read(dialect: Dialect, path: Path) -> Iterator[LineResult]:
    for line in path.read_bytes().splitlines():
        try:
            data = parse_json(line)
        except ReplyProblem:
            continue
        if isinstance(data, dict):
            yield dialect.result(data)
