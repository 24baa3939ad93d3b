"""The thread in which shards are sealed, one after another, behind what the event loop does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# Above the event loop's: where both share a core, sealing gets a quarter of it. It needs an eighth when
# requests take all of the rest, so that shards do not pile up.
NICENESS = 5


class Sealer:
    """Runs one job at a time in a thread that leaves the processor to the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batchlab-seal", initializer=_step_back)

    async def run(self, job: Callable[[], T]) -> T:
        """What `job` returns or raises, once those before it are done."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)


def _step_back() -> None:
    """Makes this thread nicer. Only Linux gives each thread a priority of its own; it may be forbidden."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
