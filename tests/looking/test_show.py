"""`batchlab show`, `export` of less than all, and the answer at the end of a run."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from batchlab.looking import show as showing
from batchlab.looking.rows.cards import card
from batchlab.looking.rows.conditions import condition_of
from batchlab.looking.show import ShownRow, Wanted, run_schema, shown_rows
from batchlab.store.view import RunView
from tests.conftest import CANARY, command, ended_here, environment, simulating
from tests.scenarios.test_run import PROMPT, job

HOSTILE = "red \x1b[31m and \x9b5m title \x1b]0;x\x07 \u202egnp.exe"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A run of 30 rows in three shards, whose rows 3 and 17 failed; it is only looked at."""
    home = tmp_path_factory.mktemp("show")
    rows = home / "rows.jsonl"
    texts = [f"The {n}th remark, about parcel {n}." for n in range(30)]
    texts[5] = HOSTILE
    rows.write_text(
        "".join(json.dumps({"n": n, "id": f"R-{n}", "text": text}) + "\n" for n, text in enumerate(texts))
    )
    faults = [{"kind": "answer", "status": 400, "body": "{}", "rows": ["The 3th ", "The 17th "], "times": 99}]
    with simulating(faults=faults) as server:
        words = job(
            server.base_url,
            rows,
            "--shard-rows",
            "10",
            "--id-column",
            "id",
            "--price-in",
            "1",
            "--price-out",
            "2",
        )
        done = subprocess.run(command(*words), cwd=home, env=environment(), capture_output=True, text=True)
        (home / "job.toml").write_text(
            f'[input]\npath = "rows.jsonl"\n[endpoint]\nbase_url = "{server.base_url}"\napi_key_env = "SIMULATOR_KEY"\n'
            '[request]\nmodel = "sim"\nprompt = "{text}"\n[output]\nrun_dir = "runs/rows"\n'
        )
    assert done.returncode == 1, done.stderr
    (home / "end").write_text(done.stderr)
    return home


@pytest.fixture
def at_home(home, monkeypatch, capfd):
    monkeypatch.chdir(home)
    return lambda *words: ended_here(monkeypatch, capfd, words)


def heads(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("row ")]


def test_a_page_of_rows_shows_what_was_asked_and_answered_and_how_to_go_on(at_home):
    said = at_home("show", "runs/rows", "-n", "4")

    assert [line.split(" · ")[:3] for line in heads(said.out)] == [
        ["row 0", "id R-0", "ok"],
        ["row 1", "id R-1", "ok"],
        ["row 2", "id R-2", "ok"],
        ["row 3", "id R-3", "failed"],
    ]
    assert "tokens · $0.0" in said.out
    assert f"user    {PROMPT.replace('{text}', 'The 0th remark, about parcel 0.')}" in said.out
    assert "error  bad_request (400): " in said.out
    assert said.err == "more: batchlab show runs/rows 4- -n 4\n"


def test_rows_are_named_by_number_range_and_id_and_shown_in_order(at_home):
    said = at_home("show", "job.toml", "17", "3-4,28-", "R-9", "-n", "0")

    assert [line.split(" · ")[0] for line in heads(said.out)] == [
        f"row {row}" for row in (3, 4, 9, 17, 28, 29)
    ]


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["--status", "failed"], [3, 17]),
        (["--status", "failed,truncated", "--where", "n<10"], [3]),
        (["--where", "n>=27"], [27, 28, 29]),
        (["--where", "text~PARCEL 2."], [2]),
        (["--where", "id=R-12"], [12]),
        (["--where", "custom_id==R-12"], [12]),
        (["--where", "error_class!=", "--where", "n!=3"], [17]),
        (["--where", "started_at<2020-01-01"], []),
        (["--where", "cost_usd>1000"], []),
    ],
)  # fmt: skip
def test_rows_are_chosen_by_status_and_condition(at_home, words, rows):
    said = at_home("show", "runs/rows", "--json", *words)

    assert [json.loads(line)["row_id"] for line in said.out.splitlines()] == rows
    assert said.code == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--where", "n"], "expected COLUMN=VALUE"),
        (["--where", "m=3"], "no column 'm'"),
        (["--where", "complet~x"], "did you mean 'completion'?"),
        (["--where", "n>many"], "n holds numbers, and 'many' is none"),
        (["--where", "started_at>noon"], "holds times, such as 2026-01-31T23:00"),
        (["--status", "fail"], "did you mean failed?"),
        (["30"], "no row 30: it has 30, from 0 on"),
        (["7-3"], "a range goes upwards: 3-7"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(at_home, words, problem):
    said = at_home("show", "runs/rows", *words)

    assert said.code == 2
    assert problem in said.err
    assert said.err.count("\n") == 1


def test_json_has_the_columns_of_the_input_what_was_asked_and_the_results(at_home):
    [row] = map(json.loads, at_home("show", "runs/rows", "R-7", "--json").out.splitlines())

    assert row["input"] == {"n": 7, "id": "R-7", "text": "The 7th remark, about parcel 7."}
    assert row["asked"] == [{"role": "user", "content": PROMPT.replace("{text}", row["input"]["text"])}]
    assert row["status"] == "ok"
    assert row["completion"]
    assert row["cost_usd"] > 0


def test_what_a_terminal_would_obey_is_not_shown(at_home):
    shown = at_home("show", "runs/rows", "5").out

    assert "red" in shown
    assert "gnp.exe" in shown
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(shown)


def test_no_row_is_said_and_is_no_error(at_home):
    said = at_home("show", "runs/rows", "--status", "filtered")

    assert (said.code, said.out) == (0, "")
    assert "no row of runs/rows that has a result fits" in said.err


def test_of_a_part_only_the_rows_that_are_meant_are_read_whole(home, monkeypatch):
    run = RunView.open(home / "runs/rows")
    whole = []
    monkeypatch.setattr(
        showing, "whole_tables", lambda path, *args, real=showing.whole_tables, **more: whole.append(path) or real(path, *args, **more)
    )  # fmt: skip

    condition = condition_of("n=17", run_schema(run), "")
    assert [row.row_id for row in shown_rows(run, Wanted(conditions=[condition]))] == [17]
    assert [row.row_id for row in shown_rows(run, Wanted(((25, 25),)))] == [25]
    assert [path.name for path in whole] == ["part-000001.parquet", "part-000002.parquet"]


def test_long_texts_are_cut_on_a_page_and_whole_when_a_row_is_named():
    row = ShownRow(0, "0", "ok", (("user", "x" * 9_000),), True, "first\n  indented\n\nlast", {}, {})

    assert "(9,000 characters)" in "\n".join(card(row, room=None, whole=False))
    assert "x" * 9_000 in "\n".join(card(row, room=None, whole=True))
    assert list(card(row, room=None, whole=False))[-4:] == [
        "  answer  first",
        "            indented",
        "",
        "          last",
    ]


@pytest.mark.parametrize("room", [40, 60, 80, 120])
def test_a_card_fits_the_terminal(room):
    row = ShownRow(1, "id", "ok", (("user", "日本語のテキスト" * 30 + " word" * 40),), True, "y" * 300)

    lines = list(card(row, room=room, whole=True))
    assert max(map(len, lines)) <= room
    assert "".join(line[10:] for line in lines if "y" in line) == "y" * 300


def test_rows_of_a_run_that_is_not_done_are_shown_and_pending_ones_when_named(
    simulator, here, rows_file, tmp_path
):
    server = simulator(queue_cap=4, latency_median_s=0.2)
    words = job(server.base_url, rows_file(400), "--shard-rows", "100", "-c", "4")
    with subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL) as run:
        while not here("show", "runs/rows", "-n", "1").out.startswith("row "):
            assert run.poll() is None
            time.sleep(0.05)
        assert "pending" in here("show", "runs/rows", "399").out
        run.send_signal(signal.SIGINT)
        run.wait(timeout=30)

    stopped = here("status", "runs/rows")
    assert "not running: stopped, " in stopped.out
    (tmp_path / "rows.jsonl").unlink()  # the input is gone: answers are there, the prompts are not
    shown = here("show", "runs/rows", "-n", "1")
    assert shown.out.startswith("row 0 · ok · ")
    assert "answer" in shown.out
    assert "user" not in shown.out


def test_a_template_that_has_changed_since_is_said(simulator, here, rows_file, tmp_path):
    (tmp_path / "p.j2").write_text("First of: {{ text }}")
    server = simulator()
    words = job(server.base_url, rows_file(2))
    words[words.index("-p")] = "--prompt-file"
    words[words.index(PROMPT)] = "p.j2"
    assert here(*words).code == 0
    assert "note" not in here("show", "runs/rows", "0").out

    (tmp_path / "p.j2").write_text("Second of: {{ text }}")
    assert "what was sent differs" in here("show", "runs/rows", "0").out

    (tmp_path / "p.j2").unlink()
    said = here("show", "runs/rows", "0")
    assert "what was asked cannot be shown: p.j2" in said.err
    assert said.out.startswith("row 0 · ok")


def test_the_end_of_a_run_shows_an_answer_and_show_first(home, simulator, here, rows_file, tmp_path):
    assert "next: batchlab show runs/rows --status failed" in (home / "end").read_text()

    rows = rows_file(3)
    done = here(*job(simulator().base_url, rows, "--log-file", "log.jsonl", "--run-dir", "r"))
    lines = done.err.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("an answer (row 0): "))
    answer = lines[at].partition(": ")[2][:30]
    assert lines[at + 1] == "next: batchlab show r"
    assert lines[at + 2] == "to prove that it is whole: batchlab verify r"
    assert answer not in (tmp_path / "log.jsonl").read_text()
    assert answer in here("show", "r", "0").out
    assert "an answer" not in here(*job(simulator().base_url, rows, "--run-dir", "r2"), "-q").err


def test_an_export_to_standard_output_is_jsonl_or_csv_and_nothing_else(at_home):
    said = at_home("export", "runs/rows", "-o", "-", "--status", "failed", "--columns", "id,status,n")
    assert list(map(json.loads, said.out.splitlines())) == [
        {"id": "R-3", "status": "failed", "n": 3},
        {"id": "R-17", "status": "failed", "n": 17},
    ]
    assert said.err == ""

    said = at_home("export", "job.toml", "-o", "-", "--to", "csv", "--columns", "n")
    assert [row["n"] for row in csv.DictReader(io.StringIO(said.out))] == [str(n) for n in range(30)]

    for words in (["--to", "parquet"], ["--columns", "nope"], ["--to", "openai-batch", "--columns", "n"]):
        assert at_home("export", "runs/rows", "-o", "-", *words).code == 2


def test_a_reader_that_leaves_ends_an_export_quietly(home):
    with subprocess.Popen(
        command("export", "runs/rows", "-o", "-"), cwd=home, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:  # fmt: skip
        assert run.stdout is not None
        assert run.stderr is not None
        os.close(os.dup(run.stdout.fileno()))
        run.stdout.close()
        said = run.stderr.read()
        assert run.wait(timeout=60) == 0
    assert said == b""


@pytest.mark.parametrize("name", ["status", "verify", "cost", "report"])
def test_every_command_takes_a_job_file_where_it_takes_a_run(at_home, name):
    said = at_home(name, "job.toml")

    assert said.code == 0, said.err


def test_a_job_whose_run_has_not_begun_is_told_from_a_bad_one(here, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "job.toml").write_text('[input]\npath = "rows.jsonl"\n[request]\nmodel = "m"\n')
    (tmp_path / "bad.toml").write_text("[inptu]\n")

    assert (
        "its run has not begun: runs/rows is not a run directory. Begin it: batchlab run job.toml"
        in here("show", "job.toml").err
    )
    assert "did you mean 'input'?" in here("show", "bad.toml").err
    assert "none.toml: cannot read the job file" in here("status", "none.toml").err


def test_retry_takes_a_job_file(home, simulator, here, rows_file, tmp_path):
    faults = [{"kind": "answer", "status": 400, "body": "{}", "rows": ["The 1th "], "times": 1}]
    server = simulator(faults=faults)
    rows_file(3)
    (tmp_path / "job.toml").write_text(
        f'[input]\npath = "rows.jsonl"\n[endpoint]\nbase_url = "{server.base_url}"\napi_key_env = "SIMULATOR_KEY"\n'
        '[request]\nmodel = "sim"\nprompt = "{text}"\n'
    )
    assert here("run", "job.toml", "--progress", "none").code == 1
    assert here("retry", "job.toml", "--progress", "none").code == 0
    assert CANARY not in here("show", "job.toml").out


def test_a_card_has_weights_and_red_only_which_are_read_on_white_too():
    from batchlab.cli.showing import _coloured

    for what in ("head", "bad", "label"):
        codes = set(re.findall(r"\x1b\[(\d+)m", _coloured("text", what)))
        assert codes <= {"0", "1", "2", "31"}, what


def test_what_was_never_sent_has_no_unknown_cost(here, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{broken\n')
    here("run", "rows.jsonl", "-m", "m", "-p", "{text}", "--base-url", "simulator", "-q")

    heads = [line for line in here("show", "rows").out.splitlines() if line.startswith("row")]
    assert "cost ?" in heads[0]
    assert heads[1] == "row 1 · failed"
