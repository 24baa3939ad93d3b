"""What the simulated provider makes of one request, live or a line of a batch: refusals, answer, charge.

Live calls and lines of batches are validated, answered and booked by the same code, so that a body means
the same wherever it stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchlab.endpoints.simulator.faults import Fault, FaultPlan, Strikable
from batchlab.endpoints.simulator.faults.drafts import JSON_TYPE, SSE_TYPE, Asked, Draft
from batchlab.endpoints.simulator.kinds import Answered, Kind
from batchlab.endpoints.simulator.ledger import Ledger
from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.prefixes import PrefixCache
from batchlab.endpoints.simulator.tariff import BATCH, Bill
from batchlab.endpoints.simulator.validation import error_body
from batchlab.endpoints.simulator.wire import Wire

DEFAULT_MODEL = "simulated-model"
_WHOLE = ("max_tokens", "max_completion_tokens", "n", "top_logprobs", "dimensions")


@dataclass(frozen=True, slots=True)
class Request:
    """One valid request on its way to an answer.

    Attributes:
        content: what tells requests apart; `attempt` is the how-manieth with it, `number` of all.
        tier: that it will be served in; `batch` for a line of a batch.
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
        asked = self.body.get("stream")
        wanted = self.body.get("streaming") if asked is None else asked
        return self.kind.streams and self.tier != BATCH and bool(wanted)

    @property
    def wants_usage(self) -> bool:
        """Whether the stream is to end with its usage."""
        options = self.body.get("stream_options")
        return isinstance(options, dict) and bool(options.get("include_usage"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer on its way out.

    Attributes:
        delay_s: before it is sent.
        usd: what was charged for it; None when nothing was, or there is no price list.
        billed: whether it was charged for.
    """

    wire: Wire
    delay_s: float = 0.0
    usd: float | None = None
    billed: bool = False


class Answering:
    """The model behind the provider, its faults, its cache and its books."""

    def __init__(self, options: SimulatorOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self.ledger = Ledger(options.ledger_path)
        self._cache = PrefixCache(options.cache_tokens, options.cache_ttl_s)
        self._plan = FaultPlan(options.faults, seed=options.seed, clock=clock)

    def asked(
        self, kind: Kind, path: str, body: Any, content: bytes, *, batch: bool = False
    ) -> Request | Wire:
        """The request that a body makes, or its refusal."""
        attempt = self.ledger.received(content)
        number = self.ledger.requests
        problem = kind.problem(body)
        if problem is not None:
            return refusal(400, error_body(problem), kind)
        options = self._options
        body["model"] = body.get("model") or body.get("model_id") or (*options.models, DEFAULT_MODEL)[0]
        prompt, prompt_tokens, longest = kind.asked(body)
        tier = BATCH if batch else str(body.get("service_tier") or "default")
        tier = "default" if tier == "auto" else tier
        request = Request(kind, path, body, content, attempt, number, prompt, prompt_tokens, tier)
        return self._refused(request, longest) or request

    def _refused(self, request: Request, longest: int) -> Wire | None:
        """The 4xx for what this provider does not serve."""
        options, body, kind = self._options, request.body, request.kind
        unknown = next((name for name in options.refused if name in body), None)
        if unknown is not None:
            message = f"Extra inputs are not permitted: {unknown}"
            return refusal(422, error_body(message, code="unknown_parameter"), kind)
        if options.models and body["model"] not in options.models:
            return refusal(404, no_model(body["model"]), kind)
        if request.tier not in (*options.tiers, *kind.tiers, BATCH):
            message = f"Unsupported service_tier: {request.tier}"
            return refusal(400, error_body(message, code="unsupported_value"), kind)
        if longest + (body.get("max_tokens") or 0) > options.context_tokens:
            message = f"This model's maximum context length is {options.context_tokens} tokens."
            return refusal(400, error_body(message, code="context_length_exceeded"), kind)
        return None

    def answered(self, request: Request, headers: dict[str, str]) -> Outcome:
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
            usd = self._booked(request.content, bill)
            return Outcome(_good(request, reply, headers), usd=usd, billed=True)
        self.ledger.by_fault[fault.kind] += 1
        draft = self._spoilt(request, reply, bill, fault, headers)
        usd = None if draft.bill is None else self._booked(request.content, draft.bill, fault.kind)
        return Outcome(draft.wire(), draft.delay_s, usd, draft.bill is not None)

    def _charged(self, request: Request, reply: Answered) -> tuple[Answered, Bill]:
        """The reply with its tier and what the cache held, and what it is charged as."""
        options = self._options
        cached, written = 0, 0
        if request.kind.cached:
            cached, written = self._cache.take(request.body["model"], request.prompt, self._clock())
        echo: str | None = None
        if request.body.get("service_tier") is not None and options.tier_echo != "none":
            served = request.tier if request.tier != BATCH else "default"
            echo = served if options.tier_echo == "served" else "default"
        told = None if options.cache_tokens is None else written
        reply = reply.served(tier=echo, cached_tokens=cached, cache_write_tokens=told)
        seen = not request.streams or request.wants_usage
        return reply, Bill(reply.prompt_tokens, reply.completion_tokens, cached, written, request.tier, seen)

    def _booked(self, content: bytes, bill: Bill, fault: str = "") -> float | None:
        price = self._options.price
        usd = None if price is None else price.usd(bill, self._clock())
        self.ledger.bill(content, bill, usd, fault=fault)
        return usd

    def _spoilt(
        self, request: Request, reply: Answered, bill: Bill, fault: Fault, headers: dict[str, str]
    ) -> Draft:
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
            headers=tuple((name, value.encode()) for name, value in headers.items()),
            content_type=SSE_TYPE if request.streams else JSON_TYPE,
        )
        return what.change(draft)


def parsed(raw: bytes) -> Any:
    """The body; None for what is no JSON. `8.0` is an integer in JSON Schema, and becomes one here."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None  # the validation says that it must be an object
    return whole_numbers(body)


def whole_numbers(body: Any) -> Any:
    """A body whose counts are integers; changed in place."""
    if isinstance(body, dict):
        for name in _WHOLE:
            value = body.get(name)
            if isinstance(value, float) and value.is_integer():
                body[name] = int(value)
    return body


def content_of(raw: bytes, body: Any) -> bytes:
    """What tells requests apart: the body, however its answer is to travel."""
    if isinstance(body, dict):
        asked = {
            name: value
            for name, value in body.items()
            if name not in {"stream", "streaming", "stream_options"}
        }
        raw = json.dumps(asked, sort_keys=True).encode()
    return hashlib.blake2b(raw, digest_size=16).digest()


def no_model(name: str) -> bytes:
    """The body of a 404 for a model that is not served."""
    return error_body(f"The model '{name}' does not exist.", code="model_not_found")


def _good(request: Request, reply: Answered, headers: dict[str, str]) -> Wire:
    """The answer as it is."""
    own = tuple((name, value.encode()) for name, value in headers.items())
    if not request.streams:
        return Wire(headers=(("Content-Type", JSON_TYPE.encode()), *own), pieces=(reply.plain(),))
    events = [f"data: {data}\n\n".encode() for data in reply.chunks(include_usage=request.wants_usage)]
    kind = (("Content-Type", SSE_TYPE.encode()), ("Cache-Control", b"no-cache"))
    return Wire(headers=(*kind, *own), pieces=(*events, b"data: [DONE]\n\n"), chunked=True)


def refusal(
    status: int, body: bytes, kind: Kind | None = None, headers: dict[str, str] | None = None
) -> Wire:
    """A 4xx in the words of a kind of request."""
    own = tuple((name, value.encode()) for name, value in (headers or {}).items())
    said = body if kind is None else kind.envelope(status, body)
    return Wire(status=status, headers=(("Content-Type", JSON_TYPE.encode()), *own), pieces=(said,))
