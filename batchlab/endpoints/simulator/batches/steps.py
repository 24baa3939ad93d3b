"""A call of the batch API: its key, its faults before and after it takes effect, and its refusals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from batchlab.endpoints.simulator.batches.desk import Desk
from batchlab.endpoints.simulator.batches.faults import BatchFault
from batchlab.endpoints.simulator.batches.files import NotFound, TooLarge
from batchlab.endpoints.simulator.faults.drafts import JSON_TYPE
from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.wire import End, Sent, Wire, send

Act = Callable[[], Awaitable[web.StreamResponse]]
READ_BYTES = 1 << 18


class Refused(Exception):
    """A call is refused with a status, a code and words."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


def openai_error(refused: Refused) -> dict[str, Any]:
    """OpenAI's error object."""
    type_ = "server_error" if refused.status >= 500 else "invalid_request_error"
    said = {"message": refused.message, "type": type_, "param": refused.param, "code": refused.code}
    return {"error": said}


def mistral_error(refused: Refused) -> dict[str, Any]:
    """Mistral's, which is flat."""
    type_ = "server_error" if refused.status >= 500 else "invalid_request_error"
    said = {"object": "error", "message": refused.message, "type": type_, "param": refused.param}
    return {**said, "code": refused.code}


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def anthropic_error(refused: Refused) -> dict[str, Any]:
    """Anthropic's (anthropic `types/shared/error_response.py`)."""
    usual = "api_error" if refused.status >= 500 else "invalid_request_error"
    said = {"type": _ANTHROPIC_TYPES.get(refused.status, usual), "message": refused.message}
    return {"type": "error", "error": said, "request_id": "req_simulated"}


def openrouter_error(refused: Refused) -> dict[str, Any]:
    """OpenRouter's: the status is the code."""
    return {"error": {"code": refused.status, "message": refused.message}}


@dataclass(frozen=True, slots=True)
class Steps:
    """How every call of one service is taken.

    Attributes:
        desk: the one of now; it is another after a reset.
        error: how this service words a refusal.
        headers: that it demands.
    """

    desk: Callable[[], Desk]
    options: SimulatorOptions
    authorized: Callable[[web.Request], bool]
    error: Callable[[Refused], dict[str, Any]] = openai_error
    headers: tuple[str, ...] = ()

    async def take(self, step: str, request: web.Request, act: Act) -> web.StreamResponse:
        """Does what a call asks for, as the faults at its step have it."""
        if not self.authorized(request):
            return self._response(Refused(401, "Incorrect API key provided.", "invalid_api_key"))
        missing = next((name for name in self.headers if name not in request.headers), None)
        if missing is not None:
            return self._response(Refused(400, f"{missing}: header is required"))
        fault = self.desk().faults.at(step)
        if fault is not None and fault.kind in ("batch_error", "batch_reset"):
            return await self._broken(request, fault)
        if fault is not None:
            request["batch_fault"] = fault
        try:
            if not self.options.batch.entitled or (fault is not None and fault.kind == "batch_not_entitled"):
                # Groq's code; it comes at the upload, before anything is created
                raise Refused(403, "Batches are not available for your plan.", "not_available_for_plan")
            done = await act()
        except Refused as refused:
            done = self._response(refused)
        except NotFound as missing_file:
            done = self._response(Refused(404, f"No such File object: {missing_file}", "not_found"))
        except TooLarge as large:
            done = self._response(Refused(413, f"File is too large: {large} bytes."))
        if fault is not None and fault.kind in ("batch_error_after", "batch_reset_after"):
            return await self._broken(request, fault)
        return done

    async def _broken(self, request: web.Request, fault: BatchFault) -> web.StreamResponse:
        if fault.kind.startswith("batch_error"):
            return self._response(Refused(fault.status, "The server had an error.", "server_error"))
        end = Wire(silent=True, end=End.DROP)
        sent: Sent = await send(request, end, hold_s=0.0)
        return sent

    def _response(self, refused: Refused) -> web.Response:
        said = json.dumps(self.error(refused)).encode()
        return web.Response(status=refused.status, body=said, content_type=JSON_TYPE)


async def pieces_of(source: web.Request) -> AsyncIterator[bytes]:
    """A request's body as it comes."""
    async for piece in source.content.iter_chunked(READ_BYTES):
        yield piece


def page(request: web.Request, ids: list[str], *, cursor: str, usual: int, most: int) -> tuple[slice, bool]:
    """What of a list is shown, by `limit` and the id that the page follows on; whether more comes."""
    try:
        limit = max(1, min(int(request.query.get("limit", usual)), most))
    except ValueError:
        raise Refused(400, "'limit' must be an integer.", "invalid_value", "limit") from None
    after, start = request.query.get(cursor), 0
    if after is not None:
        if after not in ids:
            raise Refused(400, f"No such object: {after}", "invalid_value", cursor)
        start = ids.index(after) + 1
    return slice(start, start + limit), start + limit < len(ids)
