"""Run directories of earlier versions, as `old_runs.build` made them: they go on, and nothing is paid twice.

| archive | what it is of |
|---|---|
| ec787d8 | `run.json` 1 with one endpoint, parts 1 without `cut_off` and `endpoint`, `checksums.log` without totals |
| 28f5800 | the last with `run.json` 1 |
| f39b526 | the first with `run.json` 2; parts 1 |
| 9e52580 | parts 2 |
| a9f2be3 | parts 3 |
| 5d12c7a | the last whose `checksums.log` says nothing of sizes, journals and the plan |
"""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batchlab.job.file import load_job
from batchlab.looking.verify import verify_run
from batchlab.runner.execute import execute
from batchlab.runner.run_options import RunOptions
from batchlab.store.view import RunView
from tests.store.old_runs.build import HALF, INPUTS, job_text, write_inputs

ARCHIVES = sorted((Path(__file__).parent / "old_runs").glob("*.tar.xz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def old(request, tmp_path, monkeypatch):
    """A directory with the runs, their inputs and job files, as if nobody had touched anything since."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    for name, path in INPUTS.items():
        (tmp_path / f"{name}.toml").write_text(job_text(name))
        _not_moved(tmp_path / "runs" / name / "run.json", tmp_path / path)
    return tmp_path


def _not_moved(manifest: Path, path: Path) -> None:
    data, found = json.loads(manifest.read_text()), os.stat(path)
    seen = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino}
    data["plan"] |= {"stat": [{"path": path.name, **seen}], "scanned_at": found.st_mtime + 100}
    manifest.write_text(json.dumps(data))


def answers(name: str) -> dict[int, tuple[str | None, str]]:
    return {
        one.row_id: (getattr(one, "reply", None) and one.reply.completion, one.custom_id)
        for one in RunView.open(Path("runs") / name).all_results()
    }


def resumed(name: str):
    return execute(load_job(Path(f"{name}.toml"), {}), RunOptions(progress="none", quiet=True))


def test_it_goes_on_keeps_every_answer_and_is_whole(old):
    for name in INPUTS:
        before, spent = answers(name), RunView.open(Path("runs") / name).totals().spent_usd
        assert verify_run(f"runs/{name}").exit_code == (3 if name in HALF else 0)

        summary = resumed(name)

        after = answers(name)
        assert summary.sent == 10 - len(before), name
        assert {row: after[row] for row in before} == before
        assert len(after) == 10
        assert summary.totals.spent_usd == pytest.approx(spent + 0.014 * summary.sent)
        assert verify_run(f"runs/{name}").exit_code == 0, verify_run(f"runs/{name}").problems


def test_its_parts_and_new_ones_make_one_file(old):
    """Also when the input was touched, which makes a plan of today's of the same rows."""
    os.utime("whole.jsonl")

    for name in ("halfway", "table"):
        job = load_job(Path(f"{name}.toml"), {"output.file": f"{name}.parquet"})
        summary = execute(job, RunOptions(progress="none", quiet=True))

        table = pq.read_table(f"{name}.parquet")
        assert summary.exit_code == 0
        assert table["row_id"].to_pylist() == list(range(10))
        assert table["completion"].null_count == 0
        sent = len(table) - table["lane"].null_count  # theirs did not say how they were answered
        assert (sent, set(table["lane"].drop_null().to_pylist())) == (
            summary.sent,
            {"live"} if sent else set(),
        )
        assert verify_run(f"runs/{name}").exit_code == 0


def test_its_failed_rows_are_asked_again(old, here):
    before = answers("finished")

    done = here("retry", "runs/finished", "--progress", "none")

    assert "(1 request" in done.err  # the other one is no JSON
    assert {row: text for row, text in answers("finished").items() if before[row][0]} == {
        row: text for row, text in before.items() if text[0]
    }
    assert verify_run("runs/finished").exit_code == 0
