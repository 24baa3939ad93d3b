"""Rows that go by batches and by calls in one run: what a choice says is done, and nothing is paid twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from batchlab.dispatch.http.batch_service import BatchService
from batchlab.engines.batch_api.choices.choice import GiveUp, Probe, Scene, SendLive, Submit, TakeBack
from batchlab.runner.batches import engine as batches

CHEAPEST = ("--lane", "cheapest", "--shard-rows", "20")


class Scripted:
    """Says one thing after another, each once what it needs is there."""

    has_calls = True

    def __init__(self, *acts) -> None:
        self._acts = list(acts)
        self.scenes: list[Scene] = []

    def next(self, scene: Scene):
        self.scenes.append(scene)
        if not self._acts:
            return SendLive(scene.rows_free) if scene.rows_free else None
        act = self._acts[0](scene)
        if act is not None:
            self._acts.pop(0)
        return act


def submit(scene: Scene):
    (lane,) = scene.room
    return Submit(lane) if scene.rows_free and scene.room[lane] else None


def send(rows: int, kind: str = "live"):
    return lambda scene: SendLive(rows, kind) if scene.rows_free else None


def take_back(scene: Scene):
    found = (one.batch for one in scene.out if one.batch.id is not None and not one.batch.is_cancelled)
    return next((TakeBack(one.key) for one in found), None)


def when_live_has_done(rows: int, act):
    return lambda scene: act(scene) if scene.live_done >= rows else None


@pytest.fixture
def scripted(monkeypatch):
    def use(*acts) -> Scripted:
        choice = Scripted(*acts)
        monkeypatch.setattr(batches, "_choice", lambda *_: choice)
        return choice

    return use


def test_some_rows_go_live_while_others_are_out(lane, rows_file, scripted):
    scripted(submit, submit, send(40))
    at = lane("openai")

    done = at.run(rows_file(100), *CHEAPEST)

    assert done.code == 0, done.err
    at.check(answered=100)
    assert Counter(at.columns("lane")["lane"]) == {"batch": 40, "live": 60}


def test_what_is_taken_back_goes_live_and_what_had_ended_is_kept(lane, rows_file, scripted):
    scripted(submit, submit, take_back, take_back)
    at = lane("openai", {"kind": "batch_stuck", "every": 2})

    done = at.run(rows_file(60), *CHEAPEST)

    assert done.code == 0, done.err
    at.check(answered=60)
    assert set(at.columns("lane")["lane"]) <= {"batch", "live"}
    assert {one["state"] for one in at.server.batches()["batches"]} <= {"completed", "cancelled"}


def test_a_cancellation_that_is_not_answered_holds_up_nothing_else(lane, rows_file, scripted, monkeypatch):
    """The service's API is down for a while, or slow: rows that are here go live meanwhile."""
    at, cancel, answered = lane("openai", batch={"seconds": 3_000}), BatchService.cancel, asyncio.Event()

    async def slow(self, batch):
        await asyncio.wait_for(answered.wait(), 15)
        await cancel(self, batch)

    def in_the_end(scene: Scene):
        if scene.live_done < 40:
            return None
        answered.set()
        return SendLive(scene.rows_free) if scene.rows_free else None

    monkeypatch.setattr(BatchService, "cancel", slow)
    scripted(submit, take_back, send(40), in_the_end)

    done = at.run(rows_file(60), *CHEAPEST, "--deadline", "20s")

    assert done.code == 0, done.err
    at.check(answered=60)


def test_calls_of_one_kind_end_when_another_kind_is_wanted(lane, rows_file, scripted):
    choice = scripted(send(50, "flex"), when_live_has_done(5, send(1)))
    at = lane("openai", latency_median_s=0.05)
    rows = rows_file(200)

    done = at.run(rows, *CHEAPEST, "--preset", "openai", "-c", "2", "--shard-rows", "50")

    assert done.code == 0, done.err
    at.check(answered=200)
    kinds = Counter(at.columns("lane")["lane"])
    assert kinds["flex"] >= 5
    assert kinds["live"] >= 150
    assert max(scene.live_done for scene in choice.scenes) >= 5


@pytest.mark.parametrize("more", [(), ("--processes", "2")], ids=["one process", "two processes"])
def test_one_cap_holds_over_batches_and_calls(lane, rows_file, scripted, more):
    scripted(submit, send(60))
    at = lane("openai")

    done = at.run(rows_file(80), *CHEAPEST, *more, "--max-tokens", "50", "--max-cost", "0.012")

    assert done.code == 3
    assert "--max-cost" in done.err
    assert at.server.ledger()["usd"] <= 0.012
    assert at.run(rows_file(80), *CHEAPEST, *more, "--max-tokens", "50", "--max-cost", "1").code == 0
    at.check(answered=None)


def test_a_run_whose_choice_finds_the_cap_too_small_stops_in_order(lane, rows_file, scripted):
    scripted(lambda _: GiveUp("the cap does not cover 20 rows: $1 more are needed"))

    done = lane("openai").run(rows_file(20), *CHEAPEST)

    assert done.code == 3
    assert "the cap does not cover 20 rows" in done.err


def test_with_the_lane_live_what_is_out_is_taken_back_first(lane, rows_file):
    at = lane("openai", {"kind": "batch_stuck", "first": 1})
    rows = rows_file(40)
    assert at.run(rows, "--deadline", "1.5s", "--shard-rows", "20").code == 3

    done = at.run(rows, "--lane", "live", "--shard-rows", "20")

    assert done.code == 0, done.err
    at.check(answered=40)
    assert (
        Counter(at.columns("lane")["lane"])["live"] >= 10
    )  # the service had answered half of the one that was stuck


def test_a_probe_sends_some_rows_of_a_shard_and_leaves_the_others_to_what_comes_next(
    lane, rows_file, scripted
):
    at = lane("openai")
    scripted(lambda _: Probe(5), when_live_has_done(5, submit), submit, submit)

    done = at.run(rows_file(60), *CHEAPEST)

    assert done.code == 0, done.err
    at.check(answered=60)
    assert Counter(at.columns("lane")["lane"]) == {"live": 5, "batch": 55}
    (went,) = at.log().live
    assert (sorted(went.shards), went.why) == ([0], "deadline")


def test_rows_that_a_batch_gave_back_go_live_before_those_that_were_in_none(lane, rows_file, scripted):
    at = lane("openai", batch={"seconds": 3_000})
    back = lambda scene: send(1)(scene) if scene.returned else None  # noqa: E731 - one of a list of acts
    scripted(submit, take_back, back, when_live_has_done(20, send(40)))

    done = at.run(rows_file(60), *CHEAPEST)

    assert done.code == 0, done.err
    at.check(answered=60)
    assert sorted(at.log().live[0].shards) == [0]
