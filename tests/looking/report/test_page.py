"""The report page: escaped everywhere, whole without a network, small, and readable in a browser."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from batchlab.looking.report.data import ErrorView, ReportData, RowView
from batchlab.looking.report.page import page

HOSTILE = [
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "<!--<script>",
    "{{ 7 * 7 }} ${x} $x^$",
    "\u202egnp.exe\u2066 \x1b[31m \u2028 end",
]
CHROMIUM = next(
    (name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None
)


def frame(count: int, *, cost: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "status": ["ok"] * count,
            "finished_at": 1.7e9 + np.sort(rng.uniform(0, 900, count)),
            "latency_ms": rng.lognormal(6, 0.8, count),
            "queue_ms": rng.lognormal(2, 1, count),
            "ttft_ms": np.full(count, np.nan),
            "prompt_tokens": rng.integers(10, 900, count).astype(float),
            "completion_tokens": rng.lognormal(4, 1.5, count).round(),
            "cost_usd": rng.lognormal(-7, 1, count) if cost else np.full(count, np.nan),
        }
    )


def data(count: int = 50, *, cost: bool = True) -> ReportData:
    rows = [
        RowView(
            number,
            text,
            "failed" if number == 1 else "ok",
            text,
            text,
            text if number == 1 else "",
            5,
            6,
            0.25,
            1.5,
        )
        for number, text in enumerate(HOSTILE)
    ]
    by = pd.DataFrame(
        {
            "value": HOSTILE,
            "rows": 10,
            "kept_usd": [1.0, 2, 3, 4, 5] if cost else [np.nan] * 5,
            "wasted_usd": [0.5, 0, 0, 0, np.nan],
            "prompt_tokens": 100.0,
            "completion_tokens": 50.0,
        }
    )
    history = pd.DataFrame(
        {
            "at": 1.7e9 + np.arange(0, 900, 2.0),
            "window": 20,
            "in_flight": 18,
            "limited": [1 if step % 90 == 0 else 0 for step in range(450)],
            "errors": [1 if step % 70 == 0 else 0 for step in range(450)],
            "paused": [200 < step < 230 for step in range(450)],
        }
    )
    return ReportData(
        title=HOSTILE[0],
        facts=[(HOSTILE[1], HOSTILE[0])],
        rows=frame(count, cost=cost),
        history=history,
        missing=[HOSTILE[0]],
        by=[(HOSTILE[0], by)],
        errors=[ErrorView(HOSTILE[0], 3, [(HOSTILE[1], HOSTILE[0])])],
        slowest=rows,
        dearest=rows,
        sample=rows,
    )


class Elements(html.parser.HTMLParser):
    """Every element of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, text):
        if self._inside:
            self.scripts[-1] += text


def test_nothing_from_provider_or_data_becomes_markup():
    found = Elements(page(data()))

    assert found.names.count("script") == 2
    assert "img" not in found.names
    assert not [name for name in found.attributes if name.startswith("on")]
    texts = [row["prompt"] for row in json.loads(found.scripts[0])]
    assert texts[:4] == HOSTILE[:4]
    assert "\u202e" not in page(data())
    assert "\x1b" not in page(data())


def test_the_page_names_no_address_but_the_names_of_svg():
    text = page(data())

    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "default-src 'none'" in text


def test_ids_of_the_plots_do_not_clash():
    ids = re.findall(r'\sid="([^"]+)"', page(data()))

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("cost", [True, False])
def test_a_page_of_a_large_run_stays_small(cost):
    text = page(data(200_000, cost=cost))

    assert len(text) < 1_000_000
    assert ("tokens (no price is known)" in text) is not cost


def test_a_run_without_anything_says_so():
    empty = ReportData("empty", [("rows", "0")], frame(0), pd.DataFrame(), ["No row has an answer."])

    text = page(empty)

    assert "No row says when it was finished" in text
    assert "No row reported a latency or tokens" in text
    assert "No row has a final result" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_sample_and_runs_nothing_of_the_data(tmp_path):
    (tmp_path / "report.html").write_text(page(data()), encoding="utf-8")
    words = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]

    done = subprocess.run(
        [*words, "--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path}/report.html"],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.stdout.count("<article>") == len(HOSTILE)
    assert "<title>owned" not in done.stdout
    assert "1–5 of 5" in done.stdout
