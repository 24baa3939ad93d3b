"""What `run --view` costs the run: the same run with and without a page beside it that a browser follows.

    python -m tests.proofs.benchmarks.viewed_run [--rows 2000] [--repeats 5]

The provider takes 50 ms for an answer, as it is with real ones: what the page could take away is time of the
run's own process, and that is measured, beside the seconds from the first request to the last.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

from tests.conftest import environment, simulating_apart
from tests.proofs.arguments import options
from tests.proofs.benchmarks.figures import Figure, printed
from tests.proofs.benchmarks.rows import write_rows

LATENCY_S = 0.05
# the run's own process, its children not counted
_MEASURED = """
import atexit, resource, sys
def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"own CPU {used.ru_utime + used.ru_stime:.3f} s", file=sys.stderr)
atexit.register(tell)
sys.argv[0] = "batchlab"
from batchlab.cli import main
main()
"""


def figures(*, rows: int = 2_000, repeats: int = 5) -> Iterator[Figure]:
    """The figures of this module, measured in turns."""
    plain: list[tuple[float, float]] = []
    viewed: list[tuple[float, float]] = []
    told = 0
    with (
        simulating_apart(LATENCY_S) as server,
        tempfile.TemporaryDirectory(prefix="batchlab-viewed-") as scratch,
    ):
        folder = Path(scratch)
        write_rows(folder / "rows.jsonl", rows, 200)
        for number in range(repeats):
            plain.append(_run(folder, f"plain-{number}", server.base_url)[0])
            measured, events = _run(folder, f"viewed-{number}", server.base_url, "--view")
            viewed.append(measured)
            told += events
    seconds, cpu = ([statistics.median(one[at] for one in runs) for runs in (plain, viewed)] for at in (0, 1))
    beside = f"without: {seconds[0]:.1f} s; median of {repeats}; {told:,} events were told to a browser"
    yield Figure(
        "a run with --view",
        "≤ 1.05 ×",
        f"{seconds[1] / seconds[0]:.2f} ×",
        seconds[1] <= 1.05 * seconds[0],
        beside,
    )
    more = cpu[1] - cpu[0]
    yield Figure(
        "CPU of its own process", "≤ 0.3 s more", f"{more:+.2f} s", more <= 0.3, f"without: {cpu[0]:.2f} s"
    )


def _run(folder: Path, name: str, base_url: str, *more: str) -> tuple[tuple[float, float], int]:
    """Seconds from the first request to the last and CPU seconds of a run, and events that its page told."""
    words = [
        "run", "rows.jsonl", "-m", "sim", "-p", "{text}", "--base-url", base_url, "--api-key-env", "SIMULATOR_KEY",
        "-c", "16", "--price-in", "1", "--price-out", "1", "--run-dir", name, "--progress", "none", *more,
    ]  # fmt: skip
    said = ""
    events: list[bytes] = []
    env = {**environment(), "BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    with subprocess.Popen(
        [sys.executable, "-c", _MEASURED, *words], cwd=folder, env=env, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            said += line
            if found := re.search(r"^page: (http://127\.0\.0\.1:\d+)/", line):
                address = f"{found[1]}/api/run/events?run={name}"
                threading.Thread(target=_follow, args=(address, events), daemon=True).start()
    assert run.returncode == os.EX_OK, said
    requests, cpu = re.search(r"requests in ([\d.]+) s", said), re.search(r"own CPU ([\d.]+) s", said)
    assert requests is not None, said
    assert cpu is not None, said
    return (float(requests[1]), float(cpu[1])), len(events)


def _follow(address: str, events: list[bytes]) -> None:
    with contextlib.suppress(OSError), urlopen(address, timeout=60) as answer:
        events += (line for line in answer if line.startswith(b"data:"))


def main() -> None:
    """Prints the figures as a table."""
    asked = options(__doc__, rows=2_000, repeats=5)
    print(printed(list(figures(rows=asked.rows, repeats=asked.repeats))))


if __name__ == "__main__":
    main()
