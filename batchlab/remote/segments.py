"""A worker's own directory, on a node that shares no file system with the others, and its way to the store.

The journal is written there and synced as ever. Every few seconds, and when a shard is sealed or the
worker stops, what was added goes to the store as one more piece (`depot`). A node that is lost takes
with it what was in flight, and what was answered since the last piece.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from batchlab.errors import BatchlabError, UsageError
from batchlab.remote.depot import Depot
from batchlab.remote.storage import AlreadyThereError, RemoteFile, StorageError, put_file
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.disk.files import private_dir
from batchlab.store.integrity.checksums import ChecksumLog, checksum_record
from batchlab.store.journals.journal import whole_lines
from batchlab.store.layout import DIRECTORIES, JournalName, Layout, part_key, part_number
from batchlab.store.parts import file_digest
from batchlab.totals import Totals

PATIENCE_S = 60.0  # a store that takes nothing for so long ends the run: what it has not is paid again
OPEN_S = 5.0  # for what the event loop waits for
RETRY_S = 1.0


class Pieces:
    """What one attempt has put of the journals that it writes in a directory.

    Args:
        check: called before each write to the store.
    """

    def __init__(self, run: Path, depot: Depot, attempt: str, check: Callable[[], None]) -> None:
        self._layout, self._depot, self._attempt, self._check = Layout(run), depot, attempt, check
        self._there: dict[JournalName, tuple[int, int]] = {}  # journal → bytes, and pieces, the store has

    def flush(self, index: int | None = None) -> None:
        """Puts what was added to the journals, of one shard or of all. Raises StorageError."""
        for journal in self._journals(index):
            with contextlib.suppress(FileNotFoundError):  # sealed this moment
                self._flush(journal)

    def _journals(self, index: int | None = None) -> list[JournalName]:
        return [name for name in self._layout.journal_names(index) if not name.attempt]  # not brought here

    def _flush(self, journal: JournalName) -> None:
        done, number = self._there.get(journal, (0, 0))
        with self._layout.journal(journal).open("rb") as file:
            file.seek(done)
            data = whole_lines(file.read())
        while data:
            self._check()
            piece, size = self._piece(journal, number + 1), len(data)
            if not self._depot.put(piece, data):  # by ourselves: only the answer was lost
                size = self._depot.size(piece)
            done, number, data = done + size, number + 1, data[size:]
            self._there[journal] = done, number

    def _piece(self, journal: JournalName, number: int) -> JournalName:
        return JournalName(journal.shard, journal.number, self._attempt, number)

    def look(self) -> None:
        """Finds out what is there, put by a process that has ended. Raises StorageError."""
        for journal in self._journals():
            mine = [
                piece
                for piece in self._depot.pieces(journal.shard)
                if (piece.number, piece.attempt) == (journal.number, self._attempt)
            ]
            self._there[journal] = sum(self._depot.size(piece) for piece in mine), len(mine)

    def forget(self, index: int) -> None:
        """A shard's journals are gone."""
        for journal in [one for one in self._there if one.shard == index]:
            del self._there[journal]


class Segments:
    """The journals and parts of one worker on their way to the store; a `store.publisher.Publisher`.

    Args:
        depot: where to, and the worker's own directory.
        name: the worker's.
        flush_s: what was added goes to the store that often.
        check: called before each write there; it does not return once the worker may not write.
        trouble: told, from a thread, that the store has taken nothing for `PATIENCE_S`.
    """

    def __init__(
        self,
        run: Path,
        depot: Depot,
        name: str,
        *,
        flush_s: float,
        check: Callable[[], None] = lambda: None,
        trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._run, self._depot, self._name = run, depot, name
        self._layout = Layout(run)
        self._flush_s = flush_s
        self._check, self._trouble = check, trouble
        attempt = secrets.token_hex(4)
        self._layout.attempt.write_text(attempt)
        self._pieces = Pieces(run, depot, attempt, check)
        self._had_part: set[int] = set()
        self._io = threading.RLock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="batchlab-segments", daemon=True)
        self._insist(lambda: depot.arrive(name), seconds=OPEN_S)
        self._thread.start()

    def bring(self, index: int) -> None:
        """Brings what earlier attempts have left of a shard. Raises RunStopped (storage, disk)."""

        def act() -> None:
            if self._depot.bring(index) is not None:
                self._had_part.add(index)

        self._insist(act, seconds=OPEN_S)

    def flush(self, index: int | None = None) -> None:
        """Puts what was added to the journals, of one shard or of all. Raises StorageError."""
        with self._io:
            self._pieces.flush(index)

    def note(self, part: str, digest: str, size: int, totals: Totals) -> None:
        """A shard's part is about to be published here. Its journals are whole by now.

        Raises:
            RunStopped: the store takes nothing; the shard is not sealed.
        """
        record = checksum_record(part, digest, size, totals)
        self._insist(lambda: self.flush(part_number(part)))
        self._insist(lambda: self._depot.note(record))
        ChecksumLog(self._run).append(record)

    def sealed(self, index: int) -> None:
        """A shard's part is published here: now there, and its pieces are deleted.

        Raises:
            RunStopped: the store takes nothing; all that the part holds is in the shard's pieces.
        """
        self._insist(lambda: self._put_part(index))
        with self._io:
            self._insist(lambda: self._depot.drop(index))
            self._pieces.forget(index)
        self._layout.part(index).unlink()

    def _put_part(self, index: int) -> None:
        path, url = self._layout.part(index), f"{self._depot.url}/{part_key(index)}"
        self._check()
        try:
            put_file(path, url, absent=index not in self._had_part)
        except AlreadyThereError:
            # our own, whose answer was lost; or an attempt that was given up was faster after all, and
            # its part is as complete
            digest = file_digest(path)
            if file_digest(RemoteFile(url)) != digest:
                self._depot.noted(path.name, digest)

    def close(self) -> None:
        """Puts what is left and removes the directory. Raises RunStopped (storage), and keeps it then."""
        self._closed.set()
        self._thread.join()
        try:
            self._insist(self.flush, seconds=RETRY_S * 3)
            self._insist(lambda: self._depot.leave(self._name), seconds=RETRY_S * 3)
        except RunStopped as error:
            where = f"{self._run} on {platform.node()}"
            raise RunStopped(StopReason.STORAGE, f"{error} What it did not take is in {where}.") from error
        shutil.rmtree(self._run.parent, ignore_errors=True)

    def _follow(self) -> None:
        """The thread: puts what was added every few seconds, until it is closed."""
        good_at, told = time.monotonic(), False
        while not self._closed.wait(self._flush_s):
            try:
                self.flush()
                good_at, told = time.monotonic(), False
            except (OSError, BatchlabError) as error:
                if not told and time.monotonic() - good_at >= PATIENCE_S:
                    told = True
                    self._trouble(self._lost(error))

    def _insist(self, act: Callable[[], None], *, seconds: float | None = None) -> None:
        """Does something at the store, again and again for so long. Raises RunStopped (storage)."""
        end = time.monotonic() + (PATIENCE_S if seconds is None else seconds)
        while True:
            try:
                act()
            except (StorageError, UsageError) as error:
                if time.monotonic() >= end:
                    raise RunStopped(StopReason.STORAGE, self._lost(error)) from error
                time.sleep(RETRY_S)
            else:
                return

    def _lost(self, error: OSError | BatchlabError) -> str:
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        return f"{self._depot.url}: {why}; this ended the run of a worker on {platform.node()}."


def salvage(home: Path, url: str) -> None:
    """Puts what a worker that died had not put yet, and removes its directory. Raises StorageError.

    With its process nothing but what was in flight is lost, as long as its node lives.
    """
    run = home / "run"
    with contextlib.suppress(FileNotFoundError):  # it has ended in order, or has not begun
        pieces = Pieces(run, Depot(run, url), Layout(run).attempt.read_text(), lambda: None)
        pieces.look()
        pieces.flush()
    shutil.rmtree(home, ignore_errors=True)


def own_directory(home: Path) -> Path:
    """The directory of one worker, in one of which nobody else knows. Raises UsageError."""
    try:
        run = private_dir(home / "run")
        for name in DIRECTORIES:
            private_dir(run / name)
    except OSError as error:
        raise UsageError(f"{home}: {error.strerror}.") from error
    return run
