"""What is told of a thing while it changes: looked for once a second however many ask, and not at all when
nobody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from weakref import WeakValueDictionary

EVERY_S = 1.0


class Feed:
    """The newest state of one thing.

    Args:
        look: what is to be told, as JSON; raises nothing.
    """

    def __init__(self, look: Callable[[], Awaitable[bytes]], every_s: float = EVERY_S) -> None:
        self._look = look
        self._every_s = every_s
        self._turn = asyncio.Lock()
        self._next = 0.0
        self._version = 0
        self._data = b""

    async def latest(self) -> tuple[int, bytes]:
        """What is to be told, and a number that grows whenever that has changed."""
        async with self._turn:
            if time.monotonic() >= self._next:
                data = await self._look()
                self._next = time.monotonic() + self._every_s * 0.9  # who asks each second gets the newest
                if data != self._data:
                    self._data = data
                    self._version += 1
            return self._version, self._data


class Feeds:
    """Feeds by what they are of, each for as long as somebody follows it."""

    def __init__(self) -> None:
        self._feeds: WeakValueDictionary[Hashable, Feed] = WeakValueDictionary()

    def feed(self, key: Hashable, look: Callable[[], Awaitable[bytes]], every_s: float = EVERY_S) -> Feed:
        """The feed of a thing, to be held by who follows it."""
        found = self._feeds.get(key)
        if found is None:
            found = self._feeds[key] = Feed(look, every_s)
        return found
