"""Rules of security that no other test covers; `tests/README.md` lists where each rule is tested."""

from __future__ import annotations

import csv
import json
import stat
import subprocess
from pathlib import Path

import pytest

from batchlab.cli import cli
from tests.conftest import CANARY, command, environment
from tests.scenarios.test_run import job, wait_for

EVIL = "\x1b]0;owned\x07\u202egnp.exe\r\n\x9b31m"


def test_no_option_takes_a_key_itself():
    for name, one in cli.commands.items():
        options = {option for parameter in one.params for option in parameter.opts}
        if name != "simulate":  # its word is no secret: it is what its clients must say
            assert "--api-key" not in options


def test_the_key_is_in_no_command_line_and_in_no_environment_of_a_child(simulator, rows_file, tmp_path):
    server = simulator(latency_median_s=0.2)
    words = job(server.base_url, rows_file(40), "-c", "4")
    with subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE) as run:
        wait_for(lambda: server.ledger()["billed"] >= 1)
        line = Path(f"/proc/{run.pid}/cmdline").read_bytes()
        run.terminate()
        run.communicate(timeout=60)

    assert b"batchlab" in line
    assert CANARY.encode() not in line


def test_ids_make_no_file_names(simulator, batchlab, tmp_path):
    rows = tmp_path / "rows.jsonl"
    ids = ["../../escaped", "/etc/passwd", "a\0b", "con", "x" * 5_000]
    rows.write_text("".join(json.dumps({"id": name, "text": "t"}) + "\n" for name in ids))
    before = {path for path in tmp_path.parent.rglob("*") if "runs" not in path.parts}

    done = batchlab(*job(simulator().base_url, rows, "--id-column", "id"))

    assert done.code == 0, done.err
    assert {path for path in tmp_path.parent.rglob("*") if "runs" not in path.parts} == before
    names = {path.name for path in (tmp_path / "runs" / "rows").rglob("*")}
    assert names == {
        "run.json",
        "lock",
        "journal",
        "completions",
        "checksums.log",
        "history.jsonl",
        "written.json",
        "standing.json",
        "part-000000.parquet",
    }


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_what_a_provider_says_cannot_steer_the_terminal(simulator, rows_file, batchlab, stream):
    body = json.dumps({"error": {"message": f"{EVIL}you sent Bearer {CANARY} sk-abcdefghijklmnop"}})
    fault = {"kind": "answer", "status": 401, "body": body, "rate": 1.0, "times": 99}

    done = batchlab(*job(simulator(faults=[fault]).base_url, rows_file(3), *(["--stream"] if stream else [])))

    assert done.code == 3
    assert "you sent" in done.err
    assert not any(sign in done.err for sign in "\x1b\x07\x9b\u202e\r")
    assert "sk-abcdefghijklmnop" not in done.err


def test_a_cell_that_looks_like_a_formula_is_text_in_a_csv(simulator, batchlab, tmp_path):
    formulas = ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", '"=1', "\ufeff=1"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*formulas, "1=1"]))
    assert batchlab(*job(simulator().base_url, rows)).code == 0

    assert batchlab("export", "runs/rows", "-o", "safe.csv").code == 0
    assert batchlab("export", "runs/rows", "-o", "raw.csv", "--csv-raw").code == 0

    def texts(name: str) -> list[str]:
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            return [row["text"] for row in csv.DictReader(file)]

    assert texts("raw.csv") == [*formulas, "1=1"]
    assert texts("safe.csv") == [*(f"'{text}" for text in formulas), "1=1"]


def test_a_run_directory_is_for_its_owner_alone(simulator, rows_file, batchlab, tmp_path):
    assert batchlab(*job(simulator().base_url, rows_file(5))).code == 0

    for path in [tmp_path / "runs" / "rows", *(tmp_path / "runs" / "rows").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_hostile_answer_spoils_its_own_row_only(simulator, rows_file, batchlab, tmp_path):
    hostile = [
        '{"choices": [{"message": {"content": "half \\ud83d of a pair"}, "finish_reason": "stop"}]}',
        '{"choices": [{"message": {"content": "a\\u0000b"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1e400}}',
        '{"choices": [{"message": {"content": 7}, "finish_reason": ["stop"]}]}',
        '{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 99999999999999999999}}',
        '{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "model": {"a": 1}, "id": 5}',
        "[" * 100_000,
    ]
    faults = [
        {"kind": "answer", "status": 200, "body": body, "rows": [f"The {row}th "], "times": 99}
        for row, body in enumerate(hostile)
    ]

    done = batchlab(
        *job(simulator(faults=faults).base_url, rows_file(12), "--max-attempts", "1", "-o", "out.jsonl")
    )

    assert done.code in {0, 1}, done.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert all(line["status"] == "ok" for line in lines[6:])
    assert batchlab("verify", "runs/rows").code == 0
