"""What goes out on the socket, byte by byte: also what no HTTP library would send.

Answers are written past aiohttp's own response, because a simulated fault may be a header that is no
UTF-8, a body without its last chunk, or a second answer that nobody asked for.
Framing: RFC 9112, sections 6 and 7 (Content-Length, chunked, until the connection is closed).
"""

from __future__ import annotations

import asyncio
import enum
import http
import socket
import struct
import time
from dataclasses import dataclass
from email.utils import formatdate

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

RESET_AFTER_S = 0.05  # what was sent before a reset arrives before it
LATE_AFTER_S = 0.1  # a second answer comes when the connection is idle again
PING_EVERY_S = 0.2
PING = b": ping\n\n"
NO_BODY = frozenset({204, 304})


class End(enum.Enum):
    """What becomes of the connection once everything was written."""

    KEEP = "stays for the next request"
    CLOSE = "is closed in order"
    DROP = "is closed at once, in mid-answer"
    RESET = "is reset a moment later (RST)"
    HOLD = "stays open and silent"
    PING = "stays open, with a comment now and then"


@dataclass(frozen=True, slots=True)
class Wire:
    """One answer as bytes.

    Attributes:
        pieces: of the body; each is a chunk of its own when `chunked`.
        length: the Content-Length that is stated, if it is not the true one.
        last_chunk: whether a chunked body is ended as it must be.
        late: bytes that follow on the idle connection, unasked.
        silent: nothing is written at all.
    """

    status: int = 200
    headers: tuple[tuple[str, bytes], ...] = ()
    pieces: tuple[bytes, ...] = ()
    chunked: bool = False
    length: int | None = None
    last_chunk: bool = True
    end: End = End.KEEP
    late: bytes = b""
    silent: bool = False

    def head(self, *, chunks: bool) -> bytes:
        """Status line and headers."""
        try:
            reason = http.HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {reason}".encode(), b"Date: " + _date(), b"Server: simulator"]
        lines += [name.encode() + b": " + value for name, value in self.headers]
        if chunks:
            lines.append(b"Transfer-Encoding: chunked")
        elif self.status not in NO_BODY:
            length = sum(map(len, self.pieces)) if self.length is None else self.length
            lines.append(b"Content-Length: %d" % length)
        if self.end is End.CLOSE:
            lines.append(b"Connection: close")
        return b"\r\n".join([*lines, b"", b""])

    def written(self, *, chunks: bool) -> bytes:
        """Head and body."""
        if self.silent:
            return b""
        if not chunks:
            return self.head(chunks=False) + b"".join(self.pieces)
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.pieces if piece)
        return self.head(chunks=True) + body + (b"0\r\n\r\n" if self.last_chunk else b"")


class Sent(web.StreamResponse):
    """Stands for an answer that was written already; aiohttp adds nothing to it."""

    def __init__(self, status: int, *, stays: bool) -> None:
        super().__init__(status=status)
        self._stays = stays

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection takes another request."""
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Writes nothing."""
        del request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Writes nothing."""
        del data


async def send(request: web.Request, wire: Wire, *, hold_s: float) -> Sent:
    """Writes an answer and treats the connection as `wire.end` says; `hold_s` bounds how long it is held."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return Sent(wire.status, stays=False)
    chunks = wire.chunked and request.version >= (1, 1)
    transport.write(wire.written(chunks=chunks))
    match wire.end:
        case End.DROP:
            transport.abort()
        case End.RESET:
            await asyncio.sleep(RESET_AFTER_S)
            _reset(transport)
        case End.HOLD | End.PING:
            await _hold(request, wire.end, hold_s)
        case End.KEEP | End.CLOSE:
            if wire.late:
                asyncio.get_running_loop().call_later(LATE_AFTER_S, _write, transport, wire.late)
            return Sent(wire.status, stays=wire.end is End.KEEP and request.keep_alive)
    return Sent(wire.status, stays=False)


async def _hold(request: web.Request, end: End, hold_s: float) -> None:
    for _ in range(max(1, round(hold_s / PING_EVERY_S))):
        await asyncio.sleep(PING_EVERY_S)
        transport = request.transport
        if transport is None or transport.is_closing():
            return
        if end is End.PING:
            transport.write(b"%x\r\n%b\r\n" % (len(PING), PING))


def _write(transport: asyncio.Transport, data: bytes) -> None:
    if not transport.is_closing():
        transport.write(data)


def _reset(transport: asyncio.Transport) -> None:
    """Closes with RST instead of FIN: a socket that lingers for 0 s does (socket(7))."""
    own = transport.get_extra_info("socket")
    if own is not None:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


_dates: dict[int, bytes] = {}


def _date() -> bytes:
    """The Date header, made once a second."""
    now = int(time.time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True).encode()
    return _dates[now]
