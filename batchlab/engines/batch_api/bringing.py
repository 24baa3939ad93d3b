"""One batch brought home: ordered, waited for, its results fetched and merged, and what is said of that."""

from __future__ import annotations

from batchlab.counts import counted
from batchlab.engines.batch_api.answers.merging import Merged, Take
from batchlab.engines.batch_api.answers.results import Results
from batchlab.engines.batch_api.life import Life
from batchlab.engines.batch_api.out import Out
from batchlab.engines.batch_api.shards import ShardsLeft
from batchlab.protocol.batches.dialect import Phase
from batchlab.run_state import Attempts
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Batch, Step

LACKING_WAIT_S = 2.0  # before results that lack lines are fetched once more


class Bringing:
    """Brings batches home, each by a call of its own.

    Args:
        attempts: of the run; grows with each batch that was ordered.
        take: told of each result.
    """

    def __init__(self, life: Life, left: ShardsLeft, log: BatchLog, attempts: Attempts, take: Take) -> None:
        self._life = life
        self._left = left
        self._log = log
        self._attempts = attempts
        self._take = take

    async def bring(self, out: Out) -> str | None:
        """Takes a batch from where it is to its end. Returns what came of it, in words; None if it never was.

        Raises what `Life` and the journal raise.
        """
        if out.batch.step is not Step.ENDED:
            is_new = out.lines is not None
            await self._life.ordered(out)
            if is_new and out.batch.step is Step.CREATED:
                self._attempts.sent += out.batch.lines
        if out.batch.step is Step.CREATED:
            await self._life.ended(out)
        if out.batch.step is not Step.ENDED:
            if out.batch.step is Step.DROPPED:  # whether it was ordered cannot be found out
                self._left.note_lost(out.batch, out.batch.lines)
                out.charge_most()
            else:
                self._log.dropped(out.batch, "its order never arrived")
            return None
        results = await self._results(out)
        try:
            merged = await self._left.merged(out, results, self._take)
        finally:
            results.close()
        out.charge(merged)
        out.batch = self._log.merged(
            out.batch, answered=merged.answered, failed=merged.failed, again=merged.again
        )
        self._life.forget(out.batch)
        return _told(out.lane.name, out.batch, merged, results.strange + results.doubled)

    async def give_up(self, out: Out) -> None:
        """What the service had of a batch is lost: its rows are asked again."""
        out.charge(await self._left.merged(out, None, self._take))
        self._log.dropped(out.batch, "lost")

    async def _results(self, out: Out) -> Results:
        """The batch's results, here. What lacks lines is fetched once more: to ask again is to pay again.

        Raises RunStopped, GivenUp: nothing in them is the batch's. They are somewhere, and paid.
        """
        for is_last in (False, True):
            results = Results(out.batch, out.lane.dialect, await self._life.fetched(out))
            await results.index()
            if is_last or not out.batch.files or results.found >= out.batch.lines:
                break
            if out.batch.phase != Phase.COMPLETED and not _are_unreadable(results, out.batch):
                break  # what was not asked need not be there
            results.close()
            await self._life.sleep(LACKING_WAIT_S)
        if _are_unreadable(results, out.batch):
            results.close()
            self._life.forget(out.batch)  # so that the next start looks for others
            raise self._life.lost(out, _unreadable(results, out.batch))
        return results


def _are_unreadable(results: Results, batch: Batch) -> bool:
    """Whether nothing that was fetched is of the batch: a page of a gateway, another format or file."""
    if results.found:
        return False
    return results.strange > 0 or (batch.phase == Phase.COMPLETED and batch.lines > 1)


def _unreadable(results: Results, batch: Batch) -> str:
    at = ", ".join(batch.files) or "with its state"
    if not results.strange:
        return f"has a completed batch without a line of results ({at})"
    lines = counted(results.strange, "line")
    return f"has results of which nothing is this batch's ({at}: {lines}, the first is {results.oddest!r})"


def _told(name: str, batch: Batch, merged: Merged, odd: int) -> str:
    said = [f"{name}: batch {batch.id} {batch.phase}, {merged.answered:,} of {batch.lines:,} answered"]
    said += [f"{merged.failed:,} failed"] if merged.failed else []
    said += [f"{merged.again:,} asked again"] if merged.again else []
    if merged.missing:
        said.append(f"{merged.missing:,} not among its results, and perhaps billed: they may be billed twice")
    said += [f"{odd:,} foreign, doubled or cut lines left out"] if odd else []
    return "; ".join(said)
