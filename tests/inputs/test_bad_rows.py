"""One bad row, one rule: it fails, is told before the start, and is no reason to refuse the others."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.inputs.plan import plan_input
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from

GOOD = [{"role": "user", "content": "hi"}]
MESSAGES = [GOOD, None, [], [{"role": None, "content": "x"}], GOOD]
LINES = [json.dumps({"messages": one}) for one in MESSAGES]


def write(path):
    match path.suffix:
        case ".jsonl":
            path.write_text("\n".join(LINES))
        case ".json":
            path.write_text(f"[{','.join(LINES)}]")
        case ".csv":
            cells = ['"' + json.dumps(one).replace('"', '""') + '"' for one in MESSAGES]
            path.write_text("messages\n" + "\n".join(cells) + "\n")
        case ".parquet":
            pq.write_table(pa.table({"messages": MESSAGES}), path)


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.parquet"])
def test_messages_that_are_none_fail_their_rows_in_every_format(tmp_path, name):
    write(tmp_path / name)
    job = job_from({"input": {"path": str(tmp_path / name)}, "request": {"model": "m"}})

    planned = plan_input(job, open_source(job.input.path))

    assert planned.problems == []
    assert planned.plan.malformed_count == 3
    first = 3 if name.endswith("csv") else 2
    assert [number for number, _ in planned.plan.malformed] == [first, first + 1, first + 2]
    assert all("column 'messages'" in problem for _, problem in planned.plan.malformed)


def test_an_input_whose_every_row_is_bad_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"messages": null}\n{"messages": []}\n')
    job = job_from({"input": {"path": str(tmp_path / "x.jsonl")}, "request": {"model": "m"}})

    planned = plan_input(job, open_source(job.input.path))

    assert [str(problem).partition(".jsonl")[2] for problem in planned.problems] == [
        ":1: column 'messages' is null.",
        ":2: column 'messages' is not a list of messages; it is empty.",
    ]


def test_what_is_told_of_how_an_input_is_read_is_told_with_its_plan(tmp_path):
    (tmp_path / "x.csv").write_text("id;prompt\n1;a, b\n")
    job = job_from({"input": {"path": str(tmp_path / "x.csv")}, "request": {"model": "m"}})

    (note,) = plan_input(job, open_source(job.input.path)).notes

    assert "separated by ;" in note


# --- formulas of a workbook that nothing has computed


def workbook(path, rows):
    openpyxl = pytest.importorskip("openpyxl")
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    made.save(path)


FORMULAS = [["id", "prompt", "unused"], [1, "Say a.", "=A2"], [2, '="Say "&A3', 1], [3, "Say c.", "=A4"]]


def test_a_row_whose_prompt_is_a_formula_without_a_value_is_not_sent(here, simulator, tmp_path):
    workbook(tmp_path / "x.xlsx", FORMULAS)
    words = ("-i", "x.xlsx", "-m", "sim", "--id-column", "id", "--api-key-env", "SIMULATOR_KEY")
    server = simulator()
    at = (*words, "--base-url", server.base_url, "--progress", "none")

    planned, strict = here("plan", *at[:-2]), here("run", *at, "--strict")

    assert strict.code == 2
    assert server.ledger()["billed"] == 0
    for said in (planned.out + planned.err, strict.err):
        assert "x.xlsx:3: column 'prompt': a formula of which the file holds no value" in said
        assert "Excel or LibreOffice" in said

    ran = here("run", *at, "-o", "out.jsonl")

    assert ran.code == 1
    assert "formulas of which the file holds no value, as programs write them (3 rows)" in ran.err
    assert "1 malformed row will be recorded as failed (bad_input)" in ran.err
    assert server.ledger()["billed"] == 2
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert rows[1]["error_class"] == "bad_input"
    assert [row["unused"] for row in rows] == [None, 1, None]


def test_a_workbook_of_formulas_alone_is_refused_with_the_remedy(here, tmp_path):
    workbook(tmp_path / "x.xlsx", [["prompt"], ['="a"'], ['="b"']])

    refused = here("run", "-i", "x.xlsx", "-m", "sim", "--base-url", "simulator", "--progress", "none")

    assert refused.code == 2
    assert "x.xlsx:2: column 'prompt': a formula of which the file holds no value" in refused.err
    assert "open and save it in Excel or LibreOffice" in refused.err


@pytest.mark.parametrize(
    "more",
    [
        ("-p", "{prompt}"),
        ("-p", "{unused}"),
        ("--prompt-file", "t.j2"),
        ("-p", "{id}", "--system", "{prompt}"),
        ("-p", "{id}", "--row-params", "prompt"),
        ("-p", "{unused}", "--id-column", "prompt"),
        ("-p", "{id}", "--model-column", "prompt"),
    ],
)
def test_wherever_a_formula_without_a_value_is_asked_for_its_row_alone_fails(here, tmp_path, more):
    rows = [["id", "prompt", "unused"], [1, "=A2", "=A2"], [2, "sim", "text"]]
    if "--row-params" in more:
        rows[2][1] = '{"top_p": 0.5}'
    workbook(tmp_path / "x.xlsx", rows)
    (tmp_path / "t.j2").write_text("{{ prompt }}")

    words = ("-i", "x.xlsx", "-m", "sim", *more, "--base-url", "simulator", "--progress", "none")
    ran = here("run", *words, "--run-dir", "r")

    assert "1 malformed row" in ran.err
    assert "no value" in ran.err
    assert ran.code == 1
