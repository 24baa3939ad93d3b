"""Looking through the rows of a run for what is sought, a piece at a time, by some threads.

What was looked at is remembered, so that the same search goes on where it was, and begins again only where
the run has changed.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import numpy as np

from batchlab.errors import BatchlabError
from batchlab.looking.browse.columns import ODD, Numbers
from batchlab.looking.browse.index import Piece, RowIndex
from batchlab.looking.browse.reader import RowReader
from batchlab.looking.browse.search.sought import Sought

KEPT_SCANS = 2  # 1 byte a row each
TURN_S = 0.03  # how long a thread looks through pieces before it does what else waits
OPEN_AGAIN_S = 3.0  # a shard that grows is looked through again after so long at the earliest


class Scan:
    """One search.

    Attributes:
        hits: which rows of the run have what is sought, as far as they were looked at.
        version: grows with each piece.
    """

    def __init__(self, index: RowIndex, reader: RowReader, what: Sought) -> None:
        self._index = index
        self._reader = reader
        self._what = what
        # which version of its shard was looked at, and when, by a piece's first row and group
        self._looked: dict[tuple[int, int | None], tuple[int, float]] = {}
        self._turn = threading.Lock()
        self._came = threading.Condition(self._turn)
        self._todo: Iterator[Piece] = iter(())
        self._working = 0
        self.hits = np.zeros(index.rows, dtype=bool)
        self.version = 0

    def left(self, among: Numbers) -> list[Piece]:
        """The pieces that have rows of `among`, a mask, and were not looked at as they are now."""
        return [
            piece
            for piece in self._index.pieces()
            if not self._is_looked(piece) and among[piece.first_row : piece.stop].any()
        ]

    def _is_looked(self, piece: Piece) -> bool:
        looked = self._looked.get((piece.first_row, piece.group))
        if looked is None:
            return False
        return looked[0] == self._index.version_of(piece.shard) or (
            piece.group is None and time.monotonic() - looked[1] < OPEN_AGAIN_S
        )

    def go_on(self, pieces: list[Piece], pool: Executor, threads: int, is_wanted: Callable[[], bool]) -> None:
        """Has the pieces looked at in their order by the pool, as long as that is wanted."""
        with self._turn:
            if self._working:
                return  # it is at it
            self._todo = iter(pieces)
            self._working = min(threads, len(pieces))
            count = self._working
        for _ in range(count):
            pool.submit(self._work, pool, is_wanted)

    def wait(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Returns once nothing is left, or `enough` says so, or after so many seconds."""
        until = time.monotonic() + seconds
        with self._came:
            while self._working and not enough() and (rest := until - time.monotonic()) > 0:
                self._came.wait(rest)

    def _work(self, pool: Executor, is_wanted: Callable[[], bool]) -> None:
        """Some pieces; then the next in their turn, so that a page that is asked for comes between."""
        until, more = time.monotonic() + TURN_S, True
        try:
            while more and time.monotonic() < until:
                with self._turn:
                    piece = next(self._todo, None) if is_wanted() else None
                more = piece is not None
                if piece is not None:
                    self._look(piece)
            if more:
                pool.submit(self._work, pool, is_wanted)
        except RuntimeError:  # the pool is shut down
            more = False
        finally:
            with self._came:
                self._working -= not more
                self._came.notify_all()

    def _look(self, piece: Piece) -> None:
        version = self._index.version_of(piece.shard)
        found = np.zeros(piece.rows, dtype=bool)
        try:
            # a part after the other: a row group of two long columns is 16 MB while it is read
            for what in self._what.alternatives():
                for rows in self._reader.rows(piece, what.wanted):
                    found[np.asarray(rows.ids) - piece.first_row] |= what.mask(rows)
        except (BatchlabError, OSError, *ODD) as error:
            self._index.unreadable(piece, str(error))
        self.hits[piece.first_row : piece.stop] = found
        with self._turn:
            self._looked[piece.first_row, piece.group] = version, time.monotonic()
            self.version += 1


class Searches:
    """The latest searches of a run; only the one that was asked for last goes on."""

    def __init__(self, index: RowIndex, reader: RowReader, pool: Executor, threads: int) -> None:
        self._index = index
        self._reader = reader
        self._pool = pool
        self._threads = threads
        self._scans: OrderedDict[Sought, Scan] = OrderedDict()
        self._now: Sought | None = None

    def scan(self, what: Sought) -> Scan:
        """The search for something, which may have begun."""
        self._now = what
        scan = self._scans.get(what)
        if scan is None:
            scan = self._scans[what] = Scan(self._index, self._reader, what)
        self._scans.move_to_end(what)
        while len(self._scans) > KEPT_SCANS:
            self._scans.popitem(last=False)
        return scan

    def go_on(self, what: Sought, among: Numbers, seconds: float, enough: int | None) -> None:
        """Has rows of a mask looked at, and waits for so many seconds at most, or until enough are found."""
        scan = self.scan(what)
        if left := scan.left(among):
            scan.go_on(left, self._pool, self._threads, lambda: self._now == what)
            hits = scan.hits
            scan.wait(seconds, lambda: enough is not None and int(np.count_nonzero(hits & among)) >= enough)

    def close(self) -> None:
        """Ends what goes on."""
        self._now = None
