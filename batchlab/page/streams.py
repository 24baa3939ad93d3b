"""Server-sent events: what is told of a thing whenever it has changed, to as many as listen."""

from __future__ import annotations

import asyncio
import contextlib
import time

from aiohttp import web

from batchlab.page.answers import trouble, with_headers
from batchlab.page.feeds import Feed

MOST_STREAMS = 64  # a browser opens six at most
QUIET_S = 15.0  # then a comment is sent: who has gone is noticed by it
AGAIN_MS = 2_000  # after which a browser asks again


class Streams:
    """All who listen now.

    Attributes:
        ended: set when the server is about to end; each stream ends with it.
    """

    def __init__(self, every_s: float = 1.0) -> None:
        self.ended = asyncio.Event()
        self._every_s = every_s
        self._open = 0

    async def follow(self, request: web.Request, feed: Feed) -> web.StreamResponse:
        """Tells a browser what a feed has, until it goes away."""
        if self._open >= MOST_STREAMS:
            return trouble("too many pages are open; close some", 503)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        with_headers(answer)
        self._open += 1  # before anything is waited for: many may ask at once
        try:
            await answer.prepare(request)
            # a closed connection shows by its transport, or by a write that fails
            with contextlib.suppress(ConnectionError):
                await self._tell(request, answer, feed)
        finally:
            self._open -= 1
        return answer

    async def _tell(self, request: web.Request, answer: web.StreamResponse, feed: Feed) -> None:
        await answer.write(f"retry: {AGAIN_MS}\n\n".encode())
        told, spoke = 0, time.monotonic()
        while not self.ended.is_set():
            version, data = await feed.latest()
            if version != told:
                await answer.write(b"data: " + data + b"\n\n")
                told, spoke = version, time.monotonic()
            elif time.monotonic() - spoke >= QUIET_S:
                await answer.write(b":\n\n")
                spoke = time.monotonic()
            if request.transport is None or request.transport.is_closing():
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), self._every_s)
