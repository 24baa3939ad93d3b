"""When a fault strikes: rows, tiers, from when on, for how long, how often."""

from __future__ import annotations

import pytest

from tests.conftest import simulating
from tests.endpoints.raw import ask, chat
from tests.endpoints.test_tariff import Clock


def statuses(server, texts, **more) -> list[int]:
    return [ask(server.base_url, chat(text, **more)).status for text in texts]


def test_a_row_can_be_refused_always(simulator):
    server = simulator(faults=[{"kind": "rate_limit", "rows": ["<7>"], "times": 0}])

    assert statuses(server, ["<7>"] * 6) == [429] * 6
    assert statuses(server, ["<8>"]) == [200]


def test_a_row_is_hit_as_often_as_said(simulator):
    server = simulator(faults=[{"kind": "http_503", "rows": ["<7>"], "times": 2}])

    assert statuses(server, ["<7>"] * 3) == [503, 503, 200]


def test_a_fault_of_a_tier_hits_no_other(simulator):
    server = simulator(faults=[{"kind": "resource_unavailable", "tier": "flex", "rate": 1.0}])

    assert statuses(server, ["a", "a"], service_tier="flex") == [429, 200]
    assert statuses(server, ["b"]) == [200]


@pytest.mark.parametrize("kind", ["http_401", "http_402", "http_403", "http_404", "redirect"])
def test_an_answer_turns_bad_after_success_for_a_while(kind):
    clock = Clock()
    fault = {"kind": kind, "after": 2, "for_s": 5.0, "times": 0}
    with simulating(clock=clock, faults=[fault]) as server:
        good = statuses(server, ["a", "b"])
        bad = statuses(server, ["c", "d"])
        clock.at_s += 4.9
        bad += statuses(server, ["c"])
        clock.at_s += 0.2
        again = statuses(server, ["c", "d"])

    assert good == again == [200, 200]
    assert bad == [307 if kind == "redirect" else int(kind[-3:])] * 3


def test_a_fault_strikes_at_most_so_often(simulator):
    server = simulator(faults=[{"kind": "http_500", "most": 3, "times": 0}])

    assert statuses(server, "abcde") == [500, 500, 500, 200, 200]


def test_what_a_request_does_not_hold_is_not_refused(simulator):
    server = simulator(faults=[{"kind": "stream_options_extra", "rate": 1.0, "times": 0}])

    with_them = ask(server.base_url, chat("a", stream=True))
    body = chat("a", stream=True)
    del body["stream_options"]
    without = ask(server.base_url, body)

    assert (with_them.status, without.status) == (422, 200)
    assert not any(event.get("usage") for event in without.events)


def test_a_reset_starts_the_plan_again(simulator):
    server = simulator(faults=[{"kind": "http_500", "most": 1, "times": 0}])

    first = statuses(server, "ab")
    server.reset()

    assert first == statuses(server, "ab") == [500, 200]
