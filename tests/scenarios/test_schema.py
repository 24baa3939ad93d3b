"""Jobs with a JSON Schema, through the command, against a model that does not always keep to it.

The command runs in this process: what is tested is not how it starts.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import batchlab as package
from batchlab.cli import cli
from batchlab.cli.spelling import in_flags
from batchlab.errors import BatchlabError
from batchlab.job.file import job_from
from tests.conftest import CANARY, ROOT, Finished, command, environment

from .test_run import job, parts

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["mood", "stars", "where"],
    "properties": {
        "mood": {"enum": ["good", "bad"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "where": {
            "type": "object",
            "additionalProperties": False,
            "required": ["city"],
            "properties": {"city": {"type": ["string", "null"]}},
        },
    },
}
GOOD = {"mood": "good", "stars": 4, "where": {"city": None}}
SLOPPY = [
    {"kind": "json_unfit", "rate": 0.35},
    {"kind": "json_broken", "rate": 0.2},
    {"kind": "json_fenced", "rate": 0.2},
    {"kind": "json_in_prose", "rate": 0.2},
    {"kind": "http_503", "rate": 0.05},
]


@pytest.fixture
def batchlab(tmp_path, monkeypatch, capsys):
    """The command, as the fixture of this name in conftest, without a process of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)

    def run(*words) -> Finished:
        capsys.readouterr()
        said = ""
        try:
            code = cli.main([str(word) for word in words], prog_name="batchlab", standalone_mode=False)
        except BatchlabError as error:
            code, said = error.exit_code, f"batchlab: {in_flags(str(error))}\n"
        out, err = capsys.readouterr()
        assert CANARY not in out + err
        return Finished(code, out, err + said)

    return run


@pytest.fixture
def schema_file(tmp_path):
    path = tmp_path / "label.schema.json"
    path.write_text(json.dumps(SCHEMA))
    return path


def saying(text: str, finish_reason: str = "stop", **message) -> str:
    """The body of a completion."""
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    return json.dumps({"id": "x", "model": "sim", "choices": [choice], "usage": usage})


def always(text: str, **more) -> dict:
    """Simulator options of a provider that always says the same."""
    return {"faults": [{"kind": "answer", "rate": 1.0, "times": 99, "body": saying(text, **more)}]}


@pytest.mark.parametrize("mode", ["json_schema", "json_object", "prompt"])
def test_answers_fit_the_schema_after_correction_turns_and_the_books_equal_the_ledger(
    batchlab, simulator, rows_file, schema_file, tmp_path, mode
):
    server = simulator(seed=3, faults=SLOPPY)
    words = job(
        server.base_url, rows_file(60), "--schema", str(schema_file), "--schema-mode", mode,
        "--price-in", "1", "--price-out", "2", "--shard-rows", "25", "--schema-retries", "3",
    )  # fmt: skip

    done = batchlab(*words)

    rows, ledger = parts(tmp_path / "runs/rows").to_pylist(), server.ledger()
    assert {row["status"] for row in rows} <= {"ok", "invalid"}
    assert done.code == (1 if any(row["status"] == "invalid" for row in rows) else 0), done.err
    corrected = [row for row in rows if row["corrections"]]
    assert len(corrected) > 10
    assert {row["parsed_note"] for row in rows} >= {None, "fenced", "text around"}
    for row in rows:
        if row["status"] == "ok":
            parsed = json.loads(row["parsed"])
            assert parsed["mood"] in {"good", "bad"}
            assert parsed["stars"] in range(1, 6)
            assert row["error_message"] is None
        assert bool(row["wasted_completion_tokens"]) == bool(row["corrections"])
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(row[name] + (row[f"wasted_{name}"] or 0) for row in rows) == ledger[name]
    assert sum(row["attempts"] for row in rows) == ledger["requests"]
    paid = sum(row["cost_usd"] + (row["cost_wasted_usd"] or 0) for row in rows)
    assert paid == pytest.approx((ledger["prompt_tokens"] + 2 * ledger["completion_tokens"]) / 1e6)
    assert "1 3" not in done.err
    again = batchlab(*words)
    assert "0 requests" in again.err
    assert batchlab("verify", "runs/rows").code == 0
    by_turns = batchlab("cost", "runs/rows", "--by", "corrections", "--format", "json")
    assert by_turns.code == 0, by_turns.err


def test_a_row_that_stays_invalid_keeps_its_last_answer_and_can_be_asked_again(
    batchlab, simulator, rows_file, schema_file, tmp_path
):
    """What the invalid answer had cost becomes waste, and the books still equal the ledger."""
    # each request is spoilt the first time it is asked; a correction turn is a request of its own
    bad = [{"kind": "json_unfit", "rows": ["8th", "No. 9"], "times": 1}]
    server = simulator(faults=bad)
    rows = rows_file(12, texts=[f"The {n}th" if n != 9 else "No. 9" for n in range(12)])
    words = job(server.base_url, rows, "--schema", str(schema_file), "--price-in", "1", "--price-out", "1")

    done = batchlab(*words)

    assert done.code == 1
    assert "10 ok + 2 invalid" in done.err
    assert "batchlab retry runs/rows --only invalid" in done.err
    row = parts(tmp_path / "runs/rows").to_pylist()[8]
    assert (row["status"], row["corrections"], row["attempts"]) == ("invalid", 2, 3)
    assert row["error_class"] == "schema"
    assert row["error_message"].startswith("$.")
    assert row["parsed"] is None
    assert json.loads(row["completion"])["stars"].keys() == {"value"}
    assert batchlab("retry", "runs/rows").err.count("2 invalid"), "plain retry asks for failed rows only"
    assert server.ledger()["requests"] == 10 + 6

    retried = batchlab("retry", "runs/rows", "--only", "invalid")

    assert retried.code == 0, retried.err
    rows = parts(tmp_path / "runs/rows").to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    ledger = server.ledger()
    assert ledger["requests"] == 10 + 6 + 2
    assert rows[8]["attempts"] == 4
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(row[name] + (row[f"wasted_{name}"] or 0) for row in rows) == ledger[name]
    spent = sum(row["cost_usd"] + (row["cost_wasted_usd"] or 0) for row in rows)
    assert spent == pytest.approx((ledger["prompt_tokens"] + ledger["completion_tokens"]) / 1e6)
    assert batchlab("verify", "runs/rows").code == 0


def test_expand_makes_typed_columns_and_can_be_switched_on_later_for_nothing(
    batchlab, simulator, rows_file, schema_file, tmp_path
):
    server = simulator()
    words = job(server.base_url, rows_file(25), "--schema", str(schema_file), "--shard-rows", "10")
    assert batchlab(*words).code == 0

    done = batchlab(*words, "--expand", "-o", "out.parquet")

    assert done.code == 0, done.err
    assert "25 of 25 rows are answered and kept" in done.err
    assert server.ledger()["requests"] == 25
    table = parts(tmp_path / "runs/rows")
    assert table.column_names[-3:] == ["mood", "stars", "where"]
    assert pa.types.is_dictionary(table.schema.field("mood").type)
    assert table.schema.field("stars").type == pa.int64()
    assert table.schema.field("where").type == pa.struct([("city", pa.string())])
    for row in table.to_pylist():
        parsed = json.loads(row["parsed"])
        assert {name: row[name] for name in parsed} == parsed
    assert pq.read_table(tmp_path / "out.parquet")["stars"].to_pylist() == table["stars"].to_pylist()
    assert batchlab("export", "runs/rows", "-o", "out.csv").code == 0
    assert batchlab("export", "runs/rows", "-o", "out.jsonl").code == 0
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert line["where"] == json.loads(line["parsed"])["where"]
    by_mood = json.loads(batchlab("cost", "runs/rows", "--by", "mood", "--format", "json").out)
    assert by_mood
    assert batchlab("verify", "runs/rows").code == 0

    # added rows go into the same columns, the others are not asked again
    with rows_file(25).open("a") as file:
        file.write('{"n": 25, "text": "one more"}\n')
    assert batchlab(*words, "--expand").code == 0
    assert server.ledger()["requests"] == 26
    assert parts(tmp_path / "runs/rows")["stars"].null_count == 0
    off = batchlab(*words)
    assert "26 of 26 rows are answered and kept" in off.err
    assert "stars" not in parts(tmp_path / "runs/rows").column_names


def test_an_unfinished_run_loads_with_the_same_columns_and_pending_rows_are_null(
    batchlab, simulator, rows_file, schema_file, tmp_path
):
    server = simulator(latency_median_s=0.05)
    rows = rows_file(40)
    words = job(server.base_url, rows, "--schema", str(schema_file), "--expand", "--shard-rows", "10")

    stopped = batchlab(*words, "--max-tokens-total", "800", "--max-tokens", "80")

    assert stopped.code == 3, stopped.err
    frame = package.load(tmp_path / "runs/rows")
    answered = frame["status"] == "ok"
    assert 0 < answered.sum() < 40
    assert list(frame["stars"].notna()) == list(answered)
    assert str(frame["stars"].dtype) == "int64[pyarrow]"
    assert batchlab("export", "runs/rows", "-o", "half.parquet").code == 0


def test_a_crash_between_correction_turns_keeps_the_books(rows_file, schema_file, simulator, tmp_path):
    """The answer that was being corrected is waste on disk before the next request leaves."""
    slow = {"seed": 1, "latency_median_s": 0.15, "latency_sigma": 0.0}
    server = simulator(faults=[{"kind": "json_unfit", "rate": 0.8}], **slow)
    words = job(server.base_url, rows_file(30), "--schema", str(schema_file), "-c", "4")
    running = subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    while server.ledger()["billed"] < 20:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    while server.ledger()["in_flight"]:
        time.sleep(0.02)

    done = subprocess.run(command(*words), cwd=tmp_path, env=environment(), capture_output=True, text=True)

    assert done.returncode in {0, 1}, done.stderr
    rows = parts(tmp_path / "runs/rows").to_pylist()
    ledger = server.ledger()
    lost = sum(row["cut_off"] for row in rows)
    assert 0 <= lost <= 4
    # a request is on disk before it leaves: the kill may have come between the two
    assert 0 <= sum(row["attempts"] for row in rows) - ledger["requests"] <= lost
    known = sum(row["completion_tokens"] + (row["wasted_completion_tokens"] or 0) for row in rows)
    assert known <= ledger["completion_tokens"] <= known + lost * 60
    if not lost:
        assert known == ledger["completion_tokens"]


@pytest.mark.parametrize(
    ("text", "more", "status", "attempts", "said"),
    [
        ("I cannot.", {"refusal": "I will not."}, "invalid", 1, "the model refused to answer"),
        ('{"mood": "good", "sta', {"finish_reason": "length"}, "truncated", 1, "max_tokens cut the answer off"),
        ("Well, let me think", {"finish_reason": "length"}, "truncated", 3, "begins with other text"),
        (json.dumps(GOOD) + "\n\nAnd also", {"finish_reason": "length"}, "ok", 1, None),
        ("", {"finish_reason": "content_filter"}, "filtered", 1, "the answer is empty"),
        ("", {}, "invalid", 3, "the answer is empty"),
        (None, {"tool_calls": [{"id": "1"}]}, "ok", 1, None),
        ('{"a": ' * 3_000, {}, "invalid", 3, "nested too deeply"),
        (json.dumps(GOOD | {"stars": 10**25}), {}, "invalid", 3, "$.stars: 10000000000000000000000000 is greater"),
    ],
)  # fmt: skip
def test_what_can_come_instead_of_json(
    batchlab, simulator, rows_file, schema_file, tmp_path, text, more, status, attempts, said
):
    server = simulator(**always(text, **more))

    done = batchlab(*job(server.base_url, rows_file(1), "--schema", str(schema_file), "--expand"))

    row = parts(tmp_path / "runs/rows").to_pylist()[0]
    assert (row["status"], row["attempts"]) == (status, attempts), done.err
    assert done.code == (1 if status == "invalid" else 0)
    assert (row["error_message"] or "").find(said or "") >= 0
    assert (row["parsed"] is None) == (text is None or said is not None)
    assert (row["stars"] is None) == (row["parsed"] is None)


def test_whole_json_in_a_cut_off_answer_is_not_asked_again_for_more_tokens(
    batchlab, simulator, rows_file, schema_file
):
    server = simulator(**always(json.dumps(GOOD) + "\nAnd", finish_reason="length"))

    done = batchlab(
        *job(server.base_url, rows_file(1), "--schema", str(schema_file), "--max-tokens", "40"),
        "--retry-truncated", "2",
    )  # fmt: skip

    assert done.code == 0, done.err
    assert server.ledger()["requests"] == 1


def test_a_correction_that_fails_keeps_the_answer_there_is_and_says_why(
    batchlab, simulator, rows_file, schema_file, tmp_path
):
    too_long = {"kind": "context_length", "rows": ["Write only the JSON."], "times": 9}
    server = simulator(faults=[too_long, {"kind": "json_unfit", "rate": 1.0}])

    done = batchlab(*job(server.base_url, rows_file(2), "--schema", str(schema_file)))

    assert done.code == 1, done.err
    row = parts(tmp_path / "runs/rows").to_pylist()[0]
    assert (row["status"], row["corrections"], row["attempts"]) == ("invalid", 0, 2)
    assert "asking again gave no answer: This model's maximum context length" in row["error_message"]
    assert row["wasted_completion_tokens"] is None
    assert row["completion"]


def test_an_integer_past_64_bits_is_null_in_its_column_and_exact_in_parsed(
    batchlab, simulator, rows_file, tmp_path
):
    (tmp_path / "n.json").write_text('{"type": "object", "properties": {"big": {"type": "integer"}}}')
    server = simulator(**always('{"big": 123456789012345678901234567890}'))

    done = batchlab(*job(server.base_url, rows_file(2), "--schema", "n.json", "--expand"))

    assert done.code == 0, done.err
    row = parts(tmp_path / "runs/rows").to_pylist()[0]
    assert row["parsed"] == '{"big":123456789012345678901234567890}'
    assert row["big"] is None
    assert row["parsed_note"] == "integer beyond 64 bits"


def test_a_batch_file_s_bodies_are_sent_as_written_so_a_schema_is_refused(
    batchlab, simulator, schema_file, tmp_path
):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (tmp_path / "lines.jsonl").write_text(json.dumps(line) + "\n")
    server = simulator()

    done = batchlab(
        "run", "-i", "lines.jsonl", "--schema", schema_file, "--base-url", server.base_url,
        "--api-key-env", "SIMULATOR_KEY", "--progress", "none",
    )  # fmt: skip

    assert done.code == 2
    assert "sent as written, and the job sets schema" in done.err


def test_a_service_that_refuses_response_format_stops_the_run_at_its_first_row(
    batchlab, simulator, rows_file, schema_file
):
    """One request, one line, and the mode it names goes on without --fresh: nothing is answered yet."""
    server = simulator(refused=["response_format"])
    words = job(server.base_url, rows_file(50), "--schema", str(schema_file), "-c", "1")

    done = batchlab(*words)

    assert done.code == 3
    assert server.ledger()["requests"] == 1
    why = next(line for line in done.err.splitlines() if line.startswith("why: "))
    assert "not permitted: response_format" in why
    assert "schema_mode json_object, or prompt" in why
    assert "50 pending" in done.err

    assert batchlab(*words, "--schema-mode", "prompt").code == 0
    assert server.ledger()["requests"] == 51


def test_an_endpoint_that_ignores_the_schema_is_found_out_after_twenty_rows(
    batchlab, simulator, rows_file, schema_file
):
    server = simulator(**always("As you wish."))
    words = job(server.base_url, rows_file(200), "--schema", str(schema_file), "-c", "1")

    done = batchlab(*words, "--schema-retries", "0")

    assert done.code == 3
    assert server.ledger()["requests"] == 20
    assert "none of the first 20 answers fits the schema" in done.err
    assert "or set schema_mode prompt" in done.err


def test_another_schema_or_mode_is_another_request_and_never_mixed_in(
    batchlab, simulator, rows_file, schema_file
):
    server, rows = simulator(), rows_file(3)
    words = job(server.base_url, rows, "--schema", str(schema_file))
    assert batchlab(*words).code == 0

    moded = batchlab(*words, "--schema-mode", "prompt")
    schema_file.write_text(json.dumps(SCHEMA | {"description": "x" * 5_000}))
    edited = batchlab(*words)

    assert moded.code == edited.code == 2
    assert "--schema-mode: 'json_schema' -> 'prompt'" in moded.err
    assert "request.schema.description: not set -> 'xxx" in edited.err
    assert len(edited.err) < 2_000
    assert batchlab(*words, "--fresh").code == 0
    assert server.ledger()["requests"] == 6
    # how often it is corrected may change freely
    assert batchlab(*words, "--schema-retries", "0").code == 0


def test_a_pydantic_model_is_named_by_its_import_path(batchlab, simulator, rows_file, tmp_path):
    (tmp_path / "labels.py").write_text(
        "from typing import Literal\nfrom pydantic import BaseModel, TypeAdapter\n"
        "class Place(BaseModel):\n    city: str | None\n"
        "class Label(BaseModel):\n    mood: Literal['good', 'bad']\n    place: Place | None\n    tags: list[str]\n"
        "Many = TypeAdapter(list[Label])\nPLAIN = {'type': 'object'}\nNOTHING = 3\n"
    )
    server = simulator()

    done = batchlab(*job(server.base_url, rows_file(5), "--schema", "labels:Label", "--expand"))

    assert done.code == 0, done.err
    table = parts(tmp_path / "runs/rows")
    assert table.schema.field("place").type == pa.struct([("city", pa.string())])
    assert set(table["mood"].to_pylist()) <= {"good", "bad"}
    for named, said in (
        ("labels:Many", "schema: labels:Many, as response_format json_schema, not strict"),
        ("labels:PLAIN", "schema: labels:PLAIN"),
    ):
        plan = batchlab("plan", *job(server.base_url, tmp_path / "rows.jsonl", "--schema", named)[1:])
        assert said in plan.out
    for named, said in (
        ("labels:Missing", "labels:Missing: cannot be imported: AttributeError"),
        ("nolabels:Label", "nolabels:Label: cannot be imported: ModuleNotFoundError"),
        ("labels:NOTHING", "labels:NOTHING: neither a Pydantic model nor a dict, but int"),
    ):
        refused = batchlab(*job(server.base_url, tmp_path / "rows.jsonl", "--schema", named))
        assert refused.code == 2
        assert said in refused.err
    # what the run was started with is in run.json: the module is not needed again
    (tmp_path / "labels.py").unlink()
    assert batchlab("retry", "runs/rows").code == 0


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (None, [], "bad.json: cannot be read: No such file"),
        ("{", [], "bad.json: not JSON: Expecting property name"),
        ("[1]", [], "bad.json: a JSON Schema is an object here, not an array"),
        ('{"type": "strin"}', [], "bad.json: not a valid JSON Schema: $.type: 'strin' is no JSON type"),
        ('{"type": "string"}', ["--expand"], "bad.json: --expand needs an object with properties"),
        ('{"type": "object", "properties": {"status": {}}}', ["--expand"], "--expand-prefix parsed_"),
        ('{"type": "object", "properties": {"text": {}}}', ["--expand"], "the input has one of that name"),
        ("{}", ["--param", "response_format={}"], "the schema makes it"),
        ("{}", ["--schema-retries", "-1"], "must be 0 or more"),
    ],
)
def test_a_wrong_schema_is_one_line_before_anything_is_sent(
    batchlab, simulator, rows_file, tmp_path, content, more, said
):
    server = simulator()
    if content is not None:
        (tmp_path / "bad.json").write_text(content)

    done = batchlab(*job(server.base_url, rows_file(3), "--schema", "bad.json", *more))

    assert done.code == 2, done.err
    assert said in done.err
    assert len(done.err.strip().splitlines()) <= 2  # the price is said first
    assert server.ledger()["requests"] == 0


def test_a_schema_in_the_job_file_and_the_services_own_ways():
    base = {"input": {"path": "x.jsonl"}, "request": {"model": "m", "schema": SCHEMA}}

    def mode(*presets: str, **request) -> str:
        endpoints = [{"preset": preset} for preset in presets]
        return job_from({**base, "request": base["request"] | request, "endpoint": endpoints}).schema_mode

    assert job_from(base).request.schema == SCHEMA
    assert mode("openai") == "json_schema"
    assert mode("deepseek") == "json_object"
    assert mode("modelslab") == "prompt"
    assert mode("openai", "deepseek") == "json_object", "one request for all endpoints: the weakest"
    assert mode("modelslab", schema_mode="json_schema") == "json_schema"


def test_the_label_job_runs_as_it_is(batchlab, tmp_path):
    for name in ("sample_data", "jobs"):
        (tmp_path / name).symlink_to(Path(ROOT) / name)

    done = batchlab("run", "jobs/label.toml", "--progress", "none")

    assert done.code == 0, done.err
    frame = package.load(tmp_path / "runs/label")
    assert set(frame["status"]) == {"ok"}
    assert set(frame["corrections"]) >= {0, 1}
    assert frame["stars"].between(1, 5).all()
    assert set(frame["topics"].explode()) <= {"quality", "delivery", "price", "service", "use"}


def test_a_frame_and_a_pydantic_model_give_a_frame_with_its_fields(tmp_path, monkeypatch):
    import pandas as pd
    from pydantic import BaseModel

    class Label(BaseModel):
        mood: str
        stars: int

    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"text": ["a", "b"]})

    answers = package.run(
        frame, prompt="{text}", model="sim", base_url="simulator", schema=Label, expand=True,
        simulator__latency_median_s=0.0, progress="none", quiet=True,
    )  # fmt: skip

    assert list(answers["status"]) == ["ok", "ok"]
    assert all(Label.model_validate_json(text) for text in answers["parsed"])
    assert answers["stars"].notna().all()


def test_two_processes_hold_answers_against_the_schema_too(
    batchlab, simulator, rows_file, schema_file, tmp_path
):
    server = simulator(seed=3, faults=[{"kind": "json_unfit", "rate": 0.4}])
    words = job(server.base_url, rows_file(60), "--schema", schema_file, "--expand", "--shard-rows", "10")

    done = batchlab(*words, "--processes", "2")

    rows, ledger = parts(tmp_path / "runs/rows").to_pylist(), server.ledger()
    assert done.code == (1 if any(row["status"] == "invalid" for row in rows) else 0), done.err
    assert any(row["corrections"] for row in rows)
    assert all((row["stars"] is None) == (row["parsed"] is None) for row in rows)
    known = sum(row["completion_tokens"] + (row["wasted_completion_tokens"] or 0) for row in rows)
    assert known == ledger["completion_tokens"]
    left = sum(row["status"] == "invalid" for row in rows)
    before = ledger["requests"]
    again = batchlab("retry", "runs/rows", "--only", "invalid")
    assert again.code in {0, 1}, again.err
    assert bool(left) == (server.ledger()["requests"] > before)
