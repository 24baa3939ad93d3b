"""The runs that somebody looks at now, each opened once, and let go when others take their place."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from batchlab.looking.browse.pages import Browser
from batchlab.looking.labels.review import Review
from batchlab.looking.overview.charts import Charter
from batchlab.page.shelf import NoSuchRun, Shelf
from batchlab.page.signs import Sign, sign_of
from batchlab.page.threads import in_thread
from batchlab.store.view import RunView

T = TypeVar("T")
MOST_WITH_ROWS = 3  # two to compare, and one more; each has the columns of all its rows in memory
MOST_OPEN = 64  # of which only a few files were read: as many as can be followed
AWAY_EVERY_S = 20.0  # a store is looked at anew: a dozen requests for a run


@dataclass(slots=True)
class Opened:
    """One run, and what was read of it.

    Attributes:
        sign: of the files that tell which generation this is; by it the run is opened again.
        at: when it was opened, on the monotonic clock.
        turn: of who asks for rows: one question at a time.
        drawing: of who draws charts, which takes a while for a million rows.
        drawn: the charts that were drawn last: of which state of the run, when, and as JSON.
    """

    run: RunView
    sign: Sign
    at: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    charter: Charter = field(default_factory=Charter)
    drawing: asyncio.Lock = field(default_factory=asyncio.Lock)
    drawn: tuple[Sign, float, bytes] | None = None
    _browser: Browser | None = None
    _review: Review | None = None
    _holders: int = 0  # questions that go on, and those that wait for them
    _is_left: bool = False

    @property
    def has_rows(self) -> bool:
        """Whether its rows were asked for."""
        return self._browser is not None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps it open until the end of the block, also when another takes its place meanwhile."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            self._close_if_left()

    def browser(self) -> Browser:
        """Its rows; made when they are first asked for, which reads some columns of all of them."""
        if self._browser is None:
            self._browser = browser = Browser(self.run, labels=lambda: self.review.of_rows(browser.index))
        return self._browser

    @property
    def review(self) -> Review:
        """What people say of its answers."""
        if self._review is None:
            self._review = Review(self.run)
        return self._review

    def look_at(self, run: RunView) -> None:
        """Takes the same run, opened anew: one at a URL stays as it was when it was opened."""
        self.run = run
        self._review = None
        if self._browser is not None:
            self._browser.refresh(run)

    def leave(self) -> None:
        """Ends what goes on in it, once nobody holds it."""
        self._is_left = True
        self._close_if_left()

    def _close_if_left(self) -> None:
        if self._is_left and not self._holders:
            self.close()

    def close(self) -> None:
        """Ends what goes on in it, such as a search."""
        browser, self._browser = self._browser, None
        if browser is not None:
            browser.close()


class OpenRuns:
    """Runs by id. One that was deleted, or has a new generation, is noticed at the next question."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._open: OrderedDict[str, Opened] = OrderedDict()  # the last asked for last
        self._opening = asyncio.Lock()

    async def get(self, run_id: str) -> Opened:
        """The run of an id. Raises NoSuchRun, UsageError or CorruptRun."""
        async with self._opening:
            known = self._open.get(run_id)
            try:
                fresh = await in_thread(lambda: self._fresh(run_id, known))
            except NoSuchRun:  # it was deleted: nothing of it is kept
                if known is not None:
                    self._open.pop(run_id).leave()
                raise
            if fresh is not known:
                self._open[run_id] = fresh
                if known is not None:
                    known.leave()
            self._open.move_to_end(run_id)
            self._make_room()
            return fresh

    def _make_room(self) -> None:
        """Lets go of those that were asked for longest ago.

        One that is only followed takes no memory, and must not take the place of one that is looked at.
        """
        with_rows = [name for name, one in self._open.items() if one.has_rows]
        others = [name for name, one in self._open.items() if not one.has_rows]
        for name in [*with_rows[:-MOST_WITH_ROWS], *others[:-MOST_OPEN]]:
            self._open.pop(name).leave()

    def close(self) -> None:
        """Ends what goes on in any of them."""
        for opened in self._open.values():
            opened.close()

    async def ask(self, run_id: str, question: Callable[[Opened], T]) -> T:
        """What `question` returns of a run, in a thread; others about the same run wait for it."""
        opened = await self.get(run_id)
        with opened.held():
            async with opened.turn:
                answer = await in_thread(lambda: question(opened))
        self._make_room()  # it may have its rows only now
        return answer

    def _fresh(self, run_id: str, known: Opened | None) -> Opened:
        if known is not None and known.run.url is not None:
            if time.monotonic() - known.at < AWAY_EVERY_S:
                return known
            run, known.at = self._shelf.open(run_id), time.monotonic()
            if not _is_same(run, known.run):
                known.look_at(run)
            return known
        where = self._shelf.where(run_id)
        sign = () if known is None else generation_sign(known.run)
        if known is not None and sign == known.sign and str(known.run.path) == str(where):
            return known
        run = self._shelf.open(run_id)
        return Opened(run, generation_sign(run), time.monotonic())


def generation_sign(run: RunView) -> Sign:
    """What changes when a run is planned anew, moved away, or replaced by another."""
    return () if run.url is not None else sign_of(run.path)[:1]


def _is_same(run: RunView, other: RunView) -> bool:
    """Whether two looks at a URL found the same."""
    return (
        type(run) is type(other)
        and run.url == other.url
        and run.manifest == other.manifest
        and run.part_sizes() == other.part_sizes()
        and run.other_host() is None
    )
