"""Chromium before the stand-in server: each page that a test opens must stay within the page's own rules."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.page.front.stand_in import Server, some_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WATCH = "addEventListener('securitypolicyviolation', e => (window.broken ||= []).push(e.violatedDirective + ' ' + e.blockedURI));"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not longer than a module: no test with a loop of its own can run beside Playwright's."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: the extra `browser`"
    )
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


REFUSED = ("console: Failed to load resource",)  # what Chromium says of an answer of 400 and more


@dataclass
class Served:
    """A stand-in that answers in a thread of its own."""

    server: Server
    address: str
    _stop: Callable[[], None] = field(repr=False)

    def stop(self) -> None:
        self._stop()


def served(server: Server) -> Served:
    """Starts a stand-in on loopback; Playwright keeps a loop of its own in the test's thread."""
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        runner = web.AppRunner(server.app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ended = asyncio.Event()
        started.set_result((int(runner.addresses[0][1]), asyncio.get_running_loop(), ended))
        await ended.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    port, loop, ended = started.result(10)

    def stop() -> None:
        server.ended = True
        if thread.is_alive():
            loop.call_soon_threadsafe(ended.set)
            thread.join(10)

    return Served(server, f"http://127.0.0.1:{port}/", stop)


@pytest.fixture
def stand_in() -> Iterator[Served]:
    """Runs of every kind."""
    found = served(Server(some_runs(), updates_s=0.2))
    yield found
    found.stop()


@dataclass
class Visit:
    """A browser that looks at the stand-in, and what went wrong in it."""

    context: BrowserContext
    page: Page
    address: str
    wrong: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()  # beginnings of what a test wants to go wrong

    def to(self, place: str, *, query: str = "") -> Page:
        """Opens a place of the page, e.g. `/run/night/rows`."""
        self.page.goto(f"{self.address}{query}#{place}")
        return self.page

    def text(self, selector: str = "main") -> str:
        return self.page.locator(selector).inner_text()

    def params(self) -> str:
        """What stands behind the `?` in the address's own part."""
        return str(
            self.page.evaluate("decodeURIComponent((location.hash.split('?')[1] || '').replaceAll('+', ' '))")
        )

    def place(self) -> str:
        return str(self.page.evaluate("location.hash.split('?')[0]"))

    def until(self, condition: str, argument: Any = None) -> None:
        """Waits for a condition in the page's own words."""
        end = time.monotonic() + 15
        asked = (
            condition
            if "=>" in condition.split("(")[0] or condition.startswith(("async", "("))
            else f"() => {condition}"
        )
        while not self.page.evaluate(asked, argument):
            assert time.monotonic() < end, (
                f"{condition} {argument or ''}; the page says: {self.text('main')[-600:]}"
            )
            self.page.wait_for_timeout(40)

    def sees(self, text: str, selector: str = "main") -> None:
        """Waits until a text can be read."""
        self.until(
            "([s, t]) => [...document.querySelectorAll(s)].some(e => e.innerText.includes(t))",
            [selector, text],
        )

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def visit(browser: Browser, stand_in: Served) -> Iterator[Callable[..., Visit]]:
    """Opens browsers, and sees at the end that nothing broke a rule or asked anybody but the server.

    `at` is where one begins, and `sees` what it waits for there.
    """
    visits: list[Visit] = []

    def open_one(
        *, at: str = "", sees: str = "", token: bool = True, expected: tuple[str, ...] = (), **how: Any
    ) -> Visit:
        context = browser.new_context(
            **{
                "viewport": {"width": 1280, "height": 860},
                "color_scheme": "light",
                "reduced_motion": "reduce",
                **how,
            }
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.add_init_script(WATCH + ("sessionStorage.setItem('batchlab-token', 'secret');" if token else ""))
        one = Visit(context, page, stand_in.address, expected=expected)
        page.on("pageerror", lambda error: one.wrong.append(f"error: {error}"))
        page.on(
            "console",
            lambda said: (
                one.wrong.append(f"console: {said.text}") if said.type in {"error", "warning"} else None
            ),
        )
        page.on("dialog", lambda dialog: one.wrong.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((stand_in.address, "data:", "blob:", "file:"))
                else one.wrong.append(f"asked elsewhere: {asked.url}")
            ),
        )
        visits.append(one)
        if at:
            one.to(at)
        if sees:
            one.sees(sees)
        return one

    yield open_one
    for one in visits:
        broken = one.page.evaluate("[window.broken || [], window.struck || 0]")
        one.context.close()
        assert broken == [[], 0]
        assert [said for said in one.wrong if not said.startswith(one.expected or ("\0",))] == []
