"""Writing batches.log: each step of a batch, also at the run's URL where money hangs on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from batchlab.run_end import RunStopped
from batchlab.store.asking import AskAgain
from batchlab.store.batches import Batch, Batches, Step, WhyLive, read_batches
from batchlab.store.integrity.checksums import append_records
from batchlab.store.journals.journal import decode
from batchlab.store.layout import BATCHES
from batchlab.store.publisher import RunPublisher


class Whose(StrEnum):
    """Who minds a batch that this machine has ordered."""

    OURS = "ours"
    THEIRS = "theirs"  # of the machine that has taken the run over, or it looks for it now
    NOBODYS = "nobody's"


class BatchLog:
    """The batches of a run, to be added to.

    Args:
        publisher: brings the log to the run's copy, if it has one.
        told: hears of each step, once it is on disk: its word, and the batch after it.
    """

    def __init__(
        self,
        run: Path,
        publisher: RunPublisher,
        told: Callable[[str, Batch], None] = lambda _step, _batch: None,
    ) -> None:
        self._path = run / BATCHES
        self._publisher = publisher
        self._told = told
        self.all = read_batches(run)

    def meant(self, batch: Batch) -> Batch:
        """A batch is to be. Raises RunStopped (disk), as all of these do."""
        record = {
            "t": "meant",
            "key": batch.key,
            "shard": batch.shard,
            "rows": [[*run, asked] for run, asked in zip(batch.rows, batch.asked, strict=True)],
            "endpoint": batch.endpoint,
            "model": batch.model,
            "path": batch.path,
            "size": batch.size,
            "generation": batch.generation,
            "retry": batch.is_retry,
            "max_tokens": batch.max_tokens,
            "usd": batch.usd,
            "tokens": batch.tokens,
        }
        return self._note(record)

    def uploaded(self, batch: Batch, file: str) -> Batch:
        """Its lines are there, under an id."""
        return self._note({"t": "uploaded", "key": batch.key, "file": file})

    def ordering(self, batch: Batch) -> Batch:
        """It is about to be ordered. Raises RunStopped (storage) as well: then nothing may be."""
        noted = self._note({"t": "ordering", "key": batch.key})
        self._publisher.keep(BATCHES)
        return noted

    def absent(self, batch: Batch, *, doubted: bool) -> Batch:
        """The service has refused the last order; or, `doubted`, nothing of it is to be seen."""
        return self._note({"t": "absent", "key": batch.key, "doubted": doubted})

    def created(self, batch: Batch, found: str) -> Batch:
        """It has an id there."""
        noted = self._note({"t": "created", "key": batch.key, "id": found})
        self._publisher.keep(BATCHES)
        return noted

    def cancelling(self, batch: Batch) -> Batch:
        """We take it back."""
        noted = self._note({"t": "cancelling", "key": batch.key})
        # who takes the run over would stop for a batch that somebody else has cancelled; nothing is paid for
        with contextlib.suppress(RunStopped):
            self._publisher.keep(BATCHES)
        return noted

    def ended(self, batch: Batch, phase: str, files: Sequence[str]) -> Batch:
        """Nothing of it changes any more."""
        return self._note({"t": "ended", "key": batch.key, "phase": phase, "files": list(files)})

    def merged(self, batch: Batch, *, answered: int, failed: int, again: int) -> Batch:
        """All that came of it is in the journal, and synced."""
        counts = {"answered": answered, "failed": failed, "again": again}
        return self._note({"t": "merged", "key": batch.key, **counts})

    def unmerged(self, batch: Batch) -> Batch:
        """What came of it has been lost here."""
        return self._note({"t": "unmerged", "key": batch.key})

    def dropped(self, batch: Batch, why: str) -> Batch:
        """It never came to be: nothing of it is paid."""
        return self._note({"t": "dropped", "key": batch.key, "why": why})

    def asks_again(self, retry: AskAgain, generation: int) -> None:
        """Rows are asked again, and nobody waits for it: whoever takes home batches orders what is left of
        them. Raises RunStopped (disk)."""
        rows = [[*one] for one in retry.rows]
        record: dict[str, Any] = {"t": "retry", "only": [*retry.only], "rows": rows}
        record |= {"max_tokens": retry.max_tokens, "generation": generation, "at": time.time()}
        append_records(self._path, [record])
        self.all.take(record)

    def stray(self, batch: Batch, found: str, *, settled: bool = False) -> None:
        """An order of it that was given up has arrived, under an id of its own.

        Raises RunStopped (storage) as well.
        """
        self._note({"t": "stray", "key": batch.key, "id": found, "settled": settled})
        self._publisher.keep(BATCHES)

    def elsewhere(self, batch: Batch, found: str) -> Whose:
        """Whose a batch of an id is, as the log of a machine says that has taken the run over.

        Raises RunStopped: that cannot be read.
        """
        if (theirs := self._publisher.theirs(BATCHES)) is None:
            return Whose.OURS
        known = Batches()
        for line in theirs.splitlines(keepends=True):
            if (record := decode(line)) is not None:
                known.take(record)
        one = known.by_key.get(batch.key)
        if found in known.strays or (one is not None and (one.id == found or one.step is Step.ORDERING)):
            return Whose.THEIRS
        return Whose.NOBODYS

    def went_live(self, shards: Sequence[int], generation: int, lane: str, why: WhyLive) -> None:
        """Rows of shards are about to be sent by calls. Raises RunStopped (disk)."""
        record: dict[str, Any] = {"t": "live", "shards": [*shards], "generation": generation}
        record |= {"lane": lane, "why": why, "at": time.time()}
        append_records(self._path, [record])
        self.all.take(record)

    def _note(self, record: dict[str, Any]) -> Batch:
        record["at"] = time.time()
        append_records(self._path, [record])
        self.all.take(record)
        noted = self.all.by_key[record["key"]]
        self._told(record["t"], noted)
        return noted
