"""One attempt over HTTP: aioresponses at the transport's edge, and real sockets for what it cannot do."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.transport import HttpTransport
from batchlab.job import LimitsJob
from batchlab.job.key import Secret
from batchlab.job.presets import PRESETS
from batchlab.records import ChatRequest, OutcomeClass
from tests.conftest import CANARY
from tests.dispatch.http.transports import transport_at

URL = "https://provider.example/v1"
GOOD = {
    "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}
REQUEST = ChatRequest(
    row_id=0,
    custom_id="0",
    body={"model": "sim", "messages": [{"role": "user", "content": "hello"}]},
    request_hash=b"",
    prompt_bytes=5,
)


# aioresponses 0.7.9 does not know the argument that aiohttp 3.14 added to ClientResponse
Response = partial(aiohttp.ClientResponse, stream_writer=Mock(output_size=0))


# Proxies of the environment go through aiohttp's session, which is what aioresponses replaces; all
# else takes the pooled wire. Real sockets are tested over both.
SESSION, POOLED = True, False


def transport(
    base_url: str = URL, *, stream: bool = False, trust_env: bool = SESSION, **limits
) -> HttpTransport:
    return transport_at(
        base_url, key=Secret(CANARY), limits=LimitsJob(**limits), stream=stream, trust_env=trust_env
    )


@pytest.fixture(params=[SESSION, POOLED], ids=["session", "pooled"])
def wire(request) -> bool:
    return request.param


async def test_the_key_goes_into_the_header_and_the_body_is_as_the_user_wrote_it():
    with aioresponses() as web:
        web.post(
            f"{URL}/chat/completions", payload=GOOD, headers={"x-request-id": "r1"}, response_class=Response
        )
        async with transport() as sender:
            answer = await sender.send(REQUEST)
        call = next(iter(web.requests.values()))[0]

    assert answer.reply.completion == "hi"
    assert answer.request_id == "r1"
    assert call.kwargs["headers"]["Authorization"] == f"Bearer {CANARY}"
    assert json.loads(call.kwargs["data"]) == REQUEST.body
    assert call.kwargs["allow_redirects"] is False


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, OutcomeClass.STOP),
        (429, OutcomeClass.WAIT),
        (500, OutcomeClass.RETRY),
        (400, OutcomeClass.FAIL),
        (307, OutcomeClass.STOP),
    ],
)
async def test_a_status_becomes_an_outcome(status, kind):
    with aioresponses() as web:
        web.post(
            f"{URL}/chat/completions",
            status=status,
            body="{}",
            headers={"Location": "https://x.example"},
            response_class=Response,
        )
        async with transport() as sender:
            with pytest.raises(ApiError) as caught:
                await sender.send(REQUEST)

    assert caught.value.outcome.kind is kind


async def test_a_provider_that_echoes_the_key_does_not_get_it_into_the_message():
    with aioresponses() as web:
        web.post(
            f"{URL}/chat/completions",
            status=400,
            payload={"error": {"message": f"you sent {CANARY}"}},
            response_class=Response,
        )
        async with transport() as sender:
            with pytest.raises(ApiError) as caught:
                await sender.send(REQUEST)

    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.outcome)


@pytest.mark.parametrize(
    ("fault", "kind", "error_class"),
    [
        ("reset", OutcomeClass.RETRY, "connection"),
        ("reset_body", OutcomeClass.RETRY, "connection"),
        ("bad_gzip", OutcomeClass.RETRY, "connection"),
        ("gzip_bomb", OutcomeClass.FAIL, "too_large"),
        ("huge_body", OutcomeClass.FAIL, "too_large"),
        ("hang", OutcomeClass.RETRY, "timeout"),
        ("deep_json", OutcomeClass.RETRY, "invalid_response"),
        ("http_204", OutcomeClass.FAIL, "invalid_response"),
        ("http_524_html", OutcomeClass.RETRY, "server"),
        ("redirect", OutcomeClass.STOP, "redirect"),
        ("status_error", OutcomeClass.RETRY, "server"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_fault_on_a_real_socket_becomes_its_outcome(
    simulator, wire, fault, kind, error_class, stream
):
    server = simulator(faults=[{"kind": fault, "every": 1}])
    patience = {"idle_timeout_s": 1.5, "timeout_s": 5.0} if fault == "hang" else {}
    async with transport(server.base_url, stream=stream, trust_env=wire, **patience) as sender:
        with pytest.raises(ApiError) as caught:
            await sender.send(REQUEST)

    assert (caught.value.outcome.kind, caught.value.outcome.error_class) == (kind, error_class)


@pytest.mark.parametrize("fault", ["cut_stream", "error_event"])
async def test_a_stream_that_breaks_is_retried(simulator, wire, fault):
    server = simulator(faults=[{"kind": fault, "every": 1}])
    async with transport(server.base_url, stream=True, trust_env=wire) as sender:
        with pytest.raises(ApiError) as caught:
            await sender.send(REQUEST)

    assert caught.value.outcome.kind is OutcomeClass.RETRY


async def test_events_separated_by_single_newlines_are_read(simulator, wire):
    plain, broken = simulator(), simulator(faults=[{"kind": "single_newlines", "every": 1}])
    async with transport(plain.base_url, stream=True, trust_env=wire) as sender:
        expected = await sender.send(REQUEST)
    async with transport(broken.base_url, stream=True, trust_env=wire) as sender:
        answer = await sender.send(REQUEST)

    assert answer.reply == expected.reply
    assert answer.ttft_ms is not None


async def test_nobody_at_the_address_is_an_outage_not_the_row_s_fault(wire):
    async with transport("http://127.0.0.1:9/v1", connect_timeout_s=2.0, trust_env=wire) as sender:
        with pytest.raises(ApiError) as caught:
            await sender.send(REQUEST)

    assert caught.value.outcome.kind is OutcomeClass.PAUSE


async def sent_body(service: str, body: dict, *, stream: bool = False, model: tuple[str, str] | None = None):
    """What leaves for a service: the body, the headers and the address."""
    with aioresponses() as web:
        web.post(f"{URL}/chat/completions", payload=GOOD, response_class=Response)
        async with transport_at(
            URL,
            key=Secret(CANARY),
            limits=LimitsJob(),
            stream=stream,
            service=PRESETS[service],
            model=model,
            trust_env=SESSION,
        ) as sender:
            await sender.send(replace(REQUEST, body={**REQUEST.body, **body}))
        call = next(iter(web.requests.values()))[0]
    return json.loads(call.kwargs["data"]), call.kwargs["headers"]


@pytest.mark.parametrize(
    ("service", "written", "name"),
    [
        ("openai", {"max_tokens": 5}, "max_completion_tokens"),
        ("groq", {"max_tokens": 5}, "max_completion_tokens"),
        ("azure", {"max_tokens": 5}, "max_completion_tokens"),
        ("mistral", {"max_completion_tokens": 5}, "max_tokens"),
        ("mistral", {"seed": 5}, "random_seed"),
        ("modelslab", {"max_tokens": 5}, "max_tokens"),
    ],
)
async def test_a_parameter_is_spelt_as_the_service_does(service, written, name):
    body, _ = await sent_body(service, written)

    assert {key: value for key, value in body.items() if key not in REQUEST.body} == {name: 5}


async def test_a_row_that_uses_the_services_spelling_already_keeps_it():
    body, _ = await sent_body("openai", {"max_completion_tokens": 7})

    assert body["max_completion_tokens"] == 7


async def test_azure_takes_its_key_in_a_header_of_its_own():
    _, headers = await sent_body("azure", {})

    assert headers["api-key"] == CANARY
    assert "Authorization" not in headers


async def test_mistral_is_not_asked_for_usage_it_sends_unasked():
    assert "stream_options" not in (await sent_body("mistral", {}, stream=True))[0]
    assert (await sent_body("openai", {}, stream=True))[0]["stream_options"] == {"include_usage": True}


async def test_an_endpoint_gets_its_own_name_for_the_jobs_model_only():
    assert (await sent_body("openai", {}, model=("sim", "sim-large")))[0]["model"] == "sim-large"
    assert (await sent_body("openai", {"model": "mine"}, model=("sim", "sim-large")))[0]["model"] == "mine"


async def test_a_query_of_the_base_url_stays_behind_the_path():
    with aioresponses() as web:
        web.post(f"{URL}/chat/completions?api-version=preview", payload=GOOD, response_class=Response)
        async with transport(f"{URL}/?api-version=preview") as sender:
            assert (await sender.send(REQUEST)).reply.completion == "hi"


async def test_a_server_that_refuses_stream_options_is_asked_without_them(simulator, wire):
    server = simulator(refused=["stream_options"])
    async with transport(server.base_url, stream=True, trust_env=wire) as sender:
        first = await sender.send(REQUEST)
        second = await sender.send(replace(REQUEST, body={**REQUEST.body, "n": 1}))

    assert first.reply.completion
    assert first.ttft_ms is not None
    assert first.reply.usage.prompt_tokens is None
    assert second.reply.completion
    assert server.ledger()["requests"] == 3  # the second row no longer tries


async def test_each_task_goes_to_its_own_path_over_the_same_connections():
    """A text completion keeps max_tokens, which the service calls otherwise in a chat; nothing asks for a stream
    of embeddings."""
    text = {"choices": [{"text": "upon", "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    vectors = {"data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    asked = {"completions": {"prompt": "once", "max_tokens": 5}, "embeddings": {"input": "a"}}
    with aioresponses() as web:
        for path, payload in (("chat/completions", GOOD), ("completions", text), ("embeddings", vectors)):
            web.post(f"{URL}/{path}?v=1", payload=payload, response_class=Response)
        sender = transport_at(
            f"{URL}?v=1", key=Secret(CANARY), limits=LimitsJob(), stream=True, trust_env=SESSION,
            service=PRESETS["openai"],
        )  # fmt: skip
        async with sender:
            chat = await sender.send(replace(REQUEST, body={**REQUEST.body, "max_tokens": 5}))
            replies = [
                (await sender.send(replace(REQUEST, task=task, body={"model": "m", **body}))).reply
                for task, body in asked.items()
            ]
        calls = {key[1].path: calls[0].kwargs for key, calls in web.requests.items()}

    assert chat.reply.completion == "hi"
    assert [one.completion for one in replies] == ["upon", None]
    assert replies[1].vectors == ("AAAAPw==",)
    bodies = {path: json.loads(one["data"]) for path, one in calls.items()}
    assert "max_completion_tokens" in bodies["/v1/chat/completions"]
    assert bodies["/v1/completions"]["max_tokens"] == 5
    assert bodies["/v1/completions"]["stream"] is True
    assert bodies["/v1/embeddings"] == {"model": "m", "input": "a"}
    assert calls["/v1/embeddings"]["headers"]["Accept"] == "application/json"


@pytest.mark.parametrize(("rows", "after"), [(1, "first_rows"), (3, "")])
async def test_a_refusal_of_many_rows_together_says_nothing_of_each(rows, after):
    with aioresponses() as web:
        web.post(
            f"{URL}/embeddings", status=400, body=b'{"error": {"message": "no"}}', response_class=Response
        )
        async with transport() as sender:
            with pytest.raises(ApiError) as caught:
                await sender.send(
                    replace(REQUEST, task="embeddings", body={"input": ["a"] * rows}, rows=rows)
                )

    assert caught.value.outcome.kind is OutcomeClass.FAIL
    assert caught.value.outcome.after == after
