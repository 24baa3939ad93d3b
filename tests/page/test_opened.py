"""Runs that are held open while somebody looks at them, and let go after."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading

import pytest

from batchlab.looking.browse.query import RowQuery
from batchlab.page.feeds import Feeds
from batchlab.page.opened import MOST_WITH_ROWS, OpenRuns
from batchlab.page.shelf import NoSuchRun, Shelf


@pytest.fixture
def many(runs, tmp_path):
    """A folder of six runs."""
    for number in range(6):
        shutil.copytree(runs / "day", tmp_path / "runs" / f"r{number}")
    return tmp_path / "runs"


def rows_of(opened) -> int:
    return opened.browser().rows(RowQuery()).total


def test_runs_that_are_only_followed_do_not_take_the_rows_of_one_that_is_looked_at(many):
    """Each stream asks for its run once a second: four tabs on four runs read all their rows again and again."""

    async def look() -> None:
        runs = OpenRuns(Shelf(str(many)))
        assert await runs.ask("r0", rows_of) == 5
        first = await runs.get("r0")
        for _ in range(3):
            for number in range(1, 6):
                await runs.get(f"r{number}")
        assert await runs.get("r0") is first
        assert first.has_rows

        for number in range(1, MOST_WITH_ROWS + 1):
            await runs.ask(f"r{number}", rows_of)
        assert await runs.get("r0") is not first
        assert not first.has_rows
        runs.close()

    asyncio.run(look())


def test_a_run_that_was_deleted_is_let_go(many):
    async def look() -> None:
        runs = OpenRuns(Shelf(str(many)))
        await runs.ask("r0", rows_of)
        opened = await runs.get("r0")
        shutil.rmtree(many / "r0")
        with pytest.raises(NoSuchRun):
            await runs.get("r0")
        assert not opened.has_rows
        runs.close()

    asyncio.run(look())


def test_a_question_is_answered_though_others_take_its_run_s_place_meanwhile(many):
    began, goes_on = threading.Event(), threading.Event()

    def slow(opened) -> int:
        began.set()
        assert goes_on.wait(30)
        return rows_of(opened)  # reads with threads that a closed run has no more

    async def look() -> None:
        runs = OpenRuns(Shelf(str(many)))
        await runs.ask("r0", rows_of)
        opened = await runs.get("r0")
        asked = asyncio.ensure_future(runs.ask("r0", slow))
        await asyncio.to_thread(began.wait)
        for number in range(1, 6):
            await runs.ask(f"r{number}", rows_of)
        assert await runs.get("r0") is not opened
        goes_on.set()
        assert await asked == 5
        assert not opened.has_rows
        runs.close()

    asyncio.run(look())


def test_a_feed_is_shared_by_who_follows_it_and_gone_with_the_last():
    feeds = Feeds()

    async def look() -> bytes:
        return b"{}"

    first, second = feeds.feed("run", look), feeds.feed("run", look)
    assert first is second
    others = [feeds.feed(number, look) for number in range(200)]
    assert feeds.feed("run", look) is first  # however many others there are
    del first, second, others
    gc.collect()
    assert len(feeds._feeds) == 0
