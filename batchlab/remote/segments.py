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
from dataclasses import asdict
from pathlib import Path

from batchlab.errors import BatchlabError, UsageError
from batchlab.remote.depot import Depot, Piece
from batchlab.remote.storage import AlreadyThereError, RemoteFile, StorageError, put_file
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.checksums import Checksums
from batchlab.store.disk.files import private_dir
from batchlab.store.open_shard import part_path
from batchlab.store.parts import file_digest
from batchlab.totals import Totals

PATIENCE_S = 60.0  # a store that takes nothing for so long ends the run: what it has not is paid again
OPEN_S = 5.0  # for what the event loop waits for
RETRY_S = 1.0
ATTEMPT = "attempt"  # the file that says which pieces are this directory's


class Pieces:
    """What one attempt has put of the journals that it writes in a directory.

    Args:
        check: called before each write to the store.
    """

    def __init__(self, run: Path, depot: Depot, attempt: str, check: Callable[[], None]) -> None:
        self._run, self._depot, self._attempt, self._check = run, depot, attempt, check
        self._there: dict[Path, tuple[int, int]] = {}  # journal → bytes, and pieces, that the store has

    def flush(self, index: int | None = None) -> None:
        """Puts what was added to the journals, of one shard or of all. Raises StorageError."""
        for path in self._journals("*" if index is None else f"{index:06d}"):
            with contextlib.suppress(FileNotFoundError):  # sealed this moment
                self._flush(path)

    def _journals(self, shard: str) -> list[Path]:
        found = (self._run / "journal").glob(f"{shard}.*.log")
        return sorted(path for path in found if path.name.count(".") == 2)  # not what was brought here

    def _flush(self, path: Path) -> None:
        done, number = self._there.get(path, (0, 0))
        with path.open("rb") as file:
            file.seek(done)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        while data:
            self._check()
            piece, size = self._piece(path, number + 1), len(data)
            if not self._depot.put(piece, data):  # by ourselves: only the answer was lost
                size = self._depot.size(piece)
            done, number, data = done + size, number + 1, data[size:]
            self._there[path] = done, number

    def _piece(self, path: Path, number: int) -> Piece:
        shard, journal, _ = path.name.split(".")
        return Piece(int(shard), int(journal), self._attempt, number)

    def look(self) -> None:
        """Finds out what is there, put by a process that has ended. Raises StorageError."""
        for path in self._journals("*"):
            own = self._piece(path, 0)
            mine = [
                piece
                for piece in self._depot.pieces(own.shard)
                if (piece.journal, piece.attempt) == (own.journal, own.attempt)
            ]
            self._there[path] = sum(self._depot.size(piece) for piece in mine), len(mine)

    def forget(self, index: int) -> None:
        """A shard's journals are gone."""
        for path in [one for one in self._there if one.name.startswith(f"{index:06d}.")]:
            del self._there[path]


class Segments:
    """The journals and parts of one worker on their way to the store.

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
        self._flush_s = flush_s
        self._check, self._trouble = check, trouble
        attempt = secrets.token_hex(4)
        (run / ATTEMPT).write_text(attempt)
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

    def note(self, part: str, digest: str, totals: Totals) -> None:
        """A shard's part is about to be published here. Its journals are whole by now.

        Raises:
            RunStopped: the store takes nothing; the shard is not sealed.
        """
        record = {"part": part, "blake2b": digest, "totals": asdict(totals)}
        index = int(part.removesuffix(".parquet").removeprefix("part-"))
        self._insist(lambda: self.flush(index))
        self._insist(lambda: self._depot.note(record))
        Checksums(self._run).append(record)

    def sealed(self, index: int) -> None:
        """A shard's part is published here: now there, and its pieces are deleted.

        Raises:
            RunStopped: the store takes nothing; all that the part holds is in the shard's pieces.
        """
        path = part_path(self._run, index)
        self._insist(lambda: self._put_part(path, absent=index not in self._had_part))
        with self._io:
            self._insist(lambda: self._depot.drop(index))
            self._pieces.forget(index)
        path.unlink()

    def _put_part(self, path: Path, *, absent: bool) -> None:
        url = f"{self._depot.url}/completions/{path.name}"
        self._check()
        try:
            put_file(path, url, absent=absent)
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
        pieces = Pieces(run, Depot(run, url), (run / ATTEMPT).read_text(), lambda: None)
        pieces.look()
        pieces.flush()
    shutil.rmtree(home, ignore_errors=True)


def own_directory(home: Path) -> Path:
    """The directory of one worker, in one of which nobody else knows. Raises UsageError."""
    try:
        run = private_dir(home / "run")
        for name in ("journal", "completions"):
            private_dir(run / name)
    except OSError as error:
        raise UsageError(f"{home}: {error.strerror}.") from error
    return run
