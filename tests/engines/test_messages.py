"""What processes of a run tell each other arrives as it was sent, and shows no key on the way."""

from __future__ import annotations

import typing

import msgspec
import pytest

from batchlab.dispatch.rate.money import Money
from batchlab.engines import messages
from batchlab.engines.crew import Ending
from batchlab.engines.messages import (
    Address,
    Answered,
    Asked,
    BadInput,
    Begin,
    Damaged,
    FromWorker,
    Granted,
    LaneOut,
    Left,
    Paused,
    Renew,
    Resumed,
    RunAt,
    Said,
    Sealed,
    ShardWanted,
    Stop,
    ToWorker,
    from_worker,
    line,
    to_worker,
)
from batchlab.engines.ray.messages import (
    Ended,
    FromBridge,
    Heard,
    Start,
    Tell,
    ToBridge,
    from_bridge,
    to_bridge,
)
from batchlab.job import Caps
from batchlab.job.file import job_from
from batchlab.job.key import Secret
from batchlab.lending.messages import Demand, LaneDemand, LaneLease, Lease, Pause
from batchlab.records import Outcome, OutcomeClass
from batchlab.run_end import StopReason
from batchlab.run_state import Attempts, RunState
from batchlab.store.asking import AskAgain
from batchlab.totals import OTHERS, Totals, WordCounts
from tests.conftest import CANARY

STATE = RunState(
    rows=3,
    added=Totals(rows=2, ok=1, failed=1, cost_usd=0.25, unknown_finish=WordCounts({"stopp": 1, OTHERS: 2})),
    attempts=Attempts(sent=4, limited=1),
    why="rate limit",
    oldest=[("a row", 3.5)],
    out={"other": "it is gone"},
)
DEMAND = Demand(3, {"lane": LaneDemand(4, 2, 9, None, 0.5)}, spent=Money(0.1, 7.0), need=Money(0.2, 1.0))
LEASE = Lease(4, {"lane": LaneLease(2, None, 0.5)}, allowance=Caps(None, 3.0), tight=True)
OUTCOME = Outcome(OutcomeClass.STOP, "auth", 401, "no such key")
STOP = Stop(StopReason.KEY, "no such key")
JOB = job_from(
    {
        "input": {"path": "x.csv"},
        "request": {"model": "m", "prompt": "{text} ü", "params": {"logit_bias": {"5": 1}}},
        "price": {"input": 1, "output": 2, "flex": 0.5, "models": {"m": {"input": 3, "output": 1}}},
        "output": {"fail_on": ["empty"]},
        "limits": {"processes": "auto"},
    }
)
BEGIN = Begin(
    name="1.2",
    index=1,
    workers=2,
    run=RunAt(JOB, "/runs/x", "/runs/x/stdin.jsonl", "s3://bucket/x"),
    endpoints=(Address("https://somewhere/v1", Secret(CANARY)), Address("http://localhost", None)),
    answered=True,
    retry=AskAgain(("timeout",)),
    span=(2**128 - 3, 2**64 - 1, 1),
    fence_s=15.0,
)
FROM_WORKER = [
    Asked(DEMAND, STATE),
    Asked(DEMAND, STATE, LEASE),
    ShardWanted(),
    Sealed(5, 2, (51, 52)),
    Paused("lane", Pause(2.5, "429", outage=False)),
    Answered("lane", was_out=True),
    LaneOut("lane", OUTCOME),
    STOP,
    Said("a line\nand another"),
    Left(STATE, Money(0.5, 9.0), None),
    Left(None, Money(), BadInput("x.csv: changed")),
    Left(STATE, Money(), Damaged("000001.1.log: damaged")),
    Left(STATE, Money(), STOP),
]
TO_WORKER = [Granted(LEASE), Renew(), FROM_WORKER[4], Resumed("lane"), LaneOut("lane", OUTCOME), STOP]


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda message: type(message).__name__)
def test_what_a_worker_says_arrives_here_and_through_a_cluster(message):
    assert from_worker(line(message)) == message
    assert from_bridge(line(Heard("1.2", message))) == Heard("1.2", message)
    assert line(message).count(b"\n") == 1


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda message: type(message).__name__)
def test_what_a_worker_is_told_arrives_here_and_through_a_cluster(message):
    assert to_worker(line(message)) == message
    assert to_bridge(line(Tell("1.2", message))) == Tell("1.2", message)


def test_every_message_to_and_from_a_worker_is_tried_here():
    tried = {type(message) for message in (*FROM_WORKER, *TO_WORKER, BEGIN)}

    assert tried == {*typing.get_args(FromWorker), *typing.get_args(ToWorker)}


def test_a_worker_is_told_the_job_and_the_keys_and_only_the_wire_shows_them():
    for arrived in (to_worker(line(BEGIN)), to_bridge(line(Start(BEGIN))).begin):
        assert arrived.run == BEGIN.run
        assert (arrived.span, arrived.retry, arrived.fence_s) == (BEGIN.span, BEGIN.retry, BEGIN.fence_s)
        key, none = (address.key for address in arrived.endpoints)
        assert none is None
        assert key is not None
        assert key.reveal() == CANARY
        assert CANARY not in f"{arrived} {arrived!r} {Start(arrived)!r}"


def test_how_a_worker_ended_arrives():
    ended = Ended("1.2", Ending("with its node", certain=False))

    assert from_bridge(line(ended)) == ended


@pytest.mark.parametrize("union", [FromWorker, ToWorker, FromBridge, ToBridge])
def test_a_message_that_is_none_is_refused(union):
    read = messages.reader(union)

    for text in (b'{"t":"ask"}\n', b'{"type":"Nothing"}\n', b"[]\n"):
        with pytest.raises(msgspec.ValidationError):
            read(text)


def test_messages_are_frozen():
    with pytest.raises(AttributeError):
        STOP.reason = StopReason.DISK
