"""The page's questions about the rows of a run of a million: how long each takes, and how much memory.

python -m tests.proofs.benchmarks.page_rows                     makes the run first: a minute, 2.2 GB
python -m tests.proofs.benchmarks.page_rows --run /tmp/large    looks at one that is there

Each question is put as the page puts it: again every 50 ms until it gives no more. "first" is the first answer,
"whole" the last. While the questions run, another thread wakes every 5 ms, as an event loop would: how late it
was at most is a figure, too.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from batchlab.arrow import keeping_memory, without_pandas
from batchlab.looking.browse.pages import Browser, Page
from batchlab.looking.browse.query import RowQuery
from batchlab.store.layout import Layout
from batchlab.store.view import RunView
from tests.proofs.arguments import a_path, ended, options
from tests.proofs.benchmarks.figures import Figure, peak_mb, printed
from tests.proofs.benchmarks.large_run import RARE, made_run
from tests.proofs.benchmarks.machine import header

POLL_S = 0.05
MOST_S = 120.0
MOST_MB = 300
PAGES, SORTED_PAGES = 20, 6  # a sorted one reads 50 row groups


class Late:
    """How late a thread wakes that has little to do."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._wake, daemon=True)
        self._thread.start()

    def _wake(self) -> None:
        while not self._ended.is_set():
            before = time.perf_counter()
            time.sleep(0.005)
            self.worst_ms = max(self.worst_ms, (time.perf_counter() - before - 0.005) * 1e3)

    def close(self) -> float:
        """Milliseconds, at worst."""
        self._ended.set()
        self._thread.join()
        return self.worst_ms


def asked(browser: Browser, query: RowQuery, offset: int = 0) -> tuple[float, float, float | None, Page]:
    """Seconds to the first answer, to the whole one, and to the first that has a row; and the whole one."""
    began = time.perf_counter()
    first = hit = None
    while True:
        page = browser.rows(query, offset)
        took = time.perf_counter() - began
        first = took if first is None else first
        hit = took if hit is None and page.lines else hit
        if page.is_done or took > MOST_S:
            return first, took, hit, page
        time.sleep(POLL_S)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms"


def figures(run: Path) -> Iterator[Figure]:
    """Each question, measured once in this process; pages at 20 places."""
    rng = random.Random(7)
    opened = RunView.open(run)
    rows = opened.manifest.plan.rows
    late = Late()
    browser = Browser(opened)
    begins = [rng.randrange(0, rows - 50) for _ in range(PAGES)]

    def of_pages(what: str, params: dict[str, str], count: int = PAGES) -> Figure:
        query = RowQuery.of(params)
        asked(browser, query)
        took = [asked(browser, query, offset)[:2] for offset in begins[:count]]
        first, whole = [one for one, _ in took], [one for _, one in took]
        middle, worst = statistics.median(first), max(first)
        beside = f"worst {ms(worst)}; with all texts {ms(statistics.median(whole))}, worst {ms(max(whole))}"
        return Figure(what, "≤ 100 ms", ms(middle), middle <= 0.1, beside)

    first, whole, _, page = asked(browser, RowQuery())
    yield Figure("first page, the index not made", "≤ 1 s", ms(first), first <= 1, f"{len(page.lines)} rows")
    yield Figure("index of all rows, in the background", "–", f"{whole:.2f} s", None, f"{rows:,} rows")
    yield of_pages("a page anywhere", {})
    for name in ("-latency_ms", "cost_usd"):
        sorting = asked(browser, RowQuery.of({"sort": name}))[0]
        figure = of_pages(f"a page anywhere, sorted by {name.lstrip('-')}", {"sort": name}, SORTED_PAGES)
        yield Figure(
            figure.what, figure.target, figure.value, figure.met, f"first time {ms(sorting)}; {figure.beside}"
        )

    def once(what: str, target: str, params: dict[str, str], met: Callable[[float, float], bool]) -> Figure:
        _, whole, hit, page = asked(browser, RowQuery.of(params))
        seen = whole if hit is None else hit
        beside = f"whole after {whole:.1f} s, {page.matched:,} rows"
        return Figure(what, target, ms(seen), met(seen, whole), beside)

    yield once("filter by status: first rows", "≤ 300 ms", {"status": "failed"}, lambda hit, _: hit <= 0.3)
    yield once("problematic rows first: first rows", "≤ 300 ms", {"odd": "1"}, lambda hit, _: hit <= 0.3)
    yield once(
        "filter by a held column: first rows",
        "≤ 300 ms",
        {"where": "latency_ms>9000"},
        lambda hit, _: hit <= 0.3,
    )
    yield once(
        "filter by an input column: first rows",
        "≤ 300 ms",
        {"where": "topic=press"},
        lambda hit, _: hit <= 0.3,
    )
    yield once(
        f"search for {RARE}: first hits",
        "≤ 1 s, whole ≤ 15 s",
        {"q": RARE},
        lambda hit, all_: hit <= 1 and all_ <= 15,
    )
    yield once(
        "search for what only one prompt has: whole",
        "≤ 15 s",
        {"q": f"Letter {rows - 7}."},
        lambda _, whole: whole <= 15,
    )
    took = []
    for row in begins:
        began = time.perf_counter()
        browser.row(row).json()
        took.append(time.perf_counter() - began)
    middle = statistics.median(took)
    yield Figure("one row, whole", "≤ 100 ms", ms(middle), middle <= 0.1, f"worst {ms(max(took))}")
    browser.close()
    worst = late.close()
    yield Figure("another thread wakes too late by, at worst", "≤ 50 ms", f"{worst:.0f} ms", worst <= 50)
    peak = peak_mb()
    yield Figure("peak memory of the process", f"≤ {MOST_MB} MB", f"{peak:.0f} MB", peak <= MOST_MB)


def main() -> None:
    """Prints the table; exits with 1 when a target was missed."""
    given = options(__doc__, rows=1_000_000, run=a_path("a run of `large_run`, which is left as it is"))
    without_pandas()
    keeping_memory()
    with tempfile.TemporaryDirectory(prefix="batchlab-page-") as folder:
        run = given.run or made_run(Path(folder) / "run", given.rows)
        size = sum(path.stat().st_size for path in Layout(run).part_files())
        print(header())
        print(
            f"A run of {RunView.open(run).manifest.plan.rows:,} rows, {size / 1e9:.2f} GB of parts.\n",
            flush=True,
        )
        seen, began = [], time.process_time()
        for figure in figures(run):
            # on a machine that is not idle, the processor's time says more than the clock's
            used, began = time.process_time() - began, time.process_time()
            seen.append(replace(figure, beside=f"{figure.beside}; {used:.1f} s of CPU".lstrip("; ")))
            print(f"{figure.what}: {figure.value} ({seen[-1].beside})", file=sys.stderr, flush=True)
    print(printed(seen))
    ended([f"{one.what}: {one.value}, not {one.target}" for one in seen if one.met is False])


if __name__ == "__main__":
    main()
