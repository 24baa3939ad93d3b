"""The simulated provider: routes, authentication, limits, tiers, faults, and what it charges."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from batchlab.endpoints.simulator.faults import Fault, FaultPlan, Strikable, chance
from batchlab.endpoints.simulator.faults.drafts import JSON_TYPE, SSE_TYPE, Asked, Draft
from batchlab.endpoints.simulator.kinds import KINDS, Answered, Kind
from batchlab.endpoints.simulator.ledger import Ledger
from batchlab.endpoints.simulator.limits import Limit
from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.prefixes import PrefixCache
from batchlab.endpoints.simulator.replies import lognormal
from batchlab.endpoints.simulator.tariff import Bill
from batchlab.endpoints.simulator.validation import error_body
from batchlab.endpoints.simulator.wire import Sent, Wire, send

PREFIX = "/api/v7/llm"
PREFIXES = (PREFIX, "/v1", "")
DEFAULT_MODEL = "simulated-model"
MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Request:
    """One valid request on its way to an answer.

    Attributes:
        content: what tells requests apart; `attempt` is the how-manieth with it, `number` of all.
        tier: that it will be served in.
    """

    kind: Kind
    path: str
    body: dict[str, Any]
    content: bytes
    attempt: int
    number: int
    prompt: str
    prompt_tokens: int
    tier: str

    @property
    def streams(self) -> bool:
        """Whether a stream is wanted."""
        return self.kind.streams and bool(self.body.get("stream", self.body.get("streaming", False)))

    @property
    def wants_usage(self) -> bool:
        """Whether the stream is to end with its usage."""
        options = self.body.get("stream_options")
        return isinstance(options, dict) and bool(options.get("include_usage"))


class Provider:
    """One simulated provider: its limits, its faults, its cache and its ledger."""

    def __init__(self, options: SimulatorOptions, clock: Callable[[], float] | None = None) -> None:
        self._options = options
        now = time.monotonic()
        start_s = options.starts_at_s
        began = (lambda: start_s + time.monotonic() - now) if start_s is not None else time.time
        self._clock = clock or began
        self._requests = Limit.of(options.rpm, now)
        self._tokens = Limit.of(options.tpm, now)
        self._queued = 0
        self._flex = 0
        self._begin()

    def _begin(self) -> None:
        """Empty books, an empty cache, and a plan of faults from its start."""
        options = self._options
        self.ledger = Ledger(options.ledger_path)
        self._cache = PrefixCache(options.cache_tokens, options.cache_ttl_s)
        self._plan = FaultPlan(options.faults, seed=options.seed, clock=self._clock)

    def application(self) -> web.Application:
        """The aiohttp application that serves it."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_errors_as_json])
        for prefix in PREFIXES:
            for kind in KINDS:
                app.router.add_post(f"{prefix}/{kind.path}", partial(self._served, kind))
            app.router.add_get(f"{prefix}/models", self._models)
            app.router.add_get(f"{prefix}/models/{{name:.+}}", self._model)
            app.router.add_get(f"{prefix}/simulator/ledger", self._ledger)
            app.router.add_post(f"{prefix}/simulator/reset", self._reset)
        app.router.add_get("/health", self._health)
        return app

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
            return web.Response(status=404, body=_no_model(name), content_type=JSON_TYPE)
        return web.json_response(_model(name))

    async def _ledger(self, _: web.Request) -> web.Response:
        return web.json_response(self.ledger.totals())

    async def _reset(self, _: web.Request) -> web.Response:
        self.ledger.close()
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
        body = _parsed(raw)
        content = _content(raw, body)
        attempt = self.ledger.received(content)
        number = self.ledger.requests
        self.ledger.enter()
        try:
            if not self._authorized(request):
                return _refusal(401, _KEY_REFUSED)
            problem = kind.problem(body)
            if problem is not None:
                return _refusal(400, error_body(problem))
            return await self._completed(kind, request.path, body, content, attempt, number)
        finally:
            self.ledger.leave()

    async def _completed(
        self, kind: Kind, path: str, body: dict[str, Any], content: bytes, attempt: int, number: int
    ) -> Wire:
        options = self._options
        body["model"] = body.get("model") or body.get("model_id") or (*options.models, DEFAULT_MODEL)[0]
        prompt, prompt_tokens, longest = kind.asked(body)
        tier = str(body.get("service_tier") or "default")
        tier = "default" if tier == "auto" else tier
        request = _Request(kind, path, body, content, attempt, number, prompt, prompt_tokens, tier)
        refused = self._refused(request, longest) or self._limited(request)
        if refused is not None:
            return refused
        self._queued += 1
        self._flex += tier == "flex"
        try:
            await asyncio.sleep(self._latency_s(content, attempt))
            return await self._replied(request)
        finally:
            self._queued -= 1
            self._flex -= tier == "flex"

    def _refused(self, request: _Request, longest: int) -> Wire | None:
        """The 4xx for what this provider does not serve."""
        options, body = self._options, request.body
        unknown = next((name for name in options.refused if name in body), None)
        if unknown is not None:
            message = f"Extra inputs are not permitted: {unknown}"
            return _refusal(422, error_body(message, code="unknown_parameter"))
        if options.models and body["model"] not in options.models:
            return _refusal(404, _no_model(body["model"]))
        if request.tier not in options.tiers:
            message = f"Unsupported service_tier: {request.tier}"
            return _refusal(400, error_body(message, code="unsupported_value"))
        if longest + (body.get("max_tokens") or 0) > options.context_tokens:
            message = f"This model's maximum context length is {options.context_tokens} tokens."
            return _refusal(400, error_body(message, code="context_length_exceeded"))
        return None

    def _limited(self, request: _Request) -> Wire | None:
        """The 429 of a limit that is reached, or None, and what is asked for is taken from the limits."""
        now = time.monotonic()
        options = self._options
        if options.queue_cap is not None and self._queued >= options.queue_cap:
            message = "You have reached the limit of queued requests. Please wait for them to finish."
            return _refusal(429, json.dumps({"status": "error", "message": message}).encode())
        if request.tier == "flex" and options.flex_slots is not None and self._flex >= options.flex_slots:
            # OpenAI's guide to flex processing: "429 Resource Unavailable", not charged
            return _refusal(
                429, error_body("Resource Unavailable", "resource_unavailable", "resource_unavailable")
            )
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
            return _refusal(429, body, {**self._rate_headers(), "Retry-After": f"{wait:.3f}"})
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            self._tokens.take(tokens)
        return None

    async def _replied(self, request: _Request) -> Wire:
        """The answer, as it is or as a fault makes it; what is charged is booked."""
        fault = self._plan.struck(
            Strikable(
                request.body,
                request.content,
                request.prompt,
                request.tier,
                request.attempt,
                request.number,
                self.ledger.answered,
            )
        )
        reply = request.kind.reply(request.body, request.prompt, request.content, self._options)
        reply, bill = self._charged(request, reply)
        if fault is None:
            self.ledger.answered += 1
            self._book(request.content, bill)
            return _good(request, reply, self._headers(request.content))
        self.ledger.by_fault[fault.kind] += 1
        draft = self._spoilt(request, reply, bill, fault)
        if draft.bill is not None:
            self._book(request.content, draft.bill, fault.kind)
        await asyncio.sleep(min(draft.delay_s, self._options.hang_s))
        return draft.wire()

    def _charged(self, request: _Request, reply: Answered) -> tuple[Answered, Bill]:
        """The reply with its tier and what the cache held, and what it is charged as."""
        options = self._options
        cached, written = 0, 0
        if request.kind.cached:
            cached, written = self._cache.take(request.body["model"], request.prompt, self._clock())
        echo: str | None = None
        if request.body.get("service_tier") is not None and options.tier_echo != "none":
            echo = request.tier if options.tier_echo == "served" else "default"
        told = None if options.cache_tokens is None else written
        reply = reply.served(tier=echo, cached_tokens=cached, cache_write_tokens=told)
        seen = not request.streams or request.wants_usage
        return reply, Bill(reply.prompt_tokens, reply.completion_tokens, cached, written, request.tier, seen)

    def _book(self, content: bytes, bill: Bill, fault: str = "") -> None:
        price = self._options.price
        usd = None if price is None else price.usd(bill, self._clock())
        self.ledger.bill(content, bill, usd, fault=fault)

    def _spoilt(self, request: _Request, reply: Answered, bill: Bill, fault: Fault) -> Draft:
        """What a fault makes of a reply."""
        what, body = fault.what, request.body
        if what.text:
            reply = reply.spoilt(what.text, body.get("max_tokens") or body.get("max_completion_tokens"))
            bill = Bill(
                reply.prompt_tokens,
                reply.completion_tokens,
                bill.cached_tokens,
                bill.cache_write_tokens,
                bill.tier,
                bill.seen,
            )
        chunks = reply.chunks(include_usage=request.wants_usage)
        draft = Draft(
            asked=Asked(
                body["model"], request.prompt, request.prompt_tokens, request.path, request.wants_usage
            ),
            body=json.loads(reply.plain()),
            events=tuple(map(json.loads, chunks)),
            streams=request.streams,
            bill=bill,
            headers=tuple((name, value.encode()) for name, value in self._headers(request.content).items()),
            content_type=SSE_TYPE if request.streams else JSON_TYPE,
        )
        return what.change(draft)

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
        return request.headers.get("Authorization") == f"Bearer {self._options.api_key}"


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None  # the validation says that it must be an object


def _content(raw: bytes, body: Any) -> bytes:
    """What tells requests apart: the body, however its answer is to travel."""
    if isinstance(body, dict):
        asked = {
            name: value
            for name, value in body.items()
            if name not in {"stream", "streaming", "stream_options"}
        }
        raw = json.dumps(asked, sort_keys=True).encode()
    return hashlib.blake2b(raw, digest_size=16).digest()


_KEY_REFUSED = error_body("Incorrect API key provided.", code="invalid_api_key")


def _no_model(name: str) -> bytes:
    return error_body(f"The model '{name}' does not exist.", code="model_not_found")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "simulator"}


def _good(request: _Request, reply: Answered, headers: dict[str, str]) -> Wire:
    """The answer as it is."""
    own = tuple((name, value.encode()) for name, value in headers.items())
    if not request.streams:
        return Wire(headers=(("Content-Type", JSON_TYPE.encode()), *own), pieces=(reply.plain(),))
    events = [f"data: {data}\n\n".encode() for data in reply.chunks(include_usage=request.wants_usage)]
    kind = (("Content-Type", SSE_TYPE.encode()), ("Cache-Control", b"no-cache"))
    return Wire(headers=(*kind, *own), pieces=(*events, b"data: [DONE]\n\n"), chunked=True)


def _refusal(status: int, body: bytes, headers: dict[str, str] | None = None) -> Wire:
    own = tuple((name, value.encode()) for name, value in (headers or {}).items())
    return Wire(status=status, headers=(("Content-Type", JSON_TYPE.encode()), *own), pieces=(body,))


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
