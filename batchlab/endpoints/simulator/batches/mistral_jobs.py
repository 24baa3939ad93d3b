"""Mistral's batch jobs: the model is the job's, results are gone a day after the end.

Source: mistralai 3.7 `client/jobs.py`, `client/models/batchjob.py`, `createbatchjobrequest.py`,
`listbatchjobsresponse.py`. Files are those of OpenAI's shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from batchlab.endpoints.simulator.batches.dialects import DIALECTS, HOUR_S
from batchlab.endpoints.simulator.batches.files import NotFound
from batchlab.endpoints.simulator.batches.jobs import Batch, Stage
from batchlab.endpoints.simulator.batches.steps import PATIENCE_S, Refused
from batchlab.endpoints.simulator.batches.wiring import (
    Call,
    Routes,
    id_of,
    json_object,
    kind_of,
    past,
    spooled,
)

NAME = "mistral"
MOST_PAGE = 100
_QUERY = frozenset(
    "page page_size model agent_id metadata created_after created_by_me status order_by".split()
)
WORDS = {
    Stage.VALIDATING: "QUEUED",
    Stage.IN_PROGRESS: "RUNNING",
    Stage.FINALIZING: "RUNNING",
    Stage.COMPLETED: "SUCCESS",
    Stage.FAILED: "FAILED",
    Stage.EXPIRED: "TIMEOUT_EXCEEDED",
    Stage.CANCELLING: "CANCELLATION_REQUESTED",
    Stage.CANCELLED: "CANCELLED",
}


class MistralRoutes(Routes):
    """`/batch/jobs`."""

    def calls(self, prefix: str) -> Iterable[Call]:
        """See `Routes`."""
        del prefix
        return (
            ("POST", "/batch/jobs", "create", self._create),
            ("GET", "/batch/jobs", "list", self._list),
            ("GET", "/batch/jobs/{id}", "state", self._state),
            ("POST", "/batch/jobs/{id}/cancel", "cancel", self._cancel),
        )

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await json_object(request)
        dialect, desk = DIALECTS[NAME], self._desk
        kind = kind_of(body.get("endpoint"), dialect.kinds)
        if not isinstance(body.get("model"), str):
            raise Refused(422, "model: Field required", "invalid_request", "model")
        hours = body.get("timeout_hours", 24)
        if not isinstance(hours, int) or not dialect.hours[0] <= hours <= dialect.hours[1]:
            raise Refused(422, "timeout_hours: must be from 1 to 168", "invalid_request", "timeout_hours")
        inputs, inline = body.get("input_files"), body.get("requests")
        if isinstance(inline, list) and inline and not inputs:
            file = spooled(desk, inline)
        elif isinstance(inputs, list) and len(inputs) == 1:
            try:
                file = desk.files.get(str(inputs[0]), desk.now())
            except NotFound:
                raise Refused(404, f"cannot find file {inputs[0]}", "not_found", "input_files") from None
        else:
            raise Refused(422, "input_files: one file is needed", "invalid_request", "input_files")
        metadata = body.get("metadata")
        batch = desk.create(
            NAME,
            kind,
            file,
            window=f"{hours}h",
            window_s=hours * HOUR_S,
            prefix="",
            model=body["model"],
            metadata=metadata if isinstance(metadata, dict) else None,
        )
        return web.json_response(job_object(batch, desk.now()))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        now, asked = self._desk.now(), request.query
        jobs = self._desk.listed(frozenset({NAME}))
        wanted = asked.getall("status", [])
        jobs = [one for one in jobs if not wanted or WORDS[one.shown(now)] in wanted]
        labels = _labels(asked)
        jobs = [one for one in jobs if labels.items() <= (one.metadata or {}).items()]
        try:
            number, size = int(asked.get("page", 0)), min(int(asked.get("page_size", MOST_PAGE)), MOST_PAGE)
        except ValueError:
            raise Refused(422, "page and page_size must be integers", "invalid_request") from None
        data = [
            {**job_object(one, now), "metadata": None}
            if "batch_no_metadata" in one.fates
            else job_object(one, now)
            for one in jobs[number * size : (number + 1) * size]
        ]
        return web.json_response({"object": "list", "data": data, "total": len(jobs)})

    async def _state(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        return web.json_response(job_object(self._batch(request), self._desk.now()))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batch = self._batch(request)
        if batch.shown(self._desk.now()).ended:
            raise Refused(409, "The job has ended.", "invalid_state")
        self._desk.cancel(batch)
        made = job_object(batch, self._desk.now())
        return web.json_response({**made, "status": WORDS[Stage.CANCELLING]})

    def _batch(self, request: web.Request) -> Batch:
        batch = self._desk.batches.get(request.match_info["id"])
        if batch is None or batch.dialect != NAME:
            raise Refused(404, "Job not found.", "not_found")
        return batch


def job_object(batch: Batch, now: float) -> dict[str, Any]:
    """A BatchJob."""
    stage, times, tally = batch.shown(now), batch.times, batch.tally
    ended = {Stage.COMPLETED: times.closes, Stage.EXPIRED: times.expires, Stage.CANCELLED: times.cancelled}
    done = tally.completed + tally.failed
    return {
        "id": batch.id,
        "object": "batch",
        "input_files": [batch.input.id],
        "metadata": batch.metadata,
        "endpoint": f"/v1/{batch.kind.path}",
        "model": batch.model,
        "agent_id": None,
        "output_file": id_of(batch.output),
        "error_file": id_of(batch.errors),
        "errors": [{"message": one.message, "count": 1} for one in batch.problems],
        "outputs": None,
        "status": WORDS[stage],
        "created_at": int(times.created),
        "started_at": past(times.begins, now),
        "completed_at": int(ended[stage]) if stage in ended else None,
        "total_requests": tally.total,
        "completed_requests": done,
        "succeeded_requests": tally.completed,
        "failed_requests": tally.failed,
    }


def _labels(asked: Mapping[str, str]) -> dict[str, Any]:
    """The metadata that a list asks for: JSON by that name, or what its client makes of it, a name each."""
    labels: dict[str, Any] = {name: value for name, value in asked.items() if name not in _QUERY}
    try:
        given = json.loads(asked.get("metadata", "{}"))
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Refused(422, "metadata: must be an object", "invalid_request", "metadata")
    return {**labels, **given}
