"""Thousands of updates of a running job in open pages: what the pages and the server hold on to afterwards.

A real run before the simulator, watched by a real `batchlab view`; both do what they do once a second fifty
times a second, which is all that is changed in them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import environment, simulating_apart
from tests.proofs.benchmarks.figures import Figure
from tests.proofs.benchmarks.page_browser import Held, held, tab, viewed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVERY_S = 0.02
FROM = 0.1  # of all updates: what is held until then is the page itself
LATENCY_S, IN_FLIGHT = 0.5, 24  # about 48 rows a second
ROWS = 400_000  # more than it comes to
MOST_S = 1_200.0
MORE = 1.1  # a page may hold so many times of what it held: charts have more buckets
HEAP_MB, SERVER_MB = 2.0, 25.0


def figures(browser: Browser, updates: int) -> Iterator[Figure]:
    """What the overview and the list of rows hold after a tenth of all updates, and after all of them."""
    with (
        tempfile.TemporaryDirectory(prefix="batchlab-page-live-") as folder,
        simulating_apart(LATENCY_S) as server,
    ):
        home = Path(folder)
        with (home / "rows.jsonl").open("w") as file:
            file.writelines(json.dumps({"text": f"remark {number}"}) + "\n" for number in range(ROWS))
        words = ["run", "-i", "rows.jsonl", "-m", "sim", "-p", "Say it shorter: {text}", "--base-url"]
        words += [
            server.base_url,
            "--api-key-env",
            "SIMULATOR_KEY",
            "--progress",
            "none",
            "-c",
            str(IN_FLIGHT),
        ]
        words += ["--run-dir", "run", "--shard-rows", "2000", "--price-in", "1", "--price-out", "2"]
        own = [sys.executable, "-m", __name__]
        run = subprocess.Popen([*own, *words], cwd=home, env=environment(), stdin=subprocess.DEVNULL)
        try:
            while not (home / "run" / "standing.json").exists():
                assert run.poll() is None, "the run ended at once"
                time.sleep(0.1)
            yield from _watched(browser, home / "run", own, updates)
        finally:
            run.terminate()
            run.wait(60)


def _watched(browser: Browser, run: Path, own: list[str], updates: int) -> Iterator[Figure]:
    with viewed(run, own) as server, tab(browser) as overview, tab(browser) as rows:
        lines = {}
        for page, place in ((overview, ()), (rows, ("rows",))):
            page.goto(server.place(*place))
            lines[page] = page.context.new_cdp_session(page)
            lines[page].send("Performance.enable")
        before: dict[object, Held] = {}
        began = time.monotonic()
        server_before, said = 0.0, 0
        while True:
            told = min(page.evaluate("bench.told") for page in lines)
            if not before and told >= FROM * updates:
                before = {page: held(page, line) for page, line in lines.items()}
                server_before = server.now_mb()
            if (seconds := int(time.monotonic() - began)) // 10 > said:
                said = seconds // 10
                print(f"{told:,} updates after {seconds} s", file=sys.stderr, flush=True)
            if told >= updates or time.monotonic() - began > MOST_S:
                break
            overview.wait_for_timeout(500)
        took = time.monotonic() - began
        done = sum(1 for _ in (run / "history.jsonl").open())
        yield Figure(
            "updates that each page was told", f"≥ {updates:,}", f"{told:,}", told >= updates,
            f"in {took:.0f} s; {done:,} lines of history; load {os.getloadavg()[0]:.1f}",
        )  # fmt: skip
        for page, name in ((overview, "overview"), (rows, "rows")):
            if page not in before:
                continue
            first, last = before[page], held(page, lines[page])
            since = f"since {FROM * updates:,.0f} updates"
            yield Figure(
                f"{name}: heap after a collection", f"≤ {MORE} × + {HEAP_MB:g} MB", f"{last.heap_mb:.1f} MB",
                last.heap_mb <= MORE * first.heap_mb + HEAP_MB, f"{first.heap_mb:.1f} MB, {since}",
            )  # fmt: skip
            for what in ("nodes", "listeners"):
                was, now = getattr(first, what), getattr(last, what)
                met = now <= MORE * was + 50
                yield Figure(f"{name}: {what}", f"≤ {MORE} × + 50", f"{now:,}", met, f"{was:,}, {since}")
        now_mb = server.now_mb()
        yield Figure(
            "server's memory, beside what it was", f"≤ {SERVER_MB:g} MB more", f"{now_mb - server_before:+.0f} MB",
            now_mb - server_before <= SERVER_MB, f"{server_before:.0f} and {now_mb:.0f} MB",
        )  # fmt: skip


def hurried() -> None:
    """The real command, in which what is told once a second is told fifty times."""
    from batchlab.cli import main
    from batchlab.engines import local
    from batchlab.page.feeds import Feed, Feeds
    from batchlab.page.streams import Streams
    from batchlab.runner import standing
    from batchlab.store import history

    local.TICK_S = standing.EVERY_S = EVERY_S
    history.EVERY_S = history.LONG_EVERY_S = 0.1  # so that it has as many lines as that of a long night
    for way in (Feed.__init__, Feeds.feed, Streams.__init__):
        way.__defaults__ = (EVERY_S,)
    main()


if __name__ == "__main__":
    hurried()
