"""What the lane batch is asked for: tasks, batch files, media, models, and lines within the service's limits."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001"
        "e221bc330000000049454e44ae426082"
    )
).decode()


def written(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def limited(quick, name, **limits):
    quick[name] = replace(quick[name], limits=replace(quick[name].limits, **limits))


@pytest.mark.parametrize("dialect", ["openai", "deepinfra"])
def test_completions(lane, rows_file, dialect):
    at = lane(dialect)

    done = at.run(rows_file(6), "--task", "completions", "--max-tokens", "4000")

    assert done.code == 0, done.err
    at.check(answered=6)


@pytest.mark.parametrize("dialect", ["openai", "azure", "alibaba", "mistral", "openrouter"])
def test_embeddings(lane, tmp_path, dialect):
    at = lane(dialect)
    rows = written(tmp_path / "rows.jsonl", [{"text": f"Text {n}."} for n in range(7)])

    done = at.rows(rows, "--task", "embeddings", "-p", "{text}")

    assert done.code == 0, done.err
    at.check(answered=7)


def test_inputs_of_all_lines_are_counted(lane, tmp_path, quick):
    limited(quick, "openai", inputs=10)
    at = lane("openai")
    lines = [
        {
            "custom_id": f"line {n}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "sim", "input": [f"{n} {one}" for one in range(4)]},
        }
        for n in range(5)
    ]

    done = at.rows(written(tmp_path / "lines.jsonl", lines))

    assert done.code == 0, done.err
    assert at.sizes() == [1, 2, 2]
    at.check(answered=5)


@pytest.mark.parametrize("dialect", ["openai", "mistral", "openrouter", "together"])
def test_a_batch_file_keeps_the_names_of_its_lines_whatever_they_are(lane, tmp_path, dialect):
    names = ["a", "", "ä ö/ü", "x" * 300, "bl0-000000000000-3", "7"]
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": f"m{n % 2}", "messages": [{"role": "user", "content": f"Why {n}?"}]},
        }
        for n, name in enumerate(names)
        if name
    ]
    at = lane(dialect)

    done = at.rows(written(tmp_path / "lines.jsonl", lines))

    assert done.code == 0, done.err
    assert at.columns("custom_id")["custom_id"] == [name for name in names if name]
    assert {one["model"] for one in at.server.batches()["batches"]} == {"m0", "m1"}
    assert at.columns("status")["status"] == ["ok"] * 5


def test_models_and_settings_of_single_rows(lane, tmp_path):
    lines = [{"text": f"t{n}", "more": {"model": f"m{n % 3}", "temperature": n / 10}} for n in range(9)]
    at = lane("openai")

    done = at.run(written(tmp_path / "rows.jsonl", lines), "--row-params", "more")

    assert done.code == 0, done.err
    assert at.sizes() == [3, 3, 3]
    assert {one["model"] for one in at.server.batches()["batches"]} == {"m0", "m1", "m2"}
    assert at.columns("status")["status"] == ["ok"] * 9


@pytest.mark.parametrize("dialect", ["openrouter", "openai"])
def test_rows_with_another_response_format_go_apart_where_the_service_wants_that(lane, tmp_path, dialect):
    """In whatever order: a model of Google's at OpenRouter refuses a batch with two of them."""
    at = lane(dialect)
    lines = [
        {
            "custom_id": f"line {n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "google/sim",
                "max_tokens": 50,
                "messages": [{"role": "user", "content": f"Say {n} in JSON."}],
                **({"response_format": {"type": "json_object"}} if n % 3 == 0 else {}),
            },
        }
        for n in range(9)
    ]

    done = at.rows(written(tmp_path / "lines.jsonl", lines))

    assert done.code == 0, done.err
    assert at.sizes() == ([3, 6] if dialect == "openrouter" else [9])


def test_more_models_than_batches_may_be_out(lane, tmp_path):
    lines = [{"text": f"t{n}", "more": {"model": f"m{n % 40}"}} for n in range(80)]
    at = lane("openai")

    done = at.run(written(tmp_path / "rows.jsonl", lines), "--row-params", "more")

    assert done.code == 0, done.err
    assert at.sizes() == [2] * 40


@pytest.mark.parametrize(("dialect", "ok"), [("openai", 3), ("anthropic", 3), ("openrouter", 0)])
def test_media_go_along_where_the_service_takes_them(lane, tmp_path, dialect, ok):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    lines = [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": f"What is {n}?"}, image]}]}
        for n in range(3)
    ]
    at = lane(dialect, words=("--max-tokens", "4000"))

    done = at.rows(written(tmp_path / "rows.jsonl", lines))

    if not ok:  # the first row shows it, before anything is sent
        assert done.code == 2
        assert "text only" in done.err
        assert at.server.batches()["batches"] == []
        return
    assert done.code == 0, done.err
    assert at.columns("status")["status"].count("ok") == ok


def test_a_shard_that_is_larger_than_a_batch_may_be(lane, rows_file, quick):
    limited(quick, "siliconflow", lines=7)
    at = lane("siliconflow", batch={"max_lines": 7})

    done = at.run(rows_file(40), "--shard-rows", "20")

    assert done.code == 0, done.err
    assert at.sizes() == [6, 6, 7, 7, 7, 7]
    at.check()


def test_bytes_are_counted_as_the_service_does(lane, rows_file, quick):
    limited(quick, "openai", size=2_000)
    at = lane("openai", batch={"max_bytes": 2_000})

    done = at.run(rows_file(30))

    assert done.code == 0, done.err
    assert len(at.sizes()) > 2
    at.check()


def test_a_line_beyond_the_limit_fails_alone(lane, tmp_path, quick):
    limited(quick, "openai", size=2_000)
    at = lane("openai", batch={"max_bytes": 2_000})
    rows = written(tmp_path / "rows.jsonl", [{"text": "a"}, {"text": "b" * 3_000}, {"text": "c"}])

    done = at.run(rows)

    assert done.code == 1, done.err
    assert at.columns("status")["status"][1] == "failed"
    assert "longer than openai takes" in at.columns("error_message")["error_message"][1]
    assert at.sizes() == [2]
