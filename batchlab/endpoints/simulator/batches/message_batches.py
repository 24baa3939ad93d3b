"""Anthropic's Message Batches: requests come with the call, results at a URL; nothing labels a batch.

Source: anthropic 2.14 `resources/messages/batches.py`, `types/messages/message_batch.py`,
`types/messages/batch_list_params.py`, `types/messages/message_batch_result.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from batchlab.endpoints.simulator.batches.dialects import DAY_S
from batchlab.endpoints.simulator.batches.files import NotFound
from batchlab.endpoints.simulator.batches.jobs import Batch, Stage
from batchlab.endpoints.simulator.batches.steps import PATIENCE_S, Refused, page
from batchlab.endpoints.simulator.batches.wiring import Call, Routes, inline_body, iso, spooled
from batchlab.endpoints.simulator.messages import MESSAGES

NAME = "anthropic"
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class MessageBatchRoutes(Routes):
    """`/messages/batches`."""

    def calls(self, prefix: str) -> Iterable[Call]:
        """See `Routes`."""
        del prefix
        return (
            ("POST", "/messages/batches", "create", self._create),
            ("GET", "/messages/batches", "list", self._list),
            ("GET", "/messages/batches/{id}", "state", self._state),
            ("POST", "/messages/batches/{id}/cancel", "cancel", self._cancel),
            ("GET", "/messages/batches/{id}/results", "download", self._results),
            ("DELETE", "/messages/batches/{id}", "delete", self._delete),
        )

    async def _create(self, request: web.Request) -> web.StreamResponse:
        desk, options = self._desk, self._steps.options.batch
        body = await inline_body(request, options.most_bytes(NAME))
        requests = body.get("requests")
        unknown = next((name for name in body if name != "requests"), None)
        if unknown is not None:
            raise Refused(400, f"{unknown}: Extra inputs are not permitted")
        if not isinstance(requests, list) or not requests:
            raise Refused(400, "requests: at least one request is required")
        most = options.most_lines(NAME)
        if len(requests) > most:
            raise Refused(400, f"requests: at most {most} requests")
        _check_names(requests)
        batch = desk.create(
            NAME, MESSAGES, spooled(desk, requests), window="24h", window_s=DAY_S, prefix="msgbatch_"
        )
        batch.requests = len(requests)
        return web.json_response(self._object(request, batch))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batches = self._desk.listed(frozenset({NAME}))
        ids = [one.id for one in batches]
        if (before := request.query.get("before_id")) in ids:
            batches = batches[: ids.index(before)]
        shown, more = page(request, [one.id for one in batches], cursor="after_id", usual=20, most=1_000)
        data = [self._object(request, one) for one in batches[shown]]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return web.json_response({"data": data, "has_more": more, "first_id": first, "last_id": last})

    async def _state(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        return web.json_response(self._object(request, self._batch(request)))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batch = self._batch(request)
        if batch.shown(self._desk.now()).ended:
            raise Refused(400, f"Batch {batch.id} has already ended.")
        self._desk.cancel(batch)
        return web.json_response({**self._object(request, batch), "processing_status": "canceling"})

    async def _results(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batch, now = self._batch(request), self._desk.now()
        if not batch.shown(now).ended:
            raise Refused(404, f"Batch {batch.id} has not ended.")
        if batch.output is None or now >= batch.output.gone_s:
            raise Refused(404, f"The results of batch {batch.id} are not available.")
        return web.FileResponse(batch.output.path, headers={"Content-Type": "application/x-jsonl"})

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batch = self._batch(request)
        if not batch.shown(self._desk.now()).ended:
            raise Refused(400, f"Batch {batch.id} has not ended.")
        batch.deleted = True
        return web.json_response({"id": batch.id, "type": "message_batch_deleted"})

    def _batch(self, request: web.Request) -> Batch:
        batch = self._desk.batches.get(request.match_info["id"])
        if batch is None or batch.dialect != NAME or batch.deleted:
            raise NotFound(request.match_info["id"])
        return batch

    def _object(self, request: web.Request, batch: Batch) -> dict[str, Any]:
        """A MessageBatch. There is no state for a batch that is refused: all its requests errored."""
        now, times, tally = self._desk.now(), batch.times, batch.tally
        stage = batch.shown(now)
        total = batch.tally.total or batch.requests
        ended_s = {
            Stage.COMPLETED: times.closes,
            Stage.EXPIRED: times.expires,
            Stage.CANCELLED: times.cancelled,
            Stage.FAILED: times.begins,
        }
        there = stage.ended and batch.output is not None and now < batch.output.gone_s
        counts = {"processing": total, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        if stage is Stage.FAILED:
            counts |= {"processing": 0, "errored": total}
        elif stage.ended:
            counts = {
                "processing": 0,
                "succeeded": tally.completed,
                "errored": tally.failed,
                "canceled": tally.cancelled,
                "expired": tally.expired,
            }
        canceling = stage in (Stage.CANCELLING, Stage.CANCELLED) or times.cancelling <= now
        status = "ended" if stage.ended else "canceling" if canceling else "in_progress"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "created_at": iso(times.created),
            "expires_at": iso(times.created + DAY_S if times.expires == math.inf else times.expires),
            "ended_at": iso(ended_s[stage]) if stage.ended else None,
            "cancel_initiated_at": iso(times.cancelling) if times.cancelling <= now else None,
            "archived_at": None,
            "results_url": str(request.url.origin()) + f"/v1/messages/batches/{batch.id}/results"
            if there
            else None,
        }


def _check_names(requests: list[Any]) -> None:
    """Names must be short, plain and different. Raises Refused: the whole call is refused."""
    seen: set[str] = set()
    for index, one in enumerate(requests):
        name = one.get("custom_id") if isinstance(one, dict) else None
        if not isinstance(name, str) or not _CUSTOM_ID.fullmatch(name):
            said = f"requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            raise Refused(400, said)
        if name in seen:
            raise Refused(400, f"requests.{index}.custom_id: {name} is not unique")
        seen.add(name)
        if not isinstance(one.get("params"), dict):
            raise Refused(400, f"requests.{index}.params: Field required")
