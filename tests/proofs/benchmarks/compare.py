"""Two commits side by side: CPU and requests a second of the same run, interleaved.

    python -m tests.proofs.benchmarks.compare main~5 main --rows 20000 --repeats 5

Each commit is checked out beside this one and run by this environment's Python.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from tests.proofs.arguments import Word, options, table_head, table_row
from tests.proofs.benchmarks.machine import header
from tests.proofs.benchmarks.server import canned_server
from tests.proofs.benchmarks.throughput import (
    IN_FLIGHT,
    cpu_of,
    run_words,
    server_cpus,
    span_s,
    write_prompts,
)

ROOT = Path(__file__).resolve().parents[3]


def checked_out(revision: str, home: Path) -> Path:
    """The package as it was at `revision`."""
    where = home / revision.replace("/", "_")
    where.mkdir()
    tar = subprocess.run(
        ["git", "archive", revision, "batchlab"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "-x", "-C", str(where)], input=tar.stdout, check=True)
    return where


def main() -> None:
    """The command."""
    given = options(
        __doc__, before=Word("a commit"), after=Word("another"), rows=20_000, repeats=5, stream=False
    )
    print(header())
    cpu: dict[str, list[float]] = {given.before: [], given.after: []}
    rate: dict[str, list[float]] = {given.before: [], given.after: []}
    with tempfile.TemporaryDirectory(prefix="batchlab-compare-") as folder:
        home = Path(folder)
        prompts = write_prompts(home / "prompts.jsonl", given.rows)
        trees = {revision: checked_out(revision, home) for revision in cpu}
        with canned_server(cpus=server_cpus()) as server:
            url = server.stream if given.stream else server.plain
            more = ["-c", str(IN_FLIGHT), *(["--stream"] if given.stream else [])]
            for _ in range(given.repeats):
                for revision, tree in trees.items():
                    words = run_words(prompts, url, home, *more)
                    env = {**os.environ, "PYTHONPATH": str(tree)}
                    cpu[revision].append(cpu_of(words, env=env, cwd=tree)[0] * 1000 / given.rows)
                    seconds = span_s(Path(words[words.index("--run-dir") + 1]))
                    rate[revision].append(given.rows / seconds)
        print(f"server: {server.name}; {given.rows:,} rows, {given.repeats} interleaved repeats\n")
    table_head("commit", "CPU s per 1,000 requests: median (lowest-highest)", "requests/s: median")
    for revision, seen in cpu.items():
        spread = f"{min(seen):.3f}-{max(seen):.3f}"
        table_row(
            revision,
            f"{statistics.median(seen):.3f} ({spread})",
            f"{statistics.median(rate[revision]):,.0f}",
        )
    pairs = sorted(after / before for before, after in zip(cpu[given.before], cpu[given.after], strict=True))
    print(f"\nCPU, after ÷ before, of the pairs: {', '.join(f'{pair:.3f}' for pair in pairs)}")


if __name__ == "__main__":
    main()
