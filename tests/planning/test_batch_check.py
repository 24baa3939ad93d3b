"""`check --batch`: what is said of a service that takes no batch, or not now."""

from __future__ import annotations

import pytest

from batchlab.costs.pricing import price_book
from batchlab.dispatch.http import batch_calls
from batchlab.engines.endpoint import Endpoint
from batchlab.job.file import job_from
from batchlab.planning import batch_check
from batchlab.protocol.batches.openai import OPENAI
from batchlab.records import ChatRequest
from tests.batch_provider import BatchProvider, Said, providing_batches, refused


@pytest.fixture
def provider(monkeypatch):
    monkeypatch.setattr(batch_calls, "LONGEST_WAIT_S", 0.1)
    monkeypatch.setattr(batch_check, "PATIENCE_S", 0.3)
    with providing_batches() as started:
        yield started


def tried(provider: BatchProvider) -> tuple[str, bool]:
    job = job_from(
        {
            "input": {"path": "rows.csv"},
            "request": {"model": "m", "prompt": "{text}"},
            "endpoint": {"base_url": provider.base_url, "batch_api": "openai"},
        }
    )
    (at,) = job.endpoint
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    request = ChatRequest(0, "0", body, b"", 2, 5)
    return batch_check.try_batch(Endpoint(at, at.base_url, None, price_book(job, at)), job, OPENAI, request)


def test_an_account_that_is_refused_may_use_no_batch(provider):
    provider.on("POST", "/batches$", lambda _: refused(403, "not on your plan"))

    said, is_well = tried(provider)

    assert not is_well
    assert said == "refused (HTTP 403, not on your plan): this account may use no batch of this model"


def test_of_a_service_in_trouble_nothing_is_said_about_the_account(provider):
    provider.on("POST", "/files$", lambda _: Said(503, {"error": {"message": "overloaded"}}))

    said, is_well = tried(provider)

    assert not is_well
    assert said.startswith(
        "not answered (HTTP 503, overloaded): whether this account may use batches is not known"
    )


def test_a_full_queue_is_called_so(provider):
    full = refused(400, "Enqueued token limit reached", "token_limit_exceeded")
    provider.on("POST", "/batches$", lambda _: full)

    said, is_well = tried(provider)

    assert not is_well
    assert said.startswith("not now: its queue of batches is full")


def test_a_batch_that_was_accepted_and_cannot_be_looked_at_is_named_and_called_off(provider):
    provider.ends = False
    provider.on("GET", "/batches/", lambda _: refused(403, "no"))

    said, is_well = tried(provider)

    (name,) = provider.batches
    assert not is_well
    assert said.startswith(f"accepted ({name}), and then not to be looked at")
    assert provider.batches[name]["cancelled"]
