"""What the proof of kills (`proofs/crash/batch_kills.py`) has found, each on its own."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from urllib.request import Request, urlopen

import pytest

from batchlab.dispatch.http.batch_service import BatchService
from batchlab.engines.batch_api.choices.choice import Live, Scene, SendLive, Submit, TakeBack
from batchlab.run_end import RunStopped, StopReason
from batchlab.runner.batches import engine as engine_of
from batchlab.store.batch_log import BatchLog
from tests.conftest import CANARY
from tests.engines.batch_api.test_crashes import die_at, forked


def test_results_that_are_merged_twice_count_each_attempt_once(lane, rows_file, monkeypatch):
    """A merge that is cut off before it is noted begins again, and finds its rows in the journal."""
    at, rows = lane("openai", {"kind": "batch_line_errors", "share": 0.5, "first": 1}), rows_file(20)
    merged = BatchLog.merged
    cut_off: list[bool] = []

    def noted(self, batch, **counts):
        if not cut_off:
            cut_off.append(True)
            raise RunStopped(StopReason.DISK, "the disk is full")
        return merged(self, batch, **counts)

    monkeypatch.setattr(BatchLog, "merged", noted)

    assert at.run(rows).code == 3
    assert at.run(rows).code == 0

    attempts = at.columns("attempts")["attempts"]
    assert set(attempts) == {1, 2}
    assert sum(attempts) == sum(len(batch["lines"]) for batch in at.server.batches()["batches"])
    at.check(answered=20)


def test_an_order_that_may_be_a_batch_that_came_to_nothing_is_sent_again(lane, rows_file, quick):
    """Nothing tells whose it was, and nothing has to: none of its lines was answered."""
    quick["openrouter"] = replace(quick["openrouter"], visible_s=0.5)
    lost = {"kind": "batch_reset_after", "step": "create", "first": 1}
    at = lane("openrouter", lost, {"kind": "batch_expires", "first": 1})

    said = at.run(rows_file(10))

    assert said.code == 0, said.err
    at.check(answered=10)


def test_an_order_is_looked_up_after_it_must_be_seen_however_long_others_take(lane, rows_file, quick):
    """While one batch that may be it was waited for, ours came to be seen: the list is read again."""
    quick["openrouter"] = replace(quick["openrouter"], visible_s=1.0)
    lost = {"kind": "batch_reset_after", "step": "create", "every": 2, "most": 1}
    at = lane("openrouter", lost, batch={"seconds": 3.0, "unlisted_s": 0.5})
    ask = {"model": "sim", "messages": [{"role": "user", "content": "something else"}]}
    order = {
        "endpoint": "/v1/chat/completions",
        "model": "sim",
        "requests": [{"custom_id": f"theirs-{number}", "body": ask} for number in range(10)],
    }
    headers = {"Authorization": f"Bearer {CANARY}", "Content-Type": "application/json"}
    url = f"{at.server.base_url}/batches"
    with urlopen(Request(url, json.dumps(order).encode(), headers), timeout=10):
        time.sleep(0.6)  # until it is listed

    said = at.run(rows_file(10))

    assert said.code == 0, said.err
    ours = [batch for batch in at.server.batches()["batches"] if "theirs-0" not in json.dumps(batch)]
    assert len(ours) == 1


def test_an_order_that_is_long_on_its_way_may_be_unseen_after_that(lane, rows_file, quick, monkeypatch):
    """How long a batch may be unseen counts from when it can have arrived last, not from when it was sent."""
    quick["openai"] = replace(quick["openai"], visible_s=0.8)
    order = BatchService.order

    async def slow(self, asked, lines):
        await asyncio.sleep(1.0)
        return await order(self, asked, lines)

    monkeypatch.setattr(BatchService, "order", slow)
    at = lane(
        "openai", {"kind": "batch_reset_after", "step": "create", "first": 1}, batch={"unlisted_s": 0.5}
    )

    said = at.run(rows_file(10))

    assert said.code == 0, said.err
    at.check(answered=10)


def _at_most(asked: list[int]) -> None:
    """A choice that is asked without end, while nothing else is done, would hang the test."""
    asked.append(1)
    assert len(asked) < 10_000, "nothing but this is done any more"


class TakesBackAtOnce:
    """Wants each batch back as soon as it is meant, and says so until it is gone."""

    has_calls = True

    def __init__(self) -> None:
        self._asked: list[int] = []

    def next(self, scene: Scene):
        _at_most(self._asked)
        if scene.out:
            return TakeBack(scene.out[0].batch.key)
        if scene.rows_free > scene.returned:
            return Submit(next(iter(scene.room)))
        return SendLive(scene.rows_free) if scene.rows_free else None


def test_a_batch_that_is_wanted_back_before_it_is_there_holds_nothing_up(lane, rows_file, monkeypatch):
    """The choice says it again and again, as long as the upload lasts: that must not keep it from going on."""
    monkeypatch.setattr(engine_of, "_choice", lambda *_: TakesBackAtOnce())
    at = lane("openai", batch={"seconds": 1})

    done = at.run(rows_file(30), "--lane", "cheapest", "--shard-rows", "15")

    assert done.code == 0, done.err
    at.check(answered=30)


@pytest.mark.proof  # several runs
@pytest.mark.parametrize("step", ["created", "cancelling", "ended"])
def test_what_was_out_when_the_run_was_killed_is_answered_live(lane, rows_file, monkeypatch, step):
    """Also a batch that was noted as taken back, of which its service has not been told; it would never end.
    One whose results are being fetched is not taken back, however often the choice is asked."""
    stuck = {"kind": "batch_stuck", "share": 0.5, "first": 1}
    at, rows = lane("openai", *(() if step == "ended" else (stuck,))), rows_file(20)
    first = ("--lane", "live") if step == "cancelling" else ()
    if step == "cancelling":
        with monkeypatch.context() as patched:
            die_at(patched, "created", "after")
            forked(at.words_of(rows))
    with monkeypatch.context() as patched:
        die_at(patched, step, "after")
        assert forked(at.words_of(rows, *first)) == -9
    chosen, asked = Live.next, []

    def counted(self, scene):
        _at_most(asked)
        return chosen(self, scene)

    monkeypatch.setattr(Live, "next", counted)

    done = at.run(rows, "--lane", "live")

    assert done.code == 0, done.err
    at.check(answered=20)
