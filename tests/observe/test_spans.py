"""Spans as an OTLP/HTTP collector on a real socket receives them."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from batchlab.errors import UsageError
from batchlab.job import Job, OutputJob
from batchlab.observe.watchers import Watchers
from batchlab.records import Failure
from batchlab.store.columns.results import result_schema
from tests.conftest import CANARY
from tests.observe.collector import attributes, collecting
from tests.scenarios.test_run import job, parts

pytestmark = pytest.mark.proof  # each begins processes, and waits for them

ERROR, CLIENT = 2, 3  # of the protocol: STATUS_CODE_ERROR, SPAN_KIND_CLIENT


def environ(url: str, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={CANARY}", **more}


def test_each_row_is_a_span_with_the_conventions_attributes(batchlab, simulator, rows_file, tmp_path):
    body = json.dumps({"error": {"message": "the remark is too rude"}})
    faults = [
        {"kind": "answer", "status": 400, "body": body, "rows": ["The 3th "], "times": 99},
        {"kind": "http_503", "rows": ["The 5th "], "times": 1},
    ]
    server = simulator(faults=faults)
    words = job(server.base_url, rows_file(20), "--otel", "--max-tokens", "50", "--temperature", "0.5")
    with collecting() as collector:
        done = batchlab(*words, "--price-in", "1", "--price-out", "2", **environ(collector.url))

    assert done.code == 1, done.err
    rows = {attributes(span)["batchlab.row_id"]: span for span in collector.named("chat sim")}
    assert sorted(rows) == list(range(20))
    address = urlsplit(server.base_url)
    table = parts(tmp_path / "runs/rows").to_pylist()
    names = {
        field.name: field.metadata[b"otel"].decode()
        for field in result_schema()
        if field.metadata and field.name.endswith(("_tokens", "model", "response_id"))
    }
    for row, span in rows.items():
        found = attributes(span)
        assert span.kind == CLIENT
        assert found["gen_ai.operation.name"] == "chat"
        assert found["gen_ai.request.model"] == "sim"
        assert found["gen_ai.request.max_tokens"] == 50
        assert found["gen_ai.request.temperature"] == 0.5
        assert (found["server.address"], found["server.port"]) == (address.hostname, address.port)
        assert found["gen_ai.provider.name"]
        assert span.start_time_unix_nano < span.end_time_unix_nano
        if row == 3:
            assert span.status.code == ERROR
            assert found["error.type"] == table[3]["error_class"]
            assert found["http.response.status_code"] == 400
            assert not any(name.startswith("gen_ai.usage") for name in found)
            continue
        assert span.status.code != ERROR
        assert found["gen_ai.response.finish_reasons"] == [table[row]["finish_reason"]]
        # the attributes of a span are named as the columns of a part say
        for column, name in names.items():
            assert found.get(name) == table[row][column], column
        assert found["batchlab.cost_usd"] == pytest.approx(table[row]["cost_usd"])
    assert attributes(rows[5])["batchlab.attempts"] == 2

    (run,) = collector.named("batchlab.run")
    found = attributes(run)
    assert (found["batchlab.rows"], found["batchlab.answered"], found["batchlab.failed"]) == (20, 19, 1)
    assert run.start_time_unix_nano <= min(span.start_time_unix_nano for span in rows.values())
    # a trace each, linked to the run: the sampler decides for each row
    assert len({span.trace_id for span in [run, *rows.values()]}) == 21
    assert all(span.links[0].span_id == run.span_id for span in rows.values())
    assert {resource["service.name"] for resource in collector.resources} == {"batchlab"}
    for secret in (
        CANARY,
        "remark",
        "Say it shorter",
        *(row["completion"] for row in table if row["completion"]),
    ):
        assert secret.encode() not in collector.bytes


def test_the_sdk_s_own_variables_decide_what_is_sampled_and_named(batchlab, simulator, rows_file):
    words = job(simulator().base_url, rows_file(200), "--otel")
    settings = {
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.2",
        "OTEL_SERVICE_NAME": "mine",
    }
    with collecting() as collector:
        assert batchlab(*words, **environ(collector.url, **settings)).code == 0

    assert 10 <= len(collector.named("chat sim")) <= 80
    assert {resource["service.name"] for resource in collector.resources} == {"mine"}


def test_a_stopped_run_s_span_says_why(batchlab, simulator, rows_file):
    with collecting() as collector:
        done = batchlab(
            *job(simulator(api_key="other").base_url, rows_file(3), "--otel"), **environ(collector.url)
        )

    assert done.code == 3
    (run,) = collector.named("batchlab.run")
    assert run.status.code == ERROR
    assert attributes(run)["error.type"] == "key"


def test_a_collector_that_is_away_is_said_once_and_ends_nothing(batchlab, simulator, rows_file):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = batchlab.process(*job(simulator().base_url, rows_file(20), "--otel"), **environ(url))

    assert done.code == 0, done.err
    assert "20 ok" in done.err
    assert 1 <= sum("OpenTelemetry" in line for line in done.err.splitlines()) <= 2
    assert "ransient" not in done.err.replace("OpenTelemetry: Transient", "")


def test_without_otel_nothing_is_sent_and_nothing_is_imported(batchlab, simulator, rows_file, tmp_path):
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('not installed')")
    words = job(simulator().base_url, rows_file(2))
    path = {"PYTHONPATH": f"{tmp_path}:{__file__.rsplit('/tests/', 1)[0]}"}
    with collecting() as collector:
        assert batchlab.process(*words, **environ(collector.url, **path)).code == 0
        missing = batchlab.process(*words, "--otel", **environ(collector.url, **path))

    assert missing.code == 2
    assert "--otel needs: pip install 'batchlab[otel]'" in missing.err
    assert not collector.spans


def test_a_protocol_we_do_not_speak_is_refused(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    with pytest.raises(UsageError, match="http/protobuf"):
        Watchers(Job(output=OutputJob(otel=True)), print)


def test_an_sdk_that_fails_ends_no_run(monkeypatch):
    said: list[str] = []
    watchers = Watchers(Job(output=OutputJob(otel=True)), said.append)

    def broken(*_: object) -> None:
        raise RuntimeError("exporter broke")

    monkeypatch.setattr(watchers._spans, "result", broken)
    for row in range(3):
        watchers.result(Failure(row_id=row, custom_id="0", error_class="timeout", error_message=""))
    watchers.close()

    assert said == ["OpenTelemetry failed (RuntimeError: exporter broke); the run goes on without"]


def test_several_processes_link_their_rows_to_one_run_and_log_their_failures(
    batchlab, simulator, rows_file, tmp_path
):
    body = json.dumps({"error": {"message": f"no, {CANARY}"}})
    fault = {"kind": "answer", "status": 400, "body": body, "rows": ["The 3th ", "The 33th "], "times": 99}
    server = simulator(faults=[fault])
    files = ["--log-file", "run.log", "--metrics-file", "run.prom"]
    words = job(server.base_url, rows_file(40), "--otel", *files, "--processes", "2", "--shard-rows", "10")
    with collecting() as collector:
        done = batchlab.process(*words, **environ(collector.url))

    assert done.code == 1, done.err
    rows = collector.named("chat sim")
    (run,) = collector.named("batchlab.run")
    assert sorted(attributes(span)["batchlab.row_id"] for span in rows) == list(range(40))
    assert {span.links[0].span_id for span in rows} == {run.span_id}
    assert {span.links[0].trace_id for span in rows} == {run.trace_id}
    assert {attributes(span)["server.address"] for span in rows} == {"127.0.0.1"}
    text = (tmp_path / "run.log").read_text()
    events = [json.loads(line) for line in text.splitlines()]
    assert sorted(event["row_id"] for event in events if event["event"] == "row_failed") == [3, 33]
    assert [event["event"] for event in events].count("start") == 1
    assert CANARY not in text
    assert 'state="failed"} 2' in (tmp_path / "run.prom").read_text()
