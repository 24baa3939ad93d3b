"""Which shards wait for a worker, and what each had in its books before its worker began."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from batchlab.engines.crew import Worker
from batchlab.engines.messages import Sealed
from batchlab.records import Shard
from batchlab.store.locked import LockedRun
from batchlab.totals import Totals


class ShardBooks:
    """The shards of a run as they are handed out, sealed, and taken back from the dead.

    Attributes:
        again: of sealed shards, how many rows are worth one more try.
        odd: row_ids that failed while others were answered.
    """

    def __init__(self, run: LockedRun, shards: Iterable[Shard]) -> None:
        self._run = run
        self._waiting = deque(shard.index for shard in shards)
        self._before: dict[int, Totals] = {}
        self.again: dict[int, int] = {}
        self.odd: set[int] = set()

    def read_begun(self) -> None:
        """Reads the books of the shards that have a journal, which takes a while."""
        for index in self._run.unsealed() & set(self._waiting):
            self._before[index] = self._run.shard_books(index)[0]

    @property
    def waiting(self) -> int:
        """Shards that are nobody's yet."""
        return len(self._waiting)

    def next_for(self, worker: Worker) -> int | None:
        """Hands a shard to a worker; None when there is no more."""
        if not self._waiting:
            return None
        index = self._waiting.popleft()
        if index not in self._before:
            self._before[index] = self._run.shard_books(index)[0]
        worker.assigned.add(index)
        worker.open.add(index)
        return index

    def sealed(self, worker: Worker, sealed: Sealed) -> None:
        """A worker's shard has its part."""
        worker.open.discard(sealed.shard)
        self._run.sealed_elsewhere(sealed.shard)
        if sealed.retryable:
            self.again[sealed.shard] = sealed.retryable
            self.odd.update(sealed.odd)

    def done_by(self, worker: Worker) -> tuple[Totals, int]:
        """What the journals and parts say that a dead worker has done, and what it had in flight.

        Raises RunStopped: its journals are out of reach.
        """
        done, in_flight = Totals(), 0
        self._run.gather(worker.open)
        for index in worker.assigned:
            books, sent = self._run.shard_books(index)
            done += books - self._before[index]
            in_flight += sent
        return done, in_flight

    def take_back(self, worker: Worker) -> None:
        """The open shards of a dead worker wait again, before all others."""
        sealed = self._run.sealed()
        for index in sorted(worker.open, reverse=True):
            now = self._run.shard_books(index)[0] if index in sealed else None
            if now is not None and now.attempts != self._before[index].attempts:
                if now.retryable_failed:  # it was sealed, and its worker could not say so any more
                    self.again[index] = now.retryable_failed
            else:
                self._waiting.appendleft(index)
                self._before[index] = self._run.shard_books(index)[0]
