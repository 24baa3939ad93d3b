"""How a run is told to end: one signal, with the first reason that came up."""

from __future__ import annotations

import asyncio

from batchlab.run_end import StopReason


class StopSignal:
    """Ends dispatch: set once, by the first reason that comes up."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: StopReason | None = None
        self.message = ""

    def __call__(self, reason: StopReason, message: str) -> None:
        if self.reason is None:
            self.reason, self.message = reason, message
            self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether dispatch is to end."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Returns when dispatch is to end."""
        await self._event.wait()
