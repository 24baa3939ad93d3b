"""The pool with a transport that fails in ways no provider can cause."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from batchlab.costs.pricing import PriceBook
from batchlab.dispatch import retry
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.lanes import Lane, Lanes
from batchlab.dispatch.longer import with_more_tokens
from batchlab.dispatch.pool import Pool
from batchlab.dispatch.rate import breaker
from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.rate.controller import RateController
from batchlab.dispatch.stop import StopSignal
from batchlab.dispatch.trouble import health, refusals
from batchlab.job import EndpointJob, LimitsJob, PriceJob
from batchlab.job.limits import EndpointLimits
from batchlab.records import (
    ChatRequest,
    Completion,
    Failure,
    Outcome,
    OutcomeClass,
    Reply,
    Result,
    Usage,
    completion_cap,
)
from batchlab.run_end import RunStopped, StopReason
from batchlab.run_state import Attempts

YES = Reply("yes")
UNAUTHORIZED = Outcome(OutcomeClass.STOP, "auth", 401, "Unauthorized")
REDIRECTED = Outcome(OutcomeClass.STOP, "redirect", 307, "the base URL redirects")
LIMITED = Outcome(OutcomeClass.WAIT, "rate_limit", 429, "over your limit")
SERVER = Outcome(OutcomeClass.RETRY, "server", 500, "boom")
PAGE = Outcome(OutcomeClass.RETRY, "invalid_response", 200, "Chat Console", after="wrong_address")


class Answering:
    """Answers each request by what `says` makes of it: an error to raise, or None for an answer."""

    def __init__(self, says: Callable[[ChatRequest], Exception | None]) -> None:
        self._says = says
        self.asked: list[int] = []

    async def send(self, request: ChatRequest) -> Answer:
        self.asked.append(request.row_id)
        await asyncio.sleep(0)
        if (error := self._says(request)) is not None:
            raise error
        return Answer(YES, time.time(), 1.0, None, None, None)


class Recorded:
    def __init__(self, refuses: Callable[[Result], Exception | None] = lambda _: None) -> None:
        self.results: list[Result] = []
        self._refuses = refuses

    def sent(self, row_id: int, attempt: int) -> None: ...

    def back(self, row_id: int, usage: Usage | None, usd: float | None) -> None: ...

    def emit(self, result: Result) -> None:
        if (error := self._refuses(result)) is not None:
            raise error
        self.results.append(result)

    @property
    def failed(self) -> dict[int, str]:
        return {one.row_id: one.error_class for one in self.results if isinstance(one, Failure)}


class Ran:
    """One pool over some rows, with what it said."""

    def __init__(self, *transports: Answering, recorded: Recorded | None = None, **limits: object) -> None:
        now = time.monotonic()
        self.lanes = [
            Lane(
                f"lane {number}",
                transport,
                RateController(EndpointLimits(4), now=now, rng=random.Random(1)),
                PriceBook(EndpointJob(), PriceJob(), "m"),
                address="https://llm.example/v1/chat/completions",
            )
            for number, transport in enumerate(transports)
        ]
        self.recorded, self.stop, self.said = recorded or Recorded(), StopSignal(), []
        self.pool = Pool(
            lanes=Lanes(self.lanes),
            budget=Budget(),
            recorder=self.recorded,
            limits=LimitsJob(**limits),
            stop=self.stop,
            attempts=Attempts(),
            say=self.said.append,
        )

    async def over(self, rows: int) -> Ran:
        async with asyncio.timeout(30):
            await self.pool.run((ChatRequest(row, str(row), {}, b"", 1) for row in range(rows)), workers=16)
        assert all(lane.controller.in_flight == 0 for lane in self.lanes)
        return self


@pytest.fixture
def quick(monkeypatch):
    """Waits of seconds that take milliseconds."""
    monkeypatch.setattr(health, "LOOK_S", 0.02)
    monkeypatch.setattr(health, "BEHIND_S", 0.01)
    monkeypatch.setattr(refusals, "BACK_CAP_S", 0.01)
    monkeypatch.setattr(refusals, "MINUTE_CAP_S", 0.01)


def third(error: Exception) -> Callable[[ChatRequest], Exception | None]:
    return lambda request: error if request.row_id == 3 else None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RecursionError("too deep"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"),
        TypeError("Type is not JSON serializable: set"),
        KeyError("choices"),
        AssertionError(),
        OverflowError("int too large"),
    ],
)
async def test_a_row_that_we_cannot_handle_fails_alone(error):
    ran = await Ran(Answering(third(error))).over(8)

    assert not ran.stop.is_set
    assert ran.recorded.failed == {3: "client_error"}
    assert sum(isinstance(result, Completion) for result in ran.recorded.results) == 7
    assert ran.said == [
        f"1 row failed because batchlab could not handle them (row 3, {type(error).__name__})"
    ]


@pytest.mark.parametrize("error", [TypeError("surrogates not allowed"), IndexError(), ValueError()])
async def test_a_result_that_cannot_be_recorded_fails_its_row_alone(error):
    recorded = Recorded(lambda one: error if one.row_id == 3 and isinstance(one, Completion) else None)

    ran = await Ran(Answering(lambda _: None), recorded=recorded).over(8)

    assert not ran.stop.is_set
    assert recorded.failed == {3: "client_error"}
    assert next(one.attempts for one in recorded.results if isinstance(one, Failure)) == 1
    assert len(recorded.results) == 8


async def test_a_disk_that_fails_still_stops_the_run():
    recorded = Recorded(lambda one: RunStopped(StopReason.DISK, "no space left") if one.row_id == 3 else None)

    ran = await Ran(Answering(lambda _: None), recorded=recorded).over(200)

    assert ran.stop.reason == "disk"
    assert recorded.failed == {}
    assert len(recorded.results) < 100


async def test_a_row_that_is_always_refused_fails_and_the_others_do_not_wait_for_it(quick):
    transport = Answering(third(ApiError(LIMITED)))

    ran = await Ran(transport).over(120)

    assert not ran.stop.is_set
    assert ran.recorded.failed == {3: "rate_limit"}
    assert len(ran.recorded.results) == 120
    assert 4 <= transport.asked.count(3) <= 8


async def test_a_row_that_is_always_redirected_fails_and_the_run_goes_on(quick):
    transport = Answering(lambda one: ApiError(REDIRECTED) if one.row_id == 40 else None)

    ran = await Ran(transport).over(120)

    assert not ran.stop.is_set
    assert ran.recorded.failed == {40: "redirect"}
    assert transport.asked.count(40) <= 8


async def test_a_key_that_is_refused_for_a_moment_ends_no_run(quick):
    answered, until = [0], [0.0]

    def says(request: ChatRequest) -> Exception | None:
        now = time.monotonic()
        if answered[0] >= 60 and not until[0]:
            until[0] = now + 0.01
        if now < until[0]:
            return ApiError(UNAUTHORIZED)
        answered[0] += 1
        return None

    ran = await Ran(Answering(says)).over(200)

    assert not ran.stop.is_set
    assert ran.recorded.failed == {}
    assert len(ran.recorded.results) == 200


async def test_a_key_that_stays_refused_stops_the_run_soon_and_fails_no_row(quick):
    transport = Answering(lambda one: ApiError(UNAUTHORIZED) if one.row_id >= 30 else None)

    ran = await Ran(transport).over(120)

    assert ran.stop.reason == "key"
    assert ran.stop.message == "Unauthorized (asked: https://llm.example/v1/chat/completions)"
    assert len(ran.recorded.results) == 30
    assert ran.recorded.failed == {}
    assert len(transport.asked) <= 30 + 4 + 9


async def test_an_endpoint_whose_key_stays_refused_is_left_out_and_the_other_goes_on(quick):
    stale = Answering(lambda one: ApiError(UNAUTHORIZED) if one.row_id >= 30 else None)

    ran = await Ran(stale, Answering(lambda _: None)).over(200)

    assert not ran.stop.is_set
    assert len(ran.recorded.results) == 200
    assert ran.recorded.failed == {}
    assert ran.lanes[0].out is None or "Unauthorized" in ran.lanes[0].out.message


async def test_web_pages_from_the_start_stop_the_run_with_their_words_and_the_url(monkeypatch):
    monkeypatch.setattr(retry, "MAX_WAIT_S", 0.01)
    transport = Answering(lambda _: ApiError(PAGE))

    ran = await Ran(transport).over(20)

    assert ran.stop.reason == "endpoint"
    assert ran.stop.message == "Chat Console (asked: https://llm.example/v1/chat/completions)"
    assert len(transport.asked) <= 4
    assert ran.recorded.results == []


async def test_one_server_error_that_asks_for_weeks_keeps_nobody(monkeypatch):
    monkeypatch.setattr(retry, "MAX_WAIT_S", 0.01)
    weeks = Outcome(OutcomeClass.RETRY, "server", 500, "internal error", wait_s=1_209_600.0)
    asked = []

    def says(request: ChatRequest) -> Exception | None:
        asked.append(request.row_id)
        return ApiError(weeks) if request.row_id == 0 and asked.count(0) == 1 else None

    ran = await Ran(Answering(says)).over(20)

    assert not ran.stop.is_set
    assert ran.recorded.failed == {}
    assert len(ran.recorded.results) == 20


async def test_when_all_ask_for_weeks_the_run_stops_with_the_time_to_come_back():
    weeks = Outcome(OutcomeClass.RETRY, "server", 503, "maintenance", wait_s=1_209_600.0)

    ran = await Ran(Answering(lambda _: ApiError(weeks))).over(20)

    assert ran.stop.reason == "outage"
    assert "maintenance" in ran.stop.message
    assert "Come back at 20" in ran.stop.message
    assert ran.recorded.results == []


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
        ({"max_tokens": -1, "n": 3}, None, None),  # no cap, to llama.cpp
    ],
)
def test_a_request_s_worst_case_counts_all_its_choices(body, cap, more):
    assert completion_cap(body) == cap

    longer = with_more_tokens(ChatRequest(0, "0", body, b"", 1, max_tokens=cap), 2)

    assert (longer and longer.max_tokens) == more


def tripped(monkeypatch) -> list[str]:
    """Why a breaker opened, each time that one does."""
    whys: list[str] = []

    def noting(ends: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: RateController, *args: Any, **more: Any) -> Any:
            got = ends(self, *args, **more)
            if self.is_out:
                whys.append(self.reason.partition(":")[0])
            return got

        return noted

    for name in ("failed", "limited", "unreachable"):
        monkeypatch.setattr(RateController, name, noting(getattr(RateController, name)))
    return whys


async def test_rows_that_always_fail_open_no_breaker_and_are_known_in_the_next_pass(monkeypatch):
    monkeypatch.setattr(retry, "MAX_WAIT_S", 0.01)
    bad, whys = set(range(3, 120, 15)), tripped(monkeypatch)
    transport = Answering(lambda request: ApiError(SERVER) if request.row_id in bad else None)

    ran = await Ran(transport).over(240)
    again = Ran(transport)
    again.pool.odd = ran.pool.odd
    await again.over(max(bad) + 1)

    assert whys == []
    assert ran.recorded.failed == again.recorded.failed == dict.fromkeys(bad, "server")
    assert ran.pool.odd == bad
    assert {transport.asked.count(row) for row in bad} == {6 + 2}


async def test_an_outage_is_still_one_and_makes_no_row_odd(monkeypatch):
    monkeypatch.setattr(retry, "MAX_WAIT_S", 0.01)
    monkeypatch.setattr(breaker, "GATE_CAP_S", 0.02)
    whys, asked = tripped(monkeypatch), 0

    def outage(_: ChatRequest) -> Exception | None:
        nonlocal asked
        asked += 1
        return ApiError(SERVER) if 40 < asked <= 60 else None

    # how many of the twenty errors one row meets is chance
    ran = await Ran(Answering(outage), max_attempts=21).over(120)

    assert "errors only" in whys
    assert ran.recorded.failed == {}
    assert ran.pool.odd == set()
