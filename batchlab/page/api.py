"""What the page may ask, and what it may have done: JSON under `/api/`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import orjson
from aiohttp import web

from batchlab.errors import CorruptRun, UsageError
from batchlab.looking.browse.query import RowQuery
from batchlab.looking.overview.of_run import overview_of
from batchlab.page.acts.children import Children
from batchlab.page.acts.offers import Offer, Wish, offers_of, why_no_act
from batchlab.page.answers import json_answer, json_bytes, words_of
from batchlab.page.comparing import Comparisons
from batchlab.page.feeds import Feed, Feeds
from batchlab.page.labelling import label, labels_of, rename, sample_of
from batchlab.page.opened import AWAY_EVERY_S, Opened, OpenRuns
from batchlab.page.shelf import NoSuchRun, Shelf, ids_of
from batchlab.page.signs import Sign, labels_sign, sign_of
from batchlab.page.streams import Streams
from batchlab.page.threads import in_thread
from batchlab.remote.urls import is_url
from batchlab.version import __version__

CHARTS_EVERY_S = 5.0  # of a run at work: they read all of its rows' numbers
WHOLE_S = 60.0  # after which charts show what there is
STALE_S = 15.0  # after which what is said of a run at work is due again, though it has said nothing


T = TypeVar("T")
Params: TypeAlias = Mapping[str, Sequence[str]]
Answer: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The questions of one page, over one shelf of runs."""

    def __init__(self, shelf: Shelf, streams: Streams, children: Children) -> None:
        self._shelf = shelf
        self._runs = OpenRuns(shelf)
        self._comparisons = Comparisons(self._runs, _all_rows_known)
        self._feeds = Feeds()
        self._streams = streams
        self._children = children

    def close(self) -> None:
        """Ends what goes on, such as a search."""
        self._runs.close()

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        asked: dict[str, Answer] = {
            "runs": self._list,
            "runs/events": self._list_events,
            "run": self._run,
            "run/events": self._run_events,
            "charts": self._run_charts,
            "rows": self._rows,
            "place": self._place,
            "row": self._row,
            "facets": self._facets,
            "labels": self._labels,
            "sample": self._sample,
            "compare": self._compare,
            "acts": self._acts,
            "act": self._act,
            "act/events": self._act_events,
        }
        done: dict[str, Answer] = {
            "act": self._begin,
            "label": self._label,
            "labels": self._rename,
            "prefer": self._prefer,
        }
        return [
            *(web.get(f"/api/{path}", answer) for path, answer in asked.items()),
            *(web.post(f"/api/{path}", answer) for path, answer in done.items()),
        ]

    # -- all runs

    async def _list(self, _: web.Request) -> web.StreamResponse:
        return json_answer(await in_thread(self._listing))

    async def _list_events(self, request: web.Request) -> web.StreamResponse:
        async def look() -> bytes:
            return await _told(in_thread(lambda: json_bytes(self._listing())))

        every_s = AWAY_EVERY_S if is_url(self._shelf.shown) else 1.0
        return await self._streams.follow(request, self._feeds.feed("runs", look, every_s))

    def _listing(self) -> dict[str, Any]:
        found, notes = self._shelf.listing()
        problems = {one.problem for one in found.runs if one.problem}
        return {
            "folder": self._shelf.shown,
            "runs": ids_of(found),
            "notes": [*(note for note in found.notes() if note not in problems), *notes],
            "version": __version__,
        }

    # -- one run

    async def _run(self, request: web.Request) -> web.StreamResponse:
        opened = await self._runs.get(_run_id(request))
        return json_answer(await in_thread(lambda: _overview(opened, _run_id(request))))

    async def _run_events(self, request: web.Request) -> web.StreamResponse:
        run_id = _run_id(request)
        last: tuple[Sign, bytes] = ((), b"")

        async def now() -> bytes:
            nonlocal last
            opened = await self._runs.get(run_id)
            sign = await in_thread(lambda: _sign(opened))
            if sign != last[0]:
                last = sign, json_bytes(await in_thread(lambda: _overview(opened, run_id)))
            return last[1]

        async def look() -> bytes:
            return await _told(now())

        # anything else the stream says, and goes on asking
        await _told(self._runs.get(run_id), at_once=NoSuchRun)
        return await self._streams.follow(request, self._feeds.feed(("run", run_id), look))

    async def _run_charts(self, request: web.Request) -> web.StreamResponse:
        opened = await self._runs.get(_run_id(request))
        with opened.held():
            async with opened.drawing:
                await _all_rows_known(opened)
                data = await in_thread(lambda: _drawn(opened))
        return web.Response(body=data, content_type="application/json", charset="utf-8")

    # -- its rows

    async def _rows(self, request: web.Request) -> web.StreamResponse:
        query = RowQuery.of(_params(request))
        offset, limit = _whole(request, "offset", 0), _whole(request, "limit", 50)
        page = await self._runs.ask(
            _run_id(request), lambda opened: opened.browser().rows(query, offset, limit).json()
        )
        return json_answer(page)

    async def _place(self, request: web.Request) -> web.StreamResponse:
        query, row = RowQuery.of(_params(request)), _whole(request, "row")
        return json_answer(
            await self._runs.ask(_run_id(request), lambda opened: opened.browser().place(query, row).json())
        )

    async def _row(self, request: web.Request) -> web.StreamResponse:
        row = _whole(request, "row")
        return json_answer(
            await self._runs.ask(_run_id(request), lambda opened: opened.browser().row(row).json())
        )

    async def _facets(self, request: web.Request) -> web.StreamResponse:
        return json_answer(await self._runs.ask(_run_id(request), lambda opened: opened.browser().facets()))

    # -- what is said of them

    async def _labels(self, request: web.Request) -> web.StreamResponse:
        by = request.query.get("by") or None
        return json_answer(await self._runs.ask(_run_id(request), lambda opened: labels_of(opened, by)))

    async def _sample(self, request: web.Request) -> web.StreamResponse:
        params = {name: values for name, values in _params(request).items() if name not in ("n", "seed")}
        query, count, seed = RowQuery.of(params), _whole(request, "n", 200), _whole(request, "seed", 0)
        return json_answer(
            await self._runs.ask(_run_id(request), lambda opened: sample_of(opened, query, count, seed))
        )

    async def _label(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        return json_answer(await self._runs.ask(str(body.get("run", "")), lambda opened: label(opened, body)))

    async def _rename(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        return json_answer(
            await self._runs.ask(str(body.get("run", "")), lambda opened: rename(opened, body))
        )

    # -- two side by side

    async def _compare(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        a, b = asked.get("a", ""), asked.get("b", "")
        offset, limit = _whole(request, "offset", 0), _whole(request, "limit", 25)
        different = asked.get("different", "") not in ("", "0")
        return json_answer(
            await self._comparisons.page(a, b, different=different, offset=offset, limit=limit)
        )

    async def _prefer(self, request: web.Request) -> web.StreamResponse:
        return json_answer(await self._comparisons.prefer(await _body(request)))

    # -- what may be done

    async def _acts(self, request: web.Request) -> web.StreamResponse:
        run_id = _run_id(request)
        started = [one.line() for one in self._children.of(run_id)]
        opened = await self._runs.get(run_id)
        offers: list[Offer] = []
        why = await in_thread(lambda: why_no_act(opened.run))
        try:
            offers = [] if why else await self._offers(run_id, _params(request))
        except (CorruptRun, OSError) as error:  # a value that is none is said beside its field
            why = words_of(error)
        return json_answer({"acts": [one.json() for one in offers], "started": started, "cannot_act": why})

    async def _offers(self, run_id: str, params: Params) -> list[Offer]:
        wish = Wish.of({name: values[-1] for name, values in params.items() if values})
        opened = await self._runs.get(run_id)
        if wish.is_narrower and not wish.has_none:
            query = RowQuery.of(wish.filter_of(params))
            rows = await self._runs.ask(run_id, lambda opened: opened.browser().matching(query))
            wish = replace(wish, rows=rows)
        return await in_thread(lambda: offers_of(opened.run, wish))

    async def _act(self, request: web.Request) -> web.StreamResponse:
        return json_answer(self._children.get(request.query.get("started", "")).json())

    async def _act_events(self, request: web.Request) -> web.StreamResponse:
        started = self._children.get(request.query.get("started", ""))

        async def look() -> bytes:
            return json_bytes(started.json())

        return await self._streams.follow(request, Feed(look))

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        """Runs exactly the command that the person was shown."""
        body = await _body(request)
        run_id, name, shown = (str(body.get(key, "")) for key in ("run", "name", "command"))
        params = {**_texts(body.get("filter")), **_texts(body.get("values"))}
        offered = {one.name: one for one in await self._offers(run_id, params)}
        offer = offered.get(name)
        if offer is None or offer.command != shown:
            raise web.HTTPConflict(text="the run has changed since: look at the command again")
        if self._children.has_begun(run_id, offer.command):
            raise web.HTTPConflict(text="that was begun already: its log says how far it is")
        started = self._children.start(run_id, offer.words, offer.folder)
        return json_answer({"started": started.key, "command": started.command})


def _overview(opened: Opened, run_id: str) -> dict[str, Any]:
    labelled = None if opened.run.url is not None else labels_sign(opened.run.path)
    told = overview_of(opened.run).json()
    return {**told, "id": run_id, "labelled": labelled, "cannot_act": why_no_act(opened.run)}


def _drawn(opened: Opened) -> bytes:
    """The charts, made anew when the run has changed; while somebody works on it, not too often.

    Of a run that has ended they are asked for once more, and then show all of it.
    """
    index, known = opened.browser().index, opened.drawn
    sign = (*_sign(opened), index.version)
    if known is not None:
        is_at_work = opened.run.url is None and opened.run.lock_holder() is not None
        if known[0] == sign or (is_at_work and time.monotonic() - known[1] < CHARTS_EVERY_S):
            return known[2]
    data = json_bytes(opened.charter.charts(index).json())
    opened.drawn = sign, time.monotonic(), data
    return data


async def _all_rows_known(opened: Opened) -> None:
    """Waits until every shard was looked at as it is now, or nothing more can be, in turn with others who ask
    for rows."""
    is_due = True

    def look() -> bool:
        nonlocal is_due
        browser = opened.browser()
        browser.refresh(is_due=is_due)  # waits a moment while there are more
        is_due = False
        return browser.index.is_whole or bool(browser.obstacle)  # then there is what was read

    until = time.monotonic() + WHOLE_S
    while time.monotonic() < until:
        async with opened.turn:
            if await in_thread(look):
                return
        await asyncio.sleep(0.05)


def _sign(opened: Opened) -> Sign:
    """Changes with all that an overview says; now and then by itself, too, while somebody works on it."""
    if opened.run.url is not None:
        return (opened.at, int(time.monotonic() / AWAY_EVERY_S))
    sign = sign_of(opened.run.path)
    return (*sign, int(time.monotonic() / STALE_S) if sign[-1] is not None else 0)


async def _told(answer: Awaitable[T], at_once: type[Exception] | tuple[()] = ()) -> T | bytes:
    """What was asked, or else why it cannot be told, which is said on the page, and the page goes on asking.

    Args:
        at_once: what is raised all the same.
    """
    try:
        return await answer
    except at_once:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one line on the page
        return json_bytes({"error": words_of(error)})


def _run_id(request: web.Request) -> str:
    run_id = request.query.get("run", "")
    if not run_id:
        raise NoSuchRun("name a run.")
    return run_id


def _whole(request: web.Request, name: str, without: int | None = None) -> int:
    text = request.query.get(name)
    if text is None and without is not None:
        return without
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise UsageError(f"{name}: expected a number, 0 or more.")
    return int(text)


def _params(request: web.Request) -> Params:
    return {name: request.query.getall(name) for name in request.query}


async def _body(request: web.Request) -> Mapping[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise UsageError("what was sent is not JSON.") from error
    if not isinstance(body, dict):
        raise UsageError("what was sent is no JSON object.")
    return body


def _texts(value: Any) -> dict[str, list[str]]:
    """The members of an object, as parameters of a query: a text, a number that was typed, or several."""
    if not isinstance(value, dict):
        return {}
    found = {}
    for name, one in value.items():
        several = one if isinstance(one, list) else [one]
        found[str(name)] = [str(text) for text in several if isinstance(text, str | int | float)]
    return found
