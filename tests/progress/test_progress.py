"""What a person sees while a run goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pytest

from batchlab.progress import open_progress
from batchlab.progress.line import bar_fields, line_fields, line_within
from batchlab.progress.speed import Rates, Speed
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
        state(totals={"failed": 1}, attempts=Attempts(retried=2), why="slowed by the provider (429)"),
        Rates(2.0, 100.0, 45.0),
    )

    assert fields == [
        "10/100",
        "10 ok, 1 failed, 2 retried",
        "5 at once, slowed by the provider (429)",
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
        progress.update(state(why="waiting 12 s as asked by the provider (429)", elapsed_s=1.0))

    assert all(len(line) < columns for line in out.getvalue().replace("\n", "\r").split("\r"))
    assert " 10%" in out.getvalue()
    assert "10/100" in out.getvalue()
    assert columns < 40 or "$0.50" in out.getvalue()


@pytest.mark.parametrize(
    ("room", "line"),
    [
        (
            None,
            "10/100 · 10 ok, 1 failed, 2 retried · 5 at once, slowed by the provider (429) · 0:45 left · $0.5000 · 2.0 rows/s · 100 tokens/s",
        ),
        (
            99,
            "10/100 · 10 ok, 1 failed, 2 retried · 5 at once, slowed by the provider (429) · 0:45 left · $0.5000",
        ),
        (95, "10/100 · 10 ok, 1 failed, 2 retried · 5 at once, slowed by the provider · 0:45 left · $0.5000"),
        (60, "10/100 · 1 failed · slowed · 0:45 left · $0.50"),
        (35, "10/100 · 1 failed · $0.50"),
        (20, "10/100 · 1 failed"),
        (10, "10/100"),
        (1, "10/100"),
    ],
)
def test_where_there_is_little_room_the_count_stays_then_failures_cost_and_the_end(room, line):
    fields = line_fields(
        state(totals={"failed": 1}, attempts=Attempts(retried=2), why="slowed by the provider (429)"),
        Rates(2.0, 100.0, 45.0),
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


def test_rows_that_are_asked_again_are_no_pace():
    """They had a result before, so none is added; the tokens that they cost are seen all the same."""
    assert [one for one in bar_fields(state(50), Rates(0.0, 80.0, None)) if "/s" in one] == ["80 tokens/s"]


def outage(seconds: float, **fields) -> RunState:
    return state(
        why=f"waiting for the provider, {seconds:.0f} s so far (errors only: overloaded)",
        paused=True, silent_s=seconds, elapsed_s=100.0 + seconds,
        attempts=Attempts(errors=3, last_error="503 the model is overloaded, sk-abcdefghijkl"), **fields,
    )  # fmt: skip


def test_in_an_outage_no_end_is_foretold_and_the_line_says_who_is_waited_for():
    speed = Speed()
    speed.rates(state(0, elapsed_s=90.0))
    before = speed.rates(state(10, elapsed_s=100.0))
    during = [speed.rates(outage(float(second))) for second in range(1, 20)]

    assert before.eta_s == 90.0
    assert {rates.eta_s for rates in during} == {None}
    assert speed.rates(state(20, elapsed_s=125.0)).eta_s is not None
    line = " · ".join(bar_fields(outage(7.0), during[-1]))
    assert "waiting for the provider, 7 s so far (errors only: overloaded)" in line
    assert "last error: 503 the model is overloaded, ****" in line
    assert "at once" not in line
    fields = line_fields(outage(7.0, added=Totals(rows=10, ok=8, failed=2, cost_usd=0.5)), during[-1])
    assert line_within(fields, 49) == "10/100 · 2 failed · waiting, 7 s so far · $0.50"
    assert line_within(fields, 40) == "10/100 · 2 failed · waiting, 7 s so far"
    assert "left" not in line


def test_a_long_pause_that_was_asked_for_foretells_no_end_and_a_short_one_does():
    speed = Speed()
    speed.rates(state(0, elapsed_s=90.0))
    ends = [speed.rates(state(10, elapsed_s=float(at), paused=True)).eta_s for at in (100, 104, 106, 130)]

    assert [end is not None for end in ends] == [True, True, False, False]


def test_answers_that_are_not_ok_are_counted_by_name_where_there_is_little_room_too():
    fields = line_fields(state(totals={"ok": 7, "truncated": 2, "empty": 1}), Rates(1.0, 9.0, 90.0))

    assert line_within(fields, 52) == "10/100 · 2 truncated, 1 empty · 1:30 left · $0.50"
    assert line_within(fields, 42) == "10/100 · 2 truncated, 1 empty · $0.50"


def test_the_first_line_says_only_what_is_known():
    nothing = RunState(rows=100, window=4)

    assert bar_fields(nothing, Rates(0.0, 0.0, None)) == ["0/100", "4 at once"]
    assert bar_fields(RunState(rows=100), Rates(0.0, 0.0, None)) == ["0/100"]
    paid = RunState(rows=100, added=Totals(cost_wasted_usd=0.25), window=4)
    assert "$0.2500" in bar_fields(paid, Rates(0.0, 0.0, None)), "what was paid is said before a row is done"


@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_the_bar_keeps_the_count_however_narrow_the_terminal_is(columns):
    out = io.StringIO()
    with open_progress("bar", 100, out) as progress:
        progress._columns = lambda: columns
        progress.update(
            state(
                totals={"failed": 1, "truncated": 4},
                why="waiting 12 s as asked by the provider (429)",
                elapsed_s=1.0,
            )
        )

    assert "10/100" in out.getvalue()


def test_json_says_the_last_error_without_a_key():
    out = io.StringIO()
    with open_progress("json", 100, out, clock=Clock()) as progress:
        progress.update(outage(3.0))

    said = json.loads(out.getvalue().splitlines()[0])
    assert (said["silent_s"], said["eta_s"]) == (3.0, None)
    assert said["last_error"] == "503 the model is overloaded, ****"
