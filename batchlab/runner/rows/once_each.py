"""Sending identical requests once (`--dedupe`): passes of an engine, with copies of answers between them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from functools import partial

from batchlab.counts import counted
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.work import Engine, Work
from batchlab.records import Completion, Shard
from batchlab.runner.preparing.prepare import Prepared
from batchlab.runner.rows.duplicates import Duplicates
from batchlab.runner.run_options import RunOptions
from batchlab.runner.telling import Telling
from batchlab.runner.to_do import shards_to_run
from batchlab.store.answers import Answers
from batchlab.store.locked import LockedRun


async def run_once_each(
    engine: Engine[Work[LockedRun]],
    prepared: Prepared,
    work: Work[LockedRun],
    stop: StopSignal,
    shards: Sequence[Shard],
    options: RunOptions,
    telling: Telling,
) -> None:
    """Brings shards to their parts: a pass for the first of each group, copies, and on with what failed."""
    duplicates = await asyncio.to_thread(Duplicates, prepared)
    telling.doubled = duplicates.extra
    if duplicates.extra:
        count, rows = counted(duplicates.extra, "row"), work.plan.rows
        telling.message(f"dedupe: {count} of {rows:,} ask what an earlier row asks; sent once")

    def took(copy: Completion) -> None:
        if options.taker is not None:
            options.taker.take_in_turn(copy)

    with Answers(work.run.path) as answers:
        settle = partial(duplicates.settle, answers, stop=stop, totals=telling.copied, took=took)
        while shards and not stop.is_set:
            held = await asyncio.to_thread(settle)
            shards = shards_to_run(work.run, shards, options.retry)
            if shards:
                await engine.run(
                    dataclasses.replace(work, held=held), stop, retry=options.retry, shards=shards
                )
            if held is None:
                return
