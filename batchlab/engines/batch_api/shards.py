"""The shards that batches have still to bring to their parts: which are free, and what is done to one."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from batchlab.dispatch.correction import Correction
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.rate.worst_case import WorstCase
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.life import Out
from batchlab.engines.batch_api.merging import Merged, Merging
from batchlab.engines.batch_api.packing import Packing
from batchlab.engines.batch_api.results import Results
from batchlab.engines.sealer import Sealer
from batchlab.engines.work import Work
from batchlab.records import Failure, Result, Shard
from batchlab.store.asking import AskAgain
from batchlab.store.batches import Batch
from batchlab.store.locked import LockedRun
from batchlab.store.shard import OpenShard
from batchlab.totals import RunningTotals


class ShardsLeft:
    """The shards of one run of the engine.

    A shard is open only while something is done to it, and by one at a time.

    Args:
        totals: of what is added to the run; grows here.
        folder: where lines wait to be sent.
    """

    def __init__(
        self,
        work: Work[LockedRun],
        shards: Sequence[Shard],
        *,
        retry: AskAgain | None,
        correction: Correction | None,
        totals: RunningTotals,
        folder: Path,
    ) -> None:
        self._work = work
        self._retry = retry
        self._correction = correction
        self._totals = totals
        self._folder = folder
        self._left = {shard.index: shard.rows for shard in shards}  # rows that are pending, at most
        self._free: deque[int] = deque()
        self._was_out: set[int] = set()
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sealer = Sealer()

    @property
    def rows(self) -> int:
        """Pending rows of the shards that are free."""
        return sum(self._left[index] for index in self._free)

    @property
    def returned_rows(self) -> int:
        """Those of them that have been in a batch."""
        return sum(self._left[index] for index in self._free if index in self._was_out)

    def find_free(self, taken: set[int]) -> None:
        """All are free but those taken."""
        self._free.extend(index for index in sorted(self._left) if index not in taken)

    def next(self) -> Shard:
        """The next free shard, which is free no more."""
        return self._work.plan.shards[self._free.popleft()]

    def taken(self, rows: int) -> list[Shard]:
        """Free shards with so many pending rows at least, if there are; they are free no more."""
        found: list[Shard] = []
        while self._free and rows > 0:
            found.append(self.next())
            rows -= self._left[found[-1].index]
        return found

    def give_back(self, shard: Shard) -> None:
        """A shard is free again, and the next one."""
        self._free.appendleft(shard.index)

    def lacks(self, batch: Batch) -> bool:
        """Whether results that were merged are not there: the directory they were in has been lost."""
        if batch.shard not in self._left:
            return False
        there = self._work.run.open_results(batch.shard).by_row
        return sum(row in there for row in batch.row_ids()) < batch.answered + batch.failed

    async def packed(
        self, shard: Shard, lane: BatchLane, worst_case: WorstCase, covers: Callable[[Money], bool]
    ) -> Packing:
        """The pending rows of a shard as batches; rows that cannot be asked have failed then."""
        async with self._locks[shard.index]:
            opened = self._open(shard)
            try:
                packing = Packing(
                    self._work,
                    lane,
                    opened,
                    folder=self._folder,
                    correction=self._correction,
                    worst_case=worst_case,
                    covers=covers,
                )
                await packing.run()
                self._fail(opened, packing.failed)
            finally:
                opened.close()
        return packing

    async def merged(self, out: Out, file: Path) -> tuple[Merged, list[tuple[Result, Result]], int]:
        """Takes a batch's results: what they come to, the rows' results as they came and as they were
        recorded, and how many lines were nobody's."""
        batch = out.batch
        self._was_out.add(batch.shard)
        shard = self._work.plan.shards[batch.shard]
        results = Results(batch, out.lane.dialect, file)
        try:
            await results.index()
            async with self._locks[shard.index]:
                opened = self._open(shard)
                try:
                    merging = Merging(
                        self._work,
                        out.lane,
                        batch,
                        opened,
                        correction=self._correction,
                        totals=self._totals,
                    )
                    taken = await merging.run(results)
                finally:
                    opened.close()
        finally:
            results.close()
        return merging.merged, taken, results.strange + results.doubled

    async def fail_lines(self, batch: Batch, problems: Mapping[int, str]) -> None:
        """Lines, by their number from 1, that a service takes in no batch."""
        rows = list(batch.row_ids())
        failed = [
            Failure(rows[line - 1], str(rows[line - 1]), "bad_request", why, endpoint=batch.endpoint)
            for line, why in problems.items()
            if 0 < line <= len(rows)
        ]
        async with self._locks[batch.shard]:
            opened = self._open(self._work.plan.shards[batch.shard])
            try:
                self._fail(opened, failed)
            finally:
                opened.close()

    async def settle(self, shard: Shard, *, again: bool) -> None:
        """Seals a shard if each of its rows has a result. Else it is free again, if it is to be.

        Raises RunStopped (disk), UsageError (the input cannot be read).
        """
        if shard.index in self._work.run.sealed():
            return  # by another engine
        async with self._locks[shard.index]:
            opened = self._open(shard)
            self._left[shard.index] = opened.pending
            if opened.complete:
                work = self._work
                await self._sealer.run(lambda: opened.seal(work.source.table(shard, work.plan)))
                return
            opened.close()
        if again:
            self._free.append(shard.index)

    def _open(self, shard: Shard) -> OpenShard:
        return self._work.run.open_shard(shard, retry=self._is_asked_again)

    def _is_asked_again(self, result: Result) -> bool:
        if self._retry is not None and self._retry(result):
            return True
        return self._correction is not None and self._correction.wants_turn(result)

    def _fail(self, opened: OpenShard, failures: Sequence[Failure]) -> None:
        for failure in failures:
            if not opened.done(failure.row_id):
                opened.append(failure, self._totals)
