"""Which lane a request takes where an endpoint has a cheaper one beside the live calls."""

from __future__ import annotations

import random

import pytest

from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.lanes import Grant, Lane, Lanes, NoLane
from batchlab.dispatch.rate.controller import NO_ROOM_CAP_S, RateController
from batchlab.job import EndpointJob, PriceJob
from batchlab.job.limits import EndpointLimits
from batchlab.records import ChatRequest, Outcome, OutcomeClass

FULL = Outcome(OutcomeClass.STOP, "tier", 400, "Unsupported service_tier: flex")


def lane(name: str, kind: str, concurrency: int = 4, most: int | None = None) -> Lane:
    limits = EndpointLimits(concurrency, start=concurrency, lane=kind)
    return Lane(
        name,
        None,
        RateController(limits, now=0.0, rng=random.Random(1)),
        PriceBook(EndpointJob(), PriceJob(), "m"),
        kind=kind,
        tier="flex" if kind == "flex" else None,
        most=most,
    )


def taken(lanes: Lanes, count: int, **how) -> list[str]:
    got = [lanes.acquire(0.0, 1, 1, **how) for _ in range(count)]
    return [one.lane.key if isinstance(one, Grant) else "none" for one in got]


def test_the_cheaper_lane_goes_first_and_the_live_one_takes_what_it_cannot():
    lanes = Lanes([lane("a", "flex", 2), lane("a", "live", 2), lane("b", "live", 1)])

    assert taken(lanes, 6) == ["a (flex)", "a (flex)", "a", "b", "a", "none"]


def test_only_the_kinds_in_use_are_taken_from_the_next_request_on():
    lanes = Lanes([lane("a", "flex", 2), lane("a", "live", 2)])
    assert lanes.kinds == {"flex", "live"}

    lanes.use({"flex"})
    assert taken(lanes, 3) == ["a (flex)", "a (flex)", "none"]
    assert lanes.window == 2
    lanes.use({"flex", "live"})
    assert taken(lanes, 3) == ["a", "a", "none"]


def test_nobody_waits_for_a_lane_that_is_not_there():
    lanes = Lanes([flex := lane("a", "flex"), lane("a", "live"), lane("b", "live")])
    lanes.use({"flex"})

    assert taken(lanes, 1, only="b") == ["b"]
    flex.out = FULL
    assert taken(lanes, 1) == ["a"]


def test_a_row_bound_to_an_endpoint_whose_lanes_are_all_out_is_told_why():
    lanes = Lanes([lane("a", "flex"), lane("a", "live"), lane("b", "live")])
    for one in lanes:
        one.out = FULL if one.name == "a" else None

    with pytest.raises(NoLane, match="Unsupported"):
        lanes.acquire(0.0, 1, 1, only="a")


def test_all_lanes_of_an_endpoint_together_keep_to_its_concurrency():
    lanes = Lanes([lane("a", "flex", 2, most=3), lane("a", "live", 3, most=3)])

    assert taken(lanes, 4) == ["a (flex)", "a (flex)", "a", "none"]


def test_a_refused_row_tries_the_other_lane_where_both_are_in_use():
    lanes = Lanes([flex := lane("a", "flex"), lane("a", "live")])

    assert taken(lanes, 1, avoid=flex) == ["a"]


@pytest.mark.parametrize(
    ("body", "task", "tier", "kind"),
    [
        ({}, "chat", "flex", "flex"),
        ({"service_tier": "flex"}, "chat", "flex", "flex"),
        ({"service_tier": "priority"}, "chat", "priority", "live"),
        ({"service_tier": None}, "chat", None, "live"),
        ({}, "embeddings", None, "live"),
    ],
)
def test_a_request_with_a_tier_of_its_own_keeps_it(body, task, tier, kind):
    request = ChatRequest(0, "0", body, b"", 1, task=task)

    assert (lane("a", "flex").tier_of(request), lane("a", "flex").kind_of(request)) == (tier, kind)
    assert lane("a", "live").kind_of(request) == "live"


@pytest.mark.parametrize("status", [429, 498, 503])
def test_a_tier_without_room_is_asked_less_and_less_often_and_is_no_outage(status):
    controller = RateController(EndpointLimits(8, start=8, lane="flex"), now=0.0, rng=random.Random(1))
    now, waits = 0.0, []
    for _ in range(24):
        permit = controller.try_acquire(now, 1, 1)
        controller.limited(permit, now, status=status, no_room=True)
        waits.append(controller.gate_until - now)
        now = controller.gate_until

    assert not controller.is_out
    assert min(waits[-3:]) >= NO_ROOM_CAP_S / 2
    assert max(waits) <= NO_ROOM_CAP_S
    assert "no room at this tier" in controller.why(now - 1)
    permit = controller.try_acquire(now, 1, 1)
    controller.succeeded(permit, now, 2)
    assert controller.silent_s(now + 1) == 0.0
