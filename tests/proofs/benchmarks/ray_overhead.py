"""`--engine ray` against `--processes`, with as many workers on the same machine: CPU of all processes.

    python -m tests.proofs.benchmarks.ray_overhead --rows 12000 --pairs 2

Whole runs of the real command, in pairs. The CPU seconds are those of every process that a run brings
about, Ray's daemons and actors included, as /proc has them; the cluster (two nodes of this machine) is
started before. What one request more costs is what long runs took more than short ones. Wall time
says nothing here: the two nodes share the CPUs that they are compared on.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.conftest import command, environment
from tests.engines.test_ray import CLUSTER
from tests.proofs.arguments import options
from tests.proofs.benchmarks.figures import Figure, printed
from tests.proofs.benchmarks.server import canned_server

TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    """CPU seconds of all processes with a mark in their environment, sampled while the body runs."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._seconds: dict[int, float] = {}
        self._over = threading.Event()

    def __enter__(self) -> Meter:
        self._look()
        self._before = dict(self._seconds)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    @property
    def seconds(self) -> float:
        """Since the body began."""
        return sum(value - self._before.get(pid, 0.0) for pid, value in self._seconds.items())

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._look()

    def _look(self) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark in (folder / "environ").read_bytes():
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    self._seconds[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS


def figures(*, rows: int = 12_000, pairs: int = 2) -> list[Figure]:
    """What a start and a request more cost, and their ratios."""
    mark, few = f"BATCHLAB_BENCH={secrets.token_hex(8)}", rows // 4
    env = environment(RAY_USAGE_STATS_ENABLED="0", **dict([mark.split("=")]))
    found: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="batchlab-bench-") as folder, canned_server() as server:
        home = Path(folder)
        with (home / "rows.jsonl").open("w") as file:
            for number in range(rows):
                file.write(json.dumps({"text": f"remark {number} on a parcel"}) + "\n")
        with subprocess.Popen(
            [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        ) as cluster:
            address = next(line.split()[1] for line in cluster.stdout if line.startswith("at "))
            engines = {
                "processes": ["--processes", "2"],
                "ray": ["--engine", "ray", "--ray-address", address],
            }
            for pair in range(pairs):
                for name, size in sorted(
                    ((n, s) for n in engines for s in (few, rows)), reverse=pair % 2 == 1
                ):
                    words = ["run", "-i", "rows.jsonl", "-n", str(size), "-m", "bench", "-p", "{text}"]
                    words += [
                        "--base-url",
                        server.plain,
                        "--api-key-env",
                        "SIMULATOR_KEY",
                        "--progress",
                        "none",
                    ]
                    words += [
                        "--shard-rows",
                        "500",
                        "--run-dir",
                        f"runs/{time.monotonic_ns()}",
                        *engines[name],
                    ]
                    with Meter(mark) as meter:
                        done = subprocess.run(
                            command(*words), cwd=home, env=env, capture_output=True, text=True
                        )
                    assert done.returncode == 0, done.stderr
                    found.setdefault((name, size), []).append(meter.seconds)
            cluster.stdin.close()
    each = {
        name: (statistics.median(found[name, rows]) - statistics.median(found[name, few]))
        * 1_000
        / (rows - few)
        for name in ("processes", "ray")
    }
    fixed = {name: statistics.median(found[name, few]) - each[name] * few / 1_000 for name in each}
    return [
        Figure(
            what="CPU for 1,000 requests more, `--engine ray` on 2 nodes of this machine against `--processes 2`",
            target="(beside it)",
            value=f"{each['ray'] / each['processes']:.2f} ×",
            met=None,
            beside=f"{each['ray']:.3f} against {each['processes']:.3f} s, Ray's daemons and actors included; "
            f"{pairs} pairs of {few:,} and {rows:,} rows; {server.name}; load {os.getloadavg()[0]:.1f}",
        ),
        Figure(
            what="CPU of a run's start and end, the same two",
            target="(beside it)",
            value=f"{fixed['ray']:.1f} against {fixed['processes']:.1f} s",
            met=None,
            beside="the cluster was up already",
        ),
    ]


def main() -> None:
    """Prints the figures."""
    given = options(__doc__, rows=12_000, pairs=2)
    print(printed(figures(rows=given.rows, pairs=given.pairs)))


if __name__ == "__main__":
    main()
