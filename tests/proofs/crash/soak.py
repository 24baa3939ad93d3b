"""A long run against a simulator in another process: memory and descriptors stay as they were.

    python -m tests.proofs.crash.soak --rows 1000000

Peak memory in the last tenth of the run against that in the second tenth, and open descriptors.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.canary import files_with_key
from tests.conftest import CANARY, command, environment, simulating_apart
from tests.proofs.arguments import ended, options

SAMPLE_S = 0.5


def soak(rows: int) -> dict[str, float]:
    """Runs so many rows. Returns memory (MB) and descriptors of the second and the last tenth."""
    with tempfile.TemporaryDirectory(prefix="batchlab-soak-") as folder:
        home = Path(folder)
        with (home / "rows.jsonl").open("w") as file:
            for number in range(rows):
                file.write(json.dumps({"text": f"remark {number} on a parcel"}) + "\n")
        with simulating_apart(0) as server:
            words = ["run", "-i", "rows.jsonl", "-m", "sim", "-p", "{text}", "--base-url", server.base_url]
            words += ["--api-key-env", "SIMULATOR_KEY", "--progress", "none", "-c", "128"]
            began = time.monotonic()
            with subprocess.Popen(
                command(*words), cwd=home, env=environment(), stderr=subprocess.PIPE, text=True
            ) as run:
                samples = _samples(run)
                said = run.stderr.read() if run.stderr is not None else ""
            took = time.monotonic() - began
        assert run.returncode == 0, said
        verify = subprocess.run(command("verify", "runs/rows"), cwd=home, env=environment(), check=False)
        leaks = len(files_with_key(home)) + (CANARY in said)
    tenth = max(1, len(samples) // 10)
    second, last = samples[tenth : 2 * tenth], samples[-tenth:]
    return {
        "rows": rows,
        "rows_per_s": round(rows / took),
        "second_tenth_mb": max(memory for memory, _ in second),
        "last_tenth_mb": max(memory for memory, _ in last),
        "second_tenth_descriptors": statistics.median(count for _, count in second),
        "last_tenth_descriptors": statistics.median(count for _, count in last),
        "verified": float(verify.returncode == 0),
        "files_with_the_key": leaks,
    }


def _samples(run: subprocess.Popen[str]) -> list[tuple[float, int]]:
    """Resident memory (MB) and open descriptors of a process, twice a second until it ends."""
    samples: list[tuple[float, int]] = []
    process = Path(f"/proc/{run.pid}")
    while run.poll() is None:
        with suppress(OSError, IndexError):
            pages = int((process / "statm").read_text().split()[1])
            samples.append((pages * 4096 / 1e6, len(list((process / "fd").iterdir()))))
        time.sleep(SAMPLE_S)
    return samples


def main() -> None:
    """Prints the figures; exits with 1 when memory or descriptors grew."""
    given = options(__doc__, rows=1_000_000)
    found = soak(given.rows)
    ratio = found["last_tenth_mb"] / found["second_tenth_mb"]
    print(json.dumps(found), f"memory, last ÷ second tenth: {ratio:.3f}")
    flat = found["last_tenth_descriptors"] <= 1.05 * found["second_tenth_descriptors"]
    promises = {
        "memory grew": ratio <= 1.05,
        "descriptors grew": flat,
        "verify fails": found["verified"],
        "the key got out": not found["files_with_the_key"],
    }
    ended([broken for broken, kept in promises.items() if not kept])


if __name__ == "__main__":
    main()
