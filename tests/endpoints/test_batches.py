"""The simulator's files and batches, asked by the official OpenAI SDK."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager

import openai
import pytest

from tests.conftest import CANARY, SimulatorHandle

PRICE = {"input": 2.0, "output": 8.0}


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at_s = 1_795_831_200.0

    def __call__(self) -> float:
        return self.at_s


def lines_of(texts, *, url="/v1/chat/completions", **more) -> bytes:
    """A file of requests; `custom_id` is `row-N`."""
    lines = [
        {
            "custom_id": f"row-{number}",
            "method": "POST",
            "url": url,
            "body": {"model": "m", "messages": [{"role": "user", "content": text}], **more},
        }
        for number, text in enumerate(texts)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@contextmanager
def client_of(server: SimulatorHandle):
    with openai.OpenAI(base_url=server.base_url, api_key=CANARY, max_retries=0) as client:
        yield client


def submitted(client, content: bytes, **how):
    file = client.files.create(file=("rows.jsonl", io.BytesIO(content)), purpose="batch")
    asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **how}
    return client.batches.create(input_file_id=file.id, **asked)


def results(client, file_id) -> dict[str, dict]:
    text = client.files.content(file_id).text
    return {line["custom_id"]: line for line in map(json.loads, text.splitlines())}


def test_a_batch_goes_from_validating_to_completed_with_every_line_answered(simulator):
    clock = Clock()
    server = simulator(clock=clock, price=PRICE, batch={"seconds": 100})
    with client_of(server) as client:
        batch = submitted(client, lines_of(f"Why {n}?" for n in range(40)), metadata={"run": "7"})
        seen = [batch.status]
        for _ in range(12):
            clock.at_s += 10
            batch = client.batches.retrieve(batch.id)
            seen.append(batch.status)

        assert list(dict.fromkeys(seen)) == ["validating", "in_progress", "finalizing", "completed"]
        assert batch.metadata == {"run": "7"}
        assert (batch.request_counts.total, batch.request_counts.completed) == (40, 40)
        assert batch.error_file_id is None
        answers = results(client, batch.output_file_id)

        assert set(answers) == {f"row-{n}" for n in range(40)}
        assert list(answers) != sorted(answers, key=lambda name: int(name[4:]))
        live = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why 7?"}])
        assert answers["row-7"]["response"]["body"]["choices"][0]["message"]["content"] == (
            live.choices[0].message.content
        )
        assert batch.usage.output_tokens == sum(
            line["response"]["body"]["usage"]["completion_tokens"] for line in answers.values()
        )
    books = server.batches()
    assert books["batches"][0]["billed"] == 40
    assert list(books["billed_twice"].values()) == [2]


@pytest.mark.parametrize("dialect", ["openai", "kimi", "deepinfra"])
def test_a_line_costs_the_share_of_its_service(simulator, dialect):
    share = {"openai": 0.5, "kimi": 0.6, "deepinfra": 0.8}[dialect]
    server = simulator(price=PRICE, batch={"seconds": 0, "dialect": dialect})
    with client_of(server) as client:
        batch = client.batches.retrieve(submitted(client, lines_of(["Why?"])).id)
        usage = batch.usage

    full = (usage.input_tokens * 2 + usage.output_tokens * 8) / 1e6
    assert server.ledger()["usd"] == pytest.approx(share * full, abs=1e-12)
    assert server.ledger()["by_tier"] == {"batch": 1}
