"""The last rows: how long they may take, who they are, and asking them twice where that is free."""

from __future__ import annotations

import asyncio
import json
import random
import time

import pyarrow.parquet as pq
import pytest

from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.hedge import ENOUGH, Hedge
from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.lanes import Grant, Lane, Lanes
from batchlab.dispatch.rate.controller import RateController
from batchlab.job import EndpointJob, PriceJob
from batchlab.job.limits import EndpointLimits
from batchlab.records import ChatRequest, Outcome, OutcomeClass, Reply
from tests.scenarios.test_run import job

REQUEST = ChatRequest(0, "0", {}, b"", 1)


def hang(row: int, **more: object) -> dict[str, object]:
    """A fault that leaves the row of `rows_file` without an answer."""
    return {"kind": "hang", "rows": [f"The {row}th remark"], **more}


class Scripted:
    """A transport whose n-th call takes as long, and ends, as it is told."""

    def __init__(self, *script: tuple[float, bool]) -> None:
        self._script = list(script)
        self.cancelled = 0

    async def send(self, request: ChatRequest) -> Answer:
        seconds, good = self._script.pop(0)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if not good:
            raise ApiError(Outcome(OutcomeClass.RETRY, "server", 500, f"failed after {seconds}"))
        return Answer(Reply(f"after {seconds}"), time.time(), seconds * 1000, None, None, None)


async def hedged(
    *script: tuple[float, bool], concurrency: int = 4
) -> tuple[Answer | ApiError, int, Scripted]:
    """What comes of a straggler; how many permits are left open besides the first; the transport."""
    transport = Scripted(*script)
    controller = RateController(EndpointLimits(concurrency), now=0.0, rng=random.Random(1))
    lanes = Lanes([Lane("one", transport, controller, PriceBook(EndpointJob(), PriceJob(), "m"))])
    hedge = Hedge(lambda: True)
    hedge._latencies.extend([0.01] * ENOUGH)
    hedge.slow_s = lambda: 0.01  # type: ignore[method-assign]

    def second() -> Grant | None:
        got = lanes.acquire(0.0, 1, 1)
        return got if isinstance(got, Grant) else None

    grant = lanes.acquire(0.0, 1, 1)
    assert isinstance(grant, Grant)
    try:
        answer, used = await hedge.send(REQUEST, grant, second)
    except ApiError as error:
        return error, controller.in_flight - 1, transport
    if used is not grant:
        controller.refused(used.permit, 0.0)
    return answer, controller.in_flight - 1, transport


@pytest.mark.parametrize(
    ("script", "said", "cancelled"),
    [
        ([(0.01, True)], "after 0.01", 0),
        ([(60.0, True), (0.02, True)], "after 0.02", 1),
        ([(0.4, True), (60.0, True)], "after 0.4", 1),
        ([(0.4, True), (0.02, False)], "after 0.4", 0),
        ([(0.3, False), (0.2, True)], "after 0.2", 0),
        ([(0.3, False), (0.2, False)], "failed after 0.3", 0),
        ([(0.01, False)], "failed after 0.01", 0),
    ],
)
async def test_the_first_good_answer_counts_and_no_permit_is_left_open(script, said, cancelled):
    ended, left_open, transport = await hedged(*script)

    text = ended.outcome.message if isinstance(ended, ApiError) else ended.reply.completion
    assert text == said
    assert left_open == 0
    assert transport.cancelled == cancelled


async def test_no_room_means_no_second_request():
    ended, left_open, _ = await hedged((0.6, True), concurrency=1)

    assert isinstance(ended, Answer)
    assert left_open == 0


def test_a_row_over_its_deadline_fails_alone(batchlab, simulator, rows_file, tmp_path):
    server = simulator(faults=[hang(29, times=99)])

    done = batchlab(*job(server.base_url, rows_file(30), "--row-deadline", "1s"))

    assert done.code == 1, done.err
    table = pq.read_table(sorted((tmp_path / "runs/rows/completions").glob("*.parquet")))
    failed = [row for row in table.to_pylist() if row["status"] == "failed"]
    assert len(failed) == 1
    assert failed[0]["error_class"] == "timeout"
    assert "row_deadline" in failed[0]["error_message"]


def test_a_straggler_is_asked_twice_where_a_call_costs_nothing(batchlab, simulator, rows_file, tmp_path):
    server = simulator(faults=[hang(59)])
    free = ["--price-in", "0", "--price-out", "0"]

    done = batchlab(*job(server.base_url, rows_file(60), "--hedge", *free), timeout_s=45)

    assert done.code == 0, done.err
    table = pq.read_table(sorted((tmp_path / "runs/rows/completions").glob("*.parquet")))
    assert [row["attempts"] for row in table.to_pylist() if row["n"] == 59] == [2]
    assert server.ledger()["requests"] == 61
    assert batchlab("verify", "runs/rows").code == 0


def test_nothing_is_asked_twice_where_a_call_may_cost(batchlab, simulator, rows_file):
    server = simulator()

    done = batchlab(*job(server.base_url, rows_file(5), "--hedge"))

    assert done.code == 2
    assert "asks some rows twice" in done.err
    assert server.ledger()["requests"] == 0


def test_the_progress_names_the_last_rows(batchlab, simulator, rows_file):
    server = simulator(faults=[hang(19, times=99)])
    words = job(server.base_url, rows_file(20), "--row-deadline", "7s")
    words[words.index("none")] = "json"

    done = batchlab(*words)

    states = [json.loads(line) for line in done.err.splitlines() if line.startswith('{"saved"')]
    oldest = [state["oldest"] for state in states if state["oldest"] and state["oldest"][0][1] > 5]
    assert oldest
    assert [name for name, _ in oldest[0]] == ["19"]
