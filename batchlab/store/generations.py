"""Moving a run to a new plan without losing or re-asking an answer.

The next generation is built whole, with every answer that it takes over; then it takes the place of the
one before (`swap`).
"""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from batchlab.arrow import pa
from batchlab.records import ChatRequest, Completion, Failure, Result, Shard
from batchlab.store.disk.files import fsync_dir, private_dir
from batchlab.store.integrity.checksums import ChecksumLog, plan_record
from batchlab.store.journals.journal import decode, result_of, result_record
from batchlab.store.layout import DIRECTORIES, Layout
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest, plan_digest
from batchlab.store.view import RunView
from batchlab.store.working import WorkingRun


class Generation:
    """The next generation of a run, while it is built. Nothing changes before `commit`.

    Attributes:
        kept: rows whose answer is taken over.
        failed: rows that had failed, and whose request is unchanged: they stay so until a retry.
        edited: other rows, of whose names one had a result to another request. Known from `compare` on.
        gone: rows of the generation before that were answered, and are not among these any more; as well.
    """

    def __init__(self, run: LockedRun, manifest: Manifest) -> None:
        self._run = run
        self._manifest = manifest
        self._layout = Layout(run.layout.next)
        self._committed = False
        self._next: WorkingRun | None = None
        self._answers: sqlite3.Connection | None = None
        self.kept = self.failed = self.edited = self.gone = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self._layout.root, ignore_errors=True)
        private_dir(self._layout.root)
        for name in DIRECTORIES:
            private_dir(self._layout.root / name)
        ChecksumLog(self._layout.root).append(plan_record(plan_digest(self._manifest.plan)))
        self._next = WorkingRun(self._layout.root, self._manifest)
        # On disk, because a changed input may be as large as the data set; temporary, so not synced.
        self._answers = sqlite3.connect(self._layout.answers, isolation_level=None)
        self._answers.execute("PRAGMA journal_mode=OFF")
        self._answers.execute("PRAGMA synchronous=OFF")
        self._answers.execute(
            "CREATE TABLE answer (hash BLOB, sent INTEGER, record BLOB, name TEXT, is_of_now INTEGER, "
            "used INTEGER DEFAULT 0, UNIQUE (hash, sent))"
        )
        self._answers.execute("CREATE TABLE other (name TEXT)")
        self._answers.execute("BEGIN")
        self._answers.executemany(
            "INSERT OR IGNORE INTO answer VALUES (?, ?, ?, ?, ?, 0)", self._old_answers()
        )
        self._answers.execute("CREATE INDEX by_hash ON answer (hash, used)")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._answers is not None:
            self._answers.close()
        if self._next is not None:
            self._next.close()
        if not self._committed:
            shutil.rmtree(self._layout.root, ignore_errors=True)

    def add_shard(
        self, shard: Shard, requests: Iterator[ChatRequest], input_table: Callable[[], pa.Table]
    ) -> None:
        """Takes over the answers of the shard's unchanged requests; seals it if that is all of them.

        The n-th row with a request gets the n-th answer to it: duplicates stay separate rows.
        """
        assert self._next is not None, "used outside its context"
        opened = self._next.open_shard(shard)
        for request in requests:
            answer = self._take(request.request_hash)
            if answer is None:
                self._note(request.custom_id)
                continue
            opened.append(dataclasses.replace(answer, row_id=request.row_id, custom_id=request.custom_id))
            if isinstance(answer, Failure):
                self.failed += 1
            else:
                self.kept += 1
        if opened.complete:
            opened.seal(input_table())
        else:
            opened.close()

    def compare(self) -> None:
        """Finds out what became of the rows that are not kept, once all shards are added."""
        assert self._answers is not None, "used outside its context"
        self._answers.execute("CREATE INDEX by_name ON answer (name, used)")
        self.edited = self._count(
            "SELECT count(*) FROM other WHERE "
            "EXISTS (SELECT 1 FROM answer WHERE answer.name = other.name AND used = 0)"
        )
        self.gone = self._count(
            "SELECT count(*) FROM answer WHERE used = 0 AND sent >= 0 AND is_of_now "
            "AND name NOT IN (SELECT name FROM other)"
        )

    def commit(self) -> None:
        """Makes this the run's generation."""
        assert self._answers is not None, "used outside its context"
        assert self._next is not None, "used outside its context"
        self._answers.close()
        self._next.close()
        self._layout.answers.unlink()
        for name in DIRECTORIES:
            fsync_dir(self._layout.root / name)
        self._run.take_next(self._manifest)
        self._committed = True

    def _old_answers(self) -> Iterator[tuple[bytes, int, bytes, str, bool]]:
        """Answers of this and of earlier generations, the newest first; then the failures.

        An answer that several generations hold is told by when its request was sent (µs), and
        counts once. A failure has no such time: it counts as often as in the newest generation that
        knows the request.
        """
        layout = self._run.layout
        runs: list[RunView] = [self._run]
        runs += [RunView.open(layout.previous(number)) for number in layout.generations_before()]
        failures: list[tuple[bytes, int, bytes, str, bool]] = []
        known: set[bytes] = set()  # requests that have failed in a newer generation
        for run in runs:
            is_of_now, found = run is self._run, Counter[bytes]()
            for result in run.all_results():
                asked = result.request_hash
                if not asked:
                    continue
                if isinstance(result, Completion):
                    sent_us = round(result.timing.started_at * 1e6)
                    yield asked, sent_us, result_record(result), result.custom_id, is_of_now
                elif asked not in known:
                    found[asked] += 1
                    record = result_record(result)
                    failures.append((asked, -found[asked], record, result.custom_id, is_of_now))
            known |= found.keys()
        yield from failures

    def _note(self, name: str) -> None:
        """A row of that name has no answer to its request."""
        assert self._answers is not None, "used outside its context"
        self._answers.execute("INSERT INTO other VALUES (?)", (name,))

    def _count(self, query: str) -> int:
        assert self._answers is not None, "used outside its context"
        (count,) = self._answers.execute(query).fetchone()
        return int(count)

    def _take(self, request_hash: bytes) -> Result | None:
        assert self._answers is not None, "used outside its context"
        found = self._answers.execute(
            "UPDATE answer SET used = 1 WHERE rowid = "
            "(SELECT rowid FROM answer WHERE hash = ? AND used = 0 ORDER BY rowid LIMIT 1) RETURNING record",
            (request_hash,),
        ).fetchall()
        data = decode(found[0][0]) if found else None
        return result_of(data) if data is not None else None
