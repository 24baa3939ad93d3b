"""The calls of a batch API, over HTTP.

Whatever costs nothing when it happens twice is tried again for as long as an outage may last. An order is
sent once: whether one that was not answered has arrived is for its sender to find out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
from yarl import URL

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.access import Access
from batchlab.dispatch.http.faults import fault_of
from batchlab.dispatch.http.order_body import order_body, while_awake
from batchlab.dispatch.http.proxies import proxy_for
from batchlab.dispatch.rate.slots import Stopped
from batchlab.dispatch.stop import StopSignal
from batchlab.job import LimitsJob
from batchlab.protocol.batches.dialect import (
    BatchState,
    Dialect,
    Json,
    Order,
    batches_in,
    file_id_in,
    has_more,
)
from batchlab.protocol.outcomes.classify import TransportFault, classify
from batchlab.protocol.outcomes.facts import FaultKind
from batchlab.protocol.values import ReplyProblem, parse_json
from batchlab.records import Outcome, OutcomeClass

T = TypeVar("T")

CHUNK_BYTES = 256 * 1024
MOST_STATE_BYTES = 300_000_000  # of a state that has the results in it
PAGE = 100  # batches of a list; what all services take
MOST_PAGES = 200  # of a list; more batches than that since the last crash are somebody else's, too
LONGEST_WAIT_S = 60.0
MOST_REDIRECTS = 5
# a replica with a stale key, or a firewall with a moment of doubt, is over soon: no night ends by it
SECOND_LOOKS_S = (5.0, 15.0, 40.0)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERRORS = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
_WAITS = frozenset({OutcomeClass.RETRY, OutcomeClass.WAIT, OutcomeClass.PAUSE})
_NOT_TO_CANCEL = frozenset({400, 404, 409, 422})  # it has ended: asked again, the answer would be the same
# the request has not left
_NOT_SENT: frozenset[FaultKind] = frozenset(
    {"dns", "connect", "tls", "timeout_connect", "invalid_url", "local"}
)


# answers of gateways, and of services that gave up waiting for themselves
_SAYS_NOTHING = frozenset({408, 409, 425, 499})


class UncertainOrder(ApiError):
    """An order was sent, and nothing says whether it has arrived."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Batches of an account.

    Attributes:
        is_whole: no other was ordered in that time, as far as the service shows them already.
    """

    batches: list[BatchState]
    is_whole: bool


class BatchService:
    """One endpoint's batch API. Use as an async context manager.

    Every call raises ApiError for what is refused, and Stopped once the run stops.
    """

    def __init__(self, access: Access, dialect: Dialect, *, limits: LimitsJob, stop: StopSignal) -> None:
        self.dialect = dialect
        self._access = access
        self._limits = limits
        self._stop = stop
        self._session: aiohttp.ClientSession | None = None
        self._has_answered = False
        reached = access
        if dialect.key_header is not None:
            reached = replace(access, service=replace(access.service, key_header=dialect.key_header))
        self._headers = reached.headers_with({"Accept": "application/json", **dialect.headers})

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

    async def upload(self, lines: Path) -> str:
        """Uploads a file of lines; its id."""
        assert self.dialect.files is not None, "asked of a service that takes lines with the order"
        path = self.dialect.upload or self.dialect.files

        async def once() -> str:
            with lines.open("rb") as file:
                form = aiohttp.FormData({"purpose": self.dialect.purpose, **self.dialect.form})
                form.add_field("file", file, filename=lines.name, content_type="application/jsonl")
                data = await self._json("POST", path, data=form)
            if (found := file_id_in(data)) is None:
                raise self._odd("the upload was answered without an id")
            return found

        return await self._patiently(once)

    async def order(self, asked: Order, lines: Path) -> BatchState:
        """Orders a batch, once.

        Raises:
            UncertainOrder: it may have arrived. Any other ApiError: it has not, or was refused.
        """
        size, pieces = order_body(self.dialect.order(asked), self.dialect.inline, lines)
        extra = {"Content-Type": "application/json", "Content-Length": str(size)}
        data = while_awake(pieces)
        try:
            answer = await self._json("POST", self.dialect.batches, data=data, headers=extra, once=True)
            state = self.dialect.state(answer)
        except UncertainOrder:
            raise
        except ApiError as error:
            if (error.outcome.code or 0) >= 500 or error.outcome.code in _SAYS_NOTHING:
                raise UncertainOrder(error.outcome) from error
            raise
        if not state.id:
            raise UncertainOrder(self._odd("the order was answered without an id").outcome)
        return state

    async def state(self, batch: str) -> BatchState:
        """How a batch stands."""
        return self.dialect.state(
            await self._patiently(lambda: self._json("GET", f"{self.dialect.batches}/{batch}"))
        )

    async def cancel(self, batch: str) -> None:
        """Asks the service to end a batch; one that has ended, or cannot be ended, is left as it is."""
        if not self.dialect.cancels:
            return

        async def once() -> None:
            try:
                await self._json("POST", f"{self.dialect.batches}/{batch}/cancel")
            except ApiError as error:
                if error.outcome.code not in _NOT_TO_CANCEL:
                    raise

        await self._patiently(once, second_looks=False)

    async def listed(self, since: float) -> Listed:
        """The batches of the account that were ordered since a Unix time."""
        found: list[BatchState] = []
        last: str | None = None
        for number in range(MOST_PAGES):
            states, more = await self._page(number, last)
            found += [one for one in states if one.created_at is None or one.created_at >= since]
            if more is False or _is_beyond(states, since):
                return Listed(found, is_whole=True)
            if self.dialect.page is None and self.dialect.numbered is None:
                return Listed(found, is_whole=more is None and len(states) < PAGE)
            if not states:
                return Listed(found, is_whole=not more)
            if states[-1].id == last:
                break  # the service does not turn the page
            last = states[-1].id
        return Listed(found, is_whole=False)

    async def _page(self, number: int, last: str | None) -> tuple[list[BatchState], bool | None]:
        """One page of the list, and whether another follows, if the reply says."""
        dialect, query = self.dialect, {"limit": str(PAGE)}
        if dialect.numbered is not None:
            query = dict(zip(dialect.numbered, (str(number), str(PAGE)), strict=True))
        elif dialect.page is not None and last is not None:
            query[dialect.page] = last

        async def once() -> tuple[list[BatchState], bool | None]:
            reply = await self._value(
                "GET", dialect.batches, query=query, headers=None, data=None, once=False
            )
            if (found := batches_in(reply)) is None:
                raise self._odd("the list of batches was answered without one")
            return [dialect.state(one) for one in found], has_more(reply)

        return await self._patiently(once)

    async def fetch(self, file: str, to: Path) -> None:
        """Downloads a file of results; what was there before gives way. Raises OSError of the disk too.

        It may be at another host than the service, which is not given the key.
        """

        async def once() -> None:
            place = self._place_of(file)
            for _ in range(MOST_REDIRECTS):
                async with self._call("GET", place) as response:
                    if (onward := self._onward(response)) is None:
                        await self._save(response, to)
                        return
                place = onward
            raise self._odd("the results are redirected without an end")

        await self._patiently(once)

    def _onward(self, response: aiohttp.ClientResponse) -> URL | None:
        """Where a file is said to be, by a service that keeps its files at another; None when it is here."""
        if response.status not in _REDIRECTS or (there := response.headers.get("Location")) is None:
            return None
        try:
            onward = response.url.join(URL(there, encoded=there.isascii() and " " not in there))
            is_open = onward.scheme == response.url.scheme or onward.scheme == "https"
        except ValueError:
            onward, is_open = response.url, False
        if not is_open or onward.host is None:
            raise self._odd(f"the results are said to be at a place that cannot be read: {onward.host}")
        return onward

    async def _save(self, response: aiohttp.ClientResponse, to: Path) -> None:
        if response.status != 200:
            raise self._refused(response, await _beginning(response))
        with to.open("wb") as out:
            while chunk := await self._piece(response):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())

    async def _piece(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.content.read(CHUNK_BYTES)
        except _ERRORS as error:  # the disk has errors of this kind as well, which are none of the service's
            raise self._fault(error, once=False) from error

    async def delete(self, file: str) -> None:
        """Deletes a file of lines, in one try, where they do not stay; one that is gone is fine."""
        if self.dialect.deletion is None:
            return
        path = self.dialect.deletion.format(id=file)
        try:
            await self._value("DELETE", path, query=None, headers=None, data=None, once=False)
        except ApiError as error:
            if error.outcome.code not in {404, 410}:
                raise

    @property
    def patience_s(self) -> float:
        """For how long a call is tried again."""
        return self._limits.max_outage_s

    def _place_of(self, file: str) -> str | URL:
        """Where a file's content is: by its id, by its path, or by its address."""
        if file.startswith(("http://", "https://")):
            try:
                return URL(file)
            except ValueError:
                raise self._odd("the results are said to be at an address that is none") from None
        return file if self.dialect.files is None else f"{self.dialect.files}/{file}/content"

    async def _json(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        once: bool = False,
    ) -> Json:
        """The JSON object that a call is answered with."""
        found = await self._value(method, path, data=data, query=query, headers=headers, once=once)
        if not isinstance(found, dict):
            odd = self._odd(f"{method} {path} was answered without a JSON object")
            raise UncertainOrder(odd.outcome) if once else odd
        return found

    async def _value(
        self,
        method: str,
        path: str,
        *,
        data: Any,
        query: dict[str, str] | None,
        headers: dict[str, str] | None,
        once: bool,
    ) -> Any:
        """The JSON value that a call is answered with; None for what is none."""
        async with self._call(method, path, data=data, query=query, headers=headers, once=once) as response:
            try:
                body = await _bounded(response, MOST_STATE_BYTES)
            except _ERRORS as error:
                raise self._fault(error, once=once) from error
            if not 200 <= response.status < 300:
                raise self._refused(response, body[:65536])
            self._has_answered = True
            with contextlib.suppress(ReplyProblem):
                return parse_json(body)
            return None

    @contextlib.asynccontextmanager
    async def _call(
        self,
        method: str,
        path: str | URL,
        *,
        data: Any = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        once: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "used outside its context"
        url = path if isinstance(path, URL) else self._access.url(path)
        if query:
            url = url.update_query(query)
        # the key, and what else the user has for this endpoint, goes to no other
        own = self._headers if url.origin() == self._access.url("").origin() else {}
        sent = {**own, **(headers or {})}
        proxied: dict[str, Any] = {}
        if self._access.trust_env and (proxy := proxy_for(url)) is not None:
            sent |= proxy.headers_to(url)
            proxied = {"proxy": proxy.url, "proxy_headers": proxy.headers_of_tunnel(url)}
        try:
            response = await self._session.request(
                method, url, data=data, headers=sent, allow_redirects=False, **proxied
            )
        except _ERRORS as error:
            raise self._fault(error, once=once) from error
        try:
            yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._fault(error, once=once) from error
        finally:
            response.release()

    def _fault(self, error: Exception, *, once: bool) -> ApiError:
        """What is made of trouble on the way. Of an order it says whether that can have arrived."""
        fault = fault_of(error)
        outcome = self._access.redacted(classify(None, {}, b"", fault))
        return UncertainOrder(outcome) if once and fault.kind not in _NOT_SENT else ApiError(outcome)

    def _refused(self, response: aiohttp.ClientResponse, body: bytes) -> ApiError:
        return ApiError(self._access.redacted(classify(response.status, response.headers, body)))

    def _odd(self, what: str) -> ApiError:
        return ApiError(classify(None, {}, b"", TransportFault("payload", what)))

    def _is_doubtful(self, outcome: Outcome) -> bool:
        """Whether a refusal contradicts what the service has answered before."""
        return self._has_answered and (outcome.kind is OutcomeClass.STOP or outcome.code in {401, 403})

    async def _patiently(self, call: Callable[[], Awaitable[T]], *, second_looks: bool = True) -> T:
        """What a call brings, tried again while the service has trouble, and a few times while it refuses."""
        import tenacity

        looks = list(SECOND_LOOKS_S if second_looks else ())

        def may_pass(error: BaseException) -> bool:
            if not isinstance(error, ApiError):
                return False
            return error.outcome.kind in _WAITS or (bool(looks) and self._is_doubtful(error.outcome))

        jitter = tenacity.wait_random_exponential(multiplier=1, max=LONGEST_WAIT_S)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            if isinstance(error, ApiError) and error.outcome.kind not in _WAITS:
                return looks.pop(0)
            asked = error.outcome.wait_s if isinstance(error, ApiError) else None
            return max(asked or 0.0, jitter(state))

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(may_pass),
            wait=wait,
            stop=tenacity.stop_after_delay(self._limits.max_outage_s),
            sleep=self._sleep,
            reraise=True,
        )

        async def again() -> T:  # tenacity awaits what it sees to be a coroutine function, and nothing else
            return await call()

        return await retrying(again)

    async def _sleep(self, seconds: float) -> None:
        """Waits; raises Stopped at once when the run stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
            raise Stopped


def _is_beyond(page: list[BatchState], since: float) -> bool:
    """Whether a page, and so each after it, has batches of before; told only by one with the newest first."""
    times = [one.created_at for one in page if one.created_at is not None]
    return len(times) == len(page) > 1 and times == sorted(times, reverse=True) and times[-1] < since


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    pieces = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        pieces += chunk
        if len(pieces) > most:
            raise ValueError(f"the answer is longer than {most} bytes")
    return bytes(pieces)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    return await response.content.read(65536)
