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
