"""Parameters outside of what a service says it takes: told before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import batchlab
from batchlab.errors import UsageError
from batchlab.job.file import job_from
from batchlab.job.params import param_problems
from batchlab.job.presets import PRESETS, SAME_NUMBERS, UNKNOWN

NAN, INF = float("nan"), float("inf")
URL = {"azure": {"base_url": "https://mine.openai.azure.com/openai/v1"}}


def job(preset: str | None, **params):
    """A job with such parameters; of a service that is no preset without one."""
    endpoint = {"preset": preset, **URL.get(preset, {})} if preset else {"base_url": "http://127.0.0.1:9/v1"}
    request = {"model": "m", "prompt": "{text}", **params}
    return job_from({"input": {"path": "rows.csv"}, "request": request, "endpoint": endpoint})


SERVICES = [*PRESETS.values(), UNKNOWN]
SPANS = [(preset, name, span) for preset in SERVICES for name, span in preset.takes.items()]
IDS = [f"{preset.name or 'unknown'}-{name}" for preset, name, _ in SPANS]


@pytest.mark.parametrize(("preset", "name", "span"), SPANS, ids=IDS)
def test_the_ends_of_what_a_service_takes_are_taken_and_what_is_beyond_is_refused(preset, name, span):
    names = [name, *(other for other, same in SAME_NUMBERS.items() if same == name)]
    step = 1 if span.whole else 0.001
    for word in names:
        for end, beyond in ((span.low, -step), (span.high, step)):
            if end is None:
                continue
            if beyond < 0 and span.above_low:
                job(preset.name, params={word: end + 1e-9})
                beyond = 0
            else:
                job(preset.name, params={word: end})
            with pytest.raises(UsageError) as refused:
                job(preset.name, params={word: end + beyond})
            said = str(refused.value)
            who = f"{preset.name} takes" if preset.name else "services take"
            assert f"request.{word}: {end + beyond!r} is out of range: {who} {span};" in said
            assert "{request.check_params=false} sends it" in said
            job(preset.name, params={word: end + beyond}, check_params=False)
        with pytest.raises(UsageError, match=f"request.{word}: 'much' is no number"):
            job(preset.name, params={word: "much"})
        with pytest.raises(UsageError, match=f"request.{word}: True is no number"):
            job(preset.name, params={word: True})
        job(preset.name, params={word: None})
        if span.whole:
            with pytest.raises(UsageError, match="is no whole number"):
                job(preset.name, params={word: (span.low or 0) + 0.5})


def test_the_seed_s_numbers():
    assert {name: str(span) for name, span in PRESETS["modelslab"].takes.items()} == {
        "temperature": "0 to 2",
        "top_p": "0 to 1",
        "presence_penalty": "-2 to 2",
        "frequency_penalty": "-2 to 2",
        "max_tokens": "1 or more",
        "n": "1 or more",
    }


def test_more_sequences_than_a_service_takes_are_refused():
    job("openai", stop=["a", "b", "c", "d"])
    job("openai", stop="one")
    with pytest.raises(UsageError, match="request.stop: 5 sequences: openai takes 4"):
        job("openai", stop=list("abcde"))


def test_of_a_service_that_nobody_knows_what_none_takes_is_refused():
    assert {name: str(span) for name, span in UNKNOWN.takes.items()} == {
        "temperature": "0 or more",
        "top_p": "0 to 1",
        "max_tokens": "-1 or more",
        "n": "1 or more",
    }
    job(None, temperature=9, top_p=0, max_tokens=-1, frequency_penalty=7, stop=list("abcdefgh"))


@pytest.mark.parametrize("preset", [preset for preset in PRESETS.values() if preset.takes])
def test_a_service_s_own_numbers_are_none_that_no_service_takes(preset):
    """A preset never knows less than is known of a service that is none."""
    for name, widest in UNKNOWN.takes.items():
        span = preset.takes[name]
        assert widest.low <= span.low
        assert widest.high is None or span.high <= widest.high
        assert span.whole == widest.whole


@pytest.mark.parametrize("endpoint", [{"preset": "llama.cpp"}, {"preset": "ollama"}, {"base_url": "local"}])
def test_servers_that_check_nothing_are_sent_anything(endpoint):
    request = {"model": "m", "prompt": "{text}", "temperature": -1, "top_p": 2, "max_tokens": -1, "n": 0}
    job_from({"input": {"path": "rows.csv"}, "request": request, "endpoint": endpoint})
    with pytest.raises(UsageError, match="NaN"):
        job_from({"input": {"path": "rows.csv"}, "request": {**request, "top_p": NAN}, "endpoint": endpoint})


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("value", [NAN, INF, -INF, [1.0, NAN], {"a": {"b": [INF]}}])
def test_what_json_has_no_word_for_is_refused_anywhere(value, check):
    for name in ("temperature", "max_tokens", "extra"):
        with pytest.raises(UsageError, match=f"request.{name}: is or holds NaN or Infinity"):
            job(None, params={name: value}, check_params=check)


def test_each_endpoint_that_a_row_may_go_to_has_a_say():
    made = job_from(
        {
            "input": {"path": "rows.csv"},
            "request": {"model": "m", "prompt": "{text}"},
            "endpoint": [{"preset": "openai"}, {"preset": "mistral"}],
        }
    )

    [(name, problem)] = param_problems({"temperature": 1.8}, made.endpoint, check=True)
    assert name == "temperature"
    assert "mistral takes 0 to 1.5" in problem
    assert not param_problems({"temperature": 1.8}, made.endpoint[:1], check=True)


def words(command: str, simulator, rows: Path, *more: str) -> list[str]:
    at = ["--base-url", simulator.base_url, "--preset", "modelslab", "--api-key-env", "SIMULATOR_KEY"]
    quiet = ["--progress", "none"] if command == "run" else []
    return [command, str(rows), "-m", "sim", *at, *quiet, *more]


@pytest.mark.parametrize(
    "asked",
    [
        ["--temperature", "3"], ["--temperature", "nan"], ["--top-p", "1.5"], ["--max-tokens", "0"],
        ["--param", "presence_penalty=-2.1"], ["--param", "frequency_penalty=3"], ["--param", "x=NaN"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_job_with_such_a_parameter_is_refused_and_nothing_is_sent(
    here, simulator, rows_file, tmp_path, command, asked
):
    server = simulator()

    done = here(*words(command, server, rows_file(2), "-p", "{text}", *asked))

    assert done.code == 2
    assert asked[-1].partition("=")[0] in done.err or asked[0].strip("-").replace("-", "_") in done.err
    assert server.ledger()["requests"] == 0
    assert not (tmp_path / "runs").exists()


OWN = [{"temperature": 1}, {"temperature": 5}, {"top_p": -0.1}, {"max_tokens": 0}, {"n": 1}]


def outcome(path: str) -> list[tuple[str, str | None]]:
    frame = batchlab.load(path)
    errors = (error if isinstance(error, str) else None for error in frame["error_class"])
    return list(zip(frame["status"], errors, strict=True))


def bad(*rows: int) -> list[tuple[str, object]]:
    return [("failed", "bad_input") if row in rows else ("ok", None) for row in range(5)]


def test_a_row_with_such_a_parameter_of_its_own_fails_unsent_and_is_said_before_the_start(
    here, simulator, tmp_path
):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"t{n}", "own": own}) + "\n" for n, own in enumerate(OWN)))
    server = simulator()

    done = here(*words("run", server, rows, "-p", "{text}", "--row-params", "own"))

    assert done.code == 1
    assert "rows.jsonl:2: temperature: 5 is out of range: modelslab takes 0 to 2" in done.err
    assert "3 malformed rows will be recorded as failed (bad_input)" in done.err
    assert done.err.index("3 malformed rows") < done.err.index("done: 5 rows")
    assert outcome("runs/rows") == bad(1, 2, 3)
    assert server.ledger()["requests"] == 2
    strict = here(
        *words("run", server, rows, "-p", "{text}", "--row-params", "own", "--strict", "--run-dir", "s")
    )
    assert strict.code == 2
    assert server.ledger()["requests"] == 2


@pytest.mark.parametrize("form", ["text", "struct"])
def test_a_row_s_nan_never_becomes_a_null_in_a_request(here, simulator, tmp_path, form):
    own = ['{"temperature": NaN}', '{"temperature": 1}'] if form == "text" else [{"temperature": NAN}, {"temperature": 1.0}]  # fmt: skip
    pq.write_table(pa.table({"text": ["a", "b"], "own": own}), tmp_path / "rows.parquet")
    server = simulator()

    more = ["-p", "{text}", "--row-params", "own", "--no-check-params"]
    done = here(*words("run", server, tmp_path / "rows.parquet", *more))

    assert "rows.parquet:1: temperature: is or holds NaN or Infinity, which JSON does not have" in done.err
    assert server.ledger()["requests"] == 1


def test_a_line_of_a_batch_file_is_looked_at_too(here, simulator, tmp_path):
    def line(n: int, own: dict) -> str:
        body = {"model": "sim", "messages": [{"role": "user", "content": f"t{n}"}], **own}
        return json.dumps(
            {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        )

    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(line(n, own) + "\n" for n, own in enumerate(OWN)))
    server = simulator()

    done = here(*words("run", server, rows))

    assert done.code == 1
    assert "rows.jsonl:4: max_tokens: 0 is out of range: modelslab takes 1 or more" in done.err
    assert server.ledger()["requests"] == 2


NOWHERE = [{"temperature": -0.1}, {"top_p": 1.01}, {"top_p": -1}, {"max_tokens": -2}, {"n": 0}, {"n": 1.5},
           {"max_completion_tokens": -2}]  # fmt: skip


@pytest.mark.parametrize("own", NOWHERE, ids=str)
def test_what_no_service_takes_is_an_error_of_the_job_and_its_row_s_failure_at_any_address(
    here, simulator, tmp_path, own
):
    [(name, value)] = own.items()
    lines = tmp_path / "lines.jsonl"
    bodies = [{"model": "sim", "messages": [{"role": "user", "content": "t"}], **more} for more in ({}, own)]
    head = {"method": "POST", "url": "/v1/chat/completions"}
    lines.write_text(
        "".join(json.dumps({"custom_id": f"r{n}", **head, "body": b}) + "\n" for n, b in enumerate(bodies))
    )
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": "t", "own": more}) + "\n" for more in ({}, own)))
    server = simulator()
    at = ["-m", "sim", "--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY", "--progress", "none"]
    template = [str(rows), *at, "-p", "{text}"]

    job_s = here("run", *template, "--param", f"{name}={value}", "--run-dir", "job")
    row_s = here("run", *template, "--row-params", "own", "--run-dir", "row")
    line_s = here("run", str(lines), *at, "--run-dir", "line")

    assert (job_s.code, row_s.code, line_s.code) == (2, 1, 1)
    told = f"{name}: {value} is "
    assert told.replace("_", "-") in job_s.err.replace("_", "-")  # by its flag, where it has one
    assert "services take" in job_s.err
    assert "--no-check-params sends it" in job_s.err
    assert f"rows.jsonl:2: {told}" in row_s.err
    assert f"lines.jsonl:2: {told}" in line_s.err
    for run in ("row", "line"):
        assert outcome(run) == [("ok", None), ("failed", "bad_input")]
    assert server.ledger()["requests"] == 2

    lifted = here("run", *template, "--row-params", "own", "--run-dir", "lifted", "--no-check-params")

    assert lifted.code in {0, 1}
    assert server.ledger()["requests"] >= 4
