"""Run directories made by the real runner against a simulator, or against an endpoint that keeps what it is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from batchlab.job.file import job_from
from batchlab.looking.browse.pages import Browser, Page
from batchlab.looking.browse.query import RowQuery
from batchlab.runner.execute import execute
from batchlab.runner.run_options import RunOptions
from batchlab.store.view import RunView

QUIET = RunOptions(progress="none", quiet=True)
HOSTILE = (
    "</script><script>alert(1)</script> ${HOME} $(touch owned) `touch owned` '\"\\ !! %s \x1b[31m \u202egnp.exe\n"
    "JSON\n{curly} ​﻿é 😀 \x00end"
)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(
    home: Path,
    base_url: str,
    rows: Iterable[Mapping[str, Any]] | Path,
    name: str = "run",
    **sections: Mapping[str, Any],
) -> RunView:
    """A run of some rows, at its end; `sections` of the job go over what is usual, None leaves out."""
    path = rows if isinstance(rows, Path) else write_rows(home / f"{name}.jsonl", rows)
    usual: dict[str, Mapping[str, Any]] = {
        "input": {"path": str(path)},
        "endpoint": {"base_url": base_url, "api_key_env": "SIMULATOR_KEY"},
        "request": {"model": "sim", "prompt": "Say it shorter: {text}", "system": "Be brief."},
        "output": {"run_dir": str(home / name), "shard_rows": 10},
        "price": {"input": 1, "output": 2},
    }
    for section, values in sections.items():
        together = {**usual.get(section, {}), **values}
        usual[section] = {name: value for name, value in together.items() if value is not None}
    execute(job_from(usual), QUIET)
    return RunView.open(home / name)


def page(
    browser: Browser, query: RowQuery | None = None, offset: int = 0, limit: int = 50, **params: Any
) -> Page:
    """The page, as soon as the same question gives no more."""
    asked = query or RowQuery.of({name.rstrip("_"): value for name, value in params.items()})
    until = time.monotonic() + 30
    while not (found := browser.rows(asked, offset, limit)).is_done:
        assert time.monotonic() < until, found
        time.sleep(0.01)
    return found


def ids(found: Page) -> list[int]:
    return [line.row_id for line in found.lines]
