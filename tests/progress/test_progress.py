"""What a person sees while a run goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pytest

from batchlab.progress import open_progress
from batchlab.progress.line import bar_fields, line_fields, line_within
from batchlab.progress.speed import Rates
from batchlab.progress.terminal import width
from batchlab.run_state import Attempts, RunState
from batchlab.totals import Totals


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def state(saved: int = 10, *, totals: Mapping[str, float] | None = None, **fields) -> RunState:
    counts = {
        "rows": saved,
        "ok": saved,
        "prompt_tokens": 5 * saved,
        "completion_tokens": 5 * saved,
        "cost_usd": 0.5,
    }
    added = Totals(**{**counts, **(totals or {})})
    return RunState(**{"rows": 100, "added": added, "synced": saved, "window": 5, "in_flight": 4, **fields})


def test_the_line_says_how_far_how_well_how_fast_and_what_holds_it_back():
    fields = bar_fields(
        state(totals={"failed": 1}, attempts=Attempts(retried=2), why="↓ 429"), Rates(2.0, 100.0, 45.0)
    )

    assert fields == [
        "10/100",
        "10 ok, 1 failed, 2 retried",
        "limit 5 ↓ 429",
        "0:45 left",
        "$0.5000",
        "2.0 rows/s",
        "100 tokens/s",
    ]


def test_answers_that_are_not_whole_are_no_ok_ones():
    fields = bar_fields(state(7, totals={"truncated": 2, "filtered": 1, "empty": 3}), Rates(0.0, 0.0, None))

    assert "7 ok, 2 truncated, 1 filtered, 3 empty" in fields
    done = state(30, rows=40, totals={"ok": 5, "truncated": 25})
    assert done.final_usd == pytest.approx(0.5 * 40 / 30), "a truncated row is done, and was paid"


def test_the_last_rows_are_named_with_their_ages():
    waiting = state(oldest=(("row-17", 75.0), ("row-3", 6.0)))

    assert "waiting for row-17 1:15, row-3 0:06" in bar_fields(waiting, Rates(0.0, 0.0, None))
    assert not any("waiting" in field for field in bar_fields(state(oldest=(("a", 1.0),)), Rates(0, 0, None)))


def test_an_unknown_cost_is_not_zero():
    assert "cost ?" in bar_fields(
        state(totals={"cost_usd": 0.0, "rows_without_cost": 10}), Rates(0.0, 0.0, None)
    )


def test_plain_lines_come_every_30_seconds():
    clock, out = Clock(), io.StringIO()
    with open_progress("auto", 100, out, clock=clock) as progress:
        for second in range(91):
            clock.now = float(second)
            progress.update(state(saved=second, elapsed_s=float(second)))

    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("30/100")
    assert "1.0 rows/s" in lines[0]


def test_rows_of_earlier_runs_do_not_count_as_speed():
    clock, out = Clock(), io.StringIO()
    with open_progress("json", 1_000_000, out, clock=clock) as progress:
        for second in range(11):
            clock.now = float(second)
            progress.update(state(saved=900_000 + second, rows=1_000_000, elapsed_s=float(second)))

    last = json.loads(out.getvalue().splitlines()[-1])
    assert last["rows_per_s"] == 1.0
    assert last["saved"] == 900_010


def test_json_progress_is_one_object_a_line():
    clock, out = Clock(), io.StringIO()
    with open_progress("json", 100, out, clock=clock) as progress:
        progress.update(state())
        progress.message("one more try")

    objects = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [object_.get("message") for object_ in objects] == [None, "one more try", None]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_the_bar_fits_the_terminal(columns):
    out = io.StringIO()
    with open_progress("bar", 100, out) as progress:
        progress._columns = lambda: columns
        progress.update(state(why="paused 12 s (429, Retry-After)", elapsed_s=1.0))

    assert all(len(line) < columns for line in out.getvalue().replace("\n", "\r").split("\r"))
    assert " 10%" in out.getvalue()
    assert "$0.50" in out.getvalue()


@pytest.mark.parametrize(
    ("room", "line"),
    [
        (
            None,
            "10/100 · 10 ok, 1 failed, 2 retried · limit 5 ↓ 429 · 0:45 left · $0.5000 · 2.0 rows/s · 100 tokens/s",
        ),
        (78, "10/100 · 10 ok, 1 failed, 2 retried · limit 5 ↓ 429 · 0:45 left · $0.5000"),
        (60, "10/100 · 1 failed · ↓ 429 · 0:45 left · $0.50"),
        (35, "1 failed · 0:45 left · $0.50"),
        (20, "1 failed · $0.50"),
        (10, "1 failed"),
        (1, "1 failed"),
    ],
)
def test_where_there_is_little_room_failures_cost_and_the_end_stay(room, line):
    fields = line_fields(
        state(totals={"failed": 1}, attempts=Attempts(retried=2), why="↓ 429"), Rates(2.0, 100.0, 45.0)
    )

    assert line_within(fields, room) == line


def test_a_wide_character_takes_two_columns():
    waiting = line_fields(state(oldest=(("漢字" * 5, 75.0),)), Rates(0.0, 0.0, None))

    assert all(width(line_within(waiting, room)) <= room for room in range(10, 80))


def test_no_progress_says_nothing():
    out = io.StringIO()
    with open_progress("none", 100, out) as progress:
        progress.update(state())
        progress.message("x")

    assert out.getvalue() == ""
