"""POST requests to one address, and nothing else: how bytes get to a provider and back.

Two ways, with the same answers (the transport's tests run over both):

- `SessionWire` is `aiohttp.ClientSession.post`. It can do all that aiohttp can, proxies among it, and
  spends 100 µs a request on what never changes between ours: merging headers, building URLs, cookies,
  redirects, a timer of its own.
- `pooled_wire.PooledWire` writes a head that was made once and leaves the rest to aiohttp's inner
  parts, which aiohttp promises nothing of: `aiohttp_names` says whether they are what it knows.

Both send over `connections.Connections`, where what comes on an idle connection answers nobody.
Neither lets a request leave before its record is written: the pooled one lets all requests of a turn
of the event loop leave together, after one write.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import aiohttp
from yarl import URL

from batchlab.dispatch.departures import Departures
from batchlab.dispatch.http.aiohttp_names import lacking
from batchlab.dispatch.http.proxies import Proxy, proxy_for

KEEPALIVE_S = 15


class UnaskedError(aiohttp.ServerDisconnectedError):
    """A connection spoke or ended out of turn, and was dropped: what it said answers nobody.

    Attributes:
        again: nothing was sent, and the connection had been used before; another will do.
    """

    def __init__(self, why: str, *, again: bool) -> None:
        super().__init__(why)
        self.again = again


def unread(content: aiohttp.StreamReader) -> bytes:
    """What had arrived of a body when its connection broke, and was not read yet.

    aiohttp keeps it in the reader, behind the error; where its name for that is another, there is none.
    """
    return b"".join(getattr(content, "_buffer", ()))[getattr(content, "_buffer_offset", 0) :]


class WireResponse(Protocol):
    """The start of a response; its body is read from `content`."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> aiohttp.StreamReader: ...

    async def gathered(self) -> bytes:
        """What has arrived of the body since the last call; b"" at its end.

        May wait up to `GATHER_S` for more, so that a stream of small pieces costs one wake for several.
        """
        ...

    def release(self) -> Any:
        """Gives the connection back; closes it unless the body was read to its end."""
        ...


class Wire(Protocol):
    """Sends bodies to one address. Used as an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def post(self, body: bytes) -> WireResponse:
        """The response to one POST.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: there is none. Reading its content may raise them too.
            RunStopped: its record could not be written, so it did not leave.
        """
        ...


async def connector_to(
    tls: ssl.SSLContext | bool, say: Callable[[str], None] = lambda _: None
) -> aiohttp.TCPConnector:
    """A connector without a limit of its own: the rate controller's window is the only one.

    With an aiohttp that is not what `Connections` was written for, it is aiohttp's own, and keeps no
    connection: what nobody asked for can then answer nobody either. A line says so.
    """
    missing = await lacking()
    if missing:
        say(
            f"aiohttp {aiohttp.__version__} is not what batchlab was written for "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}): "
            "each request opens a connection of its own, and costs more time"
        )
        return aiohttp.TCPConnector(limit=0, ssl=tls, force_close=True)
    from batchlab.dispatch.http.connections import Connections

    return Connections(limit=0, ssl=tls, keepalive_timeout=KEEPALIVE_S)


def wire_to(
    url: URL,
    headers: Mapping[str, str],
    connector: aiohttp.TCPConnector,
    timeout: aiohttp.ClientTimeout,
    *,
    departures: Departures,
    trust_env: bool,
    say: Callable[[str], None] = lambda _: None,
) -> Wire:
    """The cheapest wire that does what is asked, over what `connector_to` gave.

    A proxy needs the session, and so does an aiohttp that is not the one we know.
    """
    if trust_env or type(connector) is aiohttp.TCPConnector:
        proxy = proxy_for(url, say) if trust_env else None
        return SessionWire(url, headers, connector, timeout, departures=departures, proxy=proxy)
    from batchlab.dispatch.http.connections import Connections
    from batchlab.dispatch.http.pooled_wire import PooledWire

    assert isinstance(connector, Connections)
    return PooledWire(url, headers, connector, timeout, departures=departures)


class SessionWire:
    """POSTs by an `aiohttp.ClientSession`. Redirects are not followed, cookies not kept.

    The session is never told to trust the environment: it would look into the netrc file for each
    request, and refuse ours, which have an Authorization of their own, when it finds the host there.
    """

    def __init__(
        self,
        url: URL,
        headers: Mapping[str, str],
        connector: aiohttp.TCPConnector,
        timeout: aiohttp.ClientTimeout,
        *,
        departures: Departures,
        proxy: Proxy | None = None,
    ) -> None:
        self._departures = departures
        self._url = url
        # put in per request: a session's default headers show up in reprs
        self._headers = {**headers, **(proxy.headers_to(url) if proxy else {})}
        self._proxy: dict[str, Any] = {}
        if proxy is not None:
            self._proxy = {"proxy": proxy.url, "proxy_headers": proxy.headers_of_tunnel(url)}
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=getattr(connector, "request_class", aiohttp.ClientRequest),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def post(self, body: bytes) -> WireResponse:
        """See `Wire.post`."""
        self._departures.write()  # the session sends when it likes
        while True:
            try:
                return _SessionResponse(
                    await self._session.post(
                        self._url, data=body, headers=self._headers, allow_redirects=False, **self._proxy
                    )
                )
            except UnaskedError as error:  # each time with one connection fewer in the pool
                if not error.again:
                    raise


class _SessionResponse:
    """See `WireResponse`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.content = response.content
        self.gathered = response.content.readany
        self.release = response.release
