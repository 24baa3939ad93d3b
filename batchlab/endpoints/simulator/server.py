"""The HTTP server: routes, authentication, limits, faults, and the replies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from batchlab.endpoints.simulator.faults import FAULTS, Answer, chance
from batchlab.endpoints.simulator.kinds import KINDS, Answered, Kind
from batchlab.endpoints.simulator.ledger import Ledger
from batchlab.endpoints.simulator.limits import Limit
from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.replies import lognormal
from batchlab.endpoints.simulator.validation import error_body

PREFIX = "/api/v7/llm"
PREFIXES = (PREFIX, "/v1", "")
HANG_S = 300.0
MAX_BODY = 64 * 1024 * 1024


class Provider:
    """One simulated provider: its limits, its faults and its ledger."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._options = options
        now = time.monotonic()
        self._requests = Limit.of(options.rpm, now)
        self._tokens = Limit.of(options.tpm, now)
        self._queued = 0
        self.ledger = Ledger(options.ledger_path)

    def application(self) -> web.Application:
        """The aiohttp application that serves it."""
        app = web.Application(client_max_size=MAX_BODY)
        for prefix in PREFIXES:
            for kind in KINDS:
                app.router.add_post(f"{prefix}/{kind.path}", partial(self._served, kind))
            app.router.add_get(f"{prefix}/models", self._models)
            app.router.add_get(f"{prefix}/simulator/ledger", self._ledger)
            app.router.add_post(f"{prefix}/simulator/reset", self._reset)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _models(self, request: web.Request) -> web.Response:
        if not self._authorized(request):
            return self._refused_key()
        models = self._options.models or ("simulated-model",)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in models]
        return web.json_response({"object": "list", "data": data})

    async def _ledger(self, _: web.Request) -> web.Response:
        return web.json_response(self.ledger.totals())

    async def _reset(self, _: web.Request) -> web.Response:
        self.ledger.close()
        self.ledger = Ledger(self._options.ledger_path)
        return web.json_response({"status": "ok"})

    async def _served(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        # The work goes on when the client is gone: the worst case, it is billed all the same.
        work = asyncio.ensure_future(self._answer(kind, request, raw))
        try:
            response = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        self.ledger.by_status[response.status] += 1
        return response

    async def _answer(self, kind: Kind, request: web.Request, raw: bytes) -> web.StreamResponse:
        body = _parsed(raw)
        content = _content(raw, body)
        attempt = self.ledger.received(content)
        number = self.ledger.requests
        self.ledger.enter()
        try:
            if not self._authorized(request):
                return self._refused_key()
            problem = kind.problem(body)
            if problem is not None:
                return _json(400, error_body(problem))
            refused = next((name for name in self._options.refused if name in body), None)
            if refused is not None:
                return _json(422, error_body(f"Extra inputs are not permitted: {refused}"))
            body.setdefault("model", body.get("model_id"))
            return await self._completed(kind, request, body, content, attempt, number)
        finally:
            self.ledger.leave()

    async def _completed(
        self,
        kind: Kind,
        request: web.Request,
        body: dict[str, Any],
        content: bytes,
        attempt: int,
        number: int,
    ) -> web.StreamResponse:
        options = self._options
        if options.models and body["model"] not in options.models:
            message = f"The model '{body['model']}' does not exist."
            return _json(404, error_body(message, code="model_not_found"))
        prompt, prompt_tokens, longest = kind.asked(body)
        most = (body.get("max_tokens") or 0) * (body.get("n") or 1)
        if longest + (body.get("max_tokens") or 0) > options.context_tokens:
            message = f"This model's maximum context length is {options.context_tokens} tokens."
            return _json(400, error_body(message, code="context_length_exceeded"))
        refused = self._limited(prompt_tokens + most)
        if refused is not None:
            return refused
        fault = self._fault(content, prompt, attempt, number)
        stream = kind.streams and bool(body.get("stream", body.get("streaming", False)))
        self._queued += 1
        try:
            await asyncio.sleep(self._latency_s(content, attempt))
            if fault is not None and fault.how in {"respond", "reset", "short", "hang"}:
                return await self._faulty(request, fault, content, prompt_tokens)
            reply = kind.reply(body, prompt, content, options)
            if fault is not None and fault.how == "spoil":
                cap = body.get("max_tokens") or body.get("max_completion_tokens")
                reply = reply.spoilt(fault.spoil, cap)
            elif not stream and fault is not None and fault.how != "single_newlines":
                return await self._faulty(request, FAULTS["reset_body"], content, prompt_tokens)
            cut = stream and fault is not None and fault.how in {"cut_stream", "error_event"}
            self.ledger.bill(content, reply.prompt_tokens, reply.completion_tokens, seen=not cut)
            if stream:
                return await self._streamed(request, body, reply, fault)
            return web.Response(
                body=reply.plain(), content_type="application/json", headers=self._headers(content)
            )
        finally:
            self._queued -= 1

    def _limited(self, tokens: int) -> web.Response | None:
        now = time.monotonic()
        if self._options.queue_cap is not None and self._queued >= self._options.queue_cap:
            message = "You have reached the limit of queued requests. Please wait for them to finish."
            return _json(429, json.dumps({"status": "error", "message": message}).encode())
        waits = [
            limit.wait_s(units, now)
            for limit, units in ((self._requests, 1.0), (self._tokens, float(tokens)))
            if limit is not None
        ]
        wait = max(waits, default=0.0)
        if wait > 1e-6:
            body = error_body(
                f"Rate limit reached. Please try again in {wait:.3f}s.", "requests", "rate_limit_exceeded"
            )
            return _json(429, body, {**self._rate_headers(), "Retry-After": f"{wait:.3f}"})
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            self._tokens.take(float(tokens))
        return None

    def _fault(self, content: bytes, prompt: str, attempt: int, number: int) -> Answer | None:
        for fault in self._options.faults:
            if fault.strikes(
                seed=self._options.seed, content=content, prompt=prompt, attempt=attempt, number=number
            ):
                self.ledger.by_fault[fault.kind] += 1
                return fault.answer
        return None

    async def _faulty(
        self, request: web.Request, fault: Answer, content: bytes, prompt_tokens: int
    ) -> web.StreamResponse:
        if fault.billed:
            self.ledger.bill(content, *(fault.usage or (prompt_tokens, 0)), seen=fault.usage is not None)
        if fault.how == "hang":
            await asyncio.sleep(HANG_S)
        if fault.how in {"reset", "hang"}:
            _cut(request)
            return web.Response(status=500)
        if fault.how == "short":
            response = web.StreamResponse(
                headers={"Content-Length": "4096", "Content-Type": fault.content_type}
            )
            await response.prepare(request)
            await response.write(fault.body)
            _cut(request)
            return response
        return web.Response(
            status=fault.status, body=fault.body, content_type=fault.content_type, headers=dict(fault.headers)
        )

    async def _streamed(
        self, request: web.Request, body: dict[str, Any], reply: Answered, fault: Answer | None
    ) -> web.StreamResponse:
        how = fault.how if fault is not None else ""
        gap = b"\n" if how == "single_newlines" else b"\n\n"
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        options = body.get("stream_options")
        include_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        events = list(reply.chunks(include_usage=include_usage))
        if how in {"cut_stream", "error_event"}:
            events = events[: max(1, len(events) // 2)]
        for data in events:
            await response.write(b"data: " + data.encode() + gap)
        if how == "cut_stream":
            _cut(request)
            return response
        if how == "error_event":
            await response.write(b'data: {"error": {"message": "upstream failed", "code": 502}}' + gap)
        await response.write(b"data: [DONE]" + gap)
        await response.write_eof()
        return response

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

    def _refused_key(self) -> web.Response:
        return _json(
            401, error_body("Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
        )


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


def _json(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _cut(request: web.Request) -> None:
    """Closes the connection as a broken proxy would."""
    if request.transport is not None:
        request.transport.abort()


class Simulator:
    """The simulator in a thread of its own; also a context manager."""

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self._options = options or SimulatorOptions()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._ready = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="simulator", daemon=True)
        self.base_url = ""

    def start(self) -> str:
        """Listens on loopback and returns the base URL. Raises OSError when the port is taken."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self.base_url

    def stop(self) -> None:
        """Stops listening; requests in flight are dropped."""
        if self._loop is not None and self._ended is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _work(self) -> None:
        async def main() -> None:
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()

            def listening(url: str) -> None:
                self.base_url = url
                self._ready.set()

            await serve(self._options, listening, until=self._ended)

        try:
            asyncio.run(main())
        except OSError as error:
            self._error = error
        finally:
            self._ready.set()


async def serve(
    options: SimulatorOptions, listening: Callable[[str], None], *, until: asyncio.Event | None = None
) -> None:
    """Serves until `until` is set (for ever without it); tells the base URL once it listens."""
    provider = Provider(options)
    runner = web.AppRunner(provider.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", options.port, backlog=4_096)
        await site.start()
        host, port = runner.addresses[0][:2]
        listening(f"http://{host}:{port}{PREFIX}")
        await (until or asyncio.Event()).wait()
    finally:
        await runner.cleanup()
        provider.ledger.close()
