"""Which connections and which wire an endpoint's requests go over.

`connections` and `pooled_wire` use inner parts of aiohttp, which promises nothing of them. So they are
imported only once `aiohttp_names` has found those parts as they were.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import aiohttp
from yarl import URL

from batchlab.dispatch.departures import Departures
from batchlab.dispatch.http.aiohttp_names import lacking
from batchlab.dispatch.http.proxies import proxy_for
from batchlab.dispatch.http.session_wire import SessionWire
from batchlab.dispatch.http.wire import Wire

KEEPALIVE_S = 15


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
