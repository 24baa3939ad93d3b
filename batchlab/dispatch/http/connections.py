"""Connections that answer only who asked.

aiohttp keeps a connection that rests in its pool open to whatever the server sends, parses it, and
gives it to the next request (aio-libs/aiohttp 13656): a duplicate answer, or the 408 that a server
says before it hangs up (mopemope/meinheld 41), becomes another row's result. Go's net/http and ureq
(algesten/ureq 1198) drop such a connection; so does this. There are four moments at which something
may come that nobody asked for:

- while the connection rests: it is dropped when the bytes arrive;
- when it has been taken and the request has not left, or when it came and the event loop has not read
  it: one look at the socket right before the request is written. Nothing was sent, so the request
  goes over another connection and is charged no attempt. A connection that the server has closed in
  the meantime is seen by the same look;
- when both crossed on their way: TCP tells. Whatever a server sends acknowledges what its machine has
  received, so an answer to a request of which not a byte is acknowledged is none. The request was sent:
  it failed, and may be asked again;
- behind the answer, in the same packet: `should_close` sees the second head, and the parser is asked
  whether it is in the middle of one; then the connection is not kept. What is no HTTP makes the parser
  fail, and lose the answer: the answer is parsed again without it (`framing`).

A look is `getsockopt`, 0.5 µs: unlike `poll` and `ioctl` it does not let another thread have the
interpreter, which at each request would stall the event loop while a part is written.
"""

from __future__ import annotations

import asyncio
import functools
import select
import socket
import sys
from http import HTTPStatus
from typing import Any, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.tracing import Trace

from batchlab.dispatch.http.framing import well_framed
from batchlab.dispatch.http.wire import UnaskedError

# Linux, include/uapi/asm-generic/socket.h; the values are those of `sk_get_meminfo` in net/core/sock.c
_SO_MEMINFO = 55
_NOTHING = bytes(4)
_RECEIVED = slice(0, 4)  # SK_MEMINFO_RMEM_ALLOC: what has come and was not read, the end included
_WRITTEN = slice(20, 24)  # SK_MEMINFO_WMEM_QUEUED: what was written and is not acknowledged


def _meminfo_known() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            return len(probe.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _WRITTEN.stop)) == _WRITTEN.stop
        except OSError:  # gVisor, WSL 1
            return False


if sys.platform == "linux" and _meminfo_known():
    from fcntl import ioctl
    from termios import TIOCOUTQ

    def _heard(sock: socket.socket) -> bool:
        """Whether a socket holds bytes, or the news of its end, that nobody has read."""
        return sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _RECEIVED.stop) != _NOTHING

    def _unacknowledged(sock: socket.socket) -> int:
        """Bytes written to a TCP socket that its peer has not acknowledged (`tcp_ioctl`, net/ipv4/tcp.c)."""
        if sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _WRITTEN.stop)[_WRITTEN] == _NOTHING:
            return 0
        return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)

else:

    def _heard(sock: socket.socket) -> bool:
        """Whether a socket holds bytes, or the news of its end, that nobody has read."""
        if sys.platform == "win32":
            return bool(select.select([sock.fileno()], [], [], 0)[0])
        poll = select.poll()  # select itself knows no descriptor past 1,023
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _unacknowledged(sock: socket.socket) -> int:  # noqa: ARG001
        """0: nobody here can say what is not acknowledged."""
        return 0


class _Borrowed(socket.socket):
    """The socket of a transport, to look at: it is never closed by this object.

    uvloop's own stand-in makes a new socket object for each look, which takes 1.3 µs.
    """

    __slots__ = ()

    def __del__(self) -> None:
        self.detach()


class AskedHandler(ResponseHandler):
    """aiohttp's protocol of a connection, which takes bytes only while an answer is owed.

    `_owed` is True until the connector hands the connection out, because the connector speaks first
    itself where there is a tunnel. After that it is changed by `departs` and `rests` alone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._owed = True
        self._used = False  # it has rested in the pool
        self._unheard = 0  # bytes of the request whose answer has not begun
        self._socket: socket.socket | None = None  # valid as long as the transport is open
        self._plain = True  # a TLS server speaks unasked: it hands out tickets
        self._came: bytes | None = None  # since the request left, until its answer's head is there
        self._parsing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands: its socket is kept, to look at."""
        super().connection_made(transport)
        seen = transport.get_extra_info("socket")
        if seen is not None:
            self._socket = _Borrowed(seen.family, seen.type, seen.proto, seen.fileno())
        self._plain = transport.get_extra_info("sslcontext") is None

    def rests(self) -> None:
        """It is given back: nothing is owed any more."""
        self._owed, self._used = False, True

    def made(self) -> None:
        """The connector has done with it: it is handed out for the first time, and nothing was asked yet."""
        self._owed = False

    def departs(self, size: int) -> bool:
        """Whether a request of `size` bytes may be written now.

        If not, the connection is dropped and who reads from it gets `UnaskedError`.
        """
        if not self.is_connected():
            self._drop("the connection was closed before the request was sent")
        elif self.should_close or (
            self._socket is not None and (self._used or self._plain) and _heard(self._socket)
        ):
            self._drop("the server spoke or hung up before it was asked")
        else:
            self._owed, self._unheard, self._came = True, size, b""
            return True
        return False

    def data_received(self, data: bytes) -> None:
        """Takes what came; what nobody asked for drops the connection."""
        if self._owed:
            if self._unheard and data:
                size, self._unheard = self._unheard, 0
                if self._socket is not None and self._crossed(_unacknowledged(self._socket), size):
                    self._drop("the server's answer was on its way before the request")
                    return
            self._parse(data)
            # aiohttp gives a connection back in the middle of that, where the answer ends: more came with it
            if not self._is_owed() and (self._buffer or self.has_begun()):
                self._drop("the server spoke before it was asked")
        elif data:
            self._drop("the server spoke before it was asked")
        else:  # aiohttp's own call, to go on with what it has
            super().data_received(data)

    def _parse(self, data: bytes) -> None:
        if self._came is not None:
            self._came += data
        self._parsing = True
        super().data_received(data)
        self._parsing = False
        if self._came is not None and self._buffer and self._buffer[-1][0][0].code >= HTTPStatus.OK:
            self._came = None

    def has_begun(self) -> bool:
        """Whether, behind an answer that has ended, the beginning of something else was read."""
        parser = self._parser
        if parser is None or self._parsing:
            return False
        try:
            return parser.feed_eof() is not None
        except Exception:  # noqa: BLE001  # whatever it is, it is not nothing
            return True

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Keeps an answer that came whole before what is no HTTP; aiohttp has closed the connection then.

        Of one whose head was read earlier, the reader has it.
        """
        if self._parsing and isinstance(exc, HttpProcessingError):
            came, self._came = self._came, None
            if came and (end := well_framed(came)):
                self.force_close()
                self.set_response_params(read_until_eof=True)
                super().data_received(came[:end])
                if self._payload is not None and self._buffer:
                    self._cut_short(self._payload)
                    return
            elif came is None and self._payload is not None:
                self._cut_short(self._payload)
        super().set_exception(exc, *cause)

    @staticmethod
    def _cut_short(content: aiohttp.StreamReader) -> None:
        """No more of a body can come; aiohttp lets its reader wait."""
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("what follows in the answer is no HTTP"))

    def eof_received(self) -> None:
        """The server sends no more; over TLS the end of the connection may be long in coming."""
        if self._owed:
            super().eof_received()
        else:
            self._drop("the connection was closed before the request was sent")

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone; who is about to send over it gets `UnaskedError`."""
        if not self._owed and self.exception() is None:
            self._fail("the connection was closed before the request was sent")
        super().connection_lost(exc)

    def _is_owed(self) -> bool:
        return self._owed

    def _crossed(self, waiting: int, size: int) -> bool:
        """Whether not a byte of the request has reached the server's machine."""
        if not waiting:
            return False
        transport = self.transport
        return waiting + (transport.get_write_buffer_size() if transport is not None else 0) >= size

    def _drop(self, why: str) -> None:
        self.abort()
        self._buffer.clear()
        self._fail(why)

    def _fail(self, why: str) -> None:
        self.set_exception(UnaskedError(why, again=self._used and not self._owed))


class AskingRequest(aiohttp.ClientRequest):
    """A session's request, which looks at the connection before it writes."""

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Writes the body, and with it the head, which waits in `writer`; neither where the server spoke."""
        protocol = conn.protocol
        # the head's size is not known here: an answer to the head alone is taken for one that crossed
        if isinstance(protocol, AskedHandler) and not protocol.departs(content_length or 1):
            return
        await super().write_bytes(writer, conn, content_length)


class Connections(aiohttp.TCPConnector):
    """aiohttp's connector and pool, of connections that answer only who asked."""

    request_class = AskingRequest

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        made = functools.partial(AskedHandler, asyncio.get_running_loop())
        self._factory = cast("functools.partial[ResponseHandler]", made)

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        handler = await super()._create_connection(req, traces, timeout)
        cast("AskedHandler", handler).made()
        return handler

    def _release(
        self,
        key: Any,
        protocol: AskedHandler,  # type: ignore[override]  # a cast at each request is dear
        *,
        should_close: bool = False,
    ) -> None:
        protocol.rests()
        super()._release(key, protocol, should_close=should_close or protocol.has_begun())
