"""Rows that always fail by what looks like the provider's trouble, a few among many that are answered."""

from __future__ import annotations

import pytest

import batchlab
from batchlab.dispatch.rate.controller import RateController
from tests.conftest import CANARY
from tests.proofs.faults.bad_days import (
    BAD,
    Line,
    OddServer,
    answered,
    error,
    js,
    refused,
    short_waits,
)

ROWS, ODD = 200, frozenset(range(3, 200, 25))
LINES = [
    Line("always 500", "any service", refused(500, error("boom")), "failed", "server"),
    Line("always a page", "proxies", refused(200, "<html>oops</html>", kind="text/html"), "failed"),
    Line("always an empty object", "gateways", refused(200, {}), "failed"),
    Line("always finish word error", "OpenRouter", answered("half", finish="error"), "failed"),
]


@pytest.mark.parametrize("line", LINES, ids=str)
def test_odd_rows_are_asked_eight_times_at_most_and_open_no_breaker(line, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    whys: list[str] = []
    monkeypatch.setattr(RateController, "_trip", lambda self, now, why, words: whys.append(why))
    prompts = [f"row {n}{BAD if n in ODD else ''}" for n in range(ROWS)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(js({"text": one}) + b"\n" for one in prompts))

    with short_waits(), OddServer(line).running() as server:
        summary = batchlab.run(
            input=str(path),
            model="m",
            prompt="{text}",
            base_url=server.base_url,
            api_key_env="SIMULATOR_KEY",
            run_dir=str(tmp_path / "run"),
            concurrency=8,
            progress="none",
        )

    assert whys == []
    assert (summary.totals.ok, summary.totals.failed) == (ROWS - len(ODD), len(ODD))
    assert {server.asked[one] for one in prompts if BAD not in one} == {1}
    assert {server.asked[one] for one in prompts if BAD in one} == {6 + 2}
