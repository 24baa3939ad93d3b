"""How far a run is, as its parts add up."""

from __future__ import annotations

import json
from dataclasses import asdict

import orjson

from batchlab.run_state import Attempts, RunState, together
from batchlab.totals import Totals, WordCounts

EARLIER = Totals(rows=40, ok=30, failed=10, reused=5, cost_usd=3.0)


def share(rows: int = 4, **more) -> RunState:
    added = Totals(rows=rows, ok=rows, cost_usd=0.5 * rows)
    counts = {"attempts": Attempts(sent=rows + 1, retried=1), "synced": rows, "window": 2, "in_flight": 1}
    return RunState(added=added, **{**counts, **more})


def test_a_state_comes_back_from_json_as_it_was_sent():
    words = Totals(rows=2, ok=2, unknown_finish=WordCounts({"weird": 2}))
    sent = RunState(
        rows=9, earlier=EARLIER, added=words, attempts=Attempts(3, 1), oldest=[("a", 1.5)], out={"b": "gone"}
    )

    assert RunState.of(orjson.loads(orjson.dumps(sent))) == sent
    assert RunState.of(json.loads(json.dumps(asdict(sent)))) == sent


def test_a_failed_row_that_is_asked_again_is_not_saved_until_it_is_final_again():
    before = RunState(rows=100, earlier=EARLIER)
    assert (before.saved, before.pending) == (40, 60)

    reopened = before.plus(RunState(reopened=10))
    answered = before.plus(RunState(reopened=10, synced=4, added=Totals(rows=0, ok=4, failed=-4)))

    assert (reopened.saved, reopened.pending) == (30, 60)
    assert (answered.saved, answered.pending, answered.totals.failed) == (34, 60, 6)


def test_a_run_is_what_was_before_and_the_shares_of_its_workers():
    before = RunState(rows=100, earlier=EARLIER, copies=7)
    run = before.plus(share(6)).plus(together([share(4), share(5, reopened=1, paused=True, why="↓ 429")]))

    assert (run.rows, run.copies, run.totals.rows, run.saved, run.pending) == (100, 7, 55, 54, 45)
    assert run.attempts == Attempts(sent=18, retried=3)
    assert (run.window, run.in_flight, run.why) == (4, 2, "↓ 429"), "of those that work now"
    assert not run.paused, "one goes on"
    assert before.plus(together([])).window == 0


def test_the_last_rows_are_named_once_every_worker_that_waits_names_its_own():
    tail, idle = share(oldest=[("a", 3.0)]), share(in_flight=0)

    assert together([tail, share()]).oldest == []
    assert together([tail, idle, share(oldest=[("b", 9.0)])]).oldest == [("b", 9.0), ("a", 3.0)]


def test_copies_count_for_no_cost_of_the_other_rows():
    state = RunState(rows=100, earlier=EARLIER, added=Totals(rows=5, ok=5, cost_usd=1.0), copies=20)

    assert (state.asked, state.asked_now, state.to_ask, state.to_ask_now) == (40, 5, 80, 45)
    assert state.final_usd == 4.0 * 80 / 40
    assert RunState(rows=100, added=Totals(rows=19, ok=19, cost_usd=1.0)).final_usd is None, "too few"
    unknown = Totals(rows=30, ok=30, cost_usd=1.0, rows_without_cost=1)
    assert RunState(rows=100, added=unknown).final_usd is None
