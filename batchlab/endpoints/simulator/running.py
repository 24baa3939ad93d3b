"""Running the simulator: in a thread of its own, or for as long as a coroutine lasts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.server import PREFIX, Provider


class Simulator:
    """The simulator in a thread of its own; also a context manager.

    `clock` tells the seconds since 1970 by which it charges, caches and lets faults pass.
    """

    def __init__(
        self, options: SimulatorOptions | None = None, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._options = options or SimulatorOptions()
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._ready = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="simulator", daemon=True)
        self.base_url = ""

    def start(self) -> str:
        """Listens on loopback and returns the base URL. Raises OSError when the port is taken."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self.base_url

    def stop(self) -> None:
        """Stops listening; requests in flight are dropped."""
        if self._loop is not None and self._ended is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _work(self) -> None:
        async def main() -> None:
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()

            def listening(url: str) -> None:
                self.base_url = url
                self._ready.set()

            await serve(self._options, listening, until=self._ended, clock=self._clock)

        try:
            asyncio.run(main())
        except OSError as error:
            self._error = error
        finally:
            self._ready.set()


async def serve(
    options: SimulatorOptions,
    listening: Callable[[str], None],
    *,
    until: asyncio.Event | None = None,
    clock: Callable[[], float] | None = None,
) -> None:
    """Serves until `until` is set (for ever without it); tells the base URL once it listens."""
    provider = Provider(options, clock)
    runner = web.AppRunner(provider.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", options.port, backlog=4_096)
        await site.start()
        host, port = runner.addresses[0][:2]
        listening(f"http://{host}:{port}{PREFIX}")
        await (until or asyncio.Event()).wait()
    finally:
        await runner.cleanup()
        provider.close()
