"""`--processes N` against one process: whole runs of the real command, in pairs, one after the other.

    python -m tests.proofs.benchmarks.processes --rows 60000 --pairs 3

Each run is held to as many cores as it has processes, because one process alone puts its syncing and
its sealing on a second core. The canned server (nginx) is held to none, and needs a few percent of what
a client does for a request: with as many processes as cores, that is taken from them. Two things are
measured:

- requests a second while the middle of a run is sent (from 20 % to 90 % of the rows), and of the
  whole command, its start included;
- CPU seconds that one request more costs all processes together: what long runs took more than
  short ones, divided by the requests more. The starts, which a long run does not feel, fall out.

On a machine where others work too, the rate says little (two processes get two shares of a crowded
CPU, and share them with the server); the CPU seconds still say what spreading costs, and so what N
free cores would give at most. The load average is printed beside.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import command, environment
from tests.proofs.arguments import Option, options
from tests.proofs.benchmarks.figures import Figure, printed
from tests.proofs.benchmarks.server import canned_server

TARGET = 0.85
IN_FLIGHT = 256


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command: requests a second of all of it and of its middle, and CPU seconds."""

    whole: float
    middle: float
    cpu_s: float


def figures(*, rows: int = 60_000, pairs: int = 3, processes: int | None = None) -> Iterator[Figure]:
    """The ratio of the rates, and that of the CPU seconds a request."""
    cpus = len(os.sched_getaffinity(0))
    many = processes or max(2, min(4, cpus))
    few = rows // 4
    runs: dict[tuple[int, int], list[Run]] = {
        (count, size): [] for count in (1, many) for size in (few, rows)
    }
    apart = []
    loads = []
    with tempfile.TemporaryDirectory(prefix="batchlab-bench-") as folder, canned_server() as server:
        home = Path(folder)
        with (home / "rows.jsonl").open("w") as file:
            for number in range(rows):
                file.write(json.dumps({"text": f"remark {number} on a parcel"}) + "\n")
        for pair in range(pairs):
            loads.append(os.getloadavg()[0])
            for count, size in sorted(runs, reverse=pair % 2 == 1):
                runs[count, size].append(_run(home, server.plain, size, count))
            apart.append(_apart(home, server.plain, rows, many))

    def middle(count: int, what: str, size: int = rows) -> float:
        return statistics.median(getattr(run, what) for run in runs[count, size])

    ratio = middle(many, "middle") / middle(1, "middle")
    quiet = max(loads) < 1.0
    crowded = "" if quiet else ", a crowded CPU"
    yield Figure(
        what=f"`--processes {many}` on {cpus} cores against one process, requests/s",
        target=f"≥ {TARGET} · N = {TARGET * many:.2f} ×",
        value=f"{ratio:.2f} ×",
        met=ratio >= TARGET * many if cpus >= many and quiet else None,
        beside=f"{middle(many, 'middle'):,.0f} against {middle(1, 'middle'):,.0f}/s in the middle of {rows:,} rows, "
        f"{middle(many, 'whole'):,.0f} against {middle(1, 'whole'):,.0f}/s with the start; {pairs} pairs; "
        f"{server.name} on the same cores; load average {min(loads):.1f} to {max(loads):.1f}{crowded}",
    )
    ceiling = statistics.median(apart)
    yield Figure(
        what=f"the same against {many} separate runs at the same time, which is what this machine gives",
        target="(beside it)",
        value=f"{middle(many, 'middle') / ceiling:.2f} ×",
        met=None,
        beside=f"{many} separate runs: {ceiling:,.0f}/s in all, {ceiling / middle(1, 'middle'):.2f} × one alone",
    )
    one, several = (
        (middle(count, "cpu_s") - middle(count, "cpu_s", few)) * 1_000 / (rows - few) for count in (1, many)
    )
    yield Figure(
        what=f"CPU of all processes for one request more, `--processes {many}` against one process",
        target=f"≤ 1 / {TARGET} = {1 / TARGET:.2f} ×",
        value=f"{several / one:.2f} ×",
        met=several / one <= 1 / TARGET,
        beside=f"{several:.3f} against {one:.3f} s for 1,000 requests; on N free cores that is at most "
        f"{one / several:.2f} · N; a start takes {middle(many, 'cpu_s', few) - several * few / 1_000:.1f} "
        f"against {middle(1, 'cpu_s', few) - one * few / 1_000:.1f} s of CPU",
    )


def _run(home: Path, base_url: str, rows: int, processes: int) -> Run:
    cpus = sorted(os.sched_getaffinity(0))[:processes]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    rate = _middle(_started(home, base_url, rows, cpus, processes=processes), rows)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(rows / took, rate, cpu_s)


def _apart(home: Path, base_url: str, rows: int, count: int) -> float:
    """Requests a second of `count` runs that know nothing of each other, each with a core and its part
    of the rows and of the requests in flight."""
    cpus = sorted(os.sched_getaffinity(0))
    part = rows // count
    runs = [
        _started(home, base_url, part, [cpus[number % len(cpus)]], in_flight=IN_FLIGHT // count)
        for number in range(count)
    ]
    return sum(_middle(run, part) for run in runs)


def _started(
    home: Path,
    base_url: str,
    rows: int,
    cpus: list[int],
    *,
    processes: int = 1,
    in_flight: int = IN_FLIGHT,
) -> subprocess.Popen[str]:
    words = ["run", "-i", "rows.jsonl", "-n", rows, "-m", "bench", "-p", "{text}", "--base-url", base_url]
    words += ["--api-key-env", "SIMULATOR_KEY", "--progress", "json", "--shard-rows", 2500, "-c", in_flight]
    words += ["--processes", processes, "--run-dir", f"runs/{time.monotonic_ns()}"]
    return subprocess.Popen(
        command(*map(str, words)),
        cwd=home,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )


def _middle(run: subprocess.Popen[str], rows: int) -> float:
    """Requests a second while the middle of a run was sent."""
    said = run.communicate()[1]
    assert run.returncode == 0, said
    states = [json.loads(text) for text in said.splitlines() if text.startswith("{")]
    middle = [state for state in states if 0.2 * rows <= state["saved"] <= 0.9 * rows]
    saved = middle[-1]["saved"] - middle[0]["saved"]
    seconds = middle[-1]["elapsed_s"] - middle[0]["elapsed_s"]
    return saved / seconds if seconds else 0.0


def main() -> None:
    """Prints the figures."""
    given = options(
        __doc__, rows=60_000, pairs=3, processes=Option(help="how many; as many as there are cores", kind=int)
    )
    print(printed(list(figures(rows=given.rows, pairs=given.pairs, processes=given.processes))))


if __name__ == "__main__":
    main()
