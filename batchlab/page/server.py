"""The page's server: on loopback, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from batchlab.job.index import in_keys
from batchlab.page.access import LARGEST_BODY, Asked, Door
from batchlab.page.acts.children import Children
from batchlab.page.address import SOCKET, TOKEN, Wanted, address_of, listener
from batchlab.page.answers import status_of, trouble, with_headers, words_of
from batchlab.page.api import Answer, Api
from batchlab.page.assets import INDEX, type_of
from batchlab.page.bundle import served
from batchlab.page.shelf import Shelf
from batchlab.page.streams import Streams
from batchlab.page.threads import in_thread

SHUTDOWN_S = 0.5
_QUIET = logging.getLogger(__name__)  # aiohttp tells of each request that is none, with a traceback
_QUIET.disabled = True
NICE = 10  # of a page beside a run: the run goes first


def application(shelf: Shelf, door: Door, children: Children) -> web.Application:
    """The page as an aiohttp application."""
    streams = Streams()
    app = web.Application(middlewares=[_guarded(door)], client_max_size=LARGEST_BODY)

    api = Api(shelf, streams, children)

    async def end(_: web.Application) -> None:
        streams.ended.set()
        api.close()

    app.on_shutdown.append(end)
    app.add_routes(api.routes())
    app.add_routes([web.get("/", _index(door)), web.get("/{name}", _asset)])
    return app


async def serve(
    shelf: Shelf, wanted: Wanted, listening: Callable[[str], None], *, until: asyncio.Event | None = None
) -> None:
    """Serves until `until` is set (for ever without it); tells the address once it listens.

    Raises:
        UsageError: the port is taken, or there is no such host here.
    """
    taken = listener(wanted)
    port = taken.getsockname()[1]
    # also where --host names loopback: who else has an account here may not read, either
    door = Door(wanted.token, wanted.host, cookie=f"batchlab_{port}")
    children = Children()
    runner = web.AppRunner(
        application(shelf, door, children), access_log=None, logger=_QUIET, shutdown_timeout=SHUTDOWN_S
    )
    try:
        await runner.setup()
        await web.SockSite(runner, taken, backlog=128).start()
        address = address_of(wanted, port)
        listening(address)
        if wanted.opens:
            await in_thread(lambda: webbrowser.open(address))
        await (until or asyncio.Event()).wait()
    finally:
        await runner.cleanup()
        children.close()
        taken.close()


def run_until_interrupted(shelf: Shelf, wanted: Wanted, listening: Callable[[str], None]) -> None:
    """Serves until Ctrl-C, or SIGTERM. Raises UsageError as `serve` does."""

    async def main() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C is raised there
                loop.add_signal_handler(number, ended.set)
        await serve(shelf, wanted, listening, until=ended)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


def run_beside(shelf: Shelf, wanted: Wanted) -> None:
    """Serves until standard input ends: in the process that `page.beside` begins."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.nice(NICE)
    wanted = dataclasses.replace(
        wanted, token=os.environ.pop(TOKEN, wanted.token), descriptor=int(os.environ.pop(SOCKET, "-1"))
    )

    async def main() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            with contextlib.suppress(OSError):
                while os.read(0, 4_096):
                    pass
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=wait, name="run", daemon=True).start()
        await serve(shelf, wanted, lambda _: None, until=ended)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


def _guarded(door: Door) -> Middleware:
    @web.middleware
    async def guarded(request: web.Request, handler: Answer) -> web.StreamResponse:
        made = await _answered(door, request, handler)
        return made if made.prepared else with_headers(made)

    return guarded


async def _answered(door: Door, request: web.Request, answer: Answer) -> web.StreamResponse:
    if not _brings_token(door, request) and (refused := door.refusal(_asked(request))) is not None:
        return trouble(refused.why, refused.status)
    try:
        return await answer(request)
    except web.HTTPException as error:
        said = (
            "there is nothing of that name here" if error.status in (404, 405) else error.text or error.reason
        )
        return trouble(said, error.status)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one line on the page
        return trouble(in_keys(words_of(error)), status_of(error))


def _asked(request: web.Request) -> Asked:
    sockname = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return Asked(
        request.method,
        request.raw_path,
        request.headers.getall("Host", []),
        request.headers,
        sockname[0] if isinstance(sockname, tuple) else "",
    )


def _brings_token(door: Door, request: web.Request) -> bool:
    """Whether this is the address that was printed, of a page that others may open: it makes them known."""
    if not (door.is_open and request.method == "GET" and request.path == "/" and "token" in request.query):
        return False
    asked = _asked(request)
    known = Asked(asked.method, asked.target, asked.hosts, {**asked.headers, "X-Batchlab-Token": door.token})
    return door.is_token(request.query["token"]) and door.refusal(known) is None


def _index(door: Door) -> Answer:
    async def index(request: web.Request) -> web.StreamResponse:
        if door.is_open and "token" in request.query:
            seen = web.Response(status=303, headers={"Location": "/"})  # the address bar is without it
            seen.set_cookie(door.cookie, door.token, httponly=True, samesite="Strict", path="/")
            return seen
        return _file(INDEX)

    return index


async def _asset(request: web.Request) -> web.StreamResponse:
    return _file(request.match_info["name"])


def _file(name: str) -> web.Response:
    if (body := served().get(name)) is None:
        raise web.HTTPNotFound
    return web.Response(body=body, content_type=type_of(name), charset="utf-8")
