"""The canned replies from an asyncio protocol that looks for no more than where a request ends.

For machines without nginx. Prints its port, then serves until it is killed.
"""

from __future__ import annotations

import asyncio
import re

from tests.benchmarks.server import completion_bytes, stream_bytes

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def _response(kind: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)) + body


class Canned(asyncio.Protocol):
    """Answers each request of a connection once its body has arrived."""

    plain = _response(b"application/json", completion_bytes())
    stream = _response(b"text/event-stream", stream_bytes())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._got = b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._got, 0, end)
            whole = end + 4 + (int(length.group(1)) if length else 0)
            if len(self._got) < whole:
                return
            self._transport.write(self.stream if self._got.startswith(b"POST /stream") else self.plain)
            self._got = self._got[whole:]


async def main() -> None:
    """Serves until it is killed."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
