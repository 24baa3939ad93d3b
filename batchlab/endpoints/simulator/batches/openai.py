"""Files and batches as OpenAI has them, and as those do who differ from it a little.

Sources: openai 3.57 `types/batch.py`, `types/file_object.py`, `resources/files.py`; groq 1.7
`types/batch_retrieve_response.py`; together 3.1 `types/batch_job.py`, `types/batch_create_response.py`
(a bare list, states in capitals, progress in percent, no metadata).
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import BodyPartReader, web

from batchlab.endpoints.simulator.batches.desk import Desk
from batchlab.endpoints.simulator.batches.dialects import DIALECTS, HOUR_S
from batchlab.endpoints.simulator.batches.files import NotFound, StoredFile
from batchlab.endpoints.simulator.batches.jobs import Batch, Stage
from batchlab.endpoints.simulator.batches.steps import READ_BYTES, Refused, Steps, page
from batchlab.endpoints.simulator.kinds import KINDS, Kind

MOST_METADATA, MOST_KEY, MOST_VALUE = 16, 64, 512
_WINDOW = re.compile(r"(\d+)([hd])")


class OpenAIRoutes:
    """`/files` and `/batches` in the dialect of the options."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._name = steps.options.batch.dialect

    @property
    def _desk(self) -> Desk:
        return self._steps.desk()

    def mount(self, app: web.Application, prefix: str) -> None:
        """Adds the routes of files, and of batches unless they are another's."""
        add, take = app.router.add_route, self._steps.take

        def route(method: str, path: str, step: str, act: Any) -> None:
            async def served(request: web.Request) -> web.StreamResponse:
                return await take(step, request, lambda: act(request))

            add(method, prefix + path, served)

        route("POST", "/files", "upload", self._upload)
        route("POST", "/files/upload", "upload", self._upload)  # Together's
        route("GET", "/files", "list", self._files)
        route("GET", "/files/{id}", "state", self._file)
        route("DELETE", "/files/{id}", "delete", self._delete_file)
        route("GET", "/files/{id}/content", "download", self._content)
        if self._name == "openrouter":
            return
        route("POST", "/batches", "create", self._create)
        route("GET", "/batches", "list", self._list)
        route("GET", "/batches/{id}", "state", self._state)
        route("POST", "/batches/{id}/cancel", "cancel", self._cancel)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if not request.content_type.startswith("multipart/"):
            raise Refused(400, "The file must come as multipart/form-data.", "invalid_request")
        options, desk = self._steps.options.batch, self._desk
        most = options.spoken.max_bytes if options.max_bytes is None else options.max_bytes
        fields: dict[str, str] = {}
        received, name = None, "file"
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "file":
                name = part.filename or "file"
                received = await desk.files.received(_pieces(part), most=most)
            else:
                fields[part.name or ""] = await part.text()
        purpose = fields.get("purpose", "")
        if received is None:
            raise Refused(400, "Missing required parameter: 'file'.", "missing_required_parameter", "file")
        if purpose != options.spoken.purpose:
            said = f"'{purpose}' is not one of ['{options.spoken.purpose}'] - 'purpose'"
            raise Refused(400, said, "invalid_value", "purpose")
        fault = request.get("batch_fault")
        hidden_s = desk.hidden_s(fault if fault is not None and fault.kind == "batch_file_hidden" else None)
        file = desk.add_file(*received, fields.get("file_name", name), purpose, hidden_s=hidden_s)
        return web.json_response(_file_object(file))

    async def _files(self, request: web.Request) -> web.StreamResponse:
        purpose = request.query.get("purpose")
        files = [one for one in self._desk.files.listed(self._desk.now()) if purpose in (None, one.purpose)]
        shown, more = page(request, [one.id for one in files], cursor="after", usual=10_000, most=10_000)
        data = list(map(_file_object, files[shown]))
        return web.json_response(_listed(data, more))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle()
        return web.json_response(_file_object(self._found(request.match_info["id"])))

    async def _delete_file(self, request: web.Request) -> web.StreamResponse:
        file_id = request.match_info["id"]
        self._desk.files.delete(file_id, self._desk.now())
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        file = self._found(request.match_info["id"])
        return web.FileResponse(file.path, headers={"Content-Type": "application/octet-stream"})

    def _found(self, file_id: str) -> StoredFile:
        return self._desk.files.get(file_id, self._desk.now())

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await json_object(request)
        dialect = DIALECTS[self._name]
        kind = kind_of(body.get("endpoint"), dialect.kinds)
        try:
            file = self._found(str(body.get("input_file_id")))
        except NotFound as missing:
            said = f"cannot find file {missing}"
            raise Refused(400, said, "invalid_request", "input_file_id") from None
        if file.purpose != dialect.purpose:
            raise Refused(
                400, f"The file's purpose is not {dialect.purpose}.", "invalid_value", "input_file_id"
            )
        window = str(body.get("completion_window") or ("24h" if self._name == "together" else ""))
        batch = self._desk.create(
            self._name,
            kind,
            file,
            window=window,
            window_s=window_s(window, dialect.hours),
            model=body.get("model_id") if self._name == "together" else None,
            metadata=metadata_of(body) if dialect.metadata else None,
        )
        made = self._object(batch)
        return web.json_response({"job": made, "warning": None} if self._name == "together" else made)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle()
        batches = self._desk.listed(frozenset({self._name}))
        if self._name == "together":
            return web.json_response(list(map(self._object, batches)))
        shown, more = page(request, [one.id for one in batches], cursor="after", usual=20, most=100)
        data = [
            {**self._object(one), "metadata": None} if "batch_no_metadata" in one.fates else self._object(one)
            for one in batches[shown]
        ]
        return web.json_response(_listed(data, more))

    async def _state(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle()
        return web.json_response(self._object(self._batch(request)))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle()
        batch = self._batch(request)
        stage = batch.shown(self._desk.now())
        if stage.ended:
            raise Refused(409, f"Cannot cancel a batch with status '{stage.value}'.", "invalid_state")
        self._desk.cancel(batch)
        return web.json_response({**self._object(batch), **self._words(Stage.CANCELLING)})

    def _words(self, stage: Stage) -> dict[str, str]:
        """The state in the words of the service."""
        if self._name != "together":
            return {"status": stage.value}
        stage = {Stage.FINALIZING: Stage.IN_PROGRESS, Stage.CANCELLING: Stage.IN_PROGRESS}.get(stage, stage)
        return {"status": stage.value.upper()}

    def _batch(self, request: web.Request) -> Batch:
        batch = self._desk.batches.get(request.match_info["id"])
        if batch is None or batch.dialect != self._name:
            raise Refused(404, f"No batch found with id '{request.match_info['id']}'.", "not_found")
        return batch

    def _object(self, batch: Batch) -> dict[str, Any]:
        now = self._desk.now()
        return _together_object(batch, now) if self._name == "together" else openai_object(batch, now)


def openai_object(batch: Batch, now: float) -> dict[str, Any]:
    """The Batch object (openai `types/batch.py`)."""
    stage, times, tally = batch.shown(now), batch.times, batch.tally
    made: dict[str, Any] = {
        "id": batch.id,
        "object": "batch",
        "endpoint": f"/v1/{batch.kind.path}",
        "model": batch.model,
        "errors": _errors(batch) if stage is Stage.FAILED else None,
        "input_file_id": batch.input.id,
        "completion_window": batch.window,
        "status": stage.value,
        "output_file_id": _id(batch.output),
        "error_file_id": _id(batch.errors),
        "created_at": int(times.created),
        "in_progress_at": _past(times.begins, now) if stage is not Stage.FAILED else None,
        "expires_at": None if times.expires == math.inf else int(times.expires),
        "finalizing_at": _past(times.ends, now) if stage in (Stage.FINALIZING, Stage.COMPLETED) else None,
        "completed_at": int(times.closes) if stage is Stage.COMPLETED else None,
        "failed_at": int(times.begins) if stage is Stage.FAILED else None,
        "expired_at": int(times.expires) if stage is Stage.EXPIRED else None,
        "cancelling_at": _past(times.cancelling, now),
        "cancelled_at": int(times.cancelled) if stage is Stage.CANCELLED else None,
        "request_counts": {
            "total": 0 if stage in (Stage.VALIDATING, Stage.FAILED) else tally.total,
            "completed": tally.completed,
            "failed": tally.failed + (tally.expired if stage is Stage.EXPIRED else 0),
        },
        "metadata": batch.metadata,
    }
    if batch.closed and stage is not Stage.FAILED:
        made["usage"] = {
            "input_tokens": tally.prompt_tokens,
            "input_tokens_details": {"cached_tokens": tally.cached_tokens},
            "output_tokens": tally.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tally.prompt_tokens + tally.completion_tokens,
        }
    return made


def _together_object(batch: Batch, now: float) -> dict[str, Any]:
    """Together's BatchJob; it knows no word for finalizing and cancelling."""
    stage, times, tally = batch.shown(now), batch.times, batch.tally
    ended = {Stage.COMPLETED: times.closes, Stage.EXPIRED: times.expires, Stage.CANCELLED: times.cancelled}
    if stage in (Stage.FINALIZING, Stage.CANCELLING):
        stage = Stage.IN_PROGRESS
    done = tally.completed + tally.failed
    return {
        "id": batch.id,
        "user_id": "user-simulated",
        "input_file_id": batch.input.id,
        "file_size_bytes": batch.input.size,
        "status": stage.value.upper(),
        "job_deadline": _iso(times.created if times.expires == math.inf else times.expires),
        "created_at": _iso(times.created),
        "endpoint": f"/v1/{batch.kind.path}",
        "progress": 100.0 * done / tally.total if tally.total else 0.0,
        "model_id": batch.model,
        "output_file_id": _id(batch.output),
        "error_file_id": _id(batch.errors),
        "error": "; ".join(one.message for one in batch.problems) if stage is Stage.FAILED else None,
        "completed_at": _iso(ended[stage]) if stage in ended else None,
    }


def _errors(batch: Batch) -> dict[str, Any]:
    data = [
        {"code": one.code, "line": one.line, "message": one.message, "param": one.param}
        for one in batch.problems
    ]
    return {"object": "list", "data": data}


def _file_object(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_s),
        "expires_at": None,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
        # what Mistral's and Together's clients want beside it
        "sample_type": "batch_request" if file.purpose == "batch" else "batch_result",
        "source": "upload" if file.purpose != "batch_output" else "repository",
        "FileType": "jsonl",
        "Processed": True,
    }


def _listed(data: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more}


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(READ_BYTES):
        yield piece


async def json_object(request: web.Request) -> dict[str, Any]:
    """The body of a call. Raises Refused."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "The request body must be a JSON object.", "invalid_request")
    return body


def kind_of(endpoint: Any, kinds: tuple[str, ...]) -> Kind:
    """What a batch asks for, of `/v1/chat/completions` and the like. Raises Refused."""
    for kind in KINDS:
        if kind.path in kinds and isinstance(endpoint, str) and endpoint.removeprefix("/v1/") == kind.path:
            return kind
    known = ", ".join(f"/v1/{path}" for path in kinds)
    raise Refused(400, f"'endpoint' must be one of {known}.", "invalid_value", "endpoint")


def window_s(window: str, hours: tuple[float, float]) -> float:
    """Seconds of `24h` or `7d`. Raises Refused."""
    found = _WINDOW.fullmatch(window)
    asked = 0.0 if found is None else int(found[1]) * (24.0 if found[2] == "d" else 1.0)
    if not hours[0] <= asked <= hours[1]:
        said = f"'completion_window' must be from {hours[0]:g}h to {hours[1]:g}h."
        raise Refused(400, said, "invalid_value", "completion_window")
    return asked * HOUR_S


def metadata_of(body: dict[str, Any]) -> dict[str, str] | None:
    """The metadata of a call, within OpenAI's limits (`types/batch_create_params.py`). Raises Refused."""
    given = body.get("metadata")
    if given is None:
        return None
    fits = isinstance(given, dict) and len(given) <= MOST_METADATA
    if not fits or not all(
        len(key) <= MOST_KEY and isinstance(value, str) and len(value) <= MOST_VALUE
        for key, value in given.items()
    ):
        said = (
            f"'metadata' may hold {MOST_METADATA} pairs of text, {MOST_KEY} and {MOST_VALUE} characters long."
        )
        raise Refused(400, said, "invalid_value", "metadata")
    return dict(given)


def _id(file: StoredFile | None) -> str | None:
    return None if file is None else file.id


def _past(at_s: float, now: float) -> int | None:
    return int(at_s) if at_s <= now else None


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
