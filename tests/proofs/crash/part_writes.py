"""Kill, EIO and ENOSPC at every write by which Arrow writes a part; then one resume, and the books.

    python -m tests.proofs.crash.part_writes --rows 200            # every write of the second part
    python -m tests.proofs.crash.part_writes --rows 200 --every 10 # a sample

What `every_operation` does for our own file operations, for those that Arrow makes in C++: strace
lets the n-th write to the temporary file of a part go wrong. The checks are the same.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import command, environment, simulating_apart
from tests.proofs.arguments import options
from tests.proofs.crash.every_operation import LATENCY_S, Ended, Sweep

INJECTED = {"kill": "signal=KILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
PART = "runs/rows/completions/part-000001.parquet.tmp"


def have_strace() -> bool:
    """Whether strace is here and may trace."""
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-qq", "-o", "/dev/null", "true"]).returncode == 0


def traced_run(home: Path, words: list[str], fault: str, at: int) -> Ended:
    """The command under strace, the n-th write to the part going wrong; its writes are counted."""
    with tempfile.NamedTemporaryFile("r", prefix="batchlab-trace-") as trace:
        strace = ["strace", "-f", "-qq", "-o", trace.name, "-P", str(home / PART), "-e", "trace=write"]
        if fault:
            strace += ["-e", f"inject=write:{INJECTED[fault]}:when={at}"]
        done = subprocess.run(
            [*strace, *command(*words)], cwd=home, env=environment(), capture_output=True, text=True
        )
        writes = sum(" write(" in line for line in trace)
    # strace ends as its child did: by the same signal, or with 128 + its number
    code = -signal.SIGKILL if done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL} else done.returncode
    (home / "said").write_text(done.stdout + done.stderr)
    return Ended(code, done.stdout + done.stderr, writes)


def sweep(rows: int, every: int, *, first: int = 1) -> tuple[Sweep, int]:
    """All cases at writes `first`, `first + every`, ...; also how many writes the part takes."""
    with simulating_apart(LATENCY_S) as server:
        found = Sweep(server, rows)
        with found.home() as home:
            whole = traced_run(home, found.words(), "", 0)
        assert whole.code == 0, whole.said
        assert whole.operations > 50, "the trace does not see the part"
        for at in range(first, whole.operations + 1, every):
            for fault in INJECTED:
                found.case(fault, at, traced_run)
    return found, whole.operations


def main() -> None:
    """Prints the figures; exits with 1 when a promise was broken."""
    given = options(__doc__, rows=200, every=1)
    if not have_strace():
        raise SystemExit("strace is not installed, or may not trace here")
    found, total = sweep(given.rows, given.every)
    found.report(f"{total} writes of one part of a {given.rows}-row run, every {given.every}")


if __name__ == "__main__":
    main()
