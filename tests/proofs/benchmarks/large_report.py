"""The report of a run with a million rows: how long it takes, how large it is, how much memory.

python -m tests.proofs.benchmarks.large_report --rows 1000000
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from batchlab.inputs.plan import plan_input
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from batchlab.records import Completion, Reply, Timing, Usage
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest
from tests.conftest import command, environment
from tests.proofs.arguments import ended, options


def made_run(home: Path, rows: int) -> None:
    """A finished run of so many rows, written by the real store without sending anything."""
    rng = random.Random(7)
    with (home / "rows.jsonl").open("w") as file:
        for number in range(rows):
            file.write(
                json.dumps({"text": f"remark {number} on a parcel", "topic": "abcde"[number % 5]}) + "\n"
            )
    job = job_from(
        {
            "input": {"path": str(home / "rows.jsonl")},
            "request": {"model": "m", "prompt": "{text}"},
            "output": {"run_dir": str(home / "run")},
            "price": {"input": 1, "output": 4},
        }
    )
    source = open_source(job.input.path, delimiter=None, quotes=True, spool=home / "none")
    plan = plan_input(job, source).plan
    store = LockedRun.create(home / "run", Manifest.of(job, plan))
    for shard in plan.shards:
        opened = store.open_shard(shard)
        for row in range(shard.first_row, shard.first_row + shard.rows):
            tokens, at = int(rng.lognormvariate(4, 1)), 1.7e9 + row / 50
            usage = Usage(prompt_tokens=20, completion_tokens=tokens, total_tokens=20 + tokens)
            reply = Reply(completion=f"answer {row} " * 20, finish_reason="stop", usage=usage, model="m")
            timing = Timing(started_at=at, finished_at=at + 1, latency_ms=tokens * 20.0)
            cost = (20 + 4 * tokens) / 1e6
            opened.append(
                Completion(row, str(row), row.to_bytes(16, "big"), "ok", reply, 1, timing, cost_usd=cost)
            )
        opened.seal(source.table(shard, plan))
    store.close()


def main() -> None:
    """Prints seconds, megabytes and peak memory of `report` and `cost`; exits with 1 over 30 s or 5 MB."""
    given = options(__doc__, rows=1_000_000)
    with tempfile.TemporaryDirectory(prefix="batchlab-report-") as folder:
        home = Path(folder)
        made_run(home, given.rows)
        took = {}
        for words in (["report", "run"], ["cost", "run", "--by", "topic"]):
            began = time.monotonic()
            subprocess.run(command(*words), cwd=home, env=environment(), check=True)
            took[words[0]] = time.monotonic() - began
        size = (home / "run" / "report.html").stat().st_size / 1e6
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    print(
        f"{given.rows:,} rows: report {took['report']:.1f} s and {size:.2f} MB, cost {took['cost']:.1f} s, "
        f"peak memory {peak:.0f} MB"
    )
    ended([] if took["report"] < 30 and size < 5 else ["more than 30 s, or 5 MB"])


if __name__ == "__main__":
    main()
