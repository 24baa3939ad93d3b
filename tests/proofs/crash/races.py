"""Two processes started on one run directory at once: exactly one works, the other is refused.

python -m tests.proofs.crash.races --starts 100
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from tests.canary import files_with_key
from tests.conftest import CANARY, command, environment, simulating
from tests.proofs.arguments import ended, options

ROWS = 40


def races(starts: int) -> list[str]:
    """Starts two processes on each of so many new runs. Returns what went wrong."""
    problems: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="batchlab-race-") as folder,
        simulating(latency_median_s=0.05) as server,
    ):
        home = Path(folder)
        for start in range(starts):
            rows = home / f"rows{start}.jsonl"
            rows.write_text("".join(json.dumps({"text": f"{start} {n}"}) + "\n" for n in range(ROWS)))
            words = ["run", "-i", rows.name, "-m", "sim", "-p", "{text}", "--base-url", server.base_url]
            words += ["--api-key-env", "SIMULATOR_KEY", "--progress", "none", "-c", "8"]
            both = [
                subprocess.Popen(
                    command(*words), cwd=home, env=environment(), stderr=subprocess.PIPE, text=True
                )
                for _ in range(2)
            ]
            said = [process.communicate(timeout=60)[1] for process in both]
            if CANARY in "".join(said):
                problems.append(f"start {start}: the key was printed")
            codes = Counter(process.returncode for process in both)
            # the second may also come so late that the run is done: it then asks for nothing
            if codes != {0: 1, 2: 1} and not (codes == {0: 2} and any("0 requests" in text for text in said)):
                problems.append(f"start {start}: exit codes {dict(codes)}: {said}")
            if 2 in codes and not any(
                "in use by process" in text or "has just started" in text for text in said
            ):
                problems.append(f"start {start}: the refusal names nobody: {said}")
        ledger = server.ledger()
        problems += [f"the key is in {path}" for path in files_with_key(home)]
        if ledger["billed"] != starts * ROWS or ledger["billed_repeats"]:
            problems.append(f"billed {ledger['billed']} for {starts * ROWS} rows")
    return problems


def main() -> None:
    """Prints the figures; exits with 1 when two worked on one run."""
    given = options(__doc__, starts=100)
    problems = races(given.starts)
    print(f"{given.starts} starts of two processes; problems {len(problems)}")
    ended(problems)


if __name__ == "__main__":
    main()
