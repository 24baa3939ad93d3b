"""What the services' routes have in common: reading a call, pages of a list, dates, inline requests."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from aiohttp import web

from batchlab.endpoints.simulator.batches.desk import Desk
from batchlab.endpoints.simulator.batches.dialects import HOUR_S, Dialect
from batchlab.endpoints.simulator.batches.files import StoredFile
from batchlab.endpoints.simulator.batches.steps import READ_BYTES, Refused, Steps
from batchlab.endpoints.simulator.kinds import KINDS, Kind
from batchlab.endpoints.simulator.messages import MESSAGES

MOST_METADATA, MOST_KEY, MOST_VALUE = 16, 64, 512
_WINDOW = re.compile(r"(\d+)([hd])")
Act = Callable[[web.Request], Awaitable[web.StreamResponse]]


def route(app: web.Application, steps: Steps, method: str, path: str, step: str, act: Act) -> None:
    """Adds a route whose calls are taken at a step."""

    async def served(request: web.Request) -> web.StreamResponse:
        return await steps.take(step, request, lambda: act(request))

    app.router.add_route(method, path, served)


Call: TypeAlias = tuple[str, str, str, Act]  # method, path, which step of a batch's life it is, what it does


class Routes:
    """The calls of one service's batch API, over the provider's desk."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    @property
    def _desk(self) -> Desk:
        return self._steps.desk()

    def calls(self, prefix: str) -> Iterable[Call]:
        """Those that it has under a prefix."""
        raise NotImplementedError

    def mount(self, app: web.Application, prefix: str) -> None:
        """Adds them."""
        for method, path, step, act in self.calls(prefix):
            route(app, self._steps, method, prefix + path, step, act)


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
    for kind in (*KINDS, MESSAGES):
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


def metadata_of(body: dict[str, Any], dialect: Dialect) -> dict[str, str] | None:
    """What a service keeps of a call's metadata, within OpenAI's limits. Raises Refused.

    The limits: openai `types/batch_create_params.py`.
    """
    given = body.get("metadata")
    if given is None or not dialect.metadata:
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
    return {name: value for name, value in given.items() if not dialect.labels or name in dialect.labels}


async def inline_body(request: web.Request, most: int) -> dict[str, Any]:
    """The body of a call that brings all requests along, as large as the service takes. Raises Refused."""
    raw = bytearray()
    async for piece in request.content.iter_chunked(READ_BYTES):
        raw += piece
    if len(raw) > most:
        raise Refused(413, f"The request is larger than {most} bytes.", "request_too_large")
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "The request body must be a JSON object.", "invalid_request")
    return body


def spooled(desk: Desk, requests: list[Any]) -> StoredFile:
    """Inline requests as a file of lines that nobody else can find."""
    path = desk.files.path(desk.new_id("inline-"))
    with path.open("wb") as file:
        for one in requests:
            file.write(json.dumps(one).encode() + b"\n")
    now = desk.now()
    return StoredFile(path.name, path.name, "", path.stat().st_size, now, now, path)


def listed(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A page of a list."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more}


def id_of(file: StoredFile | None) -> str | None:
    """The id of a result file, if there is one."""
    return None if file is None else file.id


def past(at_s: float, now: float) -> int | None:
    """A moment that has come, in whole seconds."""
    return int(at_s) if at_s <= now else None


def iso(at_s: float) -> str:
    """A moment as RFC 3339 has it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
