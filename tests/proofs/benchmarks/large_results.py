"""One batch whose results are hundreds of megabytes: the most memory that fetching, merging and sealing take.

    python -m tests.proofs.benchmarks.large_results --rows 10000

Each answer has about 21,000 bytes, so that 10,000 rows make one shard, one batch and 200 MB of results. The
run is a process of its own; `verify` must pass, and its books must be the simulator's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchlab.cli import main as command_line
from batchlab.engines.batch_api.life import Life
from batchlab.store.batches import Batch
from batchlab.store.view import RunView
from tests.batch_jobs import batch_job
from tests.conftest import command, environment, simulating
from tests.proofs.arguments import ended, options
from tests.proofs.benchmarks.figures import Figure, peak_mb, printed

PEAK_MB, RESULTS_MB = 250.0, 200.0
ANSWER_TOKENS = 3_500.0  # 21,000 bytes of the simulator's words
AS_COMMAND = "AS_COMMAND"


@dataclass(frozen=True, slots=True)
class Found:
    """What a run has come to; `results_mb` is the largest file of results that it fetched."""

    seconds: float
    peak_mb: float
    results_mb: float
    problems: list[str]


def measured(rows: int, seed: int) -> Found:
    """Runs so many rows as one batch, in another process."""
    with tempfile.TemporaryDirectory(prefix="batchlab-large-results-") as folder:
        home = Path(folder)
        texts = (json.dumps({"text": f"parcel {number}"}) + "\n" for number in range(rows))
        (home / "rows.jsonl").write_text("".join(texts))
        price, batch = {"input": 2.0, "output": 8.0}, {"dialect": "openai", "seconds": 1.0}
        given = {"tokens_median": ANSWER_TOKENS, "tokens_sigma": 0.05}
        with simulating(seed=seed, price=price, batch=batch, **given) as server:
            job = batch_job(
                server.base_url,
                "openai",
                prompt="Write a chapter about {text}",
                max_tokens=8000,
                share=0.5,
                output={"file": "out.jsonl", "shard_rows": rows},
            )
            (home / "job.toml").write_text(job)
            began = time.monotonic()
            run = subprocess.run(
                [sys.executable, "-m", __spec__.name, "run", "job.toml", "--progress", "none"],
                cwd=home,
                env=environment(**{AS_COMMAND: "1"}),
                capture_output=True,
                text=True,
            )
            seconds, ledger = time.monotonic() - began, server.ledger()
        problems = [] if run.returncode == 0 else [f"exit code {run.returncode}: {run.stderr[-2000:]}"]
        verify = subprocess.run(
            command("verify", "run"), cwd=home, env=environment(), capture_output=True, text=True
        )
        problems += [] if verify.returncode == 0 else [f"verify fails: {verify.stderr}{verify.stdout}"]
        totals = RunView.open(home / "run").totals()
        problems += [] if totals.ok == rows else [f"{totals.ok} of {rows} rows are answered"]
        if abs((totals.spent_usd or 0.0) - ledger["usd"]) > 1e-9 * ledger["usd"]:
            problems.append(f"USD: {totals.spent_usd} in our books, {ledger['usd']} in the service's")
        peak, largest = map(float, run.stdout.split()[-2:])
        return Found(seconds, peak, largest, problems)


def as_command() -> None:
    """The real command; its last line on standard output are two numbers of MB: its peak of memory, and the
    largest file of results that it fetched."""
    largest = [0.0]
    forget = Life.forget

    def seen(self: Life, batch: Batch) -> None:
        folder = self._folder
        sizes = [path.stat().st_size for path in folder.glob(f"{batch.key}.*")]
        largest[0] = max([largest[0], *(size / 1e6 for size in sizes)])
        forget(self, batch)

    Life.forget = seen  # type: ignore[method-assign]
    try:
        command_line()
    finally:
        print(f"{peak_mb():.1f} {largest[0]:.1f}", flush=True)


def figures(found: Found, rows: int) -> Iterator[Figure]:
    """Those of a run."""
    yield Figure(
        f"{rows:,} rows in one batch: problems", "0", str(len(found.problems)), not found.problems,
        f"{rows / found.seconds:,.0f} rows/s",
    )  # fmt: skip
    yield Figure("file of results", f"≥ {RESULTS_MB:g} MB", f"{found.results_mb:.0f} MB", None)
    yield Figure("peak memory", f"≤ {PEAK_MB:g} MB", f"{found.peak_mb:.0f} MB", found.peak_mb <= PEAK_MB)


def main() -> None:
    """Prints the figures as a table; exits with 1 when the books differ, or memory is past its target."""
    given = options(__doc__, rows=10_000, seed=1)
    found = measured(given.rows, given.seed)
    shown = list(figures(found, given.rows))
    print(printed(shown))
    ended(found.problems + [f"{one.what}: {one.value}" for one in shown[1:] if one.met is False])


if __name__ == "__main__":
    if os.environ.get(AS_COMMAND):
        as_command()
    else:
        main()
