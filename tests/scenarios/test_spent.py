"""What a run has cost is known or unknown, and every place that shows it says the same: no 0 for unknown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import batchlab
from batchlab.looking.phrases import cost_text, money
from batchlab.progress.line import bar_fields
from batchlab.progress.speed import Rates
from batchlab.run_state import RunState
from batchlab.totals import Totals
from tests.observe.collector import collecting
from tests.page.reports import page_data
from tests.provider import chat_reply, providing

PRICE = ("--price-in", "1", "--price-out", "2")
ANSWER = 3e-6 + 2 * 2e-6  # USD of one answer at that price
ZERO = re.compile(r"\$0(?![.\d]*[1-9])")


@dataclass
class Kind:
    """A run and what is known of its cost: `spent`, and for how many rows nothing is."""

    name: str
    spent: float | None
    unpriced: int = 0
    price: tuple[str, ...] = PRICE
    rows: tuple[str, ...] = ("whole",) * 3

    def __str__(self) -> str:
        return self.name


KINDS = [
    Kind("known", 3 * ANSWER),
    Kind("free", 0.0, price=("--price-in", "0", "--price-out", "0")),
    Kind("unknown", None, price=()),
    Kind("partly known", ANSWER, 2, rows=("whole", "silent", "silent")),
    Kind("nothing reported", None, rows=("silent",) * 3),
    Kind("all failed, and paid", None, price=(), rows=("paid, then refused",) * 3),
    Kind("all failed, and paid at a price", 3 * ANSWER, rows=("paid, then refused",) * 3),
    Kind("all failed, unpaid", 0.0, price=(), rows=("refused",) * 3),
]


def answers() -> Callable[[dict], tuple[int, dict]]:
    seen: Counter[str] = Counter()

    def answer(body: dict) -> tuple[int, dict]:
        prompt = body["messages"][-1]["content"]
        seen[prompt] += 1
        if prompt.startswith("silent"):
            return 200, {name: value for name, value in chat_reply("Yes.").items() if name != "usage"}
        if prompt.startswith("paid") and seen[prompt] == 1:
            return 200, chat_reply("")
        if "refused" in prompt:
            return 400, {"error": {"message": "no", "type": "invalid_request_error", "code": "c"}}
        return 200, chat_reply("Yes.")

    return answer


@dataclass
class Seen:
    """A finished run, as each outlet shows it."""

    home: Path
    said: str
    here: Callable[..., Any]
    span: dict[str, Any]
    frame: pd.DataFrame

    def lines(self, begin: str, text: str) -> str:
        return "\n".join(line for line in text.splitlines() if line.startswith(begin))

    @property
    def log(self) -> list[dict]:
        return [json.loads(line) for line in (self.home / "run.log").read_text().splitlines()]


# what a program reads: the number, or None
NUMBERS: dict[str, Callable[[Seen], float | None]] = {
    "progress": lambda run: [
        event["cost_usd"] for event in map(json.loads, re.findall(r'^\{"saved.*', run.said, re.MULTILINE))
    ][-1],
    "status --json": lambda run: json.loads(run.here("status", "run", "--json").out)["totals"]["spent_usd"],
    "log": lambda run: run.log[-1]["totals"]["spent_usd"],
    "span": lambda run: run.span.get("batchlab.cost_usd"),
    "report": lambda run: page_data(run.home / "r.html")["run"]["cost"]["so_far"],
    "load": lambda run: batchlab.load(run.home / "run").attrs["batchlab"]["totals"]["spent_usd"],
    "run's frame": lambda run: run.frame.attrs["batchlab"]["totals"]["spent_usd"],
    "metrics": lambda run: next(
        (
            float(line.split()[-1])
            for line in (run.home / "run.prom").read_text().splitlines()
            if line.startswith("batchlab_cost_usd_total{")
        ),
        None,
    ),
}
# what a person reads
TEXTS: dict[str, Callable[[Seen], str]] = {
    "summary": lambda run: run.lines("cost:", run.said),
    "status": lambda run: run.lines("cost:", run.here("status", "run").out),
}
# all the sums of money that a program reads
SUMS: dict[str, Callable[[Seen], dict]] = {
    "status --json": lambda run: json.loads(run.here("status", "run", "--json").out)["totals"],
    "log": lambda run: run.log[-1]["totals"],
    "load": lambda run: batchlab.load(run.home / "run").attrs["batchlab"]["totals"],
    "run's frame": lambda run: run.frame.attrs["batchlab"]["totals"],
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_was_spent_is_known_or_unknown_and_the_same_everywhere(here, tmp_path, monkeypatch, kind):
    rows = [f"{row} {number}" for number, row in enumerate(kind.rows)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
    keywords = dict(zip(("price_in", "price_out"), map(float, kind.price[1::2]), strict=False))
    with providing(answers()) as server, collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        at = [
            "-m",
            "m",
            "--base-url",
            server.base_url,
            "--api-key-env",
            "SIMULATOR_KEY",
            "--retry-empty",
            "1",
        ]
        told = ["--progress", "json", "--log-file", "run.log", "--metrics-file", "run.prom", "--otel"]
        done = here("run", "rows.jsonl", *at, *kind.price, *told, "--run-dir", "run")
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        (span,) = collector.named("batchlab.run")
    with providing(answers()) as server:
        monkeypatch.setenv("SIMULATOR_KEY", "abcdefgh")
        frame = batchlab.run(
            rows, model="m", base_url=server.base_url, api_key_env="SIMULATOR_KEY", progress="none", quiet=True,
            limits__retry_empty=1, **keywords,
        )  # fmt: skip
    here("report", "run", "-o", "r.html")
    found = {one.key: one.value.double_value for one in span.attributes if one.key == "batchlab.cost_usd"}
    run = Seen(tmp_path, done.err, here, found, frame)

    for outlet, number in NUMBERS.items():
        expected = kind.spent if kind.spent is None else pytest.approx(kind.spent, rel=1e-9)
        assert number(run) == expected, outlet
    for outlet, text in TEXTS.items():
        said = text(run)
        if kind.spent is None:
            assert "?" in said, outlet
            assert not ZERO.search(said), outlet
        elif kind.unpriced:
            assert said.startswith((money(kind.spent), f"cost: {money(kind.spent)}")), outlet
            assert f"and {kind.unpriced} rows of unknown cost" in said, outlet
        else:
            assert money(kind.spent) in said, outlet
            assert "?" not in said, outlet
            assert "unknown" not in said, outlet
    for outlet, sums in SUMS.items():
        totals = sums(run)
        if kind.spent is None:
            assert (totals["cost_usd"], totals["cost_wasted_usd"]) == (None, None), outlet
        else:
            assert totals["cost_usd"] + totals["cost_wasted_usd"] == pytest.approx(kind.spent), outlet
    if kind.spent is None:
        assert not ZERO.search(done.err)


PARTLY = [
    (Totals(rows=2, ok=2, rows_without_cost=1, cost_usd=0.5), "$0.5 and 1 row of unknown cost"),
    (
        Totals(rows=3, ok=3, rows_without_cost=3, cost_wasted_usd=0.5),
        "? + $0.5 not kept and 3 rows of unknown cost",
    ),
    (
        Totals(rows=3, ok=2, failed=1, cost_usd=0.5, cost_wasted_usd=0.25, waste_without_cost=1),
        "$0.5 + $0.25 not kept and unknown cost not kept of 1 row",
    ),
    (
        Totals(rows=2, ok=2, rows_without_cost=2),
        '? (no price was known; to try one: batchlab cost runs/x --price "*=IN,OUT")',
    ),
    (Totals(rows=2, ok=2, rows_without_cost=2, rows_without_usage=2), "? (no row reported its usage)"),
    (Totals(), "$0"),
    (Totals(rows=2, ok=2, reused=2), "$0"),
]


@pytest.mark.parametrize(("totals", "said"), PARTLY)
def test_what_is_known_in_part_is_said_with_what_is_not(totals, said):
    assert cost_text(totals, "runs/x") == said


def test_a_partly_known_cost_is_no_forecast_and_says_so_while_the_run_goes_on():
    state = RunState(rows=100, added=Totals(rows=50, ok=50, cost_usd=0.5, rows_without_cost=3), synced=50)

    assert state.final_usd is None
    assert "$0.5000 + ? of 3 rows" in bar_fields(state, Rates(0.0, 0.0, None))
