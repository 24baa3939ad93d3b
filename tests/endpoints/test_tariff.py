"""What the simulated provider charges: tiers, hours, long prompts, its cache; and its books are right."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack

import pytest

from batchlab.endpoints.simulator import SimulatorOptions
from tests.conftest import SimulatorHandle, simulating
from tests.endpoints.raw import ask, chat

NIGHT = 1_795_831_200.0  # 2026-11-28 02:00 UTC, a Saturday
LONG = "ice floats because it is lighter than water. " * 200  # 9,000 bytes, 2,250 tokens
PRICE = {"input": 2.0, "output": 8.0}


class Clock:
    """A clock that is set by hand."""

    def __init__(self, at_s: float = NIGHT) -> None:
        self.at_s = at_s

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def provider():
    """Starts a provider with a price, on a clock of the test."""
    with ExitStack() as started:

        def start(clock: Clock | None = None, **options) -> SimulatorHandle:
            settings = {"clock": clock or Clock(), "price": PRICE, **options}
            return started.enter_context(simulating(**settings))

        yield start


def usage(provider: SimulatorHandle, text: str, **more) -> dict:
    return ask(provider.base_url, chat(text, **more)).json["usage"]


def test_the_books_hold_what_each_answer_cost(provider):
    server = provider()
    used = [usage(server, f"Why does ice float? {n}") for n in range(3)]

    prompt = sum(one["prompt_tokens"] for one in used)
    completion = sum(one["completion_tokens"] for one in used)
    assert server.ledger()["usd"] == pytest.approx((prompt * 2 + completion * 8) / 1e6, abs=1e-12)


def test_without_a_price_list_nothing_is_charged(provider):
    server = provider(price=None)
    usage(server, "Why?")

    assert (server.ledger()["usd"], server.ledger()["billed"]) == (0.0, 1)


@pytest.mark.parametrize(
    ("asked", "echo", "said", "factor"),
    [
        (None, "served", None, 1.0),
        ("auto", "served", "default", 1.0),
        ("default", "served", "default", 1.0),
        ("flex", "served", "flex", 0.5),
        ("priority", "served", "priority", 2.0),
        ("flex", "default", "default", 0.5),
        ("priority", "none", None, 2.0),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_tier_is_echoed_and_charged(provider, asked, echo, said, factor, stream):
    server = provider(price={**PRICE, "tiers": {"flex": 0.5, "priority": 2.0}}, tier_echo=echo)
    tier = {} if asked is None else {"service_tier": asked}

    came = ask(server.base_url, chat("Why does ice float?", stream=stream, **tier))

    values = came.events if stream else [came.json]
    assert {value.get("service_tier") for value in values} == {said}
    used = values[-1]["usage"]
    cost = (used["prompt_tokens"] * 2 + used["completion_tokens"] * 8) / 1e6
    assert server.ledger()["usd"] == pytest.approx(cost * factor, abs=1e-12)
    assert server.ledger()["by_tier"] == {asked if asked not in (None, "auto") else "default": 1}


def test_a_tier_that_is_not_offered_is_refused(provider):
    server = provider(tiers=["default"])

    came = ask(server.base_url, chat("Why?", service_tier="flex"))

    assert came.status == 400
    assert came.json["error"]["message"] == "Unsupported service_tier: flex"
    assert server.ledger()["billed"] == 0


@pytest.mark.parametrize(("status", "code"), [(429, "resource_unavailable"), (498, "capacity_exceeded")])
def test_a_share_of_flex_is_refused_by_the_hour_and_not_charged(provider, status, code):
    clock = Clock()
    hours = [{"from": "02:00", "to": "03:00", "share": 0.5}]
    server = provider(clock, flex_shortage=hours, flex_refusal=status)
    came = [ask(server.base_url, chat(f"Why? {n}", service_tier="flex")) for n in range(40)]
    ask(server.base_url, chat("Why?"))
    clock.at_s += 3_600
    assert ask(server.base_url, chat("Why? 0", service_tier="flex")).status == 200

    refused = [one for one in came if one.status != 200]
    assert 10 < len(refused) < 30
    assert {(one.status, one.json["error"]["code"]) for one in refused} == {(status, code)}
    assert server.ledger()["billed"] == 42 - len(refused)


def test_a_model_without_flex_is_refused_as_at_azure(provider):
    server = provider(flex_models=["other"])
    assert ask(server.base_url, chat("Why?", service_tier="flex")).status == 400
    assert ask(server.base_url, chat("Why?", model="other", service_tier="flex")).status == 200
    assert ask(server.base_url, chat("Why?")).status == 200


def test_flex_without_room_is_refused_and_not_charged(provider):
    server = provider(flex_slots=1, latency_median_s=0.5, latency_sigma=0.0)
    came = []

    def flex(n: int) -> None:
        came.append(ask(server.base_url, chat(f"Why? {n}", service_tier="flex")))

    threads = [threading.Thread(target=flex, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(one.status for one in came) == [200, 429, 429]
    assert {one.json["error"]["code"] for one in came if one.status == 429} == {"resource_unavailable"}
    assert server.ledger()["billed"] == 1
    assert ask(server.base_url, chat("Why?")).status == 200


def test_hours_are_cheap_by_the_provider_s_clock(provider):
    clock = Clock(NIGHT)
    hours = [
        {"from": "16:30", "to": "03:00", "factor": 0.5},
        {"from": "08:00", "to": "10:00", "factor": 3.0, "days": [5]},
    ]
    server = provider(clock, price={**PRICE, "hours": hours})
    costs = []
    for at_s in (NIGHT, NIGHT + 3600, NIGHT + 6 * 3600, NIGHT + 30 * 3600):
        clock.at_s = at_s
        before = server.ledger()["usd"]
        usage(server, "Why does ice float?")
        costs.append(server.ledger()["usd"] - before)

    assert [cost / costs[1] for cost in costs] == pytest.approx([0.5, 1.0, 3.0, 1.0])


def test_a_long_prompt_is_dear_as_a_whole(provider):
    long = {"above": 1_000, "input": 4.0, "output": 12.0}
    server = provider(price={**PRICE, "long_context": long, "tiers": {"flex": 0.5}})
    short = usage(server, "Why?")
    spent = server.ledger()["usd"]
    much = usage(server, LONG, service_tier="flex")

    assert much["prompt_tokens"] > 1_000
    assert spent == pytest.approx(
        (short["prompt_tokens"] * 2 + short["completion_tokens"] * 8) / 1e6, abs=1e-12
    )
    assert server.ledger()["usd"] - spent == pytest.approx(
        (much["prompt_tokens"] * 4 + much["completion_tokens"] * 12) / 2e6, abs=1e-12
    )


def test_the_first_request_with_a_beginning_writes_the_cache_and_later_ones_read_it(provider):
    clock = Clock()
    price = {**PRICE, "cache_read": 0.2, "cache_write": 2.5}
    server = provider(clock, price=price, cache_tokens=1_024, cache_ttl_s=300)
    seen, costs = [], []
    for text, at_s in [
        (LONG + "1", 0),
        (LONG + "2", 10),
        ("Why?", 20),
        (LONG[:6_000] + "3", 30),
        (LONG + "4", 900),
    ]:
        clock.at_s = NIGHT + at_s
        before = server.ledger()["usd"]
        used = usage(server, text)
        details = used["prompt_tokens_details"]
        read, written = details["cached_tokens"], details["cache_write_tokens"]
        seen.append((read, written))
        plain = used["prompt_tokens"] - read - written
        costs.append(
            server.ledger()["usd"]
            - before
            - (plain * 2 + read * 0.2 + written * 2.5 + used["completion_tokens"] * 8) / 1e6
        )

    assert seen == [(0, 2_176), (2_176, 0), (0, 0), (1_408, 0), (0, 2_176)]
    assert costs == pytest.approx([0.0] * 5, abs=1e-12)
    assert (server.ledger()["cached_tokens"], server.ledger()["cache_write_tokens"]) == (3_584, 4_352)


def test_faulty_answers_that_were_paid_are_in_the_books_with_their_price(provider, tmp_path):
    faults = [
        {"kind": kind, "rows": [f"<{kind}>"]}
        for kind in ("usage_reasoning_outside", "choice_error", "cut_stream", "http_500")
    ]
    ledger = tmp_path / "bills.jsonl"
    server = provider(faults=faults, ledger_path=str(ledger))
    for fault in faults:
        ask(server.base_url, chat(f"<{fault['kind']}>", stream=True))

    bills = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [bill["fault"] for bill in bills] == ["usage_reasoning_outside", "choice_error", "cut_stream"]
    for bill in bills:
        assert bill["usd"] == pytest.approx((bill["prompt_tokens"] * 2 + bill["completion_tokens"] * 8) / 1e6)
    books = server.ledger()
    assert books["usd"] == pytest.approx(sum(bill["usd"] for bill in bills))
    assert books["unseen_usd"] == pytest.approx(bills[2]["usd"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"price": {"input": 1}}, "price needs input and output"),
        ({"price": {"input": -1, "output": 1}}, "0 or more"),
        ({"price": {**PRICE, "tiers": {"flex": {"input": 1}}}}, "price.tiers.flex needs"),
        ({"price": {**PRICE, "long_context": {"input": 1, "output": 2}}}, "needs above"),
        ({"price": {**PRICE, "hours": [{"from": "9", "to": "10:00", "factor": 1}]}}, "HH:MM"),
        ({"tier_echo": "maybe"}, "tier_echo must be one of"),
        ({"starts_at": "soon"}, "starts_at must be a time"),
        ({"flex_shortage": 2}, "flex_shortage must be a share"),
        ({"flex_shortage": [{"from": "1"}]}, "flex_shortage must be a share"),
        ({"flex_refusal": 500}, "flex_refusal must be 429 or 498"),
        ({"batch": {"seconds": "soon"}}, "batch.seconds: 'soon' is neither"),
        ({"flex_slots": 0}, "flex_slots must be a number above 0"),
    ],
)
def test_a_wrong_price_list_is_one_line(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        SimulatorOptions.from_dict(options)

    assert "\n" not in str(caught.value)


def test_the_clock_starts_when_the_options_say(provider):
    hours = [{"from": "03:00", "to": "04:00", "factor": 0.5}]
    costs = []
    for starts_at in ("2026-11-28T03:10:00Z", "2026-11-28T05:10:00+01:00"):
        with simulating(price={**PRICE, "hours": hours}, starts_at=starts_at) as server:
            usage(server, "Why?")
            costs.append(server.ledger()["usd"])

    assert costs[1] == pytest.approx(2 * costs[0])
