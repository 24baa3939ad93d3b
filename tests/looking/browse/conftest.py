"""One run that is only looked at, and browsers that are closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from batchlab.looking.browse.pages import Browser
from batchlab.store.view import RunView
from tests.conftest import CANARY, simulating
from tests.looking.browse.runs import HOSTILE, made

ROWS = 45
FAILED = (3, 17)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    """45 rows in five shards; rows 3 and 17 failed, row 5 holds what is hostile, row 12 a word of its own."""
    home = tmp_path_factory.mktemp("browsed")
    texts = [f"The {n}th remark, about parcel {n}." for n in range(ROWS)]
    texts[5], texts[12] = HOSTILE, "Wo ist das GRÜNE Paket?\nIt is gone."
    rows = [
        {
            "n": n,
            "topic": "abc"[n % 3],
            "at": f"2026-01-{n % 28 + 1:02}",
            "text": text,
            "tags": [{"name": f"tag{n}"}],
        }
        for n, text in enumerate(texts)
    ]
    faults = [{"kind": "answer", "status": 400, "body": "{}", "rows": ["The 3th ", "The 17th "], "times": 99}]
    with pytest.MonkeyPatch.context() as patch, simulating(faults=faults) as server:
        patch.setenv("SIMULATOR_KEY", CANARY)
        return made(home, server.base_url, rows)


@pytest.fixture
def browse() -> Iterator[Callable[..., Browser]]:
    """Makes browsers, which are closed at the end."""
    with ExitStack() as stack:

        def opened(run: RunView | Path, **options: object) -> Browser:
            browser = Browser(RunView.open(run) if isinstance(run, Path) else run, **options)
            stack.callback(browser.close)
            return browser

        yield opened


@pytest.fixture
def browser(finished: RunView, browse: Callable[..., Browser]) -> Browser:
    """Of the finished run."""
    return browse(finished)
