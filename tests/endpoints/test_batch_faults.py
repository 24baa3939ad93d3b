"""What can go wrong with batches in the simulator, each by what a client sees of it."""

from __future__ import annotations

import io
import json

import openai
import pytest

from batchlab.endpoints.simulator.batches.faults import BATCH_FAULTS, BatchFault
from batchlab.endpoints.simulator.batches.options import QueueTime
from tests.endpoints.test_batches import PRICE, Clock, client_of, lines_of, results, submitted

TEN = [f"Why {n}?" for n in range(10)]


@pytest.fixture
def provider(simulator):
    """A provider whose batches take 100 s by a clock of the test's, with faults."""
    clock = Clock()

    def start(*faults, **batch):
        return simulator(
            clock=clock, price=PRICE, batch={"seconds": 100, "faults": list(faults), **batch}
        ), clock

    return start


def ended(client, clock, content=None, seconds=100, **how):
    batch = submitted(client, lines_of(TEN) if content is None else content, **how)
    clock.at_s += seconds
    return client.batches.retrieve(batch.id)


def test_validation_names_the_lines(provider):
    server, clock = provider({"kind": "batch_invalid", "count": 2})
    with client_of(server) as client:
        batch = ended(client, clock)
    assert (batch.status, batch.output_file_id) == ("failed", None)
    assert [(one.line, one.code) for one in batch.errors.data] == [
        (1, "invalid_json_line"),
        (2, "invalid_json_line"),
    ]
    assert server.ledger()["billed"] == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{\n", "invalid_json_line"),
        (b"", "empty_file"),
        (lines_of(["a"]) * 2, "duplicate_custom_id"),
        (lines_of(["a"], url="/v1/embeddings"), "invalid_url"),
        (lines_of(["a"]) + lines_of(["a", "b"], model="n").splitlines()[1], "mismatched_model"),
        (b'{"custom_id": "a", "method": "GET", "url": "/v1/chat/completions", "body": {}}', "invalid_method"),
        (b'{"method": "POST"}', "missing_required_parameter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_wrong_fails_as_a_whole(provider, content, code):
    server, clock = provider()
    with client_of(server) as client:
        batch = ended(client, clock, content)
    assert (batch.status, batch.errors.data[0].code) == ("failed", code)


def test_lines_and_bytes_beyond_the_limit(provider):
    server, clock = provider(max_lines=9, max_bytes=5_000)
    with client_of(server) as client:
        assert ended(client, clock).errors.data[0].code == "too_many_tasks"
        with pytest.raises(openai.APIStatusError) as caught:
            submitted(client, lines_of(TEN * 10))
    assert caught.value.status_code == 413


def test_lines_that_fail_are_in_the_error_file(provider):
    server, clock = provider({"kind": "batch_line_errors", "share": 0.4, "status": 429})
    with client_of(server) as client:
        batch = ended(client, clock, lines_of([*TEN, *TEN, "x" * 200_000]))
        good, bad = results(client, batch.output_file_id), results(client, batch.error_file_id)

    assert len(good) + len(bad) == 21
    assert (len(good), len(bad)) == (batch.request_counts.completed, batch.request_counts.failed)
    assert bad["row-20"]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert {line["response"]["status_code"] for line in bad.values()} == {400, 429}
    assert server.ledger()["billed"] == len(good)


def test_faults_of_live_calls_strike_lines_too(simulator):
    clock = Clock()
    faults = [{"kind": "http_500", "rows": ["Why 3?"], "times": 0, "tier": "batch"}]
    server = simulator(clock=clock, faults=faults, batch={"seconds": 100})
    with client_of(server) as client:
        batch = ended(client, clock)
        assert list(results(client, batch.error_file_id)) == ["row-3"]
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why 3?"}])


def test_when_every_line_failed_there_is_no_output_file(provider):
    server, clock = provider({"kind": "batch_all_fail"})
    with client_of(server) as client:
        batch = ended(client, clock)
        assert (batch.status, batch.output_file_id, batch.request_counts.failed) == ("completed", None, 10)
        assert len(results(client, batch.error_file_id)) == 10
    assert server.ledger()["billed"] == 0


def test_an_expired_batch_keeps_and_bills_what_was_finished(provider):
    server, clock = provider({"kind": "batch_expires", "share": 0.3})
    with client_of(server) as client:
        batch = ended(client, clock)
        good, bad = results(client, batch.output_file_id), results(client, batch.error_file_id)

    assert (batch.status, len(good), len(bad)) == ("expired", 3, 7)
    assert {line["error"]["code"] for line in bad.values()} == {"batch_expired"}
    (book,) = server.batches()["batches"]
    assert (book["billed"], book["expired"]) == (3, 7)
    assert {line["custom_id"] for line in book["lines"] if line["billed"]} == set(good)


def test_a_batch_that_takes_longer_than_its_window_expires(provider):
    server, clock = provider(window_s=50)
    with client_of(server) as client:
        batch = ended(client, clock, seconds=60)
        assert batch.status == "expired"
        assert len(results(client, batch.output_file_id)) == 5


def test_azure_goes_on_beyond_the_window(provider):
    server, clock = provider(window_s=50, dialect="azure")
    with client_of(server) as client:
        batch = submitted(client, lines_of(TEN))
        clock.at_s += 60
        assert client.batches.retrieve(batch.id).status == "in_progress"
        clock.at_s += 40
        assert client.batches.retrieve(batch.id).status == "completed"


def test_a_batch_beyond_the_enqueued_tokens_is_created_and_fails(provider):
    server, clock = provider(enqueued_tokens=30)
    with client_of(server) as client:
        first, second = (submitted(client, lines_of(TEN[:5])) for _ in range(2))
        third = submitted(client, lines_of(TEN[:10]))
        clock.at_s += 50
        assert client.batches.retrieve(first.id).status == "in_progress"
        assert client.batches.retrieve(second.id).status == "in_progress"
        batch = client.batches.retrieve(third.id)
        assert (batch.status, batch.errors.data[0].code) == ("failed", "token_limit_exceeded")
        clock.at_s += 50
        assert client.batches.retrieve(first.id).status == "completed"
        assert ended(client, clock, lines_of(TEN)).status == "completed"


def test_a_stuck_batch_can_be_cancelled_and_what_it_had_is_kept(provider):
    server, clock = provider({"kind": "batch_stuck", "share": 0.5}, cancel_s=10)
    with client_of(server) as client:
        batch = ended(client, clock, seconds=1_000_000)
        assert (batch.status, batch.request_counts.completed) == ("in_progress", 5)
        assert client.batches.cancel(batch.id).status == "cancelling"
        clock.at_s += 5
        assert client.batches.retrieve(batch.id).status == "cancelling"
        clock.at_s += 5
        batch = client.batches.retrieve(batch.id)
        assert batch.status == "cancelled"
        assert len(results(client, batch.output_file_id)) == 5
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(batch.id)
    assert server.ledger()["billed"] == 5


def test_someone_else_cancels_it(provider):
    server, clock = provider({"kind": "batch_cancelled", "share": 0.2})
    with client_of(server) as client:
        batch = ended(client, clock)
        assert batch.status == "cancelled"
        assert len(results(client, batch.output_file_id)) == 2


@pytest.mark.parametrize(
    ("kind", "lines", "distinct", "broken"),
    [
        ("batch_foreign", 12, 12, 0),
        ("batch_missing", 8, 8, 0),
        ("batch_doubled", 12, 10, 0),
        ("batch_cut", 10, 8, 2),
    ],
)
def test_result_files_that_are_not_right(provider, kind, lines, distinct, broken):
    server, clock = provider({"kind": kind, "count": 2})
    with client_of(server) as client:
        batch = ended(client, clock)
        raw = client.files.content(batch.output_file_id).read().splitlines()
    good = []
    for line in raw:
        try:
            good.append(json.loads(line)["custom_id"])
        except ValueError:
            broken -= 1

    assert (len(raw), len(set(good)), broken) == (lines, distinct, 0)
    assert server.ledger()["billed"] == 10


def test_a_file_that_ends_too_early(provider):
    server, clock = provider({"kind": "batch_truncated", "share": 0.25})
    with client_of(server) as client:
        batch = ended(client, clock)
        assert 1 <= len(client.files.content(batch.output_file_id).read().splitlines()) <= 4


def test_results_that_are_gone(provider):
    server, clock = provider({"kind": "batch_results_gone"})
    with client_of(server) as client:
        batch = ended(client, clock)
        with pytest.raises(openai.NotFoundError):
            client.files.content(batch.output_file_id)


def test_a_file_cannot_be_found_for_a_while(provider):
    for how in ({"file_hidden_s": 5}, {"faults": [{"kind": "batch_file_hidden", "seconds": 5}]}):
        server, clock = provider(**{"faults": [], **how})
        with client_of(server) as client:
            file = client.files.create(file=("a", io.BytesIO(lines_of(TEN))), purpose="batch")
            asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            with pytest.raises(openai.BadRequestError, match="cannot find file"):
                client.batches.create(**asked)
            clock.at_s += 5
            assert client.batches.create(**asked).status == "validating"


@pytest.mark.parametrize("step", ["upload", "create", "state", "list", "cancel", "download", "delete"])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("batch_error", openai.InternalServerError),
        ("batch_error_after", openai.InternalServerError),
        ("batch_reset", openai.APIConnectionError),
        ("batch_reset_after", openai.APIConnectionError),
    ],
)
def test_each_step_fails_before_or_after_it_took_effect(provider, step, kind, error):
    server, clock = provider({"kind": kind, "step": step, "first": 1})
    done = kind.endswith("after")
    with client_of(server) as client:

        def upload():
            return client.files.create(file=("a", io.BytesIO(lines_of(TEN))), purpose="batch").id

        def create():
            return client.batches.create(
                input_file_id=files[0], endpoint="/v1/chat/completions", completion_window="24h"
            ).id

        if step == "upload":
            with pytest.raises(error):
                upload()
            assert len(client.files.list().data) == done
            return
        files = [upload()]
        if step == "create":
            with pytest.raises(error):
                create()
            assert len(client.batches.list().data) == done
            return
        batch = create()
        clock.at_s += 50 if step == "cancel" else 100
        output = None if step in ("cancel", "state") else client.batches.retrieve(batch).output_file_id
        acts = {
            "state": lambda: client.batches.retrieve(batch),
            "list": lambda: client.batches.list(),
            "cancel": lambda: client.batches.cancel(batch),
            "download": lambda: client.files.content(output),
            "delete": lambda: client.files.delete(files[0]),
        }
        with pytest.raises(error):
            acts[step]()
        if step == "cancel":
            assert client.batches.retrieve(batch).status == ("cancelled" if done else "in_progress")
        elif step == "delete":
            assert (files[0] in {one.id for one in client.files.list()}) is not done
        else:
            assert acts[step]()


def test_lists_show_a_batch_late_or_without_its_metadata(provider):
    server, clock = provider(
        {"kind": "batch_unlisted", "first": 1, "seconds": 30}, {"kind": "batch_no_metadata", "first": 1}
    )
    with client_of(server) as client:
        one, two = (submitted(client, lines_of(TEN), metadata={"run": name}) for name in "ab")
        assert [batch.id for batch in client.batches.list()] == [two.id]
        clock.at_s += 30
        assert {batch.id: batch.metadata for batch in client.batches.list()} == {
            two.id: {"run": "b"},
            one.id: None,
        }
        assert client.batches.retrieve(one.id).metadata == {"run": "a"}


def test_lists_come_in_pages(provider):
    server, _ = provider()
    with client_of(server) as client:
        made = [submitted(client, lines_of(TEN)).id for _ in range(5)]
        first = client.batches.list(limit=2)
        assert ([one.id for one in first.data], first.has_more) == (made[:-3:-1], True)
        assert [one.id for one in client.batches.list(limit=2)] == made[::-1]


def test_what_was_submitted_twice_is_in_the_books(provider):
    server, clock = provider()
    with client_of(server) as client:
        for _ in range(2):
            submitted(client, lines_of(TEN[:3]))
        clock.at_s += 100
    books = server.batches()
    assert sorted(books["billed_twice"].values()) == [2, 2, 2]
    assert server.ledger()["billed_repeats"] == 3
    assert {line["content"] for line in books["batches"][0]["lines"]} == set(books["billed_twice"])


def test_what_waits_in_two_batches_was_submitted_twice_and_what_expired_was_not(provider):
    server, clock = provider({"kind": "batch_expires", "first": 1, "share": 0.5})
    with client_of(server) as client:
        first = ended(client, clock)
        again = list(results(client, first.error_file_id))
        texts = [TEN[int(name[4:])] for name in again]
        submitted(client, lines_of(texts))
        assert server.batches()["submitted_twice"] == {}
        submitted(client, lines_of(TEN[:3]))
        books = server.batches()

    assert len(books["submitted_twice"]) == 3
    assert [line["status"] for line in books["batches"][2]["lines"]] == ["waiting"] * 3


def test_a_batch_is_charged_at_the_hour_of_its_creation(simulator):
    clock = Clock()
    hours = [{"from": "02:00", "to": "03:00", "factor": 0.5}]
    spent = []
    for price in (PRICE, {**PRICE, "hours": hours}):
        server = simulator(clock=clock, price=price, batch={"seconds": 100})
        clock.at_s = Clock().at_s
        with client_of(server) as client:
            ended(client, clock, seconds=7_200)
        spent.append(server.ledger()["usd"])
    assert spent[1] == pytest.approx(spent[0] / 2, abs=1e-12)


def test_metadata_have_limits(provider):
    server, _ = provider()
    with client_of(server) as client:
        for wrong in ({str(n): "x" for n in range(17)}, {"a" * 65: "x"}, {"a": "x" * 513}):
            with pytest.raises(openai.BadRequestError):
                submitted(client, lines_of(TEN), metadata=wrong)


def test_the_clock_of_a_running_server_can_be_set_ahead(simulator):
    server = simulator(batch={"seconds": 3_600})
    with client_of(server) as client:
        batch = submitted(client, lines_of(TEN))
        server.forward(3_600)
        assert client.batches.retrieve(batch.id).status == "completed"


def test_queue_times_have_their_median_and_90th_percentile():
    time = QueueTime.of("lognormal:median=2,p90=10")
    draws = sorted(time.drawn_s((a + 0.5) / 100, (b + 0.5) / 100) for a in range(100) for b in range(100))
    assert draws[5_000] == pytest.approx(2, rel=0.05)
    assert draws[9_000] == pytest.approx(10, rel=0.05)
    assert QueueTime.of(3).drawn_s(0.1, 0.2) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": "soon"},
        {"seconds": "lognormal:median=9,p90=1"},
        {"seconds": -1},
        {"dialect": "none"},
        {"window_s": "x"},
        {"entitled": 1},
        {"nothing": 1},
        {"faults": [{"kind": "none"}]},
        {"faults": [{"kind": "batch_cut", "wrong": 1}]},
        {"faults": [{"kind": "batch_error", "step": "none"}]},
    ],
)
def test_wrong_options_are_refused(simulator, wrong):
    with pytest.raises(ValueError):
        simulator(batch=wrong)


def test_every_kind_says_what_it_does():
    assert all(BatchFault(kind) and text for kind, text in BATCH_FAULTS.items())


def test_faults_of_batches_may_stand_among_the_others(simulator):
    server = simulator(faults=[{"kind": "batch_not_entitled"}, {"kind": "http_400", "rows": ["<bad>"]}])
    with client_of(server) as client:
        with pytest.raises(openai.PermissionDeniedError):
            submitted(client, lines_of(TEN))
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "<bad>"}])
