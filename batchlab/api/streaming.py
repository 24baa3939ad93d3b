"""The results of a run in a thread of its own, handed to the event loop that asks for them."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeAlias

from batchlab.api.errors import run_stopped, short_errors
from batchlab.records import Completion, Failure
from batchlab.run_end import RunSummary
from batchlab.runner.embedded.interrupt import Interrupt, in_thread
from batchlab.runner.embedded.outbox import Outbox

Start: TypeAlias = Callable[[Interrupt, Outbox], RunSummary]


async def streamed(start: Start, most: int) -> AsyncGenerator[Completion | Failure, None]:
    """The results of the run that `start` runs, as they arrive; `most` of them may wait.

    Raises:
        RunStopped: after the last result, when the run stopped early.
    """
    outbox, interrupt = Outbox(most, asyncio.get_running_loop()), Interrupt("the stream was left")
    ended = in_thread(lambda: start(interrupt, outbox))
    ended.add_done_callback(lambda _: outbox.end())
    try:
        while True:
            last = ended.done()  # looked at first: what came before the end is handed out
            while (result := outbox.next()) is not None:
                yield result
            if last:
                break
            await outbox.changed()
    finally:
        if not ended.done():
            interrupt()
            outbox.close()
            await _drained(ended, interrupt)
    with short_errors():
        summary = ended.result()
        if summary.stopped is not None:
            raise run_stopped(summary)


async def _drained(ended: concurrent.futures.Future[Any], interrupt: Interrupt) -> None:
    """Waits for a run that was told to stop; cancelled meanwhile, it leaves requests in flight behind."""
    waited = asyncio.wrap_future(ended)
    try:
        await asyncio.shield(waited)
    except asyncio.CancelledError:
        interrupt()
        await asyncio.shield(waited)
        raise
