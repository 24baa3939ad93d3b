"""Whatever the policy is told, what it decides can be done, and it comes to an end."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from batchlab.lanes.decisions import SendLive, Submit, TakeBack, Wait
from batchlab.lanes.queue_times import QUEUES
from batchlab.lanes.seen import BatchOut, BatchWay, Lanes, Left, Pace, RowPrice, Way
from tests.lanes.test_policy import NOW, decided

NAMES = st.sampled_from(["a", "b"])
SECONDS = st.floats(0, 200_000)
AGO = SECONDS.map(lambda seconds: NOW - seconds)
USD = st.one_of(st.none(), st.floats(0, 1))
PRICES = st.builds(
    RowPrice,
    USD,
    st.lists(st.tuples(st.floats(0, 86_399), st.floats(0, 1)), max_size=3, unique_by=lambda one: one[0]).map(
        lambda steps: tuple(sorted(steps))
    ),
    st.one_of(st.none(), st.floats(1e-6, 2)),
)
WAYS = st.builds(
    Way,
    NAMES,
    st.sampled_from(["live", "flex"]),
    PRICES,
    st.builds(Pace, st.floats(0, 1e4), st.lists(st.floats(0, 1e4), max_size=5).map(tuple)),
    st.integers(0, 100_000),
    st.floats(0, 1),
    st.one_of(st.none(), AGO),
)
BATCHES = st.builds(
    BatchWay,
    NAMES,
    PRICES,
    st.integers(1, 100_000),
    st.one_of(st.none(), st.integers(0, 200_000)),
    st.integers(0, 20),
    st.just(86_400.0),
    st.lists(st.floats(0, 1e5), max_size=20).map(QUEUES.with_seen),
    st.lists(SECONDS, max_size=4).map(tuple),
)
OUT = st.builds(
    lambda endpoint, rows, at, done, since, done_at, cancelled: BatchOut(
        "", endpoint, rows, at, min(rows, done), running_since=since, done_at=done_at, cancelled_at=cancelled
    ),
    NAMES,
    st.integers(1, 50_000),
    AGO,
    st.integers(0, 50_000),
    st.one_of(st.none(), AGO),
    st.one_of(st.none(), AGO),
    st.one_of(st.none(), AGO),
)


@st.composite
def moments(draw):
    ways = draw(st.lists(WAYS, max_size=4, unique_by=lambda one: (one.endpoint, one.lane)))
    batches = draw(st.lists(BATCHES, max_size=2, unique_by=lambda one: one.endpoint))
    out = [
        BatchOut(str(number), *(getattr(one, name) for name in BatchOut.__slots__[1:]))
        for number, one in enumerate(draw(st.lists(OUT, max_size=4)))
    ]
    pending = draw(st.integers(0, 300_000))
    rest = Left(
        pending + sum(one.rows for one in out),
        pending,
        draw(st.integers(0, pending)),
        draw(st.integers(0, 100)),
        draw(st.one_of(st.none(), st.floats(-1_000, 300_000).map(lambda ahead: NOW + ahead))),
        draw(st.one_of(st.none(), st.floats(0, 1e5))),
        draw(st.sampled_from([1, 1_000, 10_000])),
    )
    return Lanes(tuple(ways), tuple(batches), tuple(out)), rest


@settings(max_examples=300, deadline=None)
@given(moments())
def test_what_is_decided_can_be_done_and_comes_to_an_end(moment):
    seen, rest = moment
    pending, usd = rest.pending, rest.usd
    room = {one.endpoint: one.room_batches for one in seen.batches}
    running = {one.id for one in seen.out if not one.is_cancelled}

    *before, last = decided(seen, rest)

    for one in before:
        match one:
            case Submit(endpoint, rows):
                way = next(way for way in seen.batches if way.endpoint == endpoint)
                assert 0 < rows <= min(pending, way.lines)
                assert way.price.at(NOW) is not None
                room[endpoint] -= 1
                assert room[endpoint] >= 0
                pending -= rows
                if usd is not None:
                    usd -= rows * way.price.set_aside()
                    assert usd >= -1e-6
            case SendLive(endpoint, lane, rows):
                assert any((way.endpoint, way.lane) == (endpoint, lane) for way in seen.ways)
                assert 0 <= rows <= rest.pending
            case TakeBack(batch):
                assert batch in running
                running.remove(batch)
    assert isinstance(last, Wait)
    assert last.until is None or NOW < last.until < math.inf
    assert last.short_usd is None or last.short_usd > 0
