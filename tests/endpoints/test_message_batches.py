"""The simulator's Messages and Message Batches, asked by Anthropic's own SDK."""

from __future__ import annotations

import json
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.conftest import CANARY, SimulatorHandle
from tests.endpoints.raw import ask
from tests.endpoints.test_batches import Clock

anthropic = pytest.importorskip("anthropic")

PRICE = {"input": 2.0, "output": 8.0}
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"enum": ["ice", "fire"]}},
    "required": ["topic"],
    "additionalProperties": False,
}


@contextmanager
def client_of(server: SimulatorHandle):
    root = "http://" + urlsplit(server.base_url).netloc
    with anthropic.Anthropic(base_url=root, api_key=CANARY, max_retries=0) as client:
        yield client


def asked(text: str, **more) -> dict:
    return {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **more}


def submitted(client, texts, **more):
    requests = [{"custom_id": f"row-{n}", "params": asked(text, **more)} for n, text in enumerate(texts)]
    return client.messages.batches.create(requests=requests)


def test_a_message_is_answered_live(simulator):
    server = simulator(tokens_median=500)
    with client_of(server) as client:
        message = client.messages.create(**asked("Why?", system="Be brief."))

    assert (message.role, message.content[0].type, message.stop_reason) == ("assistant", "text", "max_tokens")
    assert (message.usage.output_tokens, message.usage.service_tier) == (50, "standard")


def test_a_schema_and_a_tool_are_kept_to(simulator):
    server = simulator()
    tool = {
        "name": "weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    with client_of(server) as client:
        fit = client.messages.create(
            **asked("Why?", output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
        )
        called = client.messages.create(**asked("Oslo?", tools=[tool], tool_choice={"type": "any"}))

    assert json.loads(fit.content[0].text)["topic"] in ("ice", "fire")
    assert (called.stop_reason, called.content[0].name) == ("tool_use", "weather")


def test_refusals_are_in_the_words_of_the_service(simulator):
    server = simulator()
    with client_of(server) as client:
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.messages.create(**asked("Why?", extra_body={"temperature": 2.0}))
        with pytest.raises(anthropic.AuthenticationError):
            client.with_options(api_key="wrong").messages.create(**asked("Why?"))
        with pytest.raises(anthropic.NotFoundError):
            client.messages.batches.retrieve("msgbatch_none")

    assert caught.value.body["error"]["type"] == "invalid_request_error"
    nameless = ask(server.base_url, asked("Why?"), "/messages")
    assert (nameless.status, nameless.json["error"]["message"]) == (
        400,
        "anthropic-version: header is required",
    )


def test_a_message_batch_ends_with_each_request_answered_at_half_the_price(simulator):
    clock = Clock()
    server = simulator(clock=clock, price=PRICE, batch={"seconds": 100})
    with client_of(server) as client:
        batch = submitted(client, [f"Why {n}?" for n in range(20)])
        assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 20)
        clock.at_s += 50
        assert client.messages.batches.retrieve(batch.id).results_url is None
        clock.at_s += 50
        batch = client.messages.batches.retrieve(batch.id)
        results = {one.custom_id: one.result for one in client.messages.batches.results(batch.id)}

        assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 20)
        assert set(results) == {f"row-{n}" for n in range(20)}
        assert {one.message.usage.service_tier for one in results.values()} == {"batch"}
        assert [one.id for one in client.messages.batches.list()] == [batch.id]
    used = [one.message.usage for one in results.values()]
    full = sum(one.input_tokens * 2 + one.output_tokens * 8 for one in used) / 1e6
    assert server.ledger()["usd"] == pytest.approx(full / 2, abs=1e-12)


def test_what_did_not_come_out_is_told_apart(simulator):
    clock = Clock()
    faults = [{"kind": "batch_expires", "every": 1, "most": 1, "share": 0.5}]
    server = simulator(clock=clock, batch={"seconds": 100, "faults": faults})
    with client_of(server) as client:
        expired = submitted(client, [f"Why {n}?" for n in range(10)])
        clock.at_s += 100
        kinds = [one.result.type for one in client.messages.batches.results(expired.id)]
        assert sorted(kinds) == ["expired"] * 5 + ["succeeded"] * 5

        canceled = submitted(client, ["Why?", "<bad>"], temperature=0.5)
        clock.at_s += 1
        assert client.messages.batches.cancel(canceled.id).processing_status == "canceling"
        kinds = [one.result.type for one in client.messages.batches.results(canceled.id)]
        assert kinds == ["canceled", "canceled"]

        wrong = submitted(client, ["Why?"], temperature=2)
        clock.at_s += 100
        (one,) = client.messages.batches.results(wrong.id)
        assert (one.result.type, one.result.error.error.type) == ("errored", "invalid_request_error")
    assert server.batches()["batches"][0]["billed"] == 5


def test_names_that_are_not_plain_and_different_are_refused_at_once(simulator):
    server = simulator()
    with client_of(server) as client:
        for names in (["a", "a"], ["a b"], ["x" * 65]):
            with pytest.raises(anthropic.BadRequestError):
                client.messages.batches.create(
                    requests=[{"custom_id": name, "params": asked("Why?")} for name in names]
                )
    assert server.batches()["batches"] == []
