"""Keeping up with a run: its index is brought up to date now and then, by a thread."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future, wait
from typing import TypeAlias

from batchlab.errors import BatchlabError
from batchlab.looking.browse.index import RowIndex
from batchlab.store.view import RunView

REFRESH_S = 1.0  # how often a run is looked at again
SOON_S = (
    0.05  # how long a question waits for that when all rows are known: nobody asks again once it has ended
)

_Seen: TypeAlias = "tuple[int, int]"


class Follower:
    """Has one run's index refreshed.

    Attributes:
        trouble: why the run cannot be looked at now, "" for nothing.
    """

    def __init__(self, run: RunView, index: RowIndex, pool: Executor) -> None:
        self._run = run
        self._index = index
        self._pool = pool
        self._going_on: Future[None] | None = None
        self._ended = 0.0
        self._seen = self._manifest()
        self._is_closed = False
        self.trouble = ""

    def refresh(self, wait_s: float, *, is_due: bool) -> None:
        """Has the run looked at, when that was a while ago; waits long only while not all of it is known.

        Args:
            is_due: now, and waits for that.
        """
        if self._is_closed:
            return
        last = self._going_on
        if is_due and last is not None:
            wait([last], timeout=wait_s)
        begins = last is None or (last.done() and (is_due or time.monotonic() - self._ended > REFRESH_S))
        if begins or last is None:
            last = self._going_on = self._pool.submit(self._refresh)
        if wait_s and (is_due or not self._index.is_whole):
            wait([last], timeout=wait_s)
        elif begins:
            wait([last], timeout=min(wait_s, SOON_S))

    @property
    def obstacle(self) -> str:
        """Why what is not known of the run does not come to be known by waiting; "" where it does."""
        if self._is_closed:
            return f"{self._run.place}: is not looked at any more."
        return "" if self._index.is_whole else self.trouble

    def close(self) -> None:
        """Ends a refresh that goes on."""
        self._is_closed = True

    def is_planned_anew(self) -> bool:
        """Whether the run has another plan than it had when it was opened: other input, or `--fresh`."""
        seen, self._seen = self._seen, self._manifest()
        if self._seen in (None, seen):
            return False
        try:
            now = RunView.open(self._run.path).manifest
        except BatchlabError:
            return False
        was = self._run.manifest
        return (now.run_id, now.generation, now.plan.shards) != (was.run_id, was.generation, was.plan.shards)

    def _manifest(self) -> _Seen | None:
        """What tells run.json from another; None of a run at a URL, which stays as it was opened."""
        if self._run.url is not None:
            return None
        try:
            stat = self._run.layout.manifest.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def _refresh(self) -> None:
        try:
            if self._run.url is None and self._manifest() is None:
                self.trouble = f"{self._run.place}: the run is gone; what was read of it is still here."
            else:
                self._index.refresh(lambda: self._is_closed)
                self.trouble = ""
        except (BatchlabError, OSError) as error:
            self.trouble = str(error)
        except Exception as error:  # noqa: BLE001 - a thread has nobody else to tell; it must not seem to go on
            self.trouble = f"{self._run.place}: cannot be looked at ({type(error).__name__}: {error})"
        finally:
            self._ended = time.monotonic()
