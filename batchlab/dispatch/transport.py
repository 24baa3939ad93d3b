"""One attempt over HTTP: a ChatRequest goes out, an Answer or an ApiError comes back.

aiohttp's exceptions end here. Redirects are never followed (a 307 would hand the prompt and
a non-standard key header to another host), and no body is read past `max_response_bytes`
of decoded bytes (194 kB of gzip can become 200 MB).
"""

from __future__ import annotations

import errno
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self

import aiohttp
import orjson
from yarl import URL

from batchlab.credentials import Secret
from batchlab.dispatch.wire import Departures, Wire, WireResponse, wire_to
from batchlab.errors import ApiError
from batchlab.job import TASK_PATHS, LimitsJob
from batchlab.presets import UNKNOWN, Preset
from batchlab.protocol.chat import ReplyProblem, parse_reply
from batchlab.protocol.completions import parse_completion
from batchlab.protocol.embeddings import EmbeddingsProblem, parse_embeddings
from batchlab.protocol.limits import RateHeaders, rate_limits
from batchlab.protocol.outcomes import FaultKind, TransportFault, classify
from batchlab.protocol.redact import redact
from batchlab.protocol.sse import SseDecoder, StreamAssembler
from batchlab.records import ChatRequest, Outcome, OutcomeClass, Reply, Usage

ERROR_BODY_BYTES = 64 * 1024
# Local shortages: the machine's trouble, never charged to a row.
_LOCAL_ERRNO = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENOMEM}
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "cf-ray", "apim-request-id")


@dataclass(frozen=True, slots=True)
class Answer:
    """A good reply and how it came.

    Attributes:
        started_at: Unix seconds when the request was sent.
        latency_ms: from sending to the last byte.
        ttft_ms: to the first streamed token; None for a plain reply.
    """

    reply: Reply
    started_at: float
    latency_ms: float
    ttft_ms: float | None
    request_id: str | None
    rate: RateHeaders | None


class Transport(Protocol):
    """Sends one request once."""

    async def send(self, request: ChatRequest) -> Answer:
        """The answer to `request`.

        Raises:
            ApiError: there is none.
            RunStopped: the request's record could not be written, so it did not leave.
        """
        ...


class HttpTransport:
    """One endpoint over a pool of connections. Use as an async context manager.

    Args:
        task: what most requests ask for, one of `job.TASK_PATHS`.
        service: how the service behind `base_url` spells parameters and takes its key.
        model: (as requests name it, as this endpoint does); None when they agree.
        write: called before requests leave; see `wire.Departures`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: Secret | None,
        limits: LimitsJob,
        task: str = "chat",
        stream: bool = False,
        service: Preset = UNKNOWN,
        model: tuple[str, str] | None = None,
        ca_bundle: str | None = None,
        insecure: bool = False,
        trust_env: bool = False,
        write: Callable[[], None] = lambda: None,
    ) -> None:
        self._departures = Departures(write)
        self._base = URL(base_url)
        self._task = task
        self._key = key
        self._limits = limits
        self._stream = stream
        self._include_usage = stream and service.stream_usage
        self._service = service
        self._model = model
        self._ca_bundle = ca_bundle
        self._insecure = insecure
        self._trust_env = trust_env
        self._connector: aiohttp.TCPConnector | None = None
        self._wires: dict[str, Wire] = {}  # by task: each has a path of its own

    @property
    def address(self) -> str:
        """The URL that most requests go to, without user, password and query."""
        base = self._base.with_user(None)
        return str(base.with_path(f"{base.path.rstrip('/')}/{TASK_PATHS[self._task]}"))

    async def __aenter__(self) -> Self:
        self._connector = aiohttp.TCPConnector(
            limit=0,  # the rate controller's window is the only limit
            ssl=self._tls(),
            keepalive_timeout=15,
        )
        await self._opened(self._task)
        return self

    async def _opened(self, task: str) -> Wire:
        """The wire to where a task's requests go; all of them share the connections."""
        assert self._connector is not None, "used outside its context"
        base = self._base
        url = base.with_path(f"{base.path.rstrip('/')}/{TASK_PATHS[task]}").with_query(base.query)
        timeout = aiohttp.ClientTimeout(
            total=self._limits.timeout_s,
            sock_connect=self._limits.connect_timeout_s,
            sock_read=self._limits.idle_timeout_s,
        )
        wire = wire_to(
            url,
            self._headers(task),
            self._connector,
            timeout,
            departures=self._departures,
            trust_env=self._trust_env,
        )
        self._wires[task] = await wire.__aenter__()
        return wire

    async def __aexit__(self, *error: object) -> None:
        for wire in self._wires.values():
            await wire.__aexit__(*error)

    def _headers(self, task: str) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if self._stream and task != "embeddings" else "application/json",
        }
        if self._key is not None:
            header = self._service.key_header
            bearer = "Bearer " if header == "Authorization" else ""
            headers[header] = f"{bearer}{self._key.reveal()}"
        return headers

    def _tls(self) -> ssl.SSLContext | bool:
        """What certificates are verified against; False only when the user said so."""
        if self._insecure:
            return False
        return ssl.create_default_context(cafile=self._ca_bundle) if self._ca_bundle else True

    async def send(self, request: ChatRequest) -> Answer:
        """The answer to `request`; see `Transport.send`."""
        try:
            return await self._send(request)
        except ApiError as error:
            if self._include_usage and _rejects_stream_options(error.outcome):
                # Some servers know no stream_options; without it the usage columns stay null.
                self._include_usage = False
                return await self._send(request)
            raise

    async def _send(self, request: ChatRequest) -> Answer:
        data = orjson.dumps(self._body(request), option=orjson.OPT_NON_STR_KEYS)
        started_at, started = time.time(), time.monotonic()
        try:
            wire = self._wires.get(request.task) or await self._opened(request.task)
            response = await wire.post(data)
            try:
                if response.status == 200 and _is_event_stream(response.headers):
                    reply, ttft = await self._streamed(response)
                else:
                    reply, ttft = await self._plain(response, request), None
            finally:
                response.release()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            fault = fault_of(error, total_timeout=time.monotonic() - started >= self._limits.timeout_s)
            raise self._api_error(None, {}, b"", fault) from error
        return Answer(
            reply=reply,
            started_at=started_at,
            latency_ms=(time.monotonic() - started) * 1000,
            ttft_ms=None if ttft is None else (ttft - started) * 1000,
            request_id=_request_id(response.headers),
            rate=rate_limits(response.headers),
        )

    def _body(self, request: ChatRequest) -> dict[str, object]:
        body = request.body
        if self._service.renamed and not request.as_written and request.task == "chat":
            # a name the row uses already in its new spelling wins
            renamed = {name: new for name, new in self._service.renamed.items() if new not in body}
            body = {renamed.get(name, name): value for name, value in body.items()}
        if self._model is not None and body.get("model") == self._model[0]:
            body = {**body, "model": self._model[1]}
        if self._stream and request.task != "embeddings":
            body = {**body, "stream": True}
            if self._include_usage:
                body.setdefault("stream_options", {"include_usage": True})
        return body

    async def _plain(self, response: WireResponse, request: ChatRequest) -> Reply:
        body = await self._read(response)
        problem: ReplyProblem | None = None
        if response.status == 200:
            try:
                return parse_reply(body) if request.task == "chat" else _parse(body, request)
            except ReplyProblem as error:
                problem = error  # HTTP 200 is no success by itself: the classifier reads the body
        outcome = self._redacted(classify(response.status, response.headers, body[:ERROR_BODY_BYTES]))
        if isinstance(problem, EmbeddingsProblem):
            outcome, usage = _bad_vectors(outcome, problem)
            raise ApiError(outcome, usage)
        if request.rows > 1 and outcome.after in {"first_rows", "row_streak"}:
            # refusals of single rows are counted, and this one may be any of them
            outcome = replace(outcome, after="")
        raise ApiError(outcome)

    async def _read(self, response: WireResponse) -> bytes:
        """The decoded body. An error's body is cut at 64 KiB; a good one past the cap is a fault."""
        good = response.status == 200
        cap = self._limits.max_response_bytes if good else ERROR_BODY_BYTES
        content = response.content
        body = await content.readany()
        if content.at_eof() and len(body) <= cap:
            return body  # nearly every answer arrives in one piece
        pieces = bytearray(body)
        while len(pieces) <= cap and (chunk := await content.readany()):
            pieces += chunk
        if len(pieces) > cap and good:
            fault = TransportFault("too_large", f"the answer is longer than {cap} bytes")
            raise self._api_error(None, {}, b"", fault)
        return bytes(pieces[:cap])

    async def _streamed(self, response: WireResponse) -> tuple[Reply, float | None]:
        decoder, stream = SseDecoder(), StreamAssembler()
        first: float | None = None
        received = 0
        # the first token's time is seen when it comes; what follows is read together
        while chunk := await (response.content.readany() if first is None else response.gathered()):
            received += len(chunk)
            if received > self._limits.max_response_bytes:
                fault = TransportFault(
                    "too_large", f"the stream is longer than {self._limits.max_response_bytes} bytes"
                )
                raise self._api_error(None, {}, b"", fault)
            for data in decoder.feed(chunk):
                stream.feed(data)
            if first is None and stream.started:
                first = time.monotonic()
        for data in decoder.close():
            stream.feed(data)
        try:
            return stream.reply(), first
        except ReplyProblem:
            outcome = classify(200, response.headers, stream.evidence())
            raise ApiError(self._redacted(outcome), stream.usage) from None

    def _api_error(
        self, status: int | None, headers: Mapping[str, str], body: bytes, fault: TransportFault | None = None
    ) -> ApiError:
        return ApiError(self._redacted(classify(status, headers, body, fault)))

    def _redacted(self, outcome: Outcome) -> Outcome:
        if self._key is None:
            return outcome
        return replace(outcome, message=redact(outcome.message, [self._key.reveal()]))


def _parse(body: bytes, request: ChatRequest) -> Reply:
    """The reply to a request that is no chat. Raises ReplyProblem if there is none."""
    if request.task == "embeddings":
        return parse_embeddings(body, request.body)
    return parse_completion(body)


def _bad_vectors(outcome: Outcome, problem: EmbeddingsProblem) -> tuple[Outcome, Usage | None]:
    """What is made of an answer whose vectors cannot be given to rows, and what it cost."""
    usage = problem.usage if problem.usage.prompt_tokens is not None else None
    if problem.is_refusal:
        outcome = Outcome(OutcomeClass.FAIL, "dimensions", 200, str(problem), after="no_success")
    elif outcome.error_class == "invalid_response":
        outcome = replace(outcome, message=str(problem))
    return outcome, usage


def _is_event_stream(headers: Mapping[str, str]) -> bool:
    """Whether the body is a stream of events, by its media type (RFC 9110, section 8.3)."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/event-stream"


def _request_id(headers: Mapping[str, str]) -> str | None:
    return next((headers[name][:512] for name in _REQUEST_ID_HEADERS if name in headers), None)


def _rejects_stream_options(outcome: Outcome) -> bool:
    return (
        outcome.kind is OutcomeClass.FAIL
        and outcome.code in {400, 422}
        and ("stream_options" in outcome.message or "include_usage" in outcome.message)
    )


def fault_of(error: Exception, *, total_timeout: bool = False) -> TransportFault:
    """What kind of transport trouble an exception of aiohttp or the socket layer is.

    Never uses `repr()`: aiohttp's shows the request's headers, and with them the key.
    """
    kind: FaultKind = "reset"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        kind = "tls"
    elif isinstance(error, OSError) and _errno(error) in _LOCAL_ERRNO:
        kind = "local"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        kind = "dns"
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        kind = "timeout_connect"
    elif isinstance(error, TimeoutError):
        kind = (
            "timeout_total"
            if total_timeout and not isinstance(error, aiohttp.SocketTimeoutError)
            else "timeout_idle"
        )
    elif isinstance(error, aiohttp.ClientConnectorError):
        kind = "connect"
    elif isinstance(error, aiohttp.InvalidURL):
        kind = "invalid_url"
    elif isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError) or not isinstance(
        error, aiohttp.ClientError | OSError
    ):
        kind = "payload"
    return TransportFault(kind, str(error) or type(error).__name__)


def _errno(error: OSError) -> int | None:
    inner = getattr(error, "os_error", None)
    return inner.errno if isinstance(inner, OSError) else error.errno
