"""A real S3 server on loopback, with a door in front of it that can be told to refuse."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
UNKNOWN_KEY = (
    b"<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id is unknown.</Message></Error>"
)
KEY, SECRET = "AKIATESTKEY", "canary-of-the-store-0123456789"


@dataclass
class Door:
    """Passes requests on to the server, and refuses those that a rule matches.

    Attributes:
        refuse: (pattern of `METHOD /path RANGE`, HTTP status, body) of what is refused.
        seen: (`METHOD /path`, Range header) of every request, in order.
    """

    port: int
    refuse: list[tuple[str, int, bytes]] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def passed(self) -> None:
                body = self.body()
                line = f"{self.command} {self.path}"
                door.seen.append((line, self.headers.get("Range") or ""))
                for pattern, status, answer in door.refuse:
                    if re.search(pattern, f"{line} {self.headers.get('Range') or ''}"):
                        return self.answer(status, {}, b"" if self.command == "HEAD" else answer)
                kept = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in {"host", "connection", "expect", "transfer-encoding"}
                }
                server = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
                with contextlib.closing(server):
                    server.request(self.command, self.path, body, kept)
                    reply = server.getresponse()
                    return self.answer(reply.status, dict(reply.headers), reply.read())

            def body(self) -> bytes | None:
                if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                    length = int(self.headers.get("Content-Length") or 0)
                    return self.rfile.read(length) if length else None
                whole = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                        self.send_header(name, value)
                if "content-length" not in {name.lower() for name in headers}:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = passed  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A killed run breaks its connections off, which is nothing to report."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(re.search(pattern, line) is not None for line, _ in self.seen)


def moto() -> tuple[subprocess.Popen, int]:
    """A moto server in a process of its own, and its port."""
    code = (
        "from moto.server import ThreadedMotoServer as S; import sys; "
        "s = S(ip_address='127.0.0.1', port=0, verbose=False); s.start(); "
        "print(s.get_host_and_port()[1], flush=True); sys.stdin.read()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def s3_environment(url: str) -> dict[str, str]:
    """What tells S3 clients where the store is, and who asks."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }
