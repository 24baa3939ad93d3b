"""Makes the run directories of an earlier batchlab that `test_old_runs` goes on with.

    git worktree add --detach /tmp/old COMMIT
    python -m tests.store.old_runs.build --tree /tmp/old --name COMMIT

One archive holds four runs of ten rows in parts of four: `finished`, with a line that is no JSON and a row
that the provider refuses; `halfway`, stopped by its cap with a sealed part and a journal; `table`, finished,
of a Parquet file with types of its own; and `csv`, half-way, of a CSV file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.proofs.arguments import a_path, ended, options

HERE = Path(__file__).parent
ROWS = 10
REFUSED, BROKEN = 2, 5  # rows of `finished`
INPUTS = {"finished": "rows.jsonl", "halfway": "whole.jsonl", "table": "rows.parquet", "csv": "rows.csv"}
HALF = ("halfway", "csv")
JOB = """\
[input]
path = "{path}"

[endpoint]
base_url = "simulator"

[request]
model = "sim"
prompt = "Say {{n}}: {{text}}"
max_tokens = 8
temperature = 0.0

[limits]
concurrency = 1
{cap}

[price]
input = 1000.0
output = 1000.0

[output]
run_dir = "runs/{name}"
shard_rows = 4

[simulator]
latency_median_s = 0.0
{fault}
"""


def job_text(name: str, *, cap: float | None = None, fault: str = "") -> str:
    """The job file of one of the runs."""
    return JOB.format(
        path=INPUTS[name], name=name, cap="" if cap is None else f"max_cost = {cap}", fault=fault
    )


def write_inputs(folder: Path) -> None:
    """The inputs of all runs."""
    rows = [{"n": n, "text": f"The {n}th remark.", "tags": ["a", None] if n % 2 else []} for n in range(ROWS)]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "whole.jsonl").write_text("".join(lines))
    lines[BROKEN] = '{"n": 5, "text": \n'
    (folder / "rows.jsonl").write_text("".join(lines))
    (folder / "rows.csv").write_text(
        "n,text\n" + "".join(f'{row["n"]},"{row["text"]}"\n' for row in rows), newline=""
    )
    table = pa.table(
        {
            "n": pa.array(range(ROWS), pa.int16()),
            "text": pa.array([str(row["text"]) for row in rows]).dictionary_encode(),
            "at": pa.array([datetime(2026, 1, 1 + n) for n in range(ROWS)], pa.timestamp("ms", "UTC")),  # noqa: DTZ001
        }
    )
    pq.write_table(table, folder / "rows.parquet")


def main() -> None:
    """Writes the archive beside this file."""
    given = options(__doc__, tree=a_path("the earlier batchlab's work tree"), name="", cap=0.105)
    problems = []
    environment = {**os.environ, "PYTHONPATH": str(given.tree)}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_inputs(folder)
        for name in INPUTS:
            job = folder / f"{name}.toml"
            fault = '[[simulator.faults]]\nkind = "http_400"\nrate = 0.15\n' if name == "finished" else ""
            job.write_text(job_text(name, cap=given.cap if name in HALF else None, fault=fault))
            words = [sys.executable, "-m", "batchlab", "run", job.name, "--progress", "none"]
            done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
            print(name, done.returncode, *done.stderr.splitlines()[-6:], sep="\n  ", flush=True)
            if done.returncode != (3 if name in HALF else 1 if name == "finished" else 0):
                problems.append(f"{name}: exit code {done.returncode}")
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        with tarfile.open(HERE / f"{given.name}.tar.xz", "w:xz", preset=9) as archive:
            for path in sorted((folder / "runs").rglob("*")):
                if path.is_file() and path.name not in {"ballast", "lock"}:
                    archive.add(path, path.relative_to(folder).as_posix())
    ended(problems)


if __name__ == "__main__":
    main()
