"""A client that only knows sockets: what a server really sends, byte by byte.

It shares no code with batchlab, and has no opinion on what is right.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import CANARY

PATIENCE_S = 20.0  # the machine may be busy


@dataclass(frozen=True)
class Heard:
    """All that came for one request.

    Attributes:
        ended: `whole` by its framing, `quiet` without that, `closed` or `reset` by the server.
        rest: what came behind a whole answer.
    """

    data: bytes
    ended: str
    rest: bytes = b""

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    @property
    def body(self) -> bytes:
        """Without chunk sizes."""
        head, _, body = self.data.partition(b"\r\n\r\n")
        return b"".join(self.chunks) if b"transfer-encoding: chunked" in head.lower() else body

    @property
    def chunks(self) -> list[bytes]:
        chunks, left = [], self.data.partition(b"\r\n\r\n")[2]
        while size := re.match(rb"([0-9a-f]+)\r\n", left):
            start, length = size.end(), int(size[1], 16)
            if length:
                chunks.append(left[start : start + length])
            left = left[start + length + 2 :]
        return chunks

    def header(self, name: str) -> bytes | None:
        """The raw value of a header; None when it is not there."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b": ")
            if key.decode("latin-1").lower() == name.lower():
                return value
        return None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The JSON of the stream's `data:` lines, `[DONE]` left out."""
        lines = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line.strip() != b"[DONE]"]


def connect(base_url: str) -> socket.socket:
    parts = urlsplit(base_url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def request(base_url: str, path: str, body: Any, *, method: str = "POST", key: str = CANARY) -> bytes:
    """A request as bytes; a body that is bytes goes out as it is."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    parts = urlsplit(base_url)
    return (
        f"{method} {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    ).encode() + raw


def heard(connection: socket.socket, *, quiet_s: float = PATIENCE_S, more: bool = False) -> Heard:
    """Reads one answer, and a second one behind it if `more` is expected."""
    data, ended = _read(connection, quiet_s)
    rest = _read(connection, PATIENCE_S)[0] if more and ended == "whole" else b""
    return Heard(data, ended, rest)


def _read(connection: socket.socket, quiet_s: float) -> tuple[bytes, str]:
    """One answer, and how it ended."""
    data = b""
    connection.settimeout(quiet_s)
    while not _whole(data):
        try:
            more = connection.recv(1 << 20)
        except TimeoutError:
            return data, "quiet"
        except ConnectionResetError:
            return data, "reset"
        if not more:
            return data, "closed"
        data += more
    return data, "whole"


def _whole(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return body.endswith(b"0\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", lower)
    return length is None or len(body) >= int(length[1])


def ask(
    base_url: str,
    body: Any,
    path: str = "/chat/completions",
    *,
    quiet_s: float = PATIENCE_S,
    more: bool = False,
    **how: Any,
) -> Heard:
    """One request on a connection of its own."""
    with connect(base_url) as connection:
        connection.sendall(request(base_url, path, body, **how))
        return heard(connection, quiet_s=quiet_s, more=more)


def chat(text: str, *, stream: bool = False, **more: Any) -> dict[str, Any]:
    """A chat request; streamed, it asks for the usage."""
    body: dict[str, Any] = {"model": "sim", "messages": [{"role": "user", "content": text}], **more}
    return {**body, "stream": True, "stream_options": {"include_usage": True}} if stream else body
