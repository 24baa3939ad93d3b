"""One attempt over HTTP: a ChatRequest goes out, an Answer or an ApiError comes back.

aiohttp's exceptions end here. Redirects are never followed (a 307 would hand the prompt and
a non-standard key header to another host), and no body is read past `max_response_bytes`
of decoded bytes (194 kB of gzip can become 200 MB).
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Protocol, Self

import aiohttp
import orjson

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.departures import Departures
from batchlab.dispatch.http.access import Access
from batchlab.dispatch.http.answers import AnswerReader
from batchlab.dispatch.http.opening import connector_to, wire_to
from batchlab.dispatch.http.wire import Wire
from batchlab.finite import json_and_nulls
from batchlab.job import TASK_PATHS, LimitsJob
from batchlab.protocol.limits import RateHeaders, rate_limits
from batchlab.protocol.outcomes.classify import TransportFault, classify
from batchlab.protocol.outcomes.facts import FaultKind
from batchlab.records import ChatRequest, Outcome, OutcomeClass, Reply, Usage

# Local shortages: the machine's trouble, never charged to a row.
_LOCAL_ERRNO = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENOMEM}
# a TLS alert or handshake record, as aiohttp's parsers show what is no status line
_TLS_RECORD = re.compile(r"\\x1[56]\\x03[\\x]|[\x15\x16]\x03[\x00-\x04]")
# where aiohttp begins to show what it could not parse: a body may be among it
_SHOWN = re.compile(r"""[\s:]*\b(?:b|bytearray\(b)['"]""")
_MOST_SAID = 200
_TEXTS = tuple(one.name for one in fields(Reply) if one.name not in {"usage", "vectors", "is_lossy"})
_texts_of = attrgetter(*_TEXTS)


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
        write: called before requests leave; see `departures.Departures`.
        say: told, in a line, what goes another way than it was meant to.
    """

    def __init__(
        self,
        access: Access,
        *,
        limits: LimitsJob,
        task: str = "chat",
        stream: bool = False,
        write: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._access = access
        self._departures = Departures(write)
        self._task = task
        self._hidden = access.hidden
        self._limits = limits
        self._stream = stream
        self._include_usage = stream and access.service.stream_usage
        self._say = say
        self._connector: aiohttp.TCPConnector | None = None
        self._wires: dict[str, Wire] = {}  # by task: each has a path of its own

    @property
    def address(self) -> str:
        """The URL that most requests go to, without user, password and query."""
        return self._access.address(TASK_PATHS[self._task])

    async def __aenter__(self) -> Self:
        self._connector = await connector_to(self._access.tls(), self._say)
        await self._opened(self._task)
        return self

    async def _opened(self, task: str) -> Wire:
        """The wire to where a task's requests go; all of them share the connections."""
        assert self._connector is not None, "used outside its context"
        timeout = aiohttp.ClientTimeout(
            total=self._limits.timeout_s,
            sock_connect=self._limits.connect_timeout_s,
            sock_read=self._limits.idle_timeout_s,
        )
        accept = "text/event-stream" if self._stream and task != "embeddings" else "application/json"
        wire = wire_to(
            self._access.url(TASK_PATHS[task]),
            self._access.headers_with({"Content-Type": "application/json", "Accept": accept}),
            self._connector,
            timeout,
            departures=self._departures,
            trust_env=self._access.trust_env,
            say=self._say,
        )
        self._wires[task] = await wire.__aenter__()
        return wire

    async def __aexit__(self, *error: object) -> None:
        for wire in self._wires.values():
            await wire.__aexit__(*error)

    async def send(self, request: ChatRequest) -> Answer:
        """The answer to `request`; one that is refused for `stream_options` is asked again without them."""
        asks_usage = self._include_usage
        try:
            return await self._send(request)
        except ApiError as error:
            if asks_usage and _rejects_stream_options(error.outcome):
                # Some servers know no stream_options; without it the usage columns stay null. Whoever was
                # on the way when the first was refused is asked again without it, too.
                self._include_usage = False
                return await self._send(request)
            raise

    async def _send(self, request: ChatRequest) -> Answer:
        body = self._body(request)
        data = encoded(body)
        started_at, started = time.time(), time.monotonic()
        try:
            wire = self._wires.get(request.task) or await self._opened(request.task)
            response = await wire.post(data)
            try:
                reply, ttft = await AnswerReader(
                    response, request, body, max_bytes=self._limits.max_response_bytes
                ).read()
            finally:
                response.release()
        except ApiError as error:
            usage = self._usage_without_key(error.usage)
            raise ApiError(self._access.redacted(error.outcome), usage) from error.__cause__
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            fault = fault_of(error, total_timeout=time.monotonic() - started >= self._limits.timeout_s)
            raise ApiError(self._access.redacted(classify(None, {}, b"", fault))) from error
        return Answer(
            reply=self._without_key(reply),
            started_at=started_at,
            latency_ms=(time.monotonic() - started) * 1000,
            ttft_ms=None if ttft is None else (ttft - started) * 1000,
            request_id=self._access.request_id(response.headers),
            rate=rate_limits(response.headers),
        )

    def _body(self, request: ChatRequest) -> dict[str, object]:
        body = self._access.body(request)
        if self._stream and request.task != "embeddings":
            body = {**body, "stream": True}
            if self._include_usage:
                body.setdefault("stream_options", {"include_usage": True})
        return body

    def _without_key(self, reply: Reply) -> Reply:
        """The reply as it is, but for one that echoes the key."""
        if not self._hidden:
            return reply
        echoed: dict[str, Any] = {
            name: self._without_secrets(text)
            for name, text in zip(_TEXTS, _texts_of(reply), strict=True)
            if text is not None and any(one in text for one in self._hidden)
        }
        if (usage := self._usage_without_key(reply.usage)) is not reply.usage:
            echoed["usage"] = usage
        return replace(reply, **echoed) if echoed else reply

    def _usage_without_key(self, usage: Usage | None) -> Usage | None:
        if usage is None or usage.raw is None or not any(one in usage.raw for one in self._hidden):
            return usage
        return replace(usage, raw=self._without_secrets(usage.raw))

    def _without_secrets(self, text: str) -> str:
        for one in self._hidden:
            text = text.replace(one, "****")
        return text


def encoded(body: dict[str, object]) -> bytes:
    """A request's body as JSON; what orjson refuses (an integer past 64 bits) goes through json.

    Raises UnicodeError for a text that UTF-8 cannot hold.
    """
    try:
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json_and_nulls(body, separators=(",", ":"))[0].encode()


def _rejects_stream_options(outcome: Outcome) -> bool:
    if outcome.kind is not OutcomeClass.FAIL or outcome.code not in {400, 422}:
        return False
    said = f"{outcome.message} {outcome.error_raw}"
    return "stream_options" in said or "include_usage" in said


def fault_of(error: Exception, *, total_timeout: bool = False) -> TransportFault:
    """What kind of transport trouble an exception of aiohttp or the socket layer is.

    Never uses `repr()`: aiohttp's shows the request's headers, and with them the key.
    """
    kind: FaultKind = "reset"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        kind = "tls"
    elif _TLS_RECORD.search(_words_of(error)):
        return TransportFault("tls_expected", "the answer is a TLS record, no HTTP")
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
    if kind == "payload":
        return TransportFault(kind, _said_by(error))
    return TransportFault(kind, str(error) or type(error).__name__)


def _said_by(error: Exception) -> str:
    """What an error about HTTP says, in one short line and without the bytes it is about."""
    said = _SHOWN.split(_words_of(error), maxsplit=1)[0]
    return " ".join(said.split())[:_MOST_SAID] or type(error).__name__


def _words_of(error: Exception) -> str:
    """Its text; the session's own about what is no HTTP has a status that nobody sent, and escapes twice."""
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        return error.message or str(error)
    return str(error)


def _errno(error: OSError) -> int | None:
    inner = getattr(error, "os_error", None)
    return inner.errno if isinstance(inner, OSError) else error.errno
