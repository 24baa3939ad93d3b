"""Answers that have to fit a schema: a correction turn is a line of another batch, or a live call."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from tests.engines.batch_api.test_crashes import die_at, forked
from tests.scenarios.test_schema import SCHEMA, SLOPPY

pytestmark = pytest.mark.proof  # each begins processes, and waits for them

MORE = ("--schema-retries", "3", "--max-attempts", "8")


@pytest.fixture
def schema(tmp_path):
    path = tmp_path / "label.schema.json"
    path.write_text(json.dumps(SCHEMA))
    return ("--schema", str(path), "--schema-mode", "json_object")


def books_hold(at) -> list[dict]:
    rows = pq.read_table(at.home / "out.parquet").to_pylist()
    ledger = at.server.ledger()
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum((row[name] or 0) + (row[f"wasted_{name}"] or 0) for row in rows) == ledger[name]
    paid = sum((row["cost_usd"] or 0) + (row["cost_wasted_usd"] or 0) for row in rows)
    assert paid == pytest.approx(ledger["usd"])
    assert not at.log().out
    assert at.command("verify", str(at.directory)).code == 0
    return rows


@pytest.mark.parametrize("dialect", ["openai", "mistral", "openrouter", "together"])
def test_turns_are_lines_of_the_next_batches(lane, rows_file, schema, dialect):
    at = lane(dialect, seed=3, faults=SLOPPY)

    done = at.run(rows_file(60), *schema, *MORE, "--shard-rows", "25")

    rows = books_hold(at)
    assert {row["status"] for row in rows} <= {"ok", "invalid"}
    assert done.code == (1 if any(row["status"] == "invalid" for row in rows) else 0), done.err
    corrected = [row for row in rows if row["corrections"]]
    assert len(corrected) > 10
    assert all(row["lane"] == "batch" for row in rows)
    for row in rows:
        assert bool(row["wasted_completion_tokens"]) == bool(row["corrections"])
        assert row["attempts"] >= 1 + (row["corrections"] or 0)
        if row["status"] == "ok":
            assert json.loads(row["parsed"])["stars"] in range(1, 6)
    assert len(at.sizes()) > 3


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("created", "after"),
        ("ended", "after"),
        ("merged", "before"),
        ("merged", "after"),
        ("ordering", "after"),
    ],
)
def test_a_crash_between_turns_keeps_the_books(lane, rows_file, schema, monkeypatch, step, when):
    at, rows = lane("openai", seed=3, faults=SLOPPY), rows_file(30)
    for nth in (1, 2):
        with monkeypatch.context() as patched:
            die_at(patched, step, when, nth=nth)
            forked(at.words_of(rows, *schema, *MORE))

    at.run(rows, *schema, *MORE)

    books_hold(at)


def test_turns_whose_lines_fail_leave_the_answer_before(lane, rows_file, schema):
    at = lane("openai", {"kind": "batch_line_errors", "share": 0.5, "status": 400}, seed=3, faults=SLOPPY)

    at.run(rows_file(40), *schema, *MORE)

    rows = books_hold(at)
    assert {row["status"] for row in rows} <= {"ok", "invalid", "failed"}
    assert any(row["corrections"] for row in rows)


def test_what_is_taken_back_is_corrected_live(lane, rows_file, schema):
    at, rows = lane("openai", seed=3, faults=SLOPPY, batch={"seconds": 30}), rows_file(30)
    stopped = at.run(rows, *schema, *MORE, "--deadline", "0.5s")
    assert stopped.code == 3, stopped.err

    live = at.run(rows, *schema, *MORE, "--lane", "live")

    assert live.code in (0, 1), live.err
    rows = books_hold(at)
    assert {row["lane"] for row in rows} == {"live"}
    assert at.server.batches()["batches"][0]["state"] == "cancelled"
