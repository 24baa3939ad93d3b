"""The pool with a transport that fails in ways no provider can cause."""

from __future__ import annotations

import random
import time

import pytest

from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.budget import Budget
from batchlab.dispatch.controller import ControllerLimits, RateController
from batchlab.dispatch.lanes import Lane, Lanes
from batchlab.dispatch.longer import with_more_tokens
from batchlab.dispatch.pool import Pool, PoolCounters
from batchlab.dispatch.stop import StopSignal
from batchlab.dispatch.transport import Answer
from batchlab.job import EndpointJob, LimitsJob, PriceJob
from batchlab.records import ChatRequest, Completion, Failure, Reply, Result, Usage, completion_cap


class Breaking:
    """Raises for the third row, answers the others."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def send(self, request: ChatRequest) -> Answer:
        if request.row_id == 3:
            raise self._error
        return Answer(Reply("yes"), time.time(), 1.0, None, None, None)


class Recorded:
    def __init__(self) -> None:
        self.results: list[Result] = []

    def sent(self, row_id: int, attempt: int) -> None: ...

    def back(self, row_id: int, usage: Usage | None, usd: float | None) -> None: ...

    def emit(self, result: Result) -> None:
        self.results.append(result)


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("too deep"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")]
)
async def test_a_row_that_we_cannot_handle_fails_alone(error):
    controller = RateController(ControllerLimits(4), now=time.monotonic(), rng=random.Random(1))
    lane = Lane("one", Breaking(error), controller, PriceBook(EndpointJob(), PriceJob(), "m"))
    recorded, stop = Recorded(), StopSignal()
    pool = Pool(
        lanes=Lanes([lane]),
        budget=Budget(),
        recorder=recorded,
        limits=LimitsJob(),
        stop=stop,
        counters=PoolCounters(),
        say=print,
    )

    await pool.run((ChatRequest(row, str(row), {}, b"", 1) for row in range(8)), workers=4)

    assert not stop.is_set
    failed = [result for result in recorded.results if isinstance(result, Failure)]
    assert [(one.row_id, one.error_class) for one in failed] == [(3, "client_error")]
    assert sum(isinstance(result, Completion) for result in recorded.results) == 7
    assert controller.in_flight == 0


@pytest.mark.parametrize(
    ("body", "cap", "more"),
    [
        ({"max_tokens": 10}, 10, 20),
        ({"max_completion_tokens": 10, "n": 3}, 30, 60),
        ({"max_tokens": 10, "n": 1}, 10, 20),
        ({"max_tokens": 10, "n": True}, 10, 20),
        ({"max_tokens": 10, "n": "3"}, 10, 20),
        ({"n": 3}, None, None),
        ({"max_tokens": True, "n": 3}, None, None),
    ],
)
def test_a_request_s_worst_case_counts_all_its_choices(body, cap, more):
    assert completion_cap(body) == cap

    longer = with_more_tokens(ChatRequest(0, "0", body, b"", 1, max_tokens=cap), 2)

    assert (longer and longer.max_tokens) == more
