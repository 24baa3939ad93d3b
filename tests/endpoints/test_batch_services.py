"""The other services' batches in the simulator: Mistral, OpenRouter, Together, and small differences."""

from __future__ import annotations

import io
import json
from urllib.parse import urlsplit

import openai
import pytest

from tests.conftest import CANARY
from tests.endpoints.raw import ask
from tests.endpoints.test_batches import Clock, client_of, lines_of, results, submitted

PRICE = {"input": 2.0, "output": 8.0}


def test_mistral_jobs_by_its_own_client(simulator):
    mistral = pytest.importorskip("mistralai.client")
    clock = Clock()
    server = simulator(clock=clock, price=PRICE, batch={"seconds": 100, "dialect": "mistral"})
    lines = [
        {"custom_id": str(n), "body": {"messages": [{"role": "user", "content": f"Why {n}?"}]}}
        for n in range(10)
    ]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    root = "http://" + urlsplit(server.base_url).netloc
    with mistral.Mistral(api_key=CANARY, server_url=root) as client:
        file = client.files.upload(file={"file_name": "a.jsonl", "content": content}, purpose="batch")
        job = client.batch.jobs.create(
            input_files=[file.id],
            model="small",
            endpoint="/v1/chat/completions",
            metadata={"run": "7"},
            timeout_hours=24,
        )
        seen = [job.status]
        for _ in range(10):
            clock.at_s += 10
            job = client.batch.jobs.get(job_id=job.id)
            seen.append(job.status)
        assert list(dict.fromkeys(seen)) == ["QUEUED", "RUNNING", "SUCCESS"]
        assert (job.succeeded_requests, job.error_file, job.metadata) == (10, None, {"run": "7"})
        read = client.files.download(file_id=job.output_file).read().splitlines()
        assert {json.loads(line)["response"]["body"]["model"] for line in read} == {"small"}
        assert [one.id for one in client.batch.jobs.list(metadata={"run": "7"}).data] == [job.id]
        assert client.batch.jobs.list(metadata={"run": "8"}).data == []

        second = client.batch.jobs.create(
            input_files=[file.id], model="small", endpoint="/v1/chat/completions"
        )
        assert client.batch.jobs.cancel(job_id=second.id).status == "CANCELLATION_REQUESTED"
        assert client.batch.jobs.get(job_id=second.id).status == "CANCELLED"
        clock.at_s += 25 * 3600
    gone = ask(server.base_url, b"", f"/files/{job.output_file}/content", method="GET")
    assert gone.status == 404


def test_openrouter_takes_and_gives_everything_inline(simulator):
    clock = Clock()
    server = simulator(clock=clock, price=PRICE, batch={"seconds": 100})
    base = server.base_url.replace("/api/v7/llm", "/api/v1")
    requests = [
        {"custom_id": f"row-{n}", "body": {"messages": [{"role": "user", "content": f"Why {n}?"}]}}
        for n in range(5)
    ]
    requests.append({"custom_id": "bad", "body": {"messages": [], "temperature": 9}})
    body = {"endpoint": "/v1/chat/completions", "model": "m", "requests": requests}

    late = {"requests": requests, **{name: body[name] for name in ("endpoint", "model")}}
    assert ask(base, late, "/batches").status == 400
    assert ask(base, {"metadata": {}, **body}, "/batches").status == 400
    made = ask(base, body, "/batches")
    assert (made.status, made.json["status"]) == (202, "validating")
    early = ask(base, b"", f"/batches/{made.json['id']}", method="DELETE")
    clock.at_s += 100
    ended = ask(base, b"", f"/batches/{made.json['id']}", method="GET").json

    assert early.status == 409
    assert (ended["status"], ended["request_counts"]) == (
        "completed",
        {"total": 6, "completed": 5, "failed": 1},
    )
    found = {one["custom_id"]: one for one in ended["results"]}
    assert found["bad"]["response"] is None
    assert "temperature" in found["bad"]["error"]["message"]
    costs = [one["response"]["body"]["usage"]["cost"] for one in ended["results"] if one["response"]]
    assert sum(costs) == pytest.approx(server.ledger()["usd"], abs=1e-12)
    assert ended["usage"]["cost"] == pytest.approx(sum(costs), abs=1e-12)
    listed = ask(base, b"", "/batches", method="GET").json["data"]
    assert [(one["id"], one["results"]) for one in listed] == [(ended["id"], None)]


def test_together_has_words_of_its_own(simulator):
    clock = Clock()
    server = simulator(clock=clock, batch={"seconds": 100, "dialect": "together"})
    with client_of(server) as client:
        with pytest.raises(openai.BadRequestError):
            client.files.create(file=("a.jsonl", io.BytesIO(lines_of(["Why?"]))), purpose="batch")
        file = client.files.create(
            file=("a.jsonl", io.BytesIO(lines_of(["Why?", "How?"]))), purpose="batch-api"
        )
    made = ask(
        server.base_url, {"endpoint": "/v1/chat/completions", "input_file_id": file.id}, "/batches"
    ).json
    assert set(made) == {"job", "warning"}
    seen = [made["job"]["status"]]
    for _ in range(10):
        clock.at_s += 10
        job = ask(server.base_url, b"", f"/batches/{made['job']['id']}", method="GET").json
        seen.append(job["status"])

    assert list(dict.fromkeys(seen)) == ["VALIDATING", "IN_PROGRESS", "COMPLETED"]
    assert (job["progress"], job["completed_at"][-1]) == (100.0, "Z")
    assert isinstance(ask(server.base_url, b"", "/batches", method="GET").json, list)


@pytest.mark.parametrize(
    ("dialect", "window", "endpoint", "works"),
    [
        ("openai", "24h", "/v1/embeddings", True),
        ("openai", "48h", "/v1/chat/completions", False),
        ("openai", "24h", "/v1/nothing", False),
        ("groq", "7d", "/v1/chat/completions", True),
        ("groq", "8d", "/v1/chat/completions", False),
        ("groq", "24h", "/v1/embeddings", False),
        ("alibaba", "336h", "/v1/chat/completions", True),
        ("azure", "24h", "/v1/chat/completions", True),
    ],
)
def test_windows_and_endpoints_are_those_of_the_service(simulator, dialect, window, endpoint, works):
    server = simulator(batch={"seconds": 0, "dialect": dialect})
    with client_of(server) as client:
        how = {"completion_window": window, "endpoint": endpoint}
        if works:
            assert submitted(client, lines_of(["Why?"]), **how).status == "validating"
        else:
            with pytest.raises(openai.BadRequestError):
                submitted(client, lines_of(["Why?"]), **how)


def test_an_account_without_the_plan_is_refused_at_the_upload(simulator):
    server = simulator(batch={"dialect": "groq", "entitled": False})
    with client_of(server) as client, pytest.raises(openai.PermissionDeniedError) as caught:
        submitted(client, lines_of(["Why?"]))
    assert caught.value.code == "not_available_for_plan"


@pytest.mark.parametrize(
    ("url", "more", "field"),
    [
        ("/v1/embeddings", {"input": ["a", "b"], "dimensions": 8}, "data"),
        ("/v1/completions", {"prompt": "Once"}, "choices"),
    ],
)
def test_embeddings_and_completions_go_through_a_batch(simulator, url, more, field):
    server = simulator(batch={"seconds": 0})
    line = {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "m", **more}}
    with client_of(server) as client:
        batch = submitted(client, json.dumps(line).encode(), endpoint=url)
        batch = client.batches.retrieve(batch.id)
        body = results(client, batch.output_file_id)["a"]["response"]["body"]
    assert body[field]


@pytest.mark.parametrize("dialect", ["mistral", "anthropic"])
def test_a_service_with_other_paths_has_no_batches_of_openais(simulator, dialect):
    server = simulator(batch={"dialect": dialect})
    assert ask(server.base_url, b"", "/batches", method="GET").status == 404


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", "/api/v7/llm", ""])
def test_every_address_of_chat_has_files_and_batches(simulator, prefix):
    server = simulator(batch={"seconds": 0})
    root = server.base_url.removesuffix("/api/v7/llm")
    for path in ("/files", "/batches"):
        assert ask(root + prefix, b"", path, method="GET").json["object"] == "list"


def test_small_differences_of_openais_followers(simulator):
    flow = simulator(batch={"seconds": 0, "dialect": "siliconflow"})
    with client_of(flow) as client:
        file = client.files.create(file=("a", io.BytesIO(lines_of(["Why?"]))), purpose="batch")
        asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        assert client.batches.create(input_file_id=file.data["id"], **asked).status == "in_queue"

    cloud = simulator(batch={"seconds": 0, "dialect": "alibaba"})
    with client_of(cloud) as client:
        batch = submitted(client, lines_of(["Why?"]), metadata={"run": "7", "ds_name": "seven"})
        assert batch.metadata == {"ds_name": "seven"}

    azure = simulator(batch={"seconds": 0, "dialect": "azure"})
    with client_of(azure) as client:
        batch = client.batches.retrieve(submitted(client, lines_of(["Why?"])).id)
        assert client.files.content(batch.error_file_id).read() == b""


def test_openrouter_has_nothing_of_a_batch_that_expired(simulator):
    server = simulator(batch={"seconds": 0, "dialect": "openrouter", "faults": [{"kind": "batch_expires"}]})
    request = {"custom_id": "a", "body": {"messages": [{"role": "user", "content": "Why?"}]}}
    body = {"endpoint": "/v1/chat/completions", "model": "m", "requests": [request]}
    made = ask(server.base_url, body, "/batches").json
    ended = ask(server.base_url, b"", f"/batches/{made['id']}", method="GET").json

    assert (ended["status"], ended["results"]) == ("expired", None)
    assert server.ledger()["billed"] == 0
