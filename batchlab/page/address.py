"""Where a page is served, and what is opened to see it."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from batchlab.errors import UsageError
from batchlab.remote.urls import is_url

# what a run tells the page beside it: others may read a command line, and no variables
TOKEN, SOCKET = "BATCHLAB_PAGE_TOKEN", "BATCHLAB_PAGE_SOCKET"
LOOPBACK = "127.0.0.1"
PORTS = range(8_420, 8_430)  # tried in turn: an address that was kept leads to the page next time, too


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a page is served.

    Attributes:
        host: what others reach this machine by; "" for loopback alone.
        port: 0 for one that is free, None for one of the usual.
        route: where in the page it opens: behind the `#` of its address.
        opens: whether a browser is to be opened.
        token: what writes need; a new one where none is given.
        descriptor: of a socket that listens already; -1 for none.
    """

    host: str = ""
    port: int | None = None
    route: str = "/"
    opens: bool = True
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    descriptor: int = -1


def listener(wanted: Wanted) -> socket.socket:
    """The socket that is listened at. Raises UsageError when there can be none."""
    if wanted.descriptor >= 0:
        return socket.socket(fileno=wanted.descriptor)
    host = wanted.host or LOOPBACK
    ports = [*PORTS, 0] if wanted.port is None else [wanted.port]
    for port in ports:
        try:
            family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(where[:2], family=family, backlog=128, reuse_port=False)
        except OSError as error:
            problem = error
    if isinstance(problem, socket.gaierror):
        raise UsageError(f"--host {host}: there is no such host.") from problem
    if problem.errno == errno.EADDRNOTAVAIL:
        raise UsageError(f"--host {host}: is no address of this machine.") from problem
    raise UsageError(
        f"cannot listen at {host}, port {ports[-1]}: {problem.strerror}. Pass --port 0 for a free one."
    ) from problem


def address_of(wanted: Wanted, port: int) -> str:
    """What is opened: the token is behind the `#`, which no browser sends and no log has."""
    name = wanted.host or LOOPBACK
    if name in ("0.0.0.0", "::"):  # noqa: S104 - to be reached by its name
        name = socket.gethostname()
    shown = f"[{name}]" if ":" in name else name
    query = f"?token={quote(wanted.token)}" if wanted.host else ""
    return f"http://{shown}:{port}/{query}#token={quote(wanted.token)}&{wanted.route}"


def id_of(place: str) -> str:
    """What the page calls the run in a directory or at a URL: the last name in it.

    A name that is no text (Linux has any bytes in one) is spelt as Python would: no address of a page has
    half a character in it, and one such run must not take the page from all the others.
    """
    name = place.rstrip("/").rpartition("/")[2] if is_url(place) else Path(place).name
    name = name or Path(place).resolve().name or "run"  # `.`, and `/`
    return name.encode(errors="backslashreplace").decode()


def route_of(run_id: str, review: int | None = None) -> str:
    """Where in the page a run is, or the review of so many of its rows."""
    inside = f"/run/{quote(run_id, safe='')}"
    return inside if review is None else f"{inside}/rows?review={review}"


def has_display() -> bool:
    """Whether a browser could be shown here: not over a connection from elsewhere, not on a machine
    without a screen, where a text browser would take the terminal."""
    if os.environ.get("BROWSER"):
        return True
    if any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY")):
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
