"""Requests leave together, after the records of all of them were written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from batchlab.run_end import RunStopped


class Departing(Protocol):
    """What is about to send a request."""

    def send(self, data: bytes) -> None:
        """Lets the request go, if its connection still takes it."""
        ...

    def fail(self, error: Exception) -> None:
        """It cannot go: whoever waits for the answer gets `error`."""
        ...


class Departures:
    """Requests that leave together at the end of a turn of the event loop, after one write.

    A write before each of them took 12 % of the CPU, and every write lets another thread have the
    interpreter for 5 ms.

    Args:
        write: writes the records of all requests that are to leave. It may raise RunStopped: then none
            of them leaves.
    """

    def __init__(self, write: Callable[[], None] = lambda: None) -> None:
        self.write = write
        self._waiting: list[tuple[Departing, bytes]] = []

    def add(self, exchange: Departing, data: bytes) -> None:
        """`data` is sent at the end of this turn; if it cannot be, `exchange` fails."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._leave)
        self._waiting.append((exchange, data))

    def _leave(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            self.write()
        except RunStopped as error:
            for exchange, _ in waiting:
                exchange.fail(error)
            return
        for exchange, data in waiting:
            exchange.send(data)
