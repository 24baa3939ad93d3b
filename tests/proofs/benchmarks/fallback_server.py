"""The canned replies from an asyncio protocol that looks for no more than where a request ends.

For machines without nginx, and for what nginx does not do: `/slow` answers after a lognormal
latency (mean 1 s), `/chunks` sends its stream a chunk a write, as a model that is thinking does.
Prints its port, then serves until it is killed.
"""

from __future__ import annotations

import asyncio
import random
import re

from tests.proofs.benchmarks.server import completion_bytes, stream_bytes

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
SIGMA = 0.5  # of the logarithm of the latency
MEAN_S = 1.0
CHUNK_S = 0.02  # between two chunks: 50 tokens a second


def _response(kind: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)) + body


def _chunks() -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    events = [event + b"\n\n" for event in stream_bytes().split(b"\n\n") if event]
    return [head, *(b"%x\r\n%b\r\n" % (len(event), event) for event in events), b"0\r\n\r\n"]


class Canned(asyncio.Protocol):
    """Answers each request of a connection once its body has arrived."""

    plain = _response(b"application/json", completion_bytes())
    stream = _response(b"text/event-stream", stream_bytes())
    chunks = _chunks()
    rng = random.Random(1)

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
            self._answer(self._got[: self._got.find(b" HTTP")])
            self._got = self._got[whole:]

    def _answer(self, line: bytes) -> None:
        loop = asyncio.get_running_loop()
        if line.startswith(b"POST /slow"):
            latency = MEAN_S * self.rng.lognormvariate(-(SIGMA**2) / 2, SIGMA)
            loop.call_later(latency, self._transport.write, self.plain)
        elif line.startswith(b"POST /chunks"):
            self._chunk(iter(self.chunks))
        else:
            self._transport.write(self.stream if line.startswith(b"POST /stream") else self.plain)

    def _chunk(self, rest) -> None:
        if (chunk := next(rest, None)) is not None:
            self._transport.write(chunk)
            asyncio.get_running_loop().call_later(CHUNK_S, self._chunk, rest)


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
