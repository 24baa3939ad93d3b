"""OpenRouter's batches: requests come with the call, results with the state; no metadata, no cancelling.

Source: openrouter 1.3.84 `batch.py`, `components/batchsubmitbody.py`, `components/batchobject.py`,
`components/batchlistresponse.py`. `endpoint` and `model` must stand before `requests` in the body, as it is
read as a stream; there are results of a completed batch only (its batch quickstart). Batches that Google
answers take one `response_format` (crate openrouter-batch 0.1.2).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from batchlab.endpoints.simulator.batches.dialects import DIALECTS
from batchlab.endpoints.simulator.batches.jobs import Batch, Stage
from batchlab.endpoints.simulator.batches.openai_shaped import OPENROUTER_PREFIX
from batchlab.endpoints.simulator.batches.steps import PATIENCE_S, Refused, page
from batchlab.endpoints.simulator.batches.wiring import (
    Call,
    Routes,
    inline_body,
    kind_of,
    listed,
    spooled,
    window_s,
)

NAME = "openrouter"


class OpenRouterRoutes(Routes):
    """`/batches` with everything inline."""

    def calls(self, prefix: str) -> Iterable[Call]:
        """See `Routes`; none where another service has the same."""
        if prefix != OPENROUTER_PREFIX and self._steps.options.batch.dialect != NAME:
            return ()
        return (
            ("POST", "/batches", "create", self._create),
            ("GET", "/batches", "list", self._list),
            ("GET", "/batches/{id}", "state", self._state),
            ("GET", "/batches/{id}/results", "download", self._results),
            ("DELETE", "/batches/{id}", "delete", self._delete),
        )

    async def _create(self, request: web.Request) -> web.StreamResponse:
        dialect, desk, options = DIALECTS[NAME], self._desk, self._steps.options.batch
        body = await inline_body(request, options.most_bytes(NAME))
        names, requests = list(body), body.get("requests")
        if not isinstance(requests, list) or not requests:
            raise Refused(400, "requests: must be an array of requests")
        if not {"endpoint", "model"} <= set(names[: names.index("requests")]):
            raise Refused(400, "endpoint and model must appear before requests")
        if "metadata" in body:
            raise Refused(400, "Unrecognized key: metadata")
        if len(requests) > options.most_lines(NAME):
            raise Refused(400, f"requests: at most {options.most_lines(NAME)}")
        if str(body["model"]).startswith("google/") and len(_formats(requests)) > 1:
            raise Refused(400, "All requests of a batch must have the same response_format")
        kind = kind_of(body["endpoint"], dialect.kinds)
        window = str(body.get("completion_window", "24h"))
        batch = desk.create(
            NAME,
            kind,
            spooled(desk, requests),
            window=window,
            window_s=window_s(window, dialect.hours),
            model=str(body["model"]),
        )
        return web.json_response(self._object(batch), status=202)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batches = self._desk.listed(frozenset({NAME}))
        shown, more = page(request, [one.id for one in batches], cursor="after", usual=20, most=100)
        data = [{**self._object(one), "results": None} for one in batches[shown]]
        return web.json_response(listed(data, more=more))

    async def _state(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batch = self._batch(request)
        made = self._object(batch)
        if made["status"] != "completed" or batch.output is None:
            return web.json_response(made)
        # the results go out as they stand in the file: also what a fault made of a line
        return await _streamed(request, batch, json.dumps(made).encode())

    async def _results(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batch = self._batch(request)
        if batch.shown(self._desk.now()) is not Stage.COMPLETED or batch.output is None:
            raise Refused(409, "The batch has no results yet.")
        results = [json.loads(line) for line in _lines(batch)]
        cursor = [str(n) for n in range(len(results))]
        shown, more = page(request, cursor, cursor="cursor", usual=100, most=1_000)
        last = cursor[shown][-1] if cursor[shown] and more else None
        said = {"object": "list", "data": results[shown], "has_more": more, "next_cursor": last}
        return web.json_response(said)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batch = self._batch(request)
        if not batch.shown(self._desk.now()).ended:
            raise Refused(409, "The batch is still in progress.")
        batch.deleted = True
        return web.json_response({"id": batch.id, "object": "batch.deleted", "deletion": {}})

    def _batch(self, request: web.Request) -> Batch:
        batch = self._desk.batches.get(request.match_info["id"])
        if batch is None or batch.dialect != NAME or batch.deleted:
            raise Refused(404, "Batch not found.")
        return batch

    def _object(self, batch: Batch) -> dict[str, Any]:
        """A BatchObject without its results."""
        now = self._desk.now()
        stage, times, tally = batch.shown(now), batch.times, batch.tally
        ended = {
            Stage.COMPLETED: times.closes,
            Stage.EXPIRED: times.expires,
            Stage.CANCELLED: times.cancelled,
            Stage.FAILED: times.begins,
        }
        usage = {
            "prompt_tokens": tally.prompt_tokens,
            "completion_tokens": tally.completion_tokens,
            "total_tokens": tally.prompt_tokens + tally.completion_tokens,
            "cost": tally.usd,
        }
        failed = "; ".join(one.message for one in batch.problems)
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": f"/v1/{batch.kind.path}",
            "model": batch.model,
            "provider": "Simulated",
            "status": stage.value,
            "completion_window": batch.window,
            "created_at": int(times.created),
            "expires_at": None if times.expires == math.inf else int(times.expires),
            "finalized_at": int(ended[stage]) if stage in ended else None,
            "request_counts": {
                "total": tally.total,
                "completed": tally.completed,
                "failed": tally.failed + tally.expired,
            },
            "usage": usage if stage.ended and stage is not Stage.FAILED else None,
            "error": {"message": failed} if stage is Stage.FAILED else None,
            "results": None,
        }


def _formats(requests: list[Any]) -> set[str]:
    bodies = (one.get("body") for one in requests if isinstance(one, dict))
    return {json.dumps(one.get("response_format"), sort_keys=True) for one in bodies if isinstance(one, dict)}


def _lines(batch: Batch) -> list[bytes]:
    assert batch.output is not None
    return batch.output.path.read_bytes().splitlines()


async def _streamed(request: web.Request, batch: Batch, made: bytes) -> web.StreamResponse:
    """The batch with its results, a line after the other."""
    assert batch.output is not None
    head = made.removesuffix(b"null}")
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(head + b"[")
    with batch.output.path.open("rb") as file:
        for number, line in enumerate(file):
            await response.write((b"," if number else b"") + line.rstrip(b"\n"))
    await response.write(b"]}")
    await response.write_eof()
    return response
