"""A real Chromium before a real `batchlab view`: what the benchmarks of the page measure with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.conftest import command, environment
from tests.proofs.benchmarks.figures import peak_mb

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

# The clock starts with the stroke or the click, and stops in the frame after the one that shows what was asked
# for: all of it in the page, so that nothing of Playwright's own way is in the figure.
WATCH = """
window.bench = {
  told: 0,
  box: () => document.querySelector(".list"),
  lines: () => [...document.querySelectorAll(".list-body .line")],
  isThere() {
    const box = this.box(), lines = box ? this.lines() : [];
    return lines.length > 0 && !box.hasAttribute("aria-busy") && !lines.some(one => one.classList.contains("waiting"));
  },
  hasTexts: () => [...document.querySelectorAll(".list-body .c-asked")].every(one => one.textContent),
  until(seen, began, most = 30000) {
    return new Promise(done => {
      const look = () => {
        if (seen()) requestAnimationFrame(() => done(performance.now() - began));
        else if (performance.now() - began > most) done(null);
        else requestAnimationFrame(look);
      };
      look();
    });
  },
  // ms until the lines after `act` are drawn, until they have their texts, and until nothing goes on
  async changed(act, isRight = () => true) {
    const old = this.lines(), began = performance.now();
    act();
    const isNew = () => this.isThere() && !old.some(one => one.isConnected) && isRight();
    const first = await this.until(isNew, began);
    const texts = await this.until(() => isNew() && this.hasTexts(), began);
    return [first, texts];
  },
  async whole(began) {
    return this.until(() => this.isThere() && !document.querySelector(".searching"), began, 120000);
  },
  async jumped(share) {
    const box = this.box();
    return this.changed(() => { box.scrollTop = Math.round(share * (box.scrollHeight - box.clientHeight)); });
  },
  async paged(key) {
    const box = this.box(), began = performance.now();
    box.focus();
    box.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    return this.until(() => this.isThere(), began);
  },
};
const Real = window.EventSource;
window.EventSource = class extends Real {
  constructor(...given) { super(...given); this.addEventListener("message", () => window.bench.told++); }
};
"""


def has_chromium() -> str | None:
    """Where it is, if it is here."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, without a window."""
    from playwright.sync_api import sync_playwright

    path = has_chromium()
    assert path is not None, "no Chromium here"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True, slots=True)
class Viewed:
    """A server of a run's page, in a process of its own.

    Attributes:
        address: with the token, of the run's own page.
    """

    pid: int
    address: str

    def place(self, *parts: str, **params: str) -> str:
        """The address of a place of the run, as the page is opened there first."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items())
        rest = "/".join(("", *parts)) + (f"?{query}" if query else "")
        return self.address.replace("/#", "/?debug#") + rest

    def peak_mb(self) -> float:
        return peak_mb(self.pid)

    def now_mb(self) -> float:
        """What is resident now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


@contextmanager
def viewed(run: Path, words: list[str] | None = None, **env: str) -> Iterator[Viewed]:
    """`batchlab view` of a run; `words` are another command that takes the same words."""
    given = ["view", str(run), "--port", "0", "--no-open"]
    asked = [*words, *given] if words else command(*given)
    with subprocess.Popen(
        asked, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            assert address.startswith("http"), f"it does not listen: {address}"
            yield Viewed(server.pid, address)
        finally:
            server.terminate()


@contextmanager
def tab(browser: Browser) -> Iterator[Page]:
    """A window that has no cache and no past."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    try:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.set_default_timeout(120_000)
        yield page
    finally:
        context.close()


def first_paint(page: Page) -> float:
    """Milliseconds from the address to the first content, as Chromium itself has it."""
    return float(
        page.evaluate(
            """async () => {
              const seen = () => performance.getEntriesByName("first-contentful-paint")[0];
              while (!seen()) await new Promise(again => setTimeout(again, 20));
              return seen().startTime;
            }"""
        )
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What a page holds on to once all garbage is collected."""

    heap_mb: float
    nodes: int
    listeners: int


def held(page: Page, line: CDPSession) -> Held:
    """Collects the garbage, and looks."""
    for _ in range(3):
        line.send("HeapProfiler.collectGarbage")
        page.wait_for_timeout(100)
    found: dict[str, Any] = {
        one["name"]: one["value"] for one in line.send("Performance.getMetrics")["metrics"]
    }
    return Held(found["JSHeapUsedSize"] / 1e6, int(found["Nodes"]), int(found["JSEventListeners"]))
