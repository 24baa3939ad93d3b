"""An endpoint that keeps the bytes it is sent, and answers as the test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[dict], tuple[int, dict]]


def chat_reply(content: str, **more: object) -> dict:
    """A chat completion of three tokens and two."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"choices": [choice], "usage": usage, **more}


class Provider:
    """What a test sees of it: its address, and the bodies in the order in which they came."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.raw_bodies: list[bytes] = []

    @property
    def bodies(self) -> list[dict]:
        return [json.loads(body) for body in self.raw_bodies]


@contextmanager
def providing(answer: Answer) -> Iterator[Provider]:
    """Serves `/v1/…` on loopback; `answer` gives the status and the reply to a body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            provider.raw_bodies.append(data)
            status, reply = answer(json.loads(data))
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("x-request-id", f"req-{len(provider.raw_bodies)}")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        provider = Provider(f"http://127.0.0.1:{server.server_address[1]}/v1")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield provider
        finally:
            server.shutdown()
