"""`init`: a job for the user's own rows, or for a sample that is in the wheel; never over a file."""

from __future__ import annotations

import json
import tomllib
from importlib import resources

import pytest

from tests.conftest import ROOT


def written(home, rows: str, text: str) -> None:
    (home / rows).parent.mkdir(parents=True, exist_ok=True)
    (home / rows).write_text(text)


def test_without_rows_it_is_a_rehearsal_in_an_empty_directory(batchlab):
    begun = batchlab("init")

    assert begun.code == 0, begun.err
    assert sorted(path.name for path in batchlab.home.iterdir()) == ["job.toml", "reviews.jsonl"]
    assert "batchlab plan job.toml" in begun.out
    assert "batchlab run job.toml -n 5" in begun.out
    assert "8 rows" in batchlab("plan", "job.toml").out
    assert batchlab("run", "job.toml", "-n", "5", "--progress", "none").code == 0
    assert batchlab("run", "job.toml", "--progress", "none").code == 0
    assert len((batchlab.home / "job-answers.jsonl").read_text().splitlines()) == 8


def test_the_sample_is_in_the_package_and_is_the_beginning_of_the_other(batchlab):
    sample = resources.files("batchlab").joinpath("sample", "reviews.jsonl").read_text()

    assert (ROOT / "sample_data" / "reviews.jsonl").read_text().startswith(sample)
    assert '"sample/*"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        ("my.csv", "ticket_id,subject,body\n1,a,long text\n2,b,more text\n", "{body}"),
        ("my.csv", "ref,remarks\n1,long text\n1,more text\n", "{remarks}"),
        ("my.jsonl", '{"n": 1, "review_text": "a"}\n{"n": 2, "review_text": "b"}\n', "{review_text}"),
    ],
)
def test_the_prompt_is_about_the_likeliest_column_and_the_job_plans(batchlab, name, text, asked):
    written(batchlab.home, f"data/{name}", text)

    begun = batchlab("init", "jobs/my.toml", "-i", f"data/{name}")
    assert begun.code == 2  # there is no such directory, and none is made for a typing mistake
    (batchlab.home / "jobs").mkdir()
    begun = batchlab(
        "init", "jobs/my.toml", "-i", f"data/{name}", "-m", "M", "--base-url", "http://127.0.0.1:9/v1"
    )

    assert begun.code == 0, begun.err
    job = tomllib.loads((batchlab.home / "jobs" / "my.toml").read_text())
    assert job["input"]["path"] == f"../data/{name}"
    assert asked in job["request"]["prompt"]
    assert job["input"].get("id") == ("ticket_id" if "ticket_id" in text else None)
    assert job["request"]["model"] == "M"
    assert job["endpoint"] == {"base_url": "http://127.0.0.1:9/v1"}
    plan = batchlab("plan", "jobs/my.toml")
    assert plan.code == 0, plan.err
    assert "run would be refused" not in plan.out


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a"}, "column prompt is sent"),
        ({"messages": [{"role": "user", "content": "a"}]}, "column messages is sent"),
        (
            {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}},
            "sent as written",
        ),
    ],
)  # fmt: skip
def test_rows_that_are_requests_already_need_no_prompt(batchlab, row, says):
    written(batchlab.home, "rows.jsonl", json.dumps(row) + "\n")
    begun = batchlab("init", "-i", "rows.jsonl")

    assert says in begun.out
    assert "prompt" not in tomllib.loads((batchlab.home / "job.toml").read_text()).get("request", {})


def test_a_preset_brings_its_key_s_variable_and_a_free_one_none(batchlab):
    written(batchlab.home, "my.csv", "text\na\n")
    batchlab("init", "a.toml", "-i", "my.csv", "-m", "M", "--preset", "openai")
    batchlab("init", "b.toml", "-i", "my.csv", "-m", "M", "--preset", "ollama")
    wrong = batchlab("init", "c.toml", "-i", "my.csv", "--preset", "openia")

    made = {name: tomllib.loads((batchlab.home / name).read_text()) for name in ("a.toml", "b.toml")}
    assert made["a.toml"]["endpoint"] == {"preset": "openai", "api_key_env": "OPENAI_API_KEY"}
    assert made["b.toml"]["endpoint"] == {"preset": "ollama"}
    assert made["b.toml"]["limits"] == {"concurrency": 8}
    assert (wrong.code, "did you mean 'openai'?" in wrong.err) == (2, True)
    assert not (batchlab.home / "c.toml").exists()


def test_nothing_is_ever_written_over(batchlab):
    written(batchlab.home, "job.toml", "mine")
    written(batchlab.home, "reviews.jsonl", "mine too")

    there = batchlab("init")
    sample = batchlab("init", "other.toml")
    rows = batchlab("init", "reviews.jsonl")
    missing = batchlab("init", "x.toml", "-i", "none.csv")

    assert (there.code, "exists already" in there.err) == (2, True)
    assert (sample.code, "is not the sample" in sample.err) == (2, True)
    assert (rows.code, "exists already" in rows.err) == (2, True)
    assert (missing.code, "No such file or directory in" in missing.err) == (2, True)
    assert {path.name: path.read_text() for path in batchlab.home.iterdir()} == {
        "job.toml": "mine",
        "reviews.jsonl": "mine too",
    }
