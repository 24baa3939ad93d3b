"""A run of 10^7 and of 10^9 rows on paper, checked where this machine can: what its driver holds and reads.

    python -m tests.proofs.benchmarks.scale_plan

Measured, with a fabricated plan, fabricated parts (empty files) and their records: the size of the
plan, the memory of a process that holds it, the time to open and list a run and to sum its totals up,
and what a renewal of a lease costs the lender; and the memory of `batchlab plan` over tiny rows, which
takes some minutes. Computed from that and from what a row is assumed to be: the rest, which says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from batchlab.inputs.sources.source import InputPlan
from batchlab.job.file import job_from
from batchlab.job.limits import Caps, EndpointLimits
from batchlab.lending.lender import Lender
from batchlab.lending.messages import Demand, LaneDemand, LenderTerms
from batchlab.records import Shard
from batchlab.store.journals.journal import encode
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest
from batchlab.store.view import RunView
from batchlab.totals import Totals
from tests.conftest import environment
from tests.proofs.arguments import options, table_head, table_row
from tests.proofs.benchmarks.startup import finished

CASES = {"10 M rows": (10**7, 10_000), "1 B rows": (10**9, 50_000)}
ROW_IN, RECORD, ROW_OUT = 3_000, 1_500, 400  # bytes: a prompt, its journal records, its row in a part (zstd)
RATES = (600, 10_000)  # requests a second
WORKERS = 20
PLANNED = (2_000_000, 20_000_000)  # rows of JSON Lines, 37 bytes each

HOLDS = """
import sys
from pathlib import Path
from collections import deque
from batchlab.store.view import RunView
store = RunView.open(Path(sys.argv[1]))
plan = store.manifest.plan
to_do = deque(shard.index for shard in plan.shards)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def fabricated(home: Path, rows: int, shard_rows: int) -> LockedRun:
    """A run of so many rows of which every shard but the last 100 is sealed."""
    count = -(-rows // shard_rows)
    shards = tuple(
        Shard(n, n * shard_rows, shard_rows, {"offset": n * shard_rows * ROW_IN}) for n in range(count)
    )
    stat = ({"path": "/data/prompts.jsonl", "size": rows * ROW_IN, "mtime_ns": 1, "inode": 1},)
    plan = InputPlan(rows, shards, ("text",), {"text": "string"}, "0" * 64, stat, 0.0)
    job = job_from({"input": {"path": "/data/prompts.jsonl"}, "request": {"model": "m", "prompt": "{text}"}})
    store = LockedRun.create(home / "run", Manifest.of(job, plan))
    totals = asdict(
        Totals(rows=shard_rows, ok=shard_rows, attempts=shard_rows, prompt_tokens=500 * shard_rows)
    )
    with (home / "run" / "checksums.log").open("wb") as log:
        for n in range(count - 100):
            name = f"part-{n:06d}.parquet"
            (home / "run" / "completions" / name).touch()
            log.write(encode(json.dumps({"part": name, "blake2b": "0" * 64, "totals": totals}).encode()))
    store.close()
    return store


def renewal_us(workers: int) -> float:
    """CPU microseconds that the lender needs for a renewal."""
    lanes = {"one": EndpointLimits(20_000, 600_000.0, 3e8)}
    lender = Lender(LenderTerms(lanes, expected=workers, caps=Caps(5_000.0)))
    demand = Demand(0, {"one": LaneDemand(want=10_000, in_flight=500, answers=1)})
    for worker in range(workers):
        lender.lease(str(worker), demand, 0.0)
    began, times = time.process_time(), 4_000
    for number in range(times):
        lender.lease(str(number % workers), demand, 0.25 * number / workers)
    return (time.process_time() - began) * 1e6 / times


def measured(rows: int, shard_rows: int) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="batchlab-scale-") as folder:
        home = Path(folder)
        path = fabricated(home, rows, shard_rows).path
        size = (path / "run.json").stat().st_size
        began = time.process_time()
        store = RunView.open(path)
        plan = store.manifest.plan
        opened = time.process_time() - began
        began = time.process_time()
        sealed = len(store.sealed())
        listed = time.process_time() - began
        began = time.process_time()
        totals = store.totals()
        summed = time.process_time() - began
        assert totals.rows == sealed * shard_rows, (totals.rows, sealed)
        peak = subprocess.run(
            [sys.executable, "-c", HOLDS, str(path)], env=environment(), capture_output=True, text=True
        )
        return {
            "shards": f"{len(plan.shards):,} of {shard_rows:,} rows",
            "plan file": f"{size / 1e6:.1f} MB",
            "memory of a process that holds the plan and nothing else": f"{int(peak.stdout) / 1024:.0f} MB",
            "open and read the plan": f"{opened:.2f} s",
            "list the parts": f"{listed:.2f} s",
            "sum up all sealed parts (`status`, resume)": f"{summed:.2f} s",
        }


def computed(rows: int, shard_rows: int) -> dict[str, str]:
    shards = -(-rows // shard_rows)
    hours = [rows / rate / 3600 for rate in RATES]
    return {
        "output, all parts": f"{rows * ROW_OUT / 1e9:,.0f} GB in parts of {shard_rows * ROW_OUT / 1e6:.0f} MB",
        "journals written in all, deleted as shards are sealed": f"{rows * RECORD / 1e9:,.0f} GB",
        f"journals on disk at a time ({WORKERS} workers, 2 open shards each)": (
            f"{min(shards, 2 * WORKERS) * shard_rows * RECORD / 1e9:.1f} GB"
        ),
        "time at 600/s and at 10,000/s": " and ".join(
            f"{h / 24:.1f} days" if h > 48 else f"{h:.1f} h" if h >= 1 else f"{h * 60:.0f} min" for h in hours
        ),
        f"renewals of leases a second ({WORKERS} workers)": f"{2 * WORKERS}",
    }


def plan_mb(rows: int) -> float:
    """The most memory (MB) that `batchlab plan` takes for so many rows with ids of their own."""
    with tempfile.TemporaryDirectory(prefix="batchlab-scale-") as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("w") as file:
            file.writelines(f'{{"id":{n},"text":"row {n * 7919 % rows}"}}\n' for n in range(rows))
        command = [sys.executable, "-m", "batchlab", "plan", str(path), "-m", "m", "-p", "{text}"]
        return finished([*command, "--id-column", "id"])[1]


def main() -> None:
    """Prints the table."""
    options(__doc__)
    found = {name: (measured(*case), computed(*case)) for name, case in CASES.items()}
    table_head("", *found, "")
    for which, kind in enumerate(("measured", "computed")):
        for what in next(iter(found.values()))[which]:
            table_row(what, *(both[which][what] for both in found.values()), kind)
    few, many = renewal_us(WORKERS), renewal_us(200)
    table_row(f"CPU of a renewal, {WORKERS} and 200 workers", f"{few:.0f} µs", f"{many:.0f} µs", "measured")
    few_mb, many_mb = map(plan_mb, PLANNED)
    million, millions = (rows // 10**6 for rows in PLANNED)
    table_row(
        f"memory of `batchlab plan`, {million} M and {millions} M rows",
        f"{few_mb:.0f} MB",
        f"{many_mb:.0f} MB",
        "measured",
    )


if __name__ == "__main__":
    main()
