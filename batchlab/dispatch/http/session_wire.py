"""POSTs by aiohttp's own session: for proxies, and for an aiohttp that is not the one we know.

It spends 100 µs a request on what never changes between ours: merging headers, building URLs, cookies,
redirects, a timer of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import aiohttp
from yarl import URL

from batchlab.dispatch.departures import Departures
from batchlab.dispatch.http.proxies import Proxy
from batchlab.dispatch.http.wire import UnaskedError, WireResponse


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
        """The response to one POST; its record is written first, because the session sends when it likes."""
        self._departures.write()
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
    """aiohttp's response, which reads what has come in pieces as they came."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.content = response.content
        self.gathered = response.content.readany
        self.release = response.release
