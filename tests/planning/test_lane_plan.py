"""What `plan` says of lanes: rows, cost and end of each, before anything is paid."""

from __future__ import annotations

import re

import pytest

from batchlab.lanes.outlook import queue_end
from batchlab.lanes.queue_times import QUEUES
from batchlab.runner.batches.queue_history import remember

AT = ("--preset", "openai", "-p", "{text}", "-m", "m", "--max-tokens", "50")
PRICED = ("--price-in", "1", "--price-out", "4", "--price-batch", "0.5")
MONEY = r"\$([\d.,]+)"


@pytest.fixture
def plan(batchlab, rows_file, monkeypatch, tmp_path):
    """The lines of a plan of 2,000 rows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def lines(*more: str) -> str:
        done = batchlab("plan", rows_file(2_000), *AT, *more, OPENAI_API_KEY="none")
        assert done.code == 0, done.err
        return done.out

    return lines


def test_cheapest_says_lanes_cost_end_and_how_often_in_time(plan):
    told = plan(*PRICED, "--lane", "cheapest", "--deadline", "8h")

    assert "lanes: batches are the cheapest way to be answered\n" in told
    assert re.search(rf"\n  openai \(batch\): [\d,]+( to [\d,]+)? rows, {MONEY}", told)
    low, live = re.search(rf"in all about {MONEY}(?: to {MONEY})?, against {MONEY} live", told).group(1, 3)
    assert float(low) == pytest.approx(float(live) / 2, rel=0.2)
    assert re.search(r"; the last row after \d+ (s|min) to [\d.]+ (min|h)\n", told)
    assert re.search(r"in time for the deadline in (39|40) of 40 imagined nights", told)
    assert re.search(r"cost: .*, if all were asked live\n", told)


def test_without_a_deadline_nothing_is_said_of_one(plan):
    assert "in time for" not in plan(*PRICED, "--lane", "cheapest")


def test_a_price_that_nobody_knows_and_a_cap_that_is_too_small_are_the_reason(plan):
    assert "lanes: the price at openai is unknown, so nothing" in plan("--lane", "cheapest")
    capped = plan(*PRICED, "--lane", "cheapest", "--max-cost", "0.000001")
    assert "lanes: the cap does not cover 2,000 rows\n" in capped


def test_batches_alone_end_as_others_did(plan):
    first = plan(*PRICED, "--lane", "batch")
    remember("api.openai.com", [600.0] * 200)
    then = plan(*PRICED, "--lane", "batch")

    assert re.search(r"\ntime: \d+ (s|min) to [\d.]+ h, as a large service says of its own; none", first)
    assert re.search(r"\ntime: 10 min, as 200 earlier batches of yours took there", then)
    assert "lanes: " not in then


def test_flex_takes_longer_while_there_is_no_room(plan):
    assert re.search(r"\ntime: .*; longer while the tier has no room\n", plan(*PRICED, "--lane", "flex"))


def test_live_says_nothing_of_lanes(plan):
    assert not re.search("lanes: |if all were|no room", plan(*PRICED))


def test_more_batches_than_may_be_out_take_turns():
    few, many = (queue_end(QUEUES, batches, at_once=4, nights=20) for batches in (4, 40))

    assert few.low <= few.middle <= few.high
    assert many.middle > 2 * few.middle
    assert queue_end(QUEUES, 4, at_once=4, window_s=60, nights=20).high == 60


def test_what_the_choice_cannot_know_with_workers_is_said(plan):
    asked = (*PRICED, "--lane", "cheapest", "--deadline", "8h")
    guess = "workers try none first"

    assert guess in plan(*asked, "--processes", "2")
    assert guess not in plan(*asked)
    assert guess not in plan(*asked[:-2], "--processes", "2")  # without a deadline nothing is in a hurry


TWO = """
[input]
path = "rows.jsonl"
[[endpoint]]
name = "first"
base_url = "http://127.0.0.1:9/v1"
batch_api = "openai"
lane = "batch"
[[endpoint]]
name = "second"
base_url = "http://127.0.0.1:10/v1"
{lane}
[request]
model = "m"
prompt = "{{text}}"
"""


@pytest.mark.parametrize(("lane", "is_told"), [("", True), ('lane = "cheapest"', False)])
def test_an_endpoint_that_gets_no_rows_is_named(batchlab, rows_file, tmp_path, lane, is_told):
    rows_file(5)
    (tmp_path / "two.toml").write_text(TWO.format(lane=lane))

    told = batchlab("plan", "two.toml")

    assert ("second: no rows, as all go by batch elsewhere" in told.out) == is_told, told.err
