"""Reading for the page, beside the loop that answers: a store that hangs must not keep Ctrl-C waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """What `call` returns or raises, in a thread that a process does not wait for when it ends.

    `asyncio.to_thread` has its threads joined, and with them a read that never comes back.
    """
    loop = asyncio.get_running_loop()
    came: asyncio.Future[T] = loop.create_future()

    def put(value: T | None, error: BaseException | None) -> None:
        if came.done():  # who asked has gone
            return
        if error is not None:
            came.set_exception(error)
        else:
            came.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value, error = None, None
        try:
            value = call()
        except BaseException as raised:  # noqa: BLE001 - handed to who asked, whatever it is
            error = raised
        try:
            loop.call_soon_threadsafe(put, value, error)
        except RuntimeError:
            return  # the loop has ended

    threading.Thread(target=work, name="page", daemon=True).start()
    return await came
