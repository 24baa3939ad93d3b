"""The simulated provider: routes, authentication, limits, and tiers; batches are beside it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from batchlab.endpoints.simulator.answering import (
    DEFAULT_MODEL,
    Answering,
    Request,
    content_of,
    no_model,
    parsed,
    refusal,
)
from batchlab.endpoints.simulator.batches.books import books
from batchlab.endpoints.simulator.batches.desk import Desk
from batchlab.endpoints.simulator.batches.routes import mount_batches
from batchlab.endpoints.simulator.faults import chance
from batchlab.endpoints.simulator.faults.drafts import JSON_TYPE
from batchlab.endpoints.simulator.kinds import KINDS, Kind
from batchlab.endpoints.simulator.ledger import Ledger
from batchlab.endpoints.simulator.limits import Limit
from batchlab.endpoints.simulator.messages import MESSAGES
from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.replies import lognormal
from batchlab.endpoints.simulator.validation import error_body
from batchlab.endpoints.simulator.wire import Sent, Wire, send

PREFIX = "/api/v7/llm"
PREFIXES = (PREFIX, "/v1", "", "/openai/v1", "/api/v1")
MAX_BODY = 64 * 1024 * 1024


class Provider:
    """One simulated provider: its limits, its faults, its cache and its ledger."""

    def __init__(self, options: SimulatorOptions, clock: Callable[[], float] | None = None) -> None:
        self._options = options
        now = time.monotonic()
        start_s = options.starts_at_s
        began = (lambda: start_s + time.monotonic() - now) if start_s is not None else time.time
        self._own_clock = clock or began
        self._ahead_s = 0.0
        self._requests = Limit.of(options.rpm, now)
        self._tokens = Limit.of(options.tpm, now)
        self._queued = 0
        self._flex = 0
        self._begin()

    def _begin(self) -> None:
        """Empty books, an empty cache, no batches, and a plan of faults from its start."""
        self._answering = Answering(self._options, self._clock)
        self.desk = Desk(self._options, self._answering, self._clock)

    def _clock(self) -> float:
        """Seconds since 1970, as far ahead as was asked for."""
        return self._own_clock() + self._ahead_s

    @property
    def ledger(self) -> Ledger:
        """Its books."""
        return self._answering.ledger

    def application(self) -> web.Application:
        """The aiohttp application that serves it."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_errors_as_json])
        for prefix in PREFIXES:
            for kind in (*KINDS, MESSAGES):
                app.router.add_post(f"{prefix}/{kind.path}", partial(self._served, kind))
            app.router.add_get(f"{prefix}/models", self._models)
            app.router.add_get(f"{prefix}/models/{{name:.+}}", self._model)
            app.router.add_get(f"{prefix}/simulator/ledger", self._ledger)
            app.router.add_get(f"{prefix}/simulator/batches", self._batches)
            app.router.add_post(f"{prefix}/simulator/clock", self._forward)
            app.router.add_post(f"{prefix}/simulator/reset", self._reset)
            mount_batches(app, prefix, lambda: self.desk, self._options, self._authorized)
        app.router.add_get("/health", self._health)
        return app

    def close(self) -> None:
        """Closes the books and removes what was uploaded."""
        self.ledger.close()
        self.desk.close()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _models(self, request: web.Request) -> web.Response:
        if not self._authorized(request):
            return web.Response(status=401, body=_KEY_REFUSED, content_type=JSON_TYPE)
        data = list(map(_model, self._options.models or (DEFAULT_MODEL,)))
        return web.json_response({"object": "list", "data": data})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not self._authorized(request):
            return web.Response(status=401, body=_KEY_REFUSED, content_type=JSON_TYPE)
        if self._options.models and name not in self._options.models:
            return web.Response(status=404, body=no_model(name), content_type=JSON_TYPE)
        return web.json_response(_model(name))

    async def _ledger(self, _: web.Request) -> web.Response:
        await self.desk.settle()
        return web.json_response(self.ledger.totals())

    async def _batches(self, _: web.Request) -> web.Response:
        await self.desk.settle()
        return web.json_response(books(self.desk, self.ledger.bills))

    async def _forward(self, request: web.Request) -> web.Response:
        self._ahead_s += float((await request.json()).get("forward_s", 0))
        return web.json_response({"now": self._clock()})

    async def _reset(self, _: web.Request) -> web.Response:
        self.close()
        self._begin()
        return web.json_response({"status": "ok"})

    async def _served(self, kind: Kind, request: web.Request) -> Sent:
        raw = await request.read()
        # The work goes on when the client is gone: the worst case, it is billed all the same.
        work = asyncio.ensure_future(self._answer(kind, request, raw))
        try:
            wire = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        self.ledger.by_status[wire.status] += 1
        return await send(request, wire, hold_s=self._options.hang_s)

    async def _answer(self, kind: Kind, request: web.Request, raw: bytes) -> Wire:
        body = parsed(raw)
        content = content_of(raw, body)
        self.ledger.enter()
        try:
            if not self._authorized(request):
                self.ledger.received(content)
                return refusal(401, _KEY_REFUSED, kind)
            missing = next((name for name in kind.headers if name not in request.headers), None)
            if missing is not None:
                self.ledger.received(content)
                return refusal(400, error_body(f"{missing}: header is required"), kind)
            asked = self._answering.asked(kind, request.path, body, content)
            if isinstance(asked, Wire):
                return asked
            return self._limited(asked) or await self._completed(asked)
        finally:
            self.ledger.leave()

    async def _completed(self, request: Request) -> Wire:
        self._queued += 1
        self._flex += request.tier == "flex"
        try:
            await asyncio.sleep(self._latency_s(request.content, request.attempt))
            outcome = self._answering.answered(request, self._headers(request.content))
            await asyncio.sleep(min(outcome.delay_s, self._options.hang_s))
            return outcome.wire
        finally:
            self._queued -= 1
            self._flex -= request.tier == "flex"

    def _limited(self, request: Request) -> Wire | None:
        """The 429 of a limit that is reached, or None, and what is asked for is taken from the limits."""
        now = time.monotonic()
        options = self._options
        if options.queue_cap is not None and self._queued >= options.queue_cap:
            message = "You have reached the limit of queued requests. Please wait for them to finish."
            return refusal(429, json.dumps({"status": "error", "message": message}).encode())
        if request.tier == "flex" and self._flex_is_short(request):
            return refusal(*_FLEX_REFUSALS[options.flex_refusal])
        most = (request.body.get("max_tokens") or 0) * (request.body.get("n") or 1)
        tokens = float(request.prompt_tokens + most)
        waits = [
            limit.wait_s(units, now)
            for limit, units in ((self._requests, 1.0), (self._tokens, tokens))
            if limit is not None
        ]
        wait = max(waits, default=0.0)
        if wait > 1e-6:
            body = error_body(
                f"Rate limit reached. Please try again in {wait:.3f}s.", "requests", "rate_limit_exceeded"
            )
            return refusal(429, body, request.kind, {**self._rate_headers(), "Retry-After": f"{wait:.3f}"})
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            self._tokens.take(tokens)
        return None

    def _flex_is_short(self, request: Request) -> bool:
        """Whether there is no room for a flex request, by those at work and by the hour."""
        options, now = self._options, datetime.fromtimestamp(self._clock(), UTC)
        if options.flex_slots is not None and self._flex >= options.flex_slots:
            return True
        share = next((hours.factor for hours in options.flex_shortage if hours.hold(now)), 0.0)
        return chance(options.seed, b"flex", request.content, request.attempt) < share

    def _latency_s(self, content: bytes, attempt: int) -> float:
        options = self._options
        if not options.latency_median_s:
            return 0.0
        draws = (chance(options.seed, name, content, attempt) for name in (b"l1", b"l2"))
        return lognormal(options.latency_median_s, options.latency_sigma, *draws)

    def _rate_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for kind, limit in (("requests", self._requests), ("tokens", self._tokens)):
            if limit is not None:
                headers |= limit.headers(kind)
        return headers

    def _headers(self, content: bytes) -> dict[str, str]:
        return {"x-request-id": f"req-{content.hex()[:12]}", **self._rate_headers()}

    def _authorized(self, request: web.Request) -> bool:
        key = self._options.api_key
        if not key:
            return True  # a server of one's own, such as Ollama's
        bearer = request.headers.get("Authorization") == f"Bearer {key}"
        return bearer or key in (request.headers.get("x-api-key"), request.headers.get("api-key"))


# OpenAI's guide to flex processing ("429 Resource Unavailable", not charged); Groq's, which is quick
_FLEX_REFUSALS = {
    429: (429, error_body("Resource Unavailable", "resource_unavailable", "resource_unavailable")),
    498: (498, error_body("Flex tier capacity exceeded.", "capacity_exceeded", "capacity_exceeded")),
}
_KEY_REFUSED = error_body("Incorrect API key provided.", code="invalid_api_key")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "simulator"}


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the routes do not know is answered in JSON, too."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        message = f"{error.reason}: {request.method} {request.path}"
        code = error.reason.lower().replace(" ", "_")
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return web.Response(
            status=error.status, body=error_body(message, code=code), content_type=JSON_TYPE, headers=headers
        )
