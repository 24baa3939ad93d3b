"""Calls about batches at one endpoint: how one is made, and for how long it is tried again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp
from yarl import URL

from batchlab.counts import lasting
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.access import Access
from batchlab.dispatch.http.faults import fault_of
from batchlab.dispatch.http.proxies import proxy_for
from batchlab.dispatch.rate.slots import Stopped
from batchlab.dispatch.stop import StopSignal
from batchlab.job import LimitsJob
from batchlab.protocol.batches.dialect import Json
from batchlab.protocol.outcomes.classify import TransportFault, classify
from batchlab.protocol.outcomes.facts import FaultKind
from batchlab.protocol.values import ReplyProblem, parse_json
from batchlab.records import Outcome, OutcomeClass

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")

CHUNK_BYTES = 256 * 1024
MOST_STATE_BYTES = 300_000_000  # of a state that has the results in it
LONGEST_WAIT_S = 60.0
# a replica with a stale key, or a firewall with a moment of doubt, is over soon: no night ends by it
SECOND_LOOKS_S = (5.0, 15.0, 40.0)
_ERRORS = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
GONE = frozenset({404, 410})  # what was asked for is not there, or not any more
# the request has not left
_NOT_SENT: frozenset[FaultKind] = frozenset(
    {"dns", "connect", "tls", "timeout_connect", "invalid_url", "local"}
)


class UncertainOrder(ApiError):
    """An order was sent, and nothing says whether it has arrived."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call about batches.

    Attributes:
        path: below the endpoint's base; or an address, which is given the key only where it is the
            endpoint's own.
        data: the body, as aiohttp takes it.
        once: it orders something, so that it matters whether one that was not answered has arrived.
    """

    method: str
    path: str | URL
    data: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    once: bool = False


class BatchCalls:
    """Calls at one endpoint. Use as an async context manager.

    Every call raises ApiError for what is refused; one that is made `once`, UncertainOrder where it may
    have arrived.

    Args:
        headers: the service's own, beside the user's and the key.
        say: told of trouble that lasts, and of its end.
    """

    def __init__(
        self,
        access: Access,
        headers: Mapping[str, str],
        *,
        limits: LimitsJob,
        stop: StopSignal,
        say: Callable[[str], None],
    ) -> None:
        self._access = access
        self._limits = limits
        self._stop = stop
        self._session: aiohttp.ClientSession | None = None
        self._has_answered = False
        self._say = say
        self._is_in_trouble = False  # and that has been said
        self._headers = access.headers_with({"Accept": "application/json", **headers})

    async def __aenter__(self) -> Self:
        limits = self._limits
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._access.tls()),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_timeout_s, sock_read=limits.idle_timeout_s
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def json(self, call: Call) -> Json:
        """The JSON object that a call is answered with."""
        found = await self.value(call)
        if not isinstance(found, dict):
            odd = self.odd(f"{call.method} {call.path} was answered without a JSON object")
            raise UncertainOrder(odd.outcome) if call.once else odd
        return found

    async def value(self, call: Call) -> Any:
        """The JSON value that a call is answered with; None for what is none."""
        async with self.response(call) as response:
            try:
                body = await _bounded(response, MOST_STATE_BYTES)
            except _ERRORS as error:
                raise self._fault(error, once=call.once) from error
            if not 200 <= response.status < 300:
                raise self.refused(response, body[:65536])
            self._has_answered = True
            with contextlib.suppress(ReplyProblem):
                return parse_json(body)
            return None

    @contextlib.asynccontextmanager
    async def response(self, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a call, whatever its status, closed at the end. Redirections are not followed."""
        assert self._session is not None, "used outside its context"
        url = call.path if isinstance(call.path, URL) else self._access.url(call.path)
        if call.query:
            url = url.update_query(call.query)
        # the key, and what else the user has for this endpoint, goes to no other
        own = self._headers if url.origin() == self._access.url("").origin() else {}
        sent = {**own, **call.headers}
        proxied: dict[str, Any] = {}
        if self._access.trust_env and (proxy := proxy_for(url)) is not None:
            sent |= proxy.headers_to(url)
            proxied = {"proxy": proxy.url, "proxy_headers": proxy.headers_of_tunnel(url)}
        try:
            response = await self._session.request(
                call.method, url, data=call.data, headers=sent, allow_redirects=False, **proxied
            )
        except _ERRORS as error:
            raise self._fault(error, once=call.once) from error
        try:
            yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._fault(error, once=call.once) from error
        finally:
            response.release()

    def _fault(self, error: Exception, *, once: bool) -> ApiError:
        """What is made of trouble on the way. Of an order it says whether that can have arrived."""
        fault = fault_of(error)
        outcome = self._access.redacted(classify(None, {}, b"", fault))
        return UncertainOrder(outcome) if once and fault.kind not in _NOT_SENT else ApiError(outcome)

    async def piece(self, response: aiohttp.ClientResponse) -> bytes:
        """The next bytes of a response's body; none at its end."""
        try:
            return await response.content.read(CHUNK_BYTES)
        except _ERRORS as error:  # a disk's errors are of these kinds as well, and none of the service's
            raise self._fault(error, once=False) from error

    def refused(self, response: aiohttp.ClientResponse, body: bytes) -> ApiError:
        """What a response means that is none of those that were asked for."""
        return ApiError(self._access.redacted(classify(response.status, response.headers, body)))

    def odd(self, what: str) -> ApiError:
        """Of an answer that makes no sense; may be another one the next time."""
        return ApiError(classify(None, {}, b"", TransportFault("payload", what)))

    def _is_doubtful(self, outcome: Outcome) -> bool:
        """Whether a refusal contradicts what the service has answered before."""
        return self._has_answered and (outcome.kind is OutcomeClass.STOP or outcome.code in {401, 403})

    async def patiently(self, call: Callable[[], Awaitable[T]], *, second_looks: bool = True) -> T:
        """What a call brings, tried again while the service has trouble, and a few times while it refuses.

        Args:
            second_looks: whether a refusal that contradicts earlier answers may be a moment's.

        Raises:
            ApiError: refused, or in trouble for as long as an outage may last. Stopped: the run stops.
        """
        import tenacity

        looks = list(SECOND_LOOKS_S if second_looks else ())

        def may_pass(error: BaseException) -> bool:
            if not isinstance(error, ApiError):
                return False
            return error.outcome.kind.may_pass or (bool(looks) and self._is_doubtful(error.outcome))

        jitter = tenacity.wait_random_exponential(multiplier=1, max=LONGEST_WAIT_S)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            if isinstance(error, ApiError) and not error.outcome.kind.may_pass:
                return looks.pop(0)
            asked = error.outcome.wait_s if isinstance(error, ApiError) else None
            return max(asked or 0.0, jitter(state))

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(may_pass),
            wait=wait,
            stop=tenacity.stop_after_delay(self._limits.max_outage_s),
            sleep=self._sleep,
            before_sleep=self._tell,
            reraise=True,
        )

        async def again() -> T:  # tenacity awaits what it sees to be a coroutine function, and nothing else
            return await call()

        found: T = await retrying(again)
        if self._is_in_trouble:
            self._is_in_trouble = False
            self._say("answers about batches again")
        return found

    def _tell(self, state: tenacity.RetryCallState) -> None:
        """Says once why nothing seems to happen: at the second failure, as one alone is soon over."""
        error = state.outcome.exception() if state.outcome is not None else None
        if self._is_in_trouble or state.attempt_number < 2 or not isinstance(error, ApiError):
            return
        self._is_in_trouble = True
        most = lasting(self._limits.max_outage_s)
        self._say(
            f"no answer about batches ({error.outcome.message}); asking again, for {most} at most "
            "({limits.max_outage})"
        )

    async def _sleep(self, seconds: float) -> None:
        """Waits; raises Stopped at once when the run stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
            raise Stopped


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    pieces = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        pieces += chunk
        if len(pieces) > most:
            raise ValueError(f"the answer is longer than {most} bytes")
    return bytes(pieces)
