"""Every dialect: what goes out, what comes back, and that it is judged as a live call would be."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

import pytest

from batchlab.job.presets import PRESETS
from batchlab.job.request import TASK_PATHS
from batchlab.protocol.batches.dialect import Order, Phase, Unfit, batches_in, file_id_in, has_more
from batchlab.protocol.batches.table import DIALECTS
from batchlab.protocol.chat import parse_reply
from batchlab.protocol.outcomes.classify import classify
from batchlab.protocol.values import ReplyProblem
from tests.protocol.batches.odd import ODD, mutated
from tests.protocol.batches.samples import CHAT, CHAT_PATH, RESULTS, STATES

LABELS = {"run": "r1", "shard": "3"}


def asked(name: str, **more: Any) -> Order:
    window = DIALECTS[name].windows[0]
    return Order(**{"model": "m", "path": CHAT_PATH, "window": window, "labels": LABELS, "file": "f", **more})


@pytest.mark.parametrize(
    ("name", "what", "data", "phase", "known"), STATES, ids=lambda one: one if isinstance(one, str) else ""
)
def test_a_batch_reads_as_its_service_means_it(name, what, data, phase, known):
    found = DIALECTS[name].state(data)

    assert found.phase is phase
    assert found.id == (data.get("job") or data)["id"]
    assert {field: getattr(found, field) for field in known} == known


def test_every_dialect_has_samples_of_both():
    assert {row[0] for row in STATES} == {row[0] for row in RESULTS} == set(DIALECTS)


def judged(status: int | None, body: Any) -> str | None:
    """What the live path makes of an answer."""
    if status is None:
        return None
    raw = json.dumps(body).encode()
    if status == 200:
        try:
            parse_reply(raw)
        except ReplyProblem as problem:
            raw = problem.evidence or raw
        else:
            return "ok"
    return classify(status, {}, raw).error_class


@pytest.mark.parametrize(
    ("name", "what", "data", "status", "verdict"),
    RESULTS,
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_line_of_results_is_judged_as_a_live_call_would_be(name, what, data, status, verdict):
    found = DIALECTS[name].result(data)

    assert found.custom_id == data.get("custom_id", "")
    assert found.status == status
    assert judged(found.status, found.body) == verdict


def test_an_error_keeps_its_words_and_its_id():
    found = DIALECTS["anthropic"].result(next(row[2] for row in RESULTS if row[1] == "invalid"))

    assert found.request_id == "req_9"
    assert found.body["error"]["message"] == "x"


def test_each_dialect_is_a_preset_s_and_says_what_a_person_should_know():
    for name, dialect in DIALECTS.items():
        assert name in PRESETS
        assert dialect.name == name
        assert "price of live calls" in " ".join(dialect.remarks)
        assert dialect.limits.tasks <= set(TASK_PATHS)
        assert (dialect.files is None) == (dialect.inline is not None)
        assert all(len(one) <= 110 for one in dialect.remarks)
        assert 0 < dialect.price_share <= 1


# what an order is, by dialect; the others' are OpenAI's
OPENAI_ORDER = {"input_file_id": "f", "endpoint": CHAT_PATH, "completion_window": "24h", "metadata": LABELS}
ORDERS = {
    "together": {"input_file_id": "f", "endpoint": CHAT_PATH, "completion_window": "24h", "model_id": "m"},
    "alibaba": {**OPENAI_ORDER, "metadata": {"ds_name": "run=r1, shard=3", "ds_description": "run=r1, shard=3"}},
    "mistral": {"input_files": ["f"], "endpoint": CHAT_PATH, "model": "m", "timeout_hours": 24, "metadata": LABELS},
    "openrouter": {"endpoint": CHAT_PATH, "model": "m", "completion_window": "24h"},
    "anthropic": {},
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_an_order(name):
    assert DIALECTS[name].order(asked(name)) == ORDERS.get(name, OPENAI_ORDER)


def test_openrouter_reads_endpoint_and_model_before_the_requests():
    """It answers 400 otherwise (batch-quickstart.mdx), so an order's members keep their order."""
    assert list({**DIALECTS["openrouter"].order(asked("openrouter")), "requests": []}) == [
        "endpoint", "model", "completion_window", "requests",
    ]  # fmt: skip


def test_a_window_is_hours_at_mistral():
    made = [
        DIALECTS["mistral"].order(asked("mistral", window=one))["timeout_hours"] for one in ("72h", "2d", "?")
    ]
    assert made == [72, 48, 24]


OPENAI_LINE = {"custom_id": "r-1", "method": "POST", "url": CHAT_PATH, "body": CHAT}
LINES = {
    "mistral": {"custom_id": "r-1", "body": {"messages": CHAT["messages"], "max_tokens": 9}},
    "openrouter": {"custom_id": "r-1", "body": CHAT},
    "anthropic": {"custom_id": "r-1", "params": CHAT},
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_line_asks_for_the_whole_answer_at_once(name):
    streamed = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}

    for body in (CHAT, streamed):
        assert DIALECTS[name].line(body, "r-1", CHAT_PATH) == LINES.get(name, OPENAI_LINE)
    assert "stream" in streamed


def test_alibaba_s_test_model_has_a_path_of_its_own():
    dialect = DIALECTS["alibaba"]
    line = dialect.line({**CHAT, "model": "batch-test-model"}, "r-1", CHAT_PATH)

    assert (
        line["url"]
        == dialect.order(asked("alibaba", model="batch-test-model"))["endpoint"]
        == "/v1/chat/ds-test"
    )


IMAGE = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
UNFIT = [
    ("openrouter", {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]}, "messages: a batch takes text only"),
    ("openrouter", {"messages": [], "modalities": ["text", "audio"]}, "modalities"),
    ("openrouter", {"input": [{"image": "x"}]}, "input"),
    ("siliconflow", {"messages": [{"role": "tool", "content": "a"}]}, "messages: a batch takes the roles"),
    ("siliconflow", {"messages": [{"role": "assistant", "content": "a"}]}, "messages: in a batch the last one"),
    ("siliconflow", {"messages": []}, "messages"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "told"), UNFIT)
def test_what_a_dialect_cannot_carry_is_refused(name, body, told):
    with pytest.raises(Unfit, match=told):
        DIALECTS[name].line(body, "r-1", CHAT_PATH)


def test_anthropic_s_ids_are_short():
    for custom_id in ("x" * 65, "a b", ""):
        with pytest.raises(Unfit, match="custom_id"):
            DIALECTS["anthropic"].line(CHAT, custom_id, CHAT_PATH)


def test_replies_to_uploads_and_lists_in_every_shape():
    siliconflow = {
        "code": 20000,
        "message": "Ok",
        "status": True,
        "data": {"id": "file-jkvytbjtow", "object": "file"},
    }

    assert file_id_in({"id": "file-abc123", "object": "file"}) == "file-abc123"
    assert file_id_in(siliconflow) == "file-jkvytbjtow"
    assert [file_id_in(one) for one in (None, [], {}, {"id": 3}, {"data": {}, "id": "x"})] == [None] * 5
    assert batches_in({"object": "list", "data": [{"id": "a"}, 3], "has_more": False}) == [{"id": "a"}]
    assert batches_in([{"id": "a"}]) == [{"id": "a"}]  # Together
    assert [batches_in(one) for one in (None, {}, {"data": None}, "x")] == [None] * 4
    assert [
        has_more(one) for one in ([], {"has_more": True}, {"has_more": False}, {}, {"has_more": 1}, None)
    ] == [
        False,
        True,
        False,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("name", DIALECTS)
def test_no_json_at_all_makes_a_dialect_raise(name):
    dialect, chance = DIALECTS[name], random.Random(name)
    states = [row[2] for row in STATES] + ODD
    results = [row[2] for row in RESULTS] + ODD
    bodies = [CHAT, *(row[1] for row in UNFIT)]

    for turn in range(1_000):
        for samples, read in ((states, dialect.state), (results, dialect.result)):
            sample = chance.choice(samples)
            for _ in range(chance.randint(0, 3)):
                sample = mutated(sample, chance)
            found = read(sample)
            if read is dialect.state:
                assert isinstance(found.phase, Phase), (turn, sample)
                assert all(isinstance(one, str) and one for one in found.files), (turn, sample)
                assert all(count is None or count >= 0 for count in (found.total, found.done, found.failed))
            else:
                assert isinstance(found.custom_id, str), (turn, sample)
                assert isinstance(found.body, dict), (turn, sample)
                assert found.status is None or type(found.status) is int, (turn, sample)
        body = mutated(chance.choice(bodies), chance)
        if isinstance(body, dict):
            with suppress(Unfit):
                dialect.line(body, "r-1", CHAT_PATH)
