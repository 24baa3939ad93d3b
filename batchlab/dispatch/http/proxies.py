"""The proxy that the environment names for an address, found once for all requests to it.

aiohttp's own look-up happens at each request and in a thread, and brings the netrc file's entry for the
endpoint with it, which must never change what we send there.
"""

from __future__ import annotations

import base64
import netrc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

from yarl import URL

_PASSED_ON = "Proxy-Authorization"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        url: without credentials, because errors show it.
        authorization: value of its Proxy-Authorization, or None.
    """

    url: URL
    authorization: str | None = None

    def headers_to(self, url: URL) -> dict[str, str]:
        """What the request itself must carry: a proxy reads the requests to a plain address."""
        return self._authorized() if url.scheme == "http" else {}

    def headers_of_tunnel(self, url: URL) -> dict[str, str]:
        """What the CONNECT before a request to a TLS address carries; the endpoint never sees it."""
        return self._authorized() if url.scheme == "https" else {}

    def _authorized(self) -> dict[str, str]:
        return {} if self.authorization is None else {_PASSED_ON: self.authorization}


def proxy_for(url: URL, say: Callable[[str], None] = lambda _: None) -> Proxy | None:
    """The proxy by which `url` is to be reached, or None for the straight way.

    Reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY (or the system's settings, where Python knows them).
    Credentials are those of the proxy's URL, or the netrc file's for the proxy's host, as aiohttp has it.
    Only `http://` proxies are used; `say` is told of another.
    """
    host = url.host or ""
    named = getproxies().get(url.scheme)
    if not named or proxy_bypass(host):
        return None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")  # as curl reads HOST:PORT
        bare = proxy.origin()
    except ValueError:
        say(f"the environment's proxy for {url.scheme} is not used: it is no URL")
        return None
    if proxy.scheme != "http" or proxy.host is None:
        say(f"the environment's proxy {bare} is not used: only http:// proxies are")
        return None
    login = (proxy.user or "", proxy.password or "") if proxy.user or proxy.password else _netrc(proxy.host)
    if login is None:
        return Proxy(bare)
    pair = base64.b64encode(":".join(login).encode()).decode()  # UTF-8, as RFC 7617, section 2.1, prefers
    return Proxy(bare, f"Basic {pair}")


def _netrc(host: str) -> tuple[str, str] | None:
    """Login and password that the netrc file ($NETRC, or ~/.netrc) has for a host."""
    try:
        path = Path(os.environ.get("NETRC") or Path.home() / ("_netrc" if os.name == "nt" else ".netrc"))
        entry = netrc.netrc(str(path)).authenticators(host)
    except (OSError, RuntimeError, UnicodeDecodeError, netrc.NetrcParseError):
        return None
    if entry is None:
        return None
    login, account, password = entry
    return login or account or "", password or ""
