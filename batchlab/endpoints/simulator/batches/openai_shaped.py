"""Files and batches as OpenAI has them, and as those do who differ from it a little.

Sources: openai 3.57 `types/batch.py`, `types/file_object.py`, `resources/files.py`; groq 1.7
`types/batch_retrieve_response.py`; together 3.1 `types/batch_job.py`, `types/batch_create_response.py`
(a bare list, states in capitals, progress in percent, no metadata).
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from typing import Any

from aiohttp import BodyPartReader, web

from batchlab.endpoints.simulator.batches.dialects import DIALECTS
from batchlab.endpoints.simulator.batches.files import NotFound, StoredFile
from batchlab.endpoints.simulator.batches.jobs import Batch, Stage
from batchlab.endpoints.simulator.batches.steps import PATIENCE_S, READ_BYTES, STRUCK, Refused, Steps, page
from batchlab.endpoints.simulator.batches.wiring import (
    Call,
    Routes,
    id_of,
    iso,
    json_object,
    kind_of,
    listed,
    metadata_of,
    past,
    window_s,
)

OTHERS = ("mistral", "openrouter", "anthropic")  # whose batches have other paths, or another shape
OPENROUTER_PREFIX = "/api/v1"


class OpenAIRoutes(Routes):
    """`/files` and `/batches` in the dialect of the options."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(steps)
        self._name = steps.options.batch.dialect

    def calls(self, prefix: str) -> Iterable[Call]:
        """See `Routes`: those of files, and of batches unless they are another's."""
        found: list[Call] = [
            ("POST", "/files", "upload", self._upload),
            ("POST", "/files/upload", "upload", self._upload),  # Together's
            ("GET", "/files", "list", self._files),
            ("GET", "/files/{id}", "state", self._file),
            ("DELETE", "/files/{id}", "delete", self._delete_file),
            ("GET", "/files/{id}/content", "download", self._content),
        ]
        if self._name not in OTHERS and prefix != OPENROUTER_PREFIX:
            found += [
                ("POST", "/batches", "create", self._create),
                ("GET", "/batches", "list", self._list),
                ("GET", "/batches/{id}", "state", self._state),
                ("POST", "/batches/{id}/cancel", "cancel", self._cancel),
            ]
        return found

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if not request.content_type.startswith("multipart/"):
            raise Refused(400, "The file must come as multipart/form-data.", "invalid_request")
        options, desk = self._steps.options.batch, self._desk
        most = options.most_bytes(self._name)
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
        fault = request.get(STRUCK)
        hidden_s = desk.hidden_s(fault if fault is not None and fault.kind == "batch_file_hidden" else None)
        file = desk.add_file(*received, fields.get("file_name", name), purpose, hidden_s=hidden_s)
        made = _file_object(file)
        if options.spoken.wrapped:
            return web.json_response({"code": 20000, "message": "Ok", "status": True, "data": made})
        return web.json_response(made)

    async def _files(self, request: web.Request) -> web.StreamResponse:
        purpose = request.query.get("purpose")
        files = [one for one in self._desk.files.listed(self._desk.now()) if purpose in (None, one.purpose)]
        shown, more = page(request, [one.id for one in files], cursor="after", usual=10_000, most=10_000)
        data = list(map(_file_object, files[shown]))
        return web.json_response(listed(data, more=more))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
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
            metadata=metadata_of(body, dialect),
        )
        made = self._object(batch)
        return web.json_response({"job": made, "warning": None} if self._name == "together" else made)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        batches = self._desk.listed(frozenset({self._name}))
        if self._name == "together":
            return web.json_response(list(map(self._object, batches)))
        shown, more = page(request, [one.id for one in batches], cursor="after", usual=20, most=100)
        data = [
            {**self._object(one), "metadata": None} if "batch_no_metadata" in one.fates else self._object(one)
            for one in batches[shown]
        ]
        return web.json_response(listed(data, more=more))

    async def _state(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
        return web.json_response(self._object(self._batch(request)))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        await self._desk.settle(at_most_s=PATIENCE_S)
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
        if self._name == "together":
            return _together_object(batch, now)
        made = openai_object(batch, now)
        if batch.shown(now) is Stage.VALIDATING:
            made["status"] = DIALECTS[self._name].waits_as
        return made


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
        "output_file_id": id_of(batch.output),
        "error_file_id": id_of(batch.errors),
        "created_at": int(times.created),
        "in_progress_at": past(times.begins, now) if stage is not Stage.FAILED else None,
        "expires_at": None if times.expires == math.inf else int(times.expires),
        "finalizing_at": past(times.ends, now) if stage in (Stage.FINALIZING, Stage.COMPLETED) else None,
        "completed_at": int(times.closes) if stage is Stage.COMPLETED else None,
        "failed_at": int(times.begins) if stage is Stage.FAILED else None,
        "expired_at": int(times.expires) if stage is Stage.EXPIRED else None,
        "cancelling_at": past(times.cancelling, now),
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
        "job_deadline": iso(times.created if times.expires == math.inf else times.expires),
        "created_at": iso(times.created),
        "endpoint": f"/v1/{batch.kind.path}",
        "progress": 100.0 * done / tally.total if tally.total else 0.0,
        "model_id": batch.model,
        "output_file_id": id_of(batch.output),
        "error_file_id": id_of(batch.errors),
        "error": "; ".join(one.message for one in batch.problems) if stage is Stage.FAILED else None,
        "completed_at": iso(ended[stage]) if stage in ended else None,
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


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(READ_BYTES):
        yield piece
