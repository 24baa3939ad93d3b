"""What grows with the input: the plan's throughput, and the memory of a run.

    python -m tests.proofs.benchmarks.scale [--plan-rows 1000000] [--few 50000] [--many 2000000] [--repeats 3]

The run of 2,000,000 rows takes a quarter of an hour at full speed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.proofs.arguments import options
from tests.proofs.benchmarks.figures import Figure, printed
from tests.proofs.benchmarks.rows import write_rows
from tests.proofs.benchmarks.server import canned_server
from tests.proofs.benchmarks.startup import finished, run_command

PLAN_MB_S = 150.0
PLAN_LINE_BYTES, RUN_LINE_BYTES = 1_000, 260
GROWTH, PEAK_MB = 1.10, 250.0
# what no plan in one process of Python can beat: each line is parsed, and nothing else
_FLOOR = """
import sys, orjson
with open(sys.argv[1], "rb", buffering=1 << 18) as file:
    for line in file:
        orjson.loads(line)
"""


def figures(
    *, plan_rows: int = 1_000_000, few: int = 50_000, many: int = 2_000_000, repeats: int = 3
) -> Iterator[Figure]:
    """The figures of this module.

    Args:
        plan_rows: of the file that is planned, 1 kB a line.
        few, many: rows of the two runs whose peaks of memory are compared, 260 bytes a line.
        repeats: of the plan, and of the run of few rows.
    """
    with tempfile.TemporaryDirectory(prefix="batchlab-scale-") as scratch:
        yield plan_figure(Path(scratch), plan_rows, repeats)
        yield from memory_figures(Path(scratch), few, many, repeats)


def plan_figure(folder: Path, rows: int, repeats: int) -> Figure:
    """Throughput of `batchlab plan`, start of the process included."""
    path = write_rows(folder / "plan.jsonl", rows, PLAN_LINE_BYTES)
    megabytes = path.stat().st_size / 1e6
    command = [sys.executable, "-m", "batchlab", "plan", "-i", str(path), "-m", "bench"]
    command += ["-p", "Summarize: {text}", "--base-url", "http://127.0.0.1:1/v1"]
    rates: list[float] = []
    floors: list[float] = []
    for _ in range(repeats):
        floors.append(megabytes / finished([sys.executable, "-c", _FLOOR, str(path)])[0])
        rates.append(megabytes / finished(command)[0])
    path.unlink()
    rate = statistics.median(rates)
    return Figure(
        f"plan of {rows:,} JSONL rows ({megabytes:,.0f} MB)",
        f"≥ {PLAN_MB_S:g} MB/s",
        f"{rate:.0f} MB/s",
        rate >= PLAN_MB_S,
        f"{min(rates):.0f} to {max(rates):.0f}, {repeats} repeats; "
        f"orjson line by line, and nothing else: {statistics.median(floors):.0f} MB/s",
    )


def memory_figures(folder: Path, few: int, many: int, repeats: int) -> Iterator[Figure]:
    """Peak of resident memory of whole runs against the canned server."""
    with canned_server() as server:

        def peak(rows: int, turn: int) -> float:
            path = write_rows(folder / f"{rows}.jsonl", rows, RUN_LINE_BYTES)
            return finished(run_command(path, folder / f"run-{rows}-{turn}", server.plain))[1]

        small = [peak(few, turn) for turn in range(repeats)]
        large = peak(many, 0)
    growth = large / statistics.median(small)
    beside = f"{few:,} rows: {', '.join(f'{one:.0f}' for one in small)} MB; server: {server.name}"
    yield Figure(
        f"peak memory at {many:,} rows against {few:,}",
        f"≤ {GROWTH:.2f} ×", f"{growth:.2f} ×", growth <= GROWTH, beside,
    )  # fmt: skip
    yield Figure(
        f"peak memory at {many:,} rows", f"≤ {PEAK_MB:g} MB", f"{large:.0f} MB", large <= PEAK_MB, beside
    )


def main() -> None:
    """Prints the figures as a table."""
    asked = options(__doc__, plan_rows=1_000_000, few=50_000, many=2_000_000, repeats=3)
    given = {"plan_rows": asked.plan_rows, "few": asked.few, "many": asked.many}
    print(printed(list(figures(**given, repeats=asked.repeats))))


if __name__ == "__main__":
    main()
