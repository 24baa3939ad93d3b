"""Browser windows before the real server, and waiting in them for what a person waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_S = 20


class Window:
    """One window, with what went wrong in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.root, _, self.token = address.partition("#token=")
        self.token = self.token.partition("&")[0]
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def to(self, place: str) -> Window:
        """Opens a place of the page, with the right to write."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.root}#token={self.token}&{place}")
        return self

    def until(self, condition: str, argument: Any = None) -> None:
        """Waits for a condition in the page's own words. Playwright's own wait needs eval, which it forbids."""
        end = time.monotonic() + PATIENCE_S
        asked = condition if "=>" in condition else f"() => {condition}"
        while not self.page.evaluate(asked, argument):
            assert time.monotonic() < end, f"{condition} {argument or ''}: {self.text()[-800:]}"
            self.page.wait_for_timeout(30)

    def sees(self, text: str, selector: str = "main") -> None:
        """Waits until a text can be read."""
        self.until(
            "([s, t]) => [...document.querySelectorAll(s)].some(e => e.innerText.includes(t))",
            [selector, text],
        )

    def lacks(self, selector: str) -> None:
        """Waits until there is no such element."""
        self.until("s => !document.querySelector(s)", selector)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector: str = "body") -> str:
        return self.page.locator(selector).first.inner_text()


@contextmanager
def window(browser: Browser, address: str, **how: Any) -> Iterator[Window]:
    """A window of its own, as of another person; nothing may go wrong in it."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **how})
    one = Window(context.new_page(), address)
    try:
        yield one
        assert one.wrong == []
    finally:
        context.close()
