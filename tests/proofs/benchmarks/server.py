"""A server that no client here can saturate: nginx with a canned reply, else asyncio without a parser.

nginx gives every POST the same chat completion (1.2 kB), or the same stream of SSE chunks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ANSWER = " ".join(["It arrived early and works as described, though the manual is thin."] * 15)[:900]
STREAM_CHUNKS = 200


@dataclass(frozen=True, slots=True)
class Canned:
    """A running server: its name and version, and base URLs.

    `slow` answers after a lognormal latency, `chunks` streams a chunk a write; only the asyncio
    server has them.
    """

    name: str
    plain: str
    stream: str
    slow: str = ""
    chunks: str = ""


def completion_bytes() -> bytes:
    """The plain reply."""
    reply = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1764000000,
        "model": "bench",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 125, "completion_tokens": 180, "total_tokens": 305},
        "system_fingerprint": "fp_0123456789",
    }
    return json.dumps(reply).encode()


def stream_bytes() -> bytes:
    """The streamed reply: a role, `STREAM_CHUNKS` chunks of content, a reason, usage, [DONE]."""

    def chunk(choices: list[object], **more: object) -> bytes:
        head = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1764000000}
        return (
            b"data: " + json.dumps({**head, "model": "bench", "choices": choices, **more}).encode() + b"\n\n"
        )

    def delta(delta: dict[str, str], reason: str | None = None) -> list[object]:
        return [{"index": 0, "delta": delta, "finish_reason": reason}]

    usage = {"prompt_tokens": 125, "completion_tokens": STREAM_CHUNKS, "total_tokens": 125 + STREAM_CHUNKS}
    return b"".join(
        [
            chunk(delta({"role": "assistant", "content": ""})),
            *(chunk(delta({"content": f" word{number}"})) for number in range(STREAM_CHUNKS)),
            chunk(delta({}, "stop")),
            chunk([], usage=usage),
            b"data: [DONE]\n\n",
        ]
    )


@contextlib.contextmanager
def canned_server(*, cpus: set[int] | None = None) -> Iterator[Canned]:
    """Serves the canned replies on loopback until the body ends, held to `cpus` when given."""
    with tempfile.TemporaryDirectory(prefix="batchlab-bench-") as folder:
        start = _nginx if shutil.which("nginx") else asyncio_server
        with start(Path(folder), cpus) as canned:
            yield canned


@contextlib.contextmanager
def _nginx(folder: Path, cpus: set[int] | None) -> Iterator[Canned]:
    port = _free_port()
    replies = folder / "replies"
    replies.mkdir(mode=0o755)
    folder.chmod(0o755)
    (replies / "plain.json").write_bytes(completion_bytes())
    (replies / "stream.sse").write_bytes(stream_bytes())
    config = folder / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""
    config.write_text(
        f"""{user}
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_body_buffer_size 256k; open_file_cache max=10; tcp_nodelay on; sendfile off;
  output_buffers 2 64k;
  server {{
    listen 127.0.0.1:{port} backlog=8192 default_server;
    error_page 405 =200 $uri;
    root {replies};
    location = /v1/chat/completions {{ default_type application/json; error_page 405 =200 /plain.json; return 405; }}
    location = /stream/chat/completions {{ error_page 405 =200 /stream.sse; return 405; }}
    location = /plain.json {{ types {{ }} default_type application/json; }}
    location = /stream.sse {{ types {{ }} default_type text/event-stream; }}
  }}
}}
"""
    )
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
    process = subprocess.Popen(
        ["nginx", "-c", str(config), "-p", str(folder)], stderr=subprocess.DEVNULL, preexec_fn=_held_to(cpus)
    )
    try:
        _wait(port)
        base = f"http://127.0.0.1:{port}"
        yield Canned(version.removeprefix("nginx version: "), f"{base}/v1", f"{base}/stream")
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def asyncio_server(folder: Path | None = None, cpus: set[int] | None = None) -> Iterator[Canned]:
    """The server of `fallback_server`; its `slow` and `chunks` are bases beside `/v1`."""
    del folder
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.proofs.benchmarks.fallback_server"],
        stdout=subprocess.PIPE,
        preexec_fn=_held_to(cpus),
    )
    try:
        assert process.stdout is not None
        base = f"http://127.0.0.1:{int(process.stdout.readline())}"
        name = "asyncio without an HTTP parser"
        yield Canned(name, f"{base}/v1", f"{base}/stream", f"{base}/slow", f"{base}/chunks")
    finally:
        process.terminate()
        process.wait()


def _held_to(cpus: set[int] | None):
    return (lambda: os.sched_setaffinity(0, cpus)) if cpus else None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError("the server did not start")
