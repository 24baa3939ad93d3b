"""Every line of the outcome table through a real socket: plain and streamed, in three places.

A run of nine rows is hit at its first, a middle or its last row; the row must end in the state
that the table says, and the other rows must be answered as if nothing had happened.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import batchlab
from batchlab.dispatch import retry
from batchlab.dispatch.trouble import health
from batchlab.run_end import RunSummary
from tests.conftest import CANARY

ROWS = 9
PLACES = {"first": 0, "middle": 4, "last": 8}


@dataclass(frozen=True)
class Case:
    """What a row is answered, and what must become of it.

    Attributes:
        state: of the row in the end; `stop` when the run must stop with the row pending.
        word: its error_class, or the reason of the stop.
        attempts: requests the row takes at least.
        early: what the first row of a run ends as, where that differs.
    """

    name: str
    fault: dict[str, Any]
    state: str
    word: str | None = None
    attempts: int = 1
    early: tuple[str, str] | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    streamed: bool = True
    plain: bool = True

    def __str__(self) -> str:
        return self.name


def answer(status: int, body: Any = None, content_type: str = "application/json", **headers: str) -> dict:
    text = body if isinstance(body, str) else json.dumps(body if body is not None else {"error": {}})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "kind": "answer",
        "status": status,
        "body": text,
        "headers": named,
        "content_type": content_type,
    }


def kind(name: str) -> dict:
    return {"kind": name}


def error(message: str = "no", code: str | int | None = None) -> dict:
    return {"error": {"message": message, "type": "x", "code": code}}


def completion(finish_reason: str | None = "stop", **message: Any) -> dict:
    said = {"role": "assistant", "content": "yes", **message}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return {"choices": [{"index": 0, "message": said, "finish_reason": finish_reason}], "usage": usage}


def events(*objects: Any, done: bool = True) -> str:
    return "".join(f"data: {json.dumps(one)}\n\n" for one in objects) + ("data: [DONE]\n\n" if done else "")


def delta(finish_reason: str | None = None, **said: Any) -> dict:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish_reason}]}


SSE = "text/event-stream"
ONCE = {"times": 1}
TOOLS = [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]

CASES = [
    # answers that are kept
    Case("length", answer(200, completion("length")), "truncated"),
    Case("filtered", answer(200, completion("content_filter", content=None)), "filtered", "empty"),
    Case("tool calls", answer(200, completion("tool_calls", content=None, tool_calls=TOOLS)), "ok"),
    Case("refusal", answer(200, completion(content=None, refusal="I may not")), "ok"),
    Case("empty", answer(200, completion(content="")), "ok", "empty"),
    Case("null content", kind("null_content"), "ok", "empty"),
    Case("no usage", kind("no_usage"), "ok"),
    Case("lone surrogate", kind("lone_surrogate"), "ok"),
    Case("single newlines", kind("single_newlines"), "ok", plain=False),
    Case("stream without DONE", answer(200, events(delta("stop", content="a"), done=False), SSE), "ok"),
    # asked again, and answered then
    *(
        Case(name, kind(name) | ONCE, "ok", attempts=2)
        for name in """
        http_408 http_409 http_500 http_502_html http_504_html http_520_html http_524_html http_503 html
        empty_body null error_object status_error no_choices empty_choices deep_json nan reset reset_body
        bad_gzip rate_limit rate_limit_retry_after rate_limit_date rate_limit_ms rate_limit_zero queue_full
        overloaded http_529
        """.split()
    ),
    Case("425", answer(425) | ONCE, "ok", attempts=2),
    Case("498", answer(498, error("capacity", "capacity_exceeded")) | ONCE, "ok", attempts=2),
    Case("499", answer(499, "", "text/html") | ONCE, "ok", attempts=2),
    Case("402 with Retry-After", answer(402, error(), Retry_After="0.1") | ONCE, "ok", attempts=2),
    Case("error finish", answer(200, completion("error")) | ONCE, "ok", attempts=2),
    Case("cut stream", kind("cut_stream") | ONCE, "ok", attempts=2, plain=False),
    Case("error event", kind("error_event") | ONCE, "ok", attempts=2, plain=False),
    Case(
        "stream with neither DONE nor a finish_reason",
        answer(200, events(delta(content="half"), done=False), SSE) | ONCE,
        "ok",
        attempts=2,
    ),
    Case(
        "rate limit event",
        answer(200, events(error("slow", "rate_limit_exceeded")), SSE) | ONCE,
        "ok",
        attempts=2,
    ),
    Case("hang", kind("hang") | ONCE, "ok", attempts=2, limits={"timeout": 0.5}),
    # failed for good: the row alone
    Case("500 for ever", kind("http_500"), "failed", "server", 2),
    Case("html for ever", kind("html"), "failed", "invalid_response", 2),
    Case("reset for ever", kind("reset"), "failed", "connection", 2),
    Case("hang for ever", kind("hang"), "failed", "timeout", 2, limits={"timeout": 0.5}),
    Case("context length", kind("context_length"), "failed", "context_length"),
    Case(
        "llama.cpp context",
        answer(400, error("big", "exceed_context_size_error")),
        "failed",
        "context_length",
    ),
    Case("content filter", kind("content_filter"), "failed", "content_filter"),
    Case(
        "moderation", answer(403, error("Your input was flagged by moderation")), "failed", "content_filter"
    ),
    Case("400", kind("http_400"), "failed", "bad_request"),
    Case("422", answer(422, error("bad parameter", "unsupported_parameter")), "failed", "bad_request"),
    Case("418", answer(418, error("teapot")), "failed", "bad_request"),
    Case("413", kind("http_413"), "failed", "too_large"),
    Case("429 too large", kind("too_large"), "failed", "too_large"),
    Case("huge body", kind("huge_body"), "failed", "too_large"),
    Case("gzip bomb", kind("gzip_bomb"), "failed", "too_large"),
    Case("201", answer(201, {}), "failed", "invalid_response"),
    Case("204", kind("http_204"), "failed", "invalid_response"),
    Case("403", kind("http_403_html"), "failed", "forbidden"),
    Case("404", kind("http_404"), "failed", "not_found", early=("stop", "endpoint")),
    # the run cannot go on
    Case("401", kind("http_401"), "stop", "key"),
    Case(
        "key refused in a 200", answer(200, {"status": "error", "message": "Invalid API Key"}), "stop", "key"
    ),
    Case("402", kind("http_402"), "stop", "quota"),
    Case("quota", kind("insufficient_quota"), "stop", "quota"),
    Case(
        "no credit left",
        answer(400, error("Your credit balance is too low to access the Anthropic API")),
        "stop",
        "quota",
    ),
    Case("redirect", kind("redirect"), "stop", "endpoint"),
    Case("405", answer(405), "stop", "endpoint"),
    Case("501", answer(501), "stop", "endpoint"),
    Case("505", answer(505), "stop", "endpoint"),
    Case("a pause that is too long", kind("rate_limit_huge"), "stop", "outage"),
]


@pytest.fixture
def run(
    simulator, tmp_path, monkeypatch
) -> Callable[..., tuple[RunSummary, dict[int, dict[str, Any]], dict]]:
    """Runs nine rows of which some are hit by a fault; returns the summary, the rows and the ledger."""
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(health, "LOOK_S", 0.05)
    monkeypatch.setattr(health, "BEHIND_S", 0.02)
    monkeypatch.setattr(retry, "MAX_WAIT_S", 0.1)

    def go(case: Case, places: list[int], *, stream: bool, concurrency: int):
        rows = [{"text": f"remark {n}" + (" !hit!" if n in places else "")} for n in range(ROWS)]
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        server = simulator(faults=[{"times": 99, "rows": ["!hit!"], **case.fault}])
        summary = batchlab.run(
            {"limits": {"max_attempts": 2, "connect_timeout": 2, **case.limits}},
            input="rows.jsonl",
            model="sim",
            prompt="{text}",
            base_url=server.base_url,
            api_key_env="SIMULATOR_KEY",
            concurrency=concurrency,
            stream=stream,
            progress="none",
        )
        frame = batchlab.load("runs/rows")
        return summary, {row["row_id"]: row for row in frame.to_dict("records")}, server.ledger()

    return go


def transports(case: Case) -> list[bool]:
    return [stream for stream, wanted in ((False, case.plain), (True, case.streamed)) if wanted]


ROW_CASES = [
    pytest.param(case, stream, id=f"{case}-{'stream' if stream else 'plain'}")
    for case in CASES
    if case.state != "stop"
    for stream in transports(case)
]
STOP_CASES = [
    pytest.param(case, stream, place, id=f"{case}-{'stream' if stream else 'plain'}-{place}")
    for case in CASES
    if case.state == "stop" or case.early
    for stream in transports(case)
    for place in PLACES
    if case.state == "stop" or place == "first"
]


@pytest.mark.parametrize(("case", "stream"), ROW_CASES)
def test_a_row_ends_as_the_table_says_and_the_others_are_unharmed(run, case, stream):
    places = [place for place in PLACES.values() if not (case.early and place == 0)]

    concurrency = 1 if case.word in {"forbidden", "not_found"} else 3  # those depend on the order
    summary, rows, ledger = run(case, places, stream=stream, concurrency=concurrency)

    assert summary.stopped is None, summary.message
    assert summary.exit_code == (1 if case.state == "failed" else 0)
    for place in places:
        row = rows[place]
        assert row["status"] == case.state
        assert (row["error_class"] if isinstance(row["error_class"], str) else None) == case.word
        assert row["attempts"] >= case.attempts
    others = [row for number, row in rows.items() if number not in places]
    assert len(others) == ROWS - len(places)
    assert all(row["status"] == "ok" and row["attempts"] == 1 and row["completion"] for row in others)
    assert ledger["billed_repeats"] <= sum(rows[place]["attempts"] for place in places)


@pytest.mark.parametrize(("case", "stream", "place"), STOP_CASES)
def test_a_stop_keeps_what_is_answered_and_leaves_the_rest_pending(run, case, stream, place):
    """After an answer it takes a second look: all rows from there on are answered so."""
    state, word = case.early or (case.state, case.word)
    assert state == "stop"

    summary, rows, ledger = run(case, list(range(PLACES[place], ROWS)), stream=stream, concurrency=1)

    assert summary.exit_code == 3
    assert summary.stopped == word, summary.message
    assert summary.message
    assert rows[PLACES[place]]["status"] == "pending"
    answered = [number for number, row in rows.items() if row["status"] == "ok"]
    assert answered == list(range(PLACES[place]))
    assert ledger["billed"] == len(answered)
    assert CANARY not in summary.message


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("first", "stopped", "states"),
    [
        (0, "endpoint", ["failed"] * 2 + ["pending"] * 7),
        (4, None, ["ok"] * 4 + ["failed"] * 3 + ["ok"] * 2),  # the second look goes well: they are odd
        (6, "endpoint", ["ok"] * 6 + ["pending"] * 3),
    ],
    ids=["first", "middle", "last"],
)
def test_three_forbidden_rows_in_a_row_stop_the_run_unless_others_are_answered(
    run, stream, first, stopped, states
):
    case = Case("403", kind("http_403_html"), "stop", "endpoint")

    summary, rows, _ = run(case, [first, first + 1, first + 2], stream=stream, concurrency=1)

    assert (summary.exit_code, summary.stopped) == (3 if stopped else 1, stopped)
    assert [row["status"] for row in rows.values()] == states


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_request_that_no_row_gets_through_with_stops_after_twenty(simulator, tmp_path, monkeypatch, stream):
    server = simulator(faults=[{"kind": "http_400", "rate": 1.0, "times": 99}])

    summary = refused_run(server.base_url, tmp_path, monkeypatch, rows=60, concurrency=1, stream=stream)

    assert (summary.exit_code, summary.stopped) == (3, "endpoint")
    assert summary.sent == 20
    assert summary.totals.failed == 19


def refused_run(base_url: str, tmp_path, monkeypatch, *, rows: int = 2, **more: object) -> RunSummary:
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(rows)))
    return batchlab.run(
        input="rows.jsonl",
        model="sim",
        prompt="{text}",
        base_url=base_url,
        api_key_env="SIMULATOR_KEY",
        progress="none",
        **more,
    )


def test_nobody_listening_stops_after_three_attempts(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    summary = refused_run(f"http://127.0.0.1:{port}/v1", tmp_path, monkeypatch)

    assert (summary.exit_code, summary.stopped, summary.totals.rows) == (3, "outage", 0)
    assert summary.sent <= 4


def test_an_unknown_host_stops_the_run(tmp_path, monkeypatch):
    summary = refused_run("https://provider.invalid/v1", tmp_path, monkeypatch)

    assert (summary.exit_code, summary.totals.rows) == (3, 0)


@pytest.fixture
def tls_server(tmp_path) -> Iterator[tuple[str, list[bytes]]]:
    """An https server whose certificate nobody vouches for; also what it received."""
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost".split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    received: list[bytes] = []
    body = json.dumps(completion()).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                    with context.wrap_socket(plain, server_side=True) as secure:
                        received.append(secure.recv(65536))
                        secure.sendall(head % len(body) + body)
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}/v1", received


def test_a_certificate_nobody_vouches_for_stops_the_run(tls_server, tmp_path, monkeypatch):
    base_url, received = tls_server

    summary = refused_run(base_url, tmp_path, monkeypatch)

    assert (summary.exit_code, summary.stopped, summary.totals.rows) == (3, "endpoint", 0)
    assert "certificate" in summary.message.lower()
    assert not any(received)


def test_a_certificate_of_ones_own_is_trusted_by_name(tls_server, tmp_path, monkeypatch):
    base_url, received = tls_server

    summary = refused_run(base_url, tmp_path, monkeypatch, endpoint__ca_bundle=str(tmp_path / "cert.pem"))

    assert summary.exit_code == 0
    assert summary.insecure == ()
    assert len(received) == 2


def test_insecure_is_named_in_the_summary(tls_server, tmp_path, monkeypatch, capsys):
    base_url, _ = tls_server

    summary = refused_run(base_url, tmp_path, monkeypatch, endpoint__insecure=True, quiet=False)

    assert summary.exit_code == 0
    assert "were not verified" in capsys.readouterr().err


def test_a_row_that_is_refused_first_after_a_resume_is_its_own_affair(simulator, tmp_path, monkeypatch):
    """The rows that an earlier invocation answered tell as much as those of this one."""
    server = simulator(faults=[{"kind": "http_404", "rows": ["row 5"], "times": 99}])
    monkeypatch.setattr(health, "LOOK_S", 0.05)
    monkeypatch.setattr(health, "BEHIND_S", 0.02)

    first = refused_run(server.base_url, tmp_path, monkeypatch, rows=12, limit=5, concurrency=1)
    second = refused_run(server.base_url, tmp_path, monkeypatch, rows=12, concurrency=1)

    assert (first.exit_code, first.totals.ok) == (0, 5)
    assert (second.stopped, second.totals.ok, second.totals.failed) == (None, 11, 1)
