"""The shards that batches have still to bring to their parts: which are free, and what is done to one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchlab.dispatch.correction import Correction
from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.rate.slots import Stopped
from batchlab.dispatch.rate.worst_case import WorstCase
from batchlab.engines.batch_api.answers.merging import Merged, Merging, Take
from batchlab.engines.batch_api.answers.results import Results
from batchlab.engines.batch_api.asking import Asking
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.orders.packing import Packing
from batchlab.engines.batch_api.out import Out
from batchlab.engines.sealer import Sealer
from batchlab.engines.terms import spent_of
from batchlab.engines.work import Work
from batchlab.protocol.batches.dialect import Phase
from batchlab.records import Failure, Result, Shard
from batchlab.store.asking import AskAgain
from batchlab.store.batches import Batch
from batchlab.store.integrity.lost import batches_lost, came_again, lost_at_service
from batchlab.store.locked import LockedRun
from batchlab.store.shard import OpenShard
from batchlab.totals import RunningTotals, Totals

MERGED_AT_ONCE = 2  # each holds a shard open; after a night all batches have ended


@dataclass(frozen=True, slots=True)
class _Coming:
    """A batch whose results are to come; `is_over` is set once they have, or do not any more."""

    batch: Batch
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class ShardsLeft:
    """The shards of one run of the engine.

    A shard is open only while something is done to it, and by one at a time.

    Attributes:
        rows: pending rows of the shards that are free.
        returned_rows: those of them that have been in a batch.

    Args:
        totals: of what is added to the run; grows here.
        folder: where lines wait to be sent.
        is_out: whether results of the batch of a key are to come still.
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
        is_out: Callable[[str], bool],
    ) -> None:
        self._work = work
        self._retry = retry
        most_tokens = retry.max_tokens if retry is not None else None
        self._owed: dict[int, int | None] = {}  # rows of a retry that are out, and their max_tokens
        self._asking = Asking(work.builder, correction, most_tokens, self._owed)
        self._totals = totals
        self._folder = folder
        self._is_out = is_out
        self._left = {shard.index: shard.rows for shard in shards}  # rows that are pending, at most
        self._free: OrderedDict[int, None] = OrderedDict()  # by `_add` and `_remove` alone, which count
        self._was_out: set[int] = set()
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._merging = asyncio.Semaphore(MERGED_AT_ONCE)
        self._failed: set[int] = set()  # in this session: once is enough, whatever the retry says
        self._coming: defaultdict[int, list[_Coming]] = defaultdict(list)  # by shard, as they were meant
        self._sealer = Sealer()
        self.rows = 0
        self.returned_rows = 0

    def _add(self, index: int, *, first: bool = False) -> None:
        """A shard is free."""
        self._free[index] = None
        if first:
            self._free.move_to_end(index, last=False)
        self._count(self._left[index], index)

    def _remove(self, index: int) -> Shard:
        """It is not any more."""
        del self._free[index]
        self._count(-self._left[index], index)
        return self._work.plan.shards[index]

    def _count(self, rows: int, index: int) -> None:
        # asked for at each step, of which there are as many as shards: not summed up anew each time
        self.rows += rows
        self.returned_rows += rows if index in self._was_out else 0

    def find_free(self, taken: set[int]) -> None:
        """All are free but those taken."""
        for index in sorted(self._left.keys() - taken):
            self._add(index)

    def next(self) -> Shard:
        """The next free shard, which is free no more."""
        return self._remove(next(iter(self._free)))

    def taken(self, rows: int) -> list[Shard]:
        """Free shards with so many pending rows at least, if there are; they are free no more.

        Those that a batch has given back come first: the others may still go into one.
        """
        found: list[Shard] = []
        for index in sorted(self._free, key=lambda index: index not in self._was_out):
            if rows <= 0:
                break
            found.append(self._remove(index))
            rows -= self._left[index]
        return found

    def give_back(self, shard: Shard) -> None:
        """A shard is free again, and the next one."""
        self._add(shard.index, first=True)

    def expect(self, batch: Batch) -> None:
        """Results of a batch are to come, after those of the batches that were expected before."""
        self._coming[batch.shard].append(_Coming(batch))
        if batch.is_retry:
            self._owed.update(dict.fromkeys(batch.row_ids(), batch.max_tokens))

    def expect_no_more(self, batch: Batch) -> None:
        """They have come; or do not, as long as this process lives."""
        coming = self._coming[batch.shard]
        for one in [one for one in coming if one.batch.key == batch.key]:
            coming.remove(one)
            one.is_over.set()

    async def _in_turn(self, batch: Batch) -> None:
        """Waits for what has been asked before in its rows: when results come again, in any order, a row's
        first attempts must not find it done.

        Raises Stopped: they do not come, as the run stops.
        """
        for one in list(self._coming[batch.shard]):
            if one.batch.key == batch.key:
                return
            if any(map(batch.holds, one.batch.row_ids())):
                await one.is_over.wait()
                if self._is_out(one.batch.key):
                    raise Stopped

    def lacking(self, batches: Iterable[Batch]) -> list[Batch]:
        """Those whose merged results are not there: the directory that they were in has been lost."""
        run = self._work.run
        by_shard: defaultdict[int, list[Batch]] = defaultdict(list)
        for batch in batches:
            if batch.generation == run.manifest.generation and batch.shard in self._left:
                by_shard[batch.shard].append(batch)
        found = []
        for index, merged in by_shard.items():
            there = run.open_results(index).by_row
            for batch in merged:
                come = sum(row in there for row in batch.row_ids())
                found += [batch] if come < batch.answered + batch.failed else []
        return found

    async def packed(
        self,
        shard: Shard,
        lane: BatchLane,
        worst_case: WorstCase,
        *,
        covers: Callable[[Money], bool],
        most: int,
        most_lines: int | None,
        keeps_unfit: bool,
    ) -> Packing:
        """The pending rows of a shard as batches; rows that cannot be asked have failed then.

        Args:
            keeps_unfit: those that no batch can carry stay pending: they may go by calls.
        """
        async with self._locks[shard.index]:
            opened = self._open(shard)
            try:
                packing = Packing(
                    self._work,
                    lane,
                    opened,
                    folder=self._folder,
                    asking=self._asking,
                    worst_case=worst_case,
                    covers=covers,
                    most=most,
                    most_lines=most_lines,
                )
                await packing.run()
                self._fail(opened, packing.failed if keeps_unfit else packing.failed + packing.unfit)
            finally:
                opened.close()
        return packing

    async def merged(self, out: Out, results: Results | None, take: Take) -> Merged:
        """Takes a batch's results, which are None when they are lost. Returns what they come to.

        Raises Stopped: it is not their turn yet, and the run stops.
        """
        batch, layout = out.batch, self._work.run.layout
        self._was_out.add(batch.shard)
        await self._in_turn(batch)
        async with self._merging, self._locks[batch.shard]:
            comes_again = batch.key in batches_lost(layout)
            if not comes_again and (unseen := _unseen(batch, results)):
                self.note_lost(batch, unseen)
            opened = self._open(self._work.plan.shards[batch.shard], batch)
            try:
                merging = self._merging_of(out, opened, is_lost=results is None, comes_again=comes_again)
                await merging.run(results, self._noting(take))
                rows = sum(map(opened.done, batch.row_ids()))
            finally:
                opened.close()
            merged = merging.merged
            if comes_again:  # what it cost is in the books once: where the rows are, or as lost
                less = came_again(layout, batch.key, rows, merged.worth)
                self._totals.change(Totals() - less)
                counted = merged.spent if results is None else spent_of(less)
                merged.spent = merged.spent.plus(counted, -1)
        return merged

    def note_lost(self, batch: Batch, lines: int) -> None:
        """So many lines of a batch may have been billed, and nothing tells what came of them."""
        self._totals.change(lost_at_service(self._work.run.layout, batch, lines))

    async def fail_lines(self, out: Out, problems: Mapping[int, str], take: Take) -> None:
        """Lines, by their number from 1, that a service takes in no batch."""
        async with self._locks[out.batch.shard]:
            opened = self._open(self._work.plan.shards[out.batch.shard])
            try:
                self._merging_of(out, opened).fail(problems, self._noting(take))
            finally:
                opened.close()

    def _noting(self, take: Take) -> Take:
        """`take`, after noting what has failed."""

        def noted(came: Result, written: Result) -> None:
            if isinstance(written, Failure):
                self._failed.add(written.row_id)
            take(came, written)

        return noted

    def _merging_of(
        self, out: Out, opened: OpenShard, *, is_lost: bool = False, comes_again: bool = False
    ) -> Merging:
        return Merging(
            self._work,
            out.lane,
            out.batch,
            opened,
            asking=self._asking,
            totals=self._totals,
            is_lost=is_lost,
            comes_again=comes_again,
        )

    async def settle(self, shard: Shard, *, again: bool) -> None:
        """Seals a shard if each of its rows has a result. Else it is free again, if it is to be.

        Raises RunStopped (disk), UsageError (the input cannot be read).
        """
        if self._work.run.is_sealed(shard.index):
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
            self._add(shard.index)

    def _open(self, shard: Shard, coming: Batch | None = None) -> OpenShard:
        """Opens a shard, for the results of a batch if one is named: what they are to replace gives way."""
        return self._work.run.open_shard(shard, retry=lambda one: self._is_asked_again(one, coming))

    def _is_asked_again(self, result: Result, coming: Batch | None) -> bool:
        if coming is not None and coming.is_retry and coming.holds(result.row_id):
            return True
        if result.row_id not in self._failed and (
            result.row_id in self._owed or (self._retry is not None and self._retry(result))
        ):
            return True
        correction = self._asking.correction
        return correction is not None and correction.wants_turn(result)

    def _fail(self, opened: OpenShard, failures: Sequence[Failure]) -> None:
        for failure in failures:
            if not opened.done(failure.row_id):
                opened.append(failure, self._totals)
                self._failed.add(failure.row_id)


def _unseen(batch: Batch, results: Results | None) -> int:
    """Lines that were asked, as their batch has been done, and are not among its results."""
    if results is None:
        return batch.lines
    return max(0, batch.lines - results.found) if batch.phase == Phase.COMPLETED else 0
