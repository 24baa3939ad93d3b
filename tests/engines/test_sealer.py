"""The thread that seals shards."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest

from batchlab.engines.sealer import NICENESS, Sealer


async def test_jobs_run_one_after_another_and_return_or_raise_what_they_do():
    sealer, running, most = Sealer(), [], []

    def job(number: int) -> int:
        running.append(number)
        most.append(len(running))
        running.remove(number)
        if number == 2:
            raise ValueError("two")
        return number

    results = await asyncio.gather(
        *(sealer.run(lambda n=n: job(n)) for n in range(4)), return_exceptions=True
    )

    assert [str(one) for one in results] == ["0", "1", "two", "3"]
    assert max(most) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no priority of its own there")
async def test_it_leaves_the_processor_to_the_event_loop():
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()

    assert await Sealer().run(niceness) == max(before, NICENESS)
    assert niceness() == before
