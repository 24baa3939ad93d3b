"""What the page asks about the rows of a run, answered within bounds of memory and of time.

Called from one thread at a time (`asyncio.to_thread`); what takes longer goes on in threads of its own, and the
same question again gives more. A new question ends what an earlier one has begun.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.arrow import pa, pc
from batchlab.errors import BatchlabError
from batchlab.looking.browse.columns import HELD, UNREADABLE, Numbers
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.lines import Lines, Texts
from batchlab.looking.browse.query import MOST_ROWS, RowQuery
from batchlab.looking.browse.reader import RowReader
from batchlab.looking.browse.scan import Scan
from batchlab.looking.browse.sought import Sought, sought
from batchlab.looking.rows.asked import Asked
from batchlab.looking.rows.conditions import Condition, condition_of
from batchlab.looking.show import run_schema
from batchlab.protocol.finish import unknown_finish
from batchlab.store.view import RunView

THREADS = 2
WAIT_S = 0.2  # how long a question may take while more is to come
TEXTS_S = 0.06  # of it, for the texts of a page
REFRESH_S = 1.0  # how often a run is looked at again
KEPT_ORDERS, KEPT_SCANS = 4, 4
_ODD_FIRST = ("failed", UNREADABLE, "invalid", "filtered", "truncated")

Label = tuple[str | None, str | None]  # a label and a note
Labels = Callable[[], Mapping[int, Label]]  # those of a run, by row


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a page.

    Attributes:
        texts: None until they were read.
    """

    row_id: int
    custom_id: str | None
    status: str
    error_class: str | None
    finish_reason: str | None
    lane: str | None
    latency_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    attempts: int | None
    label: str | None
    note: bool
    texts: Texts | None

    def json(self) -> dict[str, Any]:
        """For the page."""
        found = {name: getattr(self, name) for name in self.__slots__ if name != "texts"}
        hits: dict[str, list[list[int]]] = {}
        for name in ("asked", "answer", "error_message"):
            one = getattr(self.texts, name, None)
            found[name] = one.text if one is not None else None
            if one is not None and one.hits:
                hits[name] = [list(hit) for hit in one.hits]
        return {**found, "hits": hits, "problem": self.texts.problem if self.texts else ""}


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the rows that are meant.

    Attributes:
        total, matched: rows of the run, and those of them that are meant, as far as is known.
        searched: rows of which it is known whether they are meant.
        is_done: whether the same question again would give no more.
    """

    total: int
    matched: int
    searched: int
    is_done: bool
    offset: int
    lines: tuple[Line, ...]
    took_ms: float
    problems: tuple[str, ...]

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
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands among those that are meant; None: it is none of them."""

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
    left: bool


class Browser:
    """The rows of one run, for the page.

    Args:
        labels: gives the labels and notes that rows have now.
    """

    def __init__(self, run: RunView, *, labels: Labels | None = None, threads: int = THREADS) -> None:
        self._threads = threads
        self._labels = labels or dict
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batchlab-rows")
        self._refreshing: Future[None] | None = None
        self._refreshed = 0.0
        self._is_closed = False
        self._page: object = None  # that is asked for now
        self._sought: Sought | None = None  # and what is looked for
        self._seen: tuple[int, int] | None = None  # of run.json, when it was looked at last
        self._trouble = ""
        self._open(run)

    def _open(self, run: RunView) -> None:
        self.run = run
        self.index = RowIndex(run)
        self.reader = RowReader(run, self.index)
        self.asked = Asked(run, media="left out")
        self._schema = run_schema(run)
        self._prefix = run.manifest.prefix
        self._lines = Lines(self.index, self.reader, self.asked, self._schema.names)
        self._scans: OrderedDict[Sought, Scan] = OrderedDict()
        self._orders: OrderedDict[object, Numbers] = OrderedDict()
        self._sorted: dict[tuple[str, bool], tuple[int, Numbers]] = {}
        self._has_own_ids = run.manifest.job.input.id is not None or "custom_id" in run.manifest.plan.columns

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be read, a line each."""
        found = [*self.index.problems, self.asked.problem and f"What was asked is not known: {self.asked.problem}"]
        return tuple(one for one in [*found, self._trouble] if one)

    def close(self) -> None:
        """Ends what goes on."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def rows(self, query: RowQuery, offset: int = 0, limit: int = 50) -> Page:
        """A page of the rows that are meant.

        Raises:
            UsageError: the query names a column that is not there, or compares it with what it cannot hold.
        """
        began = time.perf_counter()
        limit = min(limit, MOST_ROWS)
        self._page = page = (query, offset, limit)
        self.refresh()
        meant = self._meant(query, enough=offset + limit)
        rows = [int(row) for row in meant.rows[offset : offset + limit]]
        self.index.look_at(rows)
        missing = [row for row in rows if self._lines.known(row, query.text) is None]
        if missing:
            is_wanted = lambda: self._page == page and not self._is_closed  # noqa: E731
            self._lines.read(missing, query.text, self._pool, TEXTS_S, is_wanted)
        labels = self._labels()
        lines = tuple(self._line(row, self._lines.known(row, query.text), labels) for row in rows)
        is_done = self.index.is_whole and not meant.left and all(line.texts is not None for line in lines)
        return Page(
            total=self.index.rows,
            matched=len(meant.rows),
            searched=meant.searched,
            is_done=is_done,
            offset=offset,
            lines=lines,
            took_ms=(time.perf_counter() - began) * 1e3,
            problems=self.problems,
        )

    def place(self, query: RowQuery, row: int) -> Place:
        """Where a row stands among those that are meant. Raises UsageError as `rows` does."""
        self.refresh()
        rows = self._meant(query, enough=None).rows
        found = np.flatnonzero(rows == row)
        if not len(found):
            return Place(None, len(rows), None, None)
        at = int(found[0])
        return Place(
            at + 1,
            len(rows),
            int(rows[at - 1]) if at else None,
            int(rows[at + 1]) if at + 1 < len(rows) else None,
        )

    def matching(self, query: RowQuery) -> list[int]:
        """All rows that are meant, in order, however long it takes to look. Raises UsageError as `rows` does."""
        while True:
            self.refresh()
            meant = self._meant(query, enough=None)
            if (self.index.is_whole and not meant.left) or self._is_closed:
                return [int(row) for row in meant.rows]

    def facets(self) -> dict[str, list[dict[str, Any]]]:
        """How many rows have each status, error class, finish reason, lane and label; the most frequent first."""
        self.refresh()
        found = {}
        for name in ("status", "error_class", "finish_reason", "lane"):
            counts = np.bincount(self.index[name])
            words = self.index.words[name].names
            pairs = [(words[code], int(count)) for code, count in enumerate(counts) if count]
            found[name] = [{"value": word, "rows": count} for word, count in sorted(pairs, key=lambda one: -one[1])]
        labels: dict[str | None, int] = {}
        for label, _ in self._labels().values():
            if label is not None:
                labels[label] = labels.get(label, 0) + 1
        found["label"] = [{"value": word, "rows": count} for word, count in sorted(labels.items(), key=lambda one: -one[1])]
        return found

    def refresh(self, run: RunView | None = None) -> None:
        """Has the run looked at again, when that was a second ago; waits only while nothing is known.

        Args:
            run: the same run, opened anew: one at a URL stays as it was when it was opened.
        """
        if run is not None or self._is_other():
            self._open(run or RunView.open(self.run.path))
            self._refreshing = None
        if self._refreshing is None or (
            self._refreshing.done() and time.monotonic() - self._refreshed > REFRESH_S
        ):
            self._refreshing = self._pool.submit(self._refresh, self.index)
        if not self.index.is_whole:
            wait([self._refreshing], timeout=WAIT_S)

    def _refresh(self, index: RowIndex) -> None:
        try:
            if self.run.url is None and not self.run.layout.manifest.exists():
                self._trouble = f"{self.run.place}: the run is gone; what was read of it is still here."
            else:
                index.refresh(lambda: index is not self.index or self._is_closed)
                self._trouble = ""
        except (BatchlabError, OSError) as error:
            self._trouble = str(error)
        finally:
            self._refreshed = time.monotonic()

    def _is_other(self) -> bool:
        """Whether the run has been planned anew since it was opened: other input, or `--fresh`."""
        if self.run.url is not None:
            return False
        try:
            stat = self.run.layout.manifest.stat()
        except OSError:
            return False
        seen, self._seen = self._seen, (stat.st_ino, stat.st_mtime_ns)
        if seen in (None, self._seen):
            return False
        try:
            now = RunView.open(self.run.path).manifest
        except BatchlabError:
            return False
        was = self.run.manifest
        return (now.run_id, now.generation, now.plan.shards) != (was.run_id, was.generation, was.plan.shards)

    def _meant(self, query: RowQuery, enough: int | None) -> _Meant:
        """The rows that are meant, as far as is known within `WAIT_S`.

        Args:
            enough: so many of them will do, where the order is that of the input.
        """
        held, conditions = self._conditions(query)
        mask = self._mask(query, held)
        scan, left = None, 0
        if what := self._what(query, conditions):
            self._sought = what
            scan = self._scans.setdefault(what, Scan(self.index, self.reader, what))
            self._scans.move_to_end(what)
            while len(self._scans) > KEPT_SCANS:
                self._scans.popitem(last=False)
            if todo := scan.left(mask):
                scan.go_on(todo, self._pool, self._threads, lambda: self._sought == what and not self._is_closed)
                hits, by_row = scan.hits, query.sort == "row" and not (query.is_descending or query.odd)
                scan.wait(WAIT_S, lambda: by_row and enough is not None and np.count_nonzero(hits & mask) >= enough)
            left = sum(piece.rows for piece in scan.left(mask))
            mask = mask & scan.hits
        key = (query, self.index.version, scan.version if scan else 0)
        rows = self._orders.get(key) if not query.labels else None
        if rows is None:
            rows = self._orders[key] = self._ordered(query, mask)
            while len(self._orders) > KEPT_ORDERS:
                self._orders.popitem(last=False)
        known = self.index.rows if self.index.is_whole else self.index.known_rows
        return _Meant(rows, max(0, known - left), left > 0)

    def _conditions(self, query: RowQuery) -> tuple[list[Condition], list[Condition]]:
        """Those on columns that are held, and those on others. Raises UsageError."""
        made = [condition_of(text, self._schema, self._prefix) for text in query.where]
        held = [one for one in made if self._held(one.column) is not None]
        return held, [one for one in made if self._held(one.column) is None]

    def _held(self, column: str) -> str | None:
        """The bare name of a column that is held; None for any other."""
        name = column.removeprefix(self._prefix)
        return name if column == self._prefix + name and (name in HELD or name == "row_id") else None

    def _what(self, query: RowQuery, conditions: list[Condition]) -> Sought:
        return sought(query.text, query.inside, conditions, self.asked.builder, self._schema, self._prefix)

    def _mask(self, query: RowQuery, held: list[Condition]) -> Numbers:
        """Which rows are meant, by what is held of them."""
        index = self.index
        mask = np.ones(index.rows, dtype=bool)
        words = {
            "status": query.statuses,
            "error_class": query.errors,
            "finish_reason": query.finishes,
            "lane": query.lanes,
        }
        for name, asked in words.items():
            if asked:
                allowed = np.zeros(np.iinfo(index[name].dtype).max + 1, dtype=bool)
                allowed[index.codes(name, list(asked))] = True
                mask &= allowed[index[name]]
        if query.ranges:
            inside = np.zeros(index.rows, dtype=bool)
            for first, last in query.ranges:
                inside[first : None if last is None else last + 1] = True
            mask &= inside
        if query.labels:
            labelled = self._labels()
            if None in query.labels:
                inside = np.ones(index.rows, dtype=bool)
                inside[[row for row, (label, _) in labelled.items() if label not in query.labels]] = False
            else:
                inside = np.zeros(index.rows, dtype=bool)
                inside[[row for row, (label, _) in labelled.items() if label in query.labels]] = True
            mask &= inside
        for one in held:
            name = self._held(one.column)
            column = pa.array(np.arange(index.rows)) if name == "row_id" else index.arrow(str(name))
            made = one.mask(pa.table({one.column: column}))
            mask &= pc.fill_null(made, False).to_numpy().astype(bool)
        return mask

    def _ordered(self, query: RowQuery, mask: Numbers) -> Numbers:
        index = self.index
        if query.sort == "row":
            rows = np.flatnonzero(mask).astype("i4")
            rows = rows[::-1] if query.is_descending else rows
        else:
            order = self._order(query.sort, is_descending=query.is_descending)
            rows = order[mask[order]]
        if query.odd:
            rows = rows[np.argsort(self._oddness()[rows], kind="stable")]
        return rows if query.most is None else rows[: query.most]

    def _order(self, name: str, *, is_descending: bool) -> Numbers:
        """All rows by a column; null comes last, and equal ones in the order of the input."""
        key = (name, is_descending)
        kept = self._sorted.get(key)
        if kept is not None and kept[0] == self.index.version:
            return kept[1]
        version, values = self.index.version, self.index[name]
        keys = values.astype("f8" if name == "cost_usd" else "f4")
        if values.dtype.kind == "i":
            keys[values < 0] = np.nan
        order = np.argsort(-keys if is_descending else keys, kind="stable").astype("i4")
        self._sorted = {key: (version, order)}  # one is enough: a person sorts by one column at a time
        return order

    def _oddness(self) -> Numbers:
        """The rank of each row: 0 is the oddest."""
        index = self.index
        names = index.words["status"].names
        ranks = np.full(len(names), len(_ODD_FIRST) + 1, dtype="u1")
        for rank, word in enumerate(_ODD_FIRST):
            ranks[names.index(word)] = rank
        ranks[names.index("pending")] += 1
        found = ranks[index["status"]]
        strange = np.array([unknown_finish(word) is not None for word in index.words["finish_reason"].names])
        is_ok = index["status"] == names.index("ok")
        found[is_ok & ((index["error_class"] > 0) | strange[index["finish_reason"]])] = len(_ODD_FIRST)
        return found

    def _line(self, row: int, texts: Texts | None, labels: Mapping[int, Label]) -> Line:
        label, note = labels.get(row, (None, None))
        own_id = None if self._has_own_ids else str(row)
        index = self.index
        return Line(
            row_id=row,
            custom_id=own_id if texts is None else texts.custom_id,
            status=index.word("status", row) or UNREADABLE,
            error_class=index.word("error_class", row),
            finish_reason=index.word("finish_reason", row),
            lane=index.word("lane", row),
            latency_ms=index.number("latency_ms", row),
            prompt_tokens=index.count("prompt_tokens", row),
            completion_tokens=index.count("completion_tokens", row),
            cost_usd=index.number("cost_usd", row),
            attempts=index.count("attempts", row),
            label=label,
            note=bool(note),
            texts=texts,
        )
