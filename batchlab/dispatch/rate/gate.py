"""Holding back rows that are not begun, while the one who takes the results is behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Gate:
    """Passed before each new row; closed while `behind()`. Belongs to one event loop.

    What is in flight when it closes still arrives, so at most as many results wait as the taker
    allows and requests were in flight.
    """

    def __init__(self, behind: Callable[[], bool]) -> None:
        self._behind = behind
        self._stopped = False
        self._waiting: list[asyncio.Future[None]] = []

    async def passed(self) -> bool:
        """Returns when a row may be begun; False when the run ends and none may."""
        while self._behind() and not self._stopped:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        return not self._stopped

    def look(self) -> None:
        """To be called after results were taken."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def stop(self) -> None:
        """Opens it for good: the run ends, and nobody is to wait here."""
        self._stopped = True
        self.look()
