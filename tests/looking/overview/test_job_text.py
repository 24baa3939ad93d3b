"""The job of a run as text: a job file again."""

from __future__ import annotations

import dataclasses
import json
import tomllib

import pytest

from batchlab.job import Job
from batchlab.job.file import job_from
from batchlab.looking.overview.job_text import job_text

HARD = 'a "quoted" \\ back\nnew line\ttab """ three \x1b[31m é 漢 \u2028 end"'
JOBS = {
    "plain": {"input": {"path": "a.jsonl"}, "request": {"model": "m", "prompt": "{x}"}},
    "texts": {"input": {"path": "a.csv"}, "request": {"model": "m", "prompt": HARD, "system": "two\nlines of \"it\""}},
    "lists": {
        "input": {"path": "a.jsonl", "id": "key"},
        "request": {
            "model": "m",
            "messages": [{"role": "system", "content": "who@host:3 asks {x}"}, {"role": "user", "content": "{y}"}],
            "image": ["pic"],
            "params": {"stop": ["a", "b"], "logit_bias": {"50256": -100}, "seed": 7, "a b": {"c": True}},
        },
    },
    "limits": {
        "input": {"path": "a.jsonl"},
        "request": {"model": "m", "prompt": "{x}"},
        "limits": {"max_cost": 2.5, "timeout": "90s", "deadline": "8h", "concurrency": 3, "lane": "cheapest"},
        "price": {"input": 1, "output": 2.5, "batch": 0.5, "models": {"other": {"input": 3.0, "output": 4.0}}},
        "output": {"file": "o.parquet", "fail_on": ["truncated"]},
    },
    "endpoints": {
        "input": {"path": "a.jsonl"},
        "request": {"model": "m", "prompt": "{x}"},
        "endpoint": [
            {"base_url": "https://one.example/v1", "api_key_env": "ONE_KEY", "price": {"input": 1.0, "output": 2.0}},
            {"base_url": "https://two.example/v1", "name": "two", "headers": {"x-tenant": "blue"}, "rpm": 30.0},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", JOBS)
def test_the_text_of_a_job_is_a_job_file_of_the_same_job(name, tmp_path):
    made = job_from(JOBS[name], home=tmp_path)

    read = job_from(tomllib.loads(job_text(made)), home=tmp_path)

    assert read == made


def test_a_job_that_was_kept_in_a_run_is_the_same_text(tmp_path):
    made = job_from(JOBS["limits"], home=tmp_path)

    assert job_text(Job.from_dict(json.loads(json.dumps(made.to_dict())))) == job_text(made)


def test_what_looks_like_a_secret_is_hidden():
    job = Job()
    request = dataclasses.replace(
        job.request,
        params={"api_token": "abcdefgh", "proxy": "http://me:pw@host/?sig=1"},
        system="sk-abcdefghijkl",
    )
    endpoint = dataclasses.replace(job.endpoint[0], base_url="https://me:pw@host.example/v1?key=zzz")

    text = job_text(dataclasses.replace(job, request=request, endpoint=(endpoint,)))

    assert not [word for word in ("abcdefgh", "pw@", "sig=1", "zzz", "sk-abc") if word in text]
