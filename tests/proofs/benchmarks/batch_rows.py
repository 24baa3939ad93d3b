"""A large run in batches with expiry, line errors and limits: the proof, the books, the peak of memory.

    python -m tests.proofs.benchmarks.batch_rows --rows 100000

Half of the rows are long, so that batches are full by lines or by bytes; a few of them fill the service's
queue, a tenth expires with 60 % of its lines answered, and of every third 5 % of the lines fail. `verify` must pass, every
answer that the simulator has billed must be in the run, once, and what the run says it cost must be the
simulator's ledger, at the price of batches.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchlab.endpoints.simulator.batches.dialects import DIALECTS
from batchlab.store.batches import read_batches
from batchlab.store.view import RunView
from tests.batch_jobs import batch_job
from tests.conftest import command, environment, simulating
from tests.proofs.arguments import ended, one_of, options
from tests.proofs.benchmarks.figures import Figure, printed
from tests.proofs.crash.batch_books import compared, sent_lines

LINES, LINE_BYTES = 4_000, 1_000  # most of a batch; of a line, as the most bytes of a batch have it
SHORT, LONG = 200, 1_500  # characters of a text
QUEUED_TOKENS = 400  # for each line of a full batch: few batches of long rows have room at once
PEAK_MB = 250.0
COMMAND = ("run", "job.toml", "--progress", "none")
FAULTS = [
    {"kind": "batch_line_errors", "rate": 0.3, "share": 0.05},
    {"kind": "batch_expires", "rate": 0.1, "share": 0.6},
]


@dataclass(frozen=True, slots=True)
class Found:
    """What a run has come to.

    Attributes:
        batches, lines: by how they ended, as the service says.
        most_lines, most_bytes: of one that was ordered.
    """

    seconds: float
    peak_mb: float
    batches: Counter[str]
    lines: Counter[str]
    most_lines: int
    most_bytes: int
    problems: list[str]


def measured(rows: int, service: str, seed: int, *, lines: int = LINES, median_s: float = 3.0) -> Found:
    """Runs so many rows at one service, in another process.

    Args:
        lines: of a batch, at most. median_s: how long one takes.
    """
    size = lines * LINE_BYTES
    with tempfile.TemporaryDirectory(prefix="batchlab-batch-rows-") as folder:
        home = Path(folder)
        _write(home / "rows.jsonl", rows)
        batch = {
            "dialect": service,
            "seconds": f"lognormal:median={median_s},p90={2.7 * median_s}",
            "max_lines": lines,
            "max_bytes": size + 100_000,  # and what is around the lines
            "enqueued_tokens": QUEUED_TOKENS * lines if service == "openai" else None,
            "faults": FAULTS,
        }
        price = {"input": 2.0, "output": 8.0}
        with simulating(seed=seed, tokens_median=20.0, price=price, batch=batch) as server:
            share = DIALECTS[service].share
            job = batch_job(
                server.base_url,
                service,
                prompt="Say it shorter: {text}",
                max_tokens=60,
                share=share,
                limits={"max_attempts": 9, "max_cost": 1000.0},
            )
            (home / "job.toml").write_text(job)
            began = time.monotonic()
            run = subprocess.run(
                [sys.executable, "-m", "tests.proofs.benchmarks.small_batches", *COMMAND],
                cwd=home,
                env=environment(BATCH_LIMITS=f"{lines} {size}"),
                capture_output=True,
                text=True,
            )
            seconds = time.monotonic() - began
            books, ledger = server.batches(), server.ledger()
        problems = [] if run.returncode == 0 else [f"exit code {run.returncode}: {run.stderr[-2000:]}"]
        verify = subprocess.run(
            command("verify", "run"), cwd=home, env=environment(), capture_output=True, text=True
        )
        problems += [] if verify.returncode == 0 else [f"verify fails: {verify.stderr}{verify.stdout}"]
        ours = read_batches(home / "run").by_key.values()
        totals = RunView.open(home / "run").totals()
        problems += [] if totals.rows == rows else [f"{totals.rows} of {rows} rows have a result"]
        problems += [
            f"{len(books[name])} lines {name}" for name in ("submitted_twice", "billed_twice") if books[name]
        ]
        sent = sent_lines(books, known={one.id for one in ours}, taken_back=())
        sums = {**compared(totals, ledger), "attempts": (totals.attempts, sent)}
        for what, (mine, theirs) in sums.items():
            if abs(mine - theirs) > 1e-9 * max(1.0, abs(theirs)):
                problems.append(f"{what}: {mine} in our books, {theirs} in the service's")
        if ledger["by_tier"].keys() != {"batch"}:
            problems.append(f"not all of it was at the price of batches: {ledger['by_tier']}")
        return Found(
            seconds,
            float(run.stdout.split()[-1]),
            Counter(batch["state"] for batch in books["batches"]),
            Counter(line["status"] for batch in books["batches"] for line in batch["lines"]),
            max(one.lines for one in ours),
            max(one.size for one in ours),
            problems,
        )


def _write(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            length = SHORT if number < rows // 2 else LONG
            text = f"remark {number} on parcel {number * 7919 % 1009}" + " and seventeen auditors" * 100
            file.write(json.dumps({"text": text[:length]}) + "\n")


def figures(found: Found, rows: int, service: str) -> Iterator[Figure]:
    """Those of a run."""
    batches = ", ".join(f"{count} {state}" for state, count in sorted(found.batches.items()))
    lines = ", ".join(f"{count:,} {status}" for status, count in sorted(found.lines.items()))
    beside = f"batches {batches}; lines {lines}; the largest {found.most_lines:,} lines, {found.most_bytes / 1e6:.1f} MB"
    yield Figure(
        f"{rows:,} rows in batches at {service}: problems", "0", str(len(found.problems)),
        not found.problems, beside,
    )  # fmt: skip
    yield Figure("peak memory", f"≤ {PEAK_MB:g} MB", f"{found.peak_mb:.0f} MB", found.peak_mb <= PEAK_MB)
    yield Figure("time", "-", f"{found.seconds:.0f} s", None, f"{rows / found.seconds:,.0f} rows/s")


def main() -> None:
    """Prints the figures as a table; exits with 1 when the books differ, or memory is past its target."""
    given = options(__doc__, rows=100_000, seed=1, only=one_of(DIALECTS))
    service = given.only or "openai"
    found = measured(given.rows, service, given.seed)
    shown = list(figures(found, given.rows, service))
    print(printed(shown))
    ended(found.problems + [f"{one.what}: {one.value}" for one in shown[1:] if one.met is False])


if __name__ == "__main__":
    main()
