"""What the page asks about the rows of a run, answered within bounds of memory and of time.

Called from one thread at a time; what takes longer goes on in threads of its own, and the same question again
gives more. A new question ends what an earlier one has begun.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.errors import UsageError
from batchlab.looking.browse.choosing import Chooser, Labels
from batchlab.looking.browse.columns import Numbers
from batchlab.looking.browse.detail import Details, RowDetail
from batchlab.looking.browse.follow import Follower
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.lines import Line, Lines
from batchlab.looking.browse.query import MOST_ROWS, RowQuery
from batchlab.looking.browse.reader import RowReader
from batchlab.looking.browse.search.scan import Searches
from batchlab.looking.browse.search.sought import sought
from batchlab.looking.rows.asked import Asked
from batchlab.looking.rows.conditions import condition_of
from batchlab.looking.show import run_schema
from batchlab.store.view import RunView

THREADS = 2
WAIT_S = 0.2  # how long a question may take while more is to come
TEXTS_S = 0.03  # of it, for the texts of a page: two row groups on a core that is free
HITS_S = 0.15  # of it, for the texts of hits: there is nothing else to show, and the search is at the disk
FEW_PIECES = 2  # whose texts are read for the first answer; more take longer than anybody should see no line
KEPT_ORDERS = 2
KEPT_PAGES = 8  # of those asked for last it is known that they were


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the rows that are meant.

    Attributes:
        total, matched: rows of the run, and those of them that are meant, as far as is known.
        searched: rows of which it is known whether they are meant.
        is_done: whether the same question again would give no more.
        is_everywhere: whether all rows were asked what is looked for, which tells none from another.
    """

    total: int
    matched: int
    searched: int
    is_done: bool
    offset: int
    lines: tuple[Line, ...]
    took_ms: float
    problems: tuple[str, ...]
    is_everywhere: bool = False

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "total": self.total,
            "matched": self.matched,
            "searched": self.searched,
            "done": self.is_done,
            "offset": self.offset,
            "rows": [line.json() for line in self.lines],
            "took_ms": round(self.took_ms, 1),
            "problems": list(self.problems),
            "everywhere": self.is_everywhere,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands among those that are meant, counted from 1; None: it is none of them."""

    position: int | None
    matched: int
    previous: int | None
    next: int | None

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class _Meant:
    """The rows that are meant, in order, as far as is known."""

    rows: Numbers
    searched: int
    is_done: bool
    is_everywhere: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """A page as it is asked for."""

    query: RowQuery
    offset: int
    limit: int

    def is_within(self, other: _Asked) -> bool:
        """Whether all of its lines were asked for with another."""
        is_inside = other.offset <= self.offset and self.offset + self.limit <= other.offset + other.limit
        return is_inside and self.query == other.query


class _Opened:
    """What is known of a run as it is planned now."""

    def __init__(self, run: RunView, labels: Labels, pool: ThreadPoolExecutor, threads: int) -> None:
        self.run = run
        self.index = RowIndex(run)
        self.schema = run_schema(run)
        self.asked = Asked(run, media="left out")
        reader = RowReader(run, self.index)
        self.follower = Follower(run, self.index, pool)
        self.chooser = Chooser(self.index, run.manifest.prefix, labels)
        self.searches = Searches(self.index, reader, pool, threads)
        self.lines = Lines(run, self.index, reader, self.asked)
        self.details = Details(run, self.index, reader)
        self.orders: OrderedDict[object, Numbers] = OrderedDict()

    def close(self) -> None:
        """Ends what goes on."""
        self.follower.close()
        self.searches.close()


class Browser:
    """The rows of one run, for the page.

    Args:
        labels: gives the labels and notes that rows have now.
    """

    def __init__(self, run: RunView, *, labels: Labels = dict, threads: int = THREADS) -> None:
        self._labels = labels
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batchlab-rows")
        self._pages: deque[_Asked] = deque(maxlen=KEPT_PAGES)
        self._reading: _Asked | None = None  # the page whose texts are wanted
        self._opened = _Opened(run, labels, self._pool, threads)

    @property
    def run(self) -> RunView:
        """The run, as it is planned now."""
        return self._opened.run

    @property
    def index(self) -> RowIndex:
        """What is held of its rows."""
        return self._opened.index

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be read, a line each."""
        opened = self._opened
        unknown = opened.asked.problem and f"What was asked is not known: {opened.asked.problem}"
        return tuple(one for one in [*opened.index.problems, unknown, opened.follower.trouble] if one)

    @property
    def obstacle(self) -> str:
        """Why the rest of the rows does not come to be known by waiting; "" where it does, or all are."""
        return self._opened.follower.obstacle

    def close(self) -> None:
        """Ends what goes on; to be called once, at the end."""
        self._reading = None
        self._opened.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def refresh(self, run: RunView | None = None, *, wait_s: float = WAIT_S, is_due: bool = False) -> None:
        """Has the run looked at again, when that was a second ago; waits only while not all of it is known.

        Args:
            run: the same run, opened anew: one at a URL stays as it was when it was opened.
            wait_s: how long.
            is_due: now, and waits for that.
        """
        if run is not None or self._opened.follower.is_planned_anew():
            self._opened.close()
            found = run or RunView.open(self.run.path)
            self._opened = _Opened(found, self._labels, self._pool, self._threads)
        self._opened.follower.refresh(wait_s, is_due=is_due)

    def rows(self, query: RowQuery, offset: int = 0, limit: int = 50) -> Page:
        """A page of the rows that are meant: what is held of them at once, texts that take a while when it
        is asked for again.

        Raises:
            UsageError: the query names a column that is not there, or compares it with what it cannot hold.
        """
        began = time.perf_counter()
        limit = min(limit, MOST_ROWS)
        page = _Asked(query, offset, limit)
        is_shown = any(page.is_within(one) for one in self._pages)
        self._pages.append(page)
        self.refresh()
        opened, index = self._opened, self.index
        meant = self._meant(query, enough=offset + limit)
        rows = [int(row) for row in meant.rows[offset : offset + limit]]
        index.look_at(rows)
        missing = [row for row in rows if opened.lines.known(row, query.text) is None]
        pieces = index.by_piece(missing)
        # sorted rows lie everywhere: who has not seen their lines yet is not kept from them by 50 pieces
        if pieces and (is_shown or query.text or len(pieces) <= FEW_PIECES):
            self._reading = page
            seconds = HITS_S if query.text else TEXTS_S
            opened.lines.read(pieces, query.text, self._pool, seconds, lambda: page == self._reading)
        labels = self._labels()
        lines = tuple(opened.lines.line(row, query.text, labels.get(row, (None, None))) for row in rows)
        return Page(
            total=index.rows,
            matched=len(meant.rows),
            searched=meant.searched,
            is_done=meant.is_done and all(line.texts is not None for line in lines),
            offset=offset,
            lines=lines,
            took_ms=(time.perf_counter() - began) * 1e3,
            problems=self.problems,
            is_everywhere=meant.is_everywhere,
        )

    def place(self, query: RowQuery, row: int) -> Place:
        """Where a row stands among those that are meant. Raises UsageError as `rows` does."""
        self.refresh()
        rows = self._meant(query, enough=None).rows
        found = np.flatnonzero(rows == row)
        if not len(found):
            return Place(None, len(rows), None, None)
        at = int(found[0])
        before = int(rows[at - 1]) if at else None
        after = int(rows[at + 1]) if at + 1 < len(rows) else None
        return Place(at + 1, len(rows), before, after)

    def row(self, row_id: int) -> RowDetail:
        """One row, whole. Raises UsageError when the run has no such row."""
        self.refresh(wait_s=0)
        if not 0 <= row_id < self.index.rows:
            raise UsageError(f"no row {row_id:,}: the run has {self.index.rows:,}, from 0 on.")
        self.index.look_at([row_id])
        return self._opened.details.of(row_id, *self._labels().get(row_id, (None, None)))

    def matching(self, query: RowQuery) -> list[int]:
        """All rows that are meant, in order, however long that takes.

        Raises:
            UsageError: as `rows` does; or not all rows can be looked at: the run has gone, its store is down.
        """
        self.refresh(is_due=True)
        while True:
            self.refresh()
            meant = self._meant(query, enough=None)
            if meant.is_done:
                return [int(row) for row in meant.rows]
            if obstacle := self.obstacle:
                raise UsageError(obstacle)

    def facets(self) -> dict[str, list[dict[str, Any]]]:
        """How many rows have each status, error class, finish reason, lane and label; most frequent first."""
        self.refresh()
        counts: dict[str, dict[str | None, int]] = {}
        for name in ("status", "error_class", "finish_reason", "lane"):
            words = self.index.words[name].names
            counts[name] = {words[code]: int(n) for code, n in enumerate(np.bincount(self.index[name])) if n}
        labels = counts["label"] = {}
        for label, _ in self._labels().values():
            labels[label] = labels.get(label, 0) + 1
        labels.pop(None, None)  # a note alone
        return {
            name: [
                {"value": word, "rows": rows} for word, rows in sorted(found.items(), key=lambda one: -one[1])
            ]
            for name, found in counts.items()
        }

    def _meant(self, query: RowQuery, enough: int | None) -> _Meant:
        """The rows that are meant, as far as is known within `WAIT_S`.

        Args:
            enough: so many of them will do, where the order is that of the input.
        """
        opened, index = self._opened, self.index
        prefix = self.run.manifest.prefix
        conditions = [condition_of(text, opened.schema, prefix) for text in query.where]
        held, others = opened.chooser.split(conditions)
        mask = opened.chooser.mask(query, held)
        is_whole, known = index.is_whole, index.rows if index.is_whole else index.known_rows
        left = version = 0
        if what := sought(query.text, query.inside, others, opened.asked.builder, opened.schema, prefix):
            first = enough if query.sort == "row" and not (query.is_descending or query.odd) else None
            opened.searches.go_on(what, mask, WAIT_S, first)
            scan = opened.searches.scan(what)
            left, version = sum(piece.rows for piece in scan.left(mask)), scan.version
            mask = mask & scan.hits
        key = (query, index.version, version)
        rows = opened.orders.get(key) if not query.labels else None
        if rows is None:
            rows = opened.orders[key] = opened.chooser.ordered(query, mask)
            while len(opened.orders) > KEPT_ORDERS:
                opened.orders.popitem(last=False)
        return _Meant(rows, max(0, known - left), is_whole and not left, what.is_everywhere)
