"""Who may ask the page for what: only this machine's own browser, at the page's own address. Pure.

What is kept out: a site that has its own name lead to 127.0.0.1 (the `Host` header has that name), a page
of another site or of another port of this machine (`Origin`, `Sec-Fetch-Site`), and, for whatever changes
something, everybody who has not been given the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOKEN_HEADER = "X-Batchlab-Token"  # noqa: S105 - the name of a header
LONGEST_TARGET = 8_000  # characters of path and query
LARGEST_BODY = 64 * 1_024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_OWN_SITE = frozenset({"same-origin", "none"})  # `none`: typed, or opened by another program

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "batchlab",  # and not which library, of which version
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: an HTTP status, and a line for a person."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request decides whether it is answered.

    Attributes:
        target: path and query, as they came.
        hosts: all `Host` headers.
        headers: the others, by their usual names.
        reached: this machine's own address of the connection.
    """

    method: str
    target: str
    hosts: Sequence[str]
    headers: Mapping[str, str]
    reached: str = ""

    @property
    def path(self) -> str:
        """The path without the query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Door:
    """The rules of one page.

    Attributes:
        token: what writes need; in the address that was printed, and nowhere else.
        host: what `--host` said: then reading needs the token, too. "" for loopback alone.
        cookie: the name that the token has in a browser of another machine.
    """

    token: str
    host: str = ""
    cookie: str = "batchlab"

    @property
    def is_open(self) -> bool:
        """Whether others than this machine may knock."""
        return bool(self.host)

    def refusal(self, asked: Asked) -> Refusal | None:
        """Why a request must not be answered; None when it may be."""
        if len(asked.target) > LONGEST_TARGET:
            return Refusal(414, "the query is too long")
        if len(asked.hosts) != 1 or not self._is_ours(asked.hosts[0], asked.reached):
            return Refusal(403, "this page has another address: open the one that batchlab view printed")
        site = asked.headers.get("Sec-Fetch-Site", "none")
        if site not in _OWN_SITE and not _is_visit(asked):
            return Refusal(403, "another page asked for this")
        origin = asked.headers.get("Origin")
        if origin is not None and origin != f"http://{asked.hosts[0]}":
            return Refusal(403, "another page asked for this")
        if asked.method == "POST":
            return self._write_refusal(asked)
        if asked.method not in ("GET", "HEAD"):
            return Refusal(405, "there is nothing of that kind here")
        if self.is_open and not self.is_known(asked.headers):
            return Refusal(401, "this page needs its token: open the address that batchlab view printed")
        return None

    def is_token(self, text: str) -> bool:
        """Whether that is the token; takes as long when it nearly is."""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.token.encode())

    def is_known(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has the token, as a header or as the cookie."""
        if self.is_token(headers.get(TOKEN_HEADER, "")):
            return True
        # by hand: the ports of a host share their cookies, and `SimpleCookie` reads none behind an odd one
        cookies = (one.strip().partition("=") for one in headers.get("Cookie", "").split(";"))
        return any(name == self.cookie and self.is_token(value) for name, _, value in cookies)

    def _write_refusal(self, asked: Asked) -> Refusal | None:
        """The cookie is not enough here: a browser sends it by itself."""
        if asked.headers.get("Origin") is None:
            return Refusal(403, "who changes something says from which page")
        if not self.is_token(asked.headers.get(TOKEN_HEADER, "")):
            return Refusal(403, "this needs the page's token: open the address that batchlab view printed")
        if asked.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            return Refusal(415, "what changes something is sent as JSON")
        return None

    def _is_ours(self, host: str, reached: str) -> bool:
        """Whether a `Host` is a name of this page.

        Any port will do: through a tunnel it is another. An address in digits cannot be made to lead
        elsewhere, so the one that the connection came to is ours, too.
        """
        name = _without_port(host.lower())
        if not self.is_open:
            return name in _LOOPBACK
        names = {self.host.lower(), socket.gethostname().lower(), *_LOOPBACK}
        return name in names or (_is_address(name) and name.strip("[]") == reached.lower())


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_visit(asked: Asked) -> bool:
    """Whether a link was followed to the page itself: that shows it to the person, and to nobody else."""
    return (
        asked.method == "GET"
        and asked.path == "/"
        and asked.headers.get("Sec-Fetch-Mode") == "navigate"
        and asked.headers.get("Sec-Fetch-Dest", "document") == "document"
    )


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not host.endswith("]") else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
