"""The job: one description from file, flags and defaults, checked at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchlab.errors import UsageError
from batchlab.job import Job, endpoint_host, output_format
from batchlab.job.file import job_from, load_job
from batchlab.job.limits import EndpointLimits
from batchlab.job.values import deadline_s, duration_s

MINIMAL = {"input": {"path": "rows.csv"}, "request": {"model": "m", "prompt": "{text}"}}


def test_a_flag_wins_over_the_job_file():
    job = job_from({**MINIMAL, "limits": {"concurrency": 8}}, {"limits.concurrency": 3})

    assert job.limits.concurrency == 3


def test_a_flag_that_was_not_given_leaves_the_job_file_alone():
    job = job_from({**MINIMAL, "limits": {"concurrency": 8}}, {"limits.concurrency": None})

    assert job.limits.concurrency == 8


def test_unknown_keys_of_request_go_to_the_provider_as_they_are():
    job = job_from({**MINIMAL, "request": {**MINIMAL["request"], "seed": 7, "stop": ["END"]}})

    assert job.request.params == {"seed": 7, "stop": ["END"]}


@pytest.mark.parametrize(
    ("section", "key", "nearest"),
    [
        ("limits", "concurency", "concurrency"),
        ("input", "pth", "path"),
        ("output", "rundir", "run_dir"),
        ("request", "promt", "prompt"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(section, key, nearest):
    data = {**MINIMAL, section: {**MINIMAL.get(section, {}), key: 1}}

    with pytest.raises(UsageError, match=f"{section}.{key}: unknown key; did you mean '{nearest}'"):
        job_from(data)


def test_an_unknown_section_names_the_nearest_known_one():
    with pytest.raises(UsageError, match=r"unknown section \[limit\]; did you mean 'limits'"):
        job_from({**MINIMAL, "limit": {}})


def test_all_problems_of_a_job_are_told_at_once():
    with pytest.raises(UsageError) as caught:
        job_from({"limits": {"concurrency": 0, "rpm": -1}})

    text = str(caught.value)
    assert "no input" in text
    assert "no model" in text
    assert "limits.concurrency" in text
    assert "limits.rpm" in text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("concurrency", "many", "expected a whole number, got 'many'"),
        ("concurrency", True, "expected a whole number, got True"),
        ("rpm", float("nan"), "expected a number"),
        ("deadline", "soon", "expected a duration such as 90s, 15m or 8h"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_what_is_expected(key, value, message):
    with pytest.raises(UsageError, match=message):
        job_from({**MINIMAL, "limits": {key: value}})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90.0),
        ("90s", 90.0),
        ("15m", 900.0),
        ("8h", 28_800.0),
        ("1h30m", 5_400.0),
        ("2d", 172_800.0),
        ("1.5", 1.5),
    ],
)
def test_durations_read_as_people_write_them(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("07:30", 5_400.0), ("05:59", 86_400.0 - 60.0), ("8h", "8h"), ("25:00", "25:00")]
)
def test_a_deadline_may_be_a_clock_time_the_next_one(text, seconds):
    assert deadline_s(text, now=datetime(2026, 3, 1, 6, 0, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "h", "8 hours", True, float("inf")])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError):
        duration_s(text)


def test_a_job_survives_the_way_through_its_manifest():
    job = job_from(
        {
            **MINIMAL,
            "simulator": {"rpm": 60},
            "limits": {"deadline": "8h"},
            "price": {"input": 1, "output": 2},
        }
    )

    assert Job.from_dict(job.to_dict()) == job


def test_concurrency_limits_and_prices_are_no_request_settings():
    one = job_from(MINIMAL)
    two = job_from({**MINIMAL, "limits": {"concurrency": 2, "rpm": 9}, "price": {"input": 1, "output": 1}})

    assert one.request_settings() == two.request_settings()


def test_a_j2_file_counts_by_its_content_not_its_name(tmp_path):
    first, second = tmp_path / "a.j2", tmp_path / "b.j2"
    first.write_text("hello {{ text }}")
    second.write_text("hello {{ text }}")
    data = {"input": {"path": "rows.csv"}, "request": {"model": "m"}}

    def settings(path: Path) -> dict:
        return job_from(data, {"request.prompt_file": str(path)}).request_settings()

    assert settings(first) == settings(second)
    second.write_text("bye {{ text }}")
    assert settings(first) != settings(second)


def test_a_base_url_by_flag_drops_the_key_of_the_file_s_host():
    data = {**MINIMAL, "endpoint": {"base_url": "https://one.example/v1", "api_key_env": "ONE_KEY"}}

    assert job_from(data, {"endpoint.base_url": "https://two.example/v1"}).endpoint[0].api_key_env is None
    assert (
        job_from(data, {"endpoint.base_url": "https://one.example/v2"}).endpoint[0].api_key_env == "ONE_KEY"
    )


@pytest.mark.parametrize("url", ["ftp://host/x", "modelslab.com", "https://", ""])
def test_a_base_url_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="base_url"):
        job_from({**MINIMAL, "endpoint": {"base_url": url}})


def test_the_run_directory_is_named_after_the_input_whatever_the_output():
    assert job_from(MINIMAL).output.run_dir == "runs/rows"
    assert job_from({**MINIMAL, "output": {"file": "a/out.parquet"}}).output.run_dir == "runs/rows"
    assert job_from({**MINIMAL, "input": {"path": "a b/part 1.jsonl.gz"}}).output.run_dir == "runs/part-1"


def test_endpoints_we_start_have_the_same_identity_on_every_port():
    assert endpoint_host("local:/models/x.gguf") == "local"
    assert endpoint_host("simulator") == "simulator"
    assert endpoint_host("https://Host.example:8443/v1") == "host.example:8443"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[input\n", "not valid TOML"), (b"\xff\xfe", "not UTF-8"), (None, "cannot read the job file")],
)
def test_a_job_file_that_cannot_be_read_is_one_line(tmp_path, content, message):
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UsageError, match=message) as caught:
        load_job(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"file": "x", "to": "openai"}, "output.to: no format 'openai'; did you mean 'openai-batch'"),
        ({"file": "x.txt"}, "output.file: 'x.txt' must end in .parquet, .csv, .jsonl or /"),
        ({"to": "csv"}, "output.to: needs an output file"),
        (
            {"file": "x.jsonl", "errors": "./x.jsonl"},
            "output.errors: './x.jsonl' would be written over output.file",
        ),
        ({"errors": "e.jsonl"}, "output.errors: needs an output file"),
    ],
)
def test_an_output_that_cannot_be_is_told_with_the_job(output, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        job_from({**MINIMAL, "output": output})


@pytest.mark.parametrize(
    ("file", "to", "batch", "format_"),
    [
        ("a.parquet", None, True, "parquet"),
        ("a.JSONL", None, False, "jsonl"),
        ("a.jsonl", None, True, "openai-batch"),
        ("a.jsonl", "jsonl", True, "jsonl"),
        ("a", "csv", False, "csv"),
        ("a/", None, True, "hf"),
        ("a", None, True, None),
    ],
)
def test_the_ending_the_input_or_the_user_says_the_format(file, to, batch, format_):
    assert output_format(file, to, batch=batch) == format_


def test_only_json_lines_without_a_prompt_may_do_without_a_model():
    assert job_from({"input": {"path": "x.jsonl.gz"}}).request.model == ""
    for data in ({"input": {"path": "x.csv"}}, {"input": {"path": "x.jsonl"}, "request": {"prompt": "{a}"}}):
        with pytest.raises(UsageError, match="no model"):
            job_from(data)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"task": "embedding"}, "request.task: no task 'embedding'; did you mean 'embeddings'?"),
        ({"task": "embeddings", "system": "s"}, "request.system: embeddings take a prompt only"),
        ({"task": "completions", "system": "s"}, "request.system: completions take a prompt only"),
        ({"task": "embeddings", "stream": True}, "request.stream: embeddings are not streamed"),
        ({"task": "embeddings", "batch_rows": 0}, "request.batch_rows: must be from 1 to 2,048"),
        ({"task": "embeddings", "batch_rows": 2_049}, "request.batch_rows: must be from 1 to 2,048"),
        ({"task": "embeddings", "batch_tokens": 0}, "request.batch_tokens: must be at least 1"),
    ],
)
def test_what_a_task_cannot_have_is_said(request_, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        job_from({**MINIMAL, "request": {**MINIMAL["request"], **request_}})


def test_embeddings_have_a_price_without_completions_and_others_do_not():
    embeddings = {**MINIMAL["request"], "task": "embeddings"}
    job = job_from(
        {**MINIMAL, "request": embeddings, "price": {"input": 0.02, "models": {"b": {"input": 1}}}}
    )

    assert (job.price.output, job.price.models["b"].output) == (0.0, 0.0)
    with pytest.raises(UsageError, match="price: needs both"):
        job_from({**MINIMAL, "price": {"input": 0.02}})


def test_how_many_rows_share_a_request_is_no_change_of_what_is_asked():
    def settings(**request) -> dict:
        return job_from({**MINIMAL, "request": {**MINIMAL["request"], **request}}).request_settings()

    assert settings(batch_rows=3, batch_tokens=9) == settings()
    assert settings(task="chat") == settings()
    assert "request.task" not in settings()  # so runs that were started before there were tasks go on
    assert settings(task="embeddings") != settings()


def test_an_address_with_a_password_is_refused_without_repeating_it():
    given = {
        "input.path": "rows.jsonl",
        "request.model": "m",
        "endpoint.base_url": "https://me:secret@host.example/v1",
    }

    with pytest.raises(UsageError) as caught:
        job_from({}, given, where="command line")

    assert "host.example holds a user name or password" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_limits_at_an_endpoint_are_its_own_or_else_the_runs():
    found = job_from(
        {
            "input": {"path": "rows.jsonl"},
            "request": {"model": "m", "prompt": "{text}"},
            "limits": {"concurrency": 8, "rpm": 60},
            "endpoint": [
                {"name": "a", "base_url": "https://a.example/v1"},
                {"name": "b", "base_url": "https://b.example/v1", "concurrency": 2, "rpm": 5, "tpm": 9},
                {"name": "c", "preset": "ollama"},
            ],
        }
    )

    own, lower, queues = (found.limits_at(one) for one in found.endpoint)

    assert own == EndpointLimits(8, rpm=60, start=4)
    assert lower == EndpointLimits(2, rpm=5, tpm=9, start=2)
    assert queues.start == queues.concurrency == 8
    assert own.at_most(4) == EndpointLimits(4, rpm=60, start=4)
    assert own.at_most(None) == own
    assert [found.with_at_most(5).limits_at(one).concurrency for one in found.endpoint] == [5, 2, 5]


def test_the_lane_at_an_endpoint_is_its_own_or_else_the_runs():
    found = job_from(
        {
            "input": {"path": "rows.jsonl"},
            "request": {"model": "m", "prompt": "{text}"},
            "limits": {"lane": "cheapest"},
            "endpoint": [{"preset": "openai"}, {"preset": "groq", "lane": "live"}],
        }
    )

    assert [found.limits_at(one).lane for one in found.endpoint] == ["cheapest", "live"]


def test_no_lane_of_another_name_is_taken():
    with pytest.raises(UsageError, match="limits.lane: no lane 'flexx'; did you mean 'flex'"):
        job_from(
            {
                "input": {"path": "rows.jsonl"},
                "request": {"model": "m", "prompt": "{text}"},
                "limits": {"lane": "flexx"},
            }
        )
