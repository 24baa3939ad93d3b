"""The real command with an eye on its event loop: how late a 5 ms sleep wakes up.

Prints one JSON object: the longest delay while a shard is sealed (one figure a seal), the
longest at other times, and how long each seal took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from batchlab.cli import main
from batchlab.engines.local import LocalEngine
from batchlab.store.shard import OpenShard

EVERY_S = 0.005
delays: list[tuple[float, float]] = []  # (when it woke up, how late)
seals: list[tuple[float, float]] = []  # (from, to)


def watched() -> None:
    """Puts the watch into the engine and a stop-watch on each seal."""
    tick, seal = LocalEngine._tick, OpenShard.seal

    async def heartbeat() -> None:
        while True:
            due = time.monotonic() + EVERY_S
            await asyncio.sleep(EVERY_S)
            now = time.monotonic()
            delays.append((now, now - due))

    async def ticking(self: Any, *given: Any) -> None:
        beat = asyncio.create_task(heartbeat())
        try:
            await tick(self, *given)
        finally:
            beat.cancel()

    def sealing(self: Any, *given: Any) -> Any:
        began = time.monotonic()
        try:
            return seal(self, *given)
        finally:
            seals.append((began, time.monotonic()))

    LocalEngine._tick = ticking  # type: ignore[method-assign]
    OpenShard.seal = sealing  # type: ignore[method-assign]


if __name__ == "__main__":
    watched()
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise
    inside = [
        max((late for at, late in delays if began <= at - late <= ended), default=0.0)
        for began, ended in seals
    ]
    outside = [late for at, late in delays if not any(began <= at - late <= ended for began, ended in seals)]
    print(
        json.dumps(
            {
                "while_sealing_s": inside,
                "otherwise_s": max(outside, default=0.0),
                "seals_s": [ended - began for began, ended in seals],
            }
        ),
        file=sys.stdout,
    )
