"""SIGKILL at random moments of a run, then finish it, and compare with the simulator's books.

    python -m tests.crash.kill_sweep --kills 1000 --rows 5000    # some twenty runs, one after another

Checked after every kill: what was journalled before is still there (P1). Checked at the end:
no journalled row was billed again (P1), repeated bills are at most what was in flight at each
kill (P2) and at most the run's `cut_off`, `verify` passes and every row is answered (P6). Each process
that lives long enough prints how many requests may be billed twice: never less than the rows that the
simulator has billed and the journal does not have. The key is in no file, output or command line (P8).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from batchlab.endpoints.simulator import Simulator, SimulatorOptions
from batchlab.endpoints.simulator.server import _content
from batchlab.inputs.requests import RequestBuilder
from batchlab.job_file import job_from
from batchlab.records import Row
from batchlab.store.run_dir import RunDir
from tests.canary import command_lines_with_key, files_with_key
from tests.conftest import CANARY, command, environment

KILLS_A_RUN = 50
PROMPT = "Say it shorter: {text}"


@dataclass
class Sweep:
    """What a sweep found."""

    rows: int
    kills: int = 0
    lost: int = 0
    journalled_then_billed: int = 0
    billed_repeats: int = 0
    in_flight_at_kills: int = 0
    most_in_flight: int = 0
    announcements: int = 0
    announced_too_few: int = 0
    cut_off: int = 0
    leaks: int = 0
    verified: bool = False
    phases: Counter[str] = field(default_factory=Counter)


def sweep(rows: int, kills: int, seed: int, *, concurrency: int = 16, shard_rows: int = 500) -> Sweep:
    """Kills one run `kills` times, finishes it, and returns what was found."""
    rng = random.Random(seed)
    found = Sweep(rows)
    with tempfile.TemporaryDirectory(prefix="batchlab-kill-") as folder:
        home = Path(folder)
        texts = [f"remark {number} on parcel {rng.randrange(10**6)}" for number in range(rows)]
        (home / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        ledger = home / "ledger.jsonl"
        options = {
            "api_key": CANARY,
            "latency_median_s": 0.08,
            "latency_sigma": 0.3,
            "ledger_path": str(ledger),
        }
        with Simulator(SimulatorOptions.from_dict(options)) as server:
            words = ["run", "-i", "rows.jsonl", "-m", "sim", "-p", PROMPT, "--base-url", server.base_url]
            words += [
                "--api-key-env",
                "SIMULATOR_KEY",
                "-c",
                str(concurrency),
                "--shard-rows",
                str(shard_rows),
            ]
            contents = _contents(texts, words)
            unsettled = _killed_runs(home, words, server, ledger, contents, kills, rng, found)
            done = subprocess.run(
                command(*words), cwd=home, env=environment(), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            _heard(found, done.stderr, unsettled)
        found.billed_repeats = _repeats(_bills(ledger))
        found.cut_off = RunDir.open(home / "runs" / "rows").totals().cut_off
        found.leaks += len(files_with_key(home))
        verify = subprocess.run(
            command("verify", "runs/rows"), cwd=home, env=environment(), capture_output=True, text=True
        )
        found.verified = verify.returncode == 0 and f"{rows:,} ok" in _ok_count(verify.stdout)
    return found


def _killed_runs(home, words, server, ledger, contents, kills, rng, found) -> int:
    """Starts and kills; returns how many rows are billed and not journalled at the end."""
    settled: dict[int, int] = {}  # row → its bills when it was first seen journalled
    unsettled = 0
    while found.kills < kills:
        process = subprocess.Popen(
            command(*words, "--progress", "none"),
            cwd=home,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        if found.kills % 2:  # wherever it is by then: often still starting
            time.sleep(rng.uniform(0.2, 1.2))
        else:  # at work, however long a loaded machine takes to get there
            before = _counted(server, "requests")
            while process.poll() is None and _counted(server, "requests") == before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.8))
        in_flight = _in_flight(server)
        found.leaks += len(command_lines_with_key())
        process.send_signal(signal.SIGKILL)
        _heard(found, process.communicate()[1], unsettled)
        if process.returncode == 0:
            break  # finished before the kill: the sweep is over
        found.kills += 1
        found.in_flight_at_kills += max(in_flight, 0)
        found.most_in_flight = max(found.most_in_flight, in_flight)
        while _in_flight(server):  # the simulator finishes, and bills, what was abandoned
            time.sleep(0.01)
        done = _journalled(home / "runs" / "rows")
        found.phases["before the first row" if not done else "running"] += 1
        found.lost += len(set(settled) - done)
        bills = _bills(ledger)
        for row in done:
            settled.setdefault(row, bills[contents[row]])
        unsettled = len(bills.keys() - {contents[row] for row in done})
        found.leaks += len(files_with_key(home))
    final = _bills(ledger)
    found.journalled_then_billed = sum(final[contents[row]] > count for row, count in settled.items())
    return unsettled


def _heard(found: Sweep, said: str, unsettled: int) -> None:
    """Compares what a process said of the one before it, if it came that far, with the truth."""
    found.leaks += CANARY in said
    announced = re.search(r"with ([\d,]+) requests? in flight", said)
    if announced or "resuming:" in said:
        found.announcements += 1
        count = int(announced.group(1).replace(",", "")) if announced else 0
        found.announced_too_few += count < unsettled


def _contents(texts: list[str], words: list[str]) -> list[str]:
    """What the simulator tells each row's request by."""
    url = words[words.index("--base-url") + 1]
    job = job_from(
        {
            "input": {"path": "rows.jsonl"},
            "request": {"model": "sim", "prompt": PROMPT},
            "endpoint": {"base_url": url},
        }
    )
    builder = RequestBuilder(job, ["text"])
    bodies = (builder.build(Row(number, {"text": text})).body for number, text in enumerate(texts))
    return [_content(b"", body).hex() for body in bodies]


def _journalled(path: Path) -> set[int]:
    if not RunDir.exists(path):
        return set()
    return {result.row_id for result in RunDir.open(path).all_results()}


def _bills(ledger: Path) -> Counter[str]:
    if not ledger.exists():
        return Counter()
    return Counter(json.loads(line)["content"] for line in ledger.read_text().splitlines())


def _repeats(bills: Counter[str]) -> int:
    return sum(bills.values()) - len(bills)


def _in_flight(server: Simulator) -> int:
    return _counted(server, "in_flight")


def _counted(server: Simulator, name: str) -> int:
    """A number of the simulator's own ledger."""
    with urlopen(f"{server.base_url}/simulator/ledger", timeout=10) as reply:
        return int(json.load(reply)[name])


def _ok_count(text: str) -> str:
    return next((line for line in text.splitlines() if line.startswith("rows out")), "")


def main() -> None:
    """Prints one line of figures; exits with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=16)
    given = parser.parse_args()
    kills, runs, good = 0, 0, True
    sums: Counter[str] = Counter()
    while kills < given.kills:
        found = sweep(
            given.rows,
            min(KILLS_A_RUN, given.kills - kills),
            given.seed + runs,
            concurrency=given.concurrency,
        )
        print(found, flush=True)
        runs += 1
        kills += max(found.kills, 1)
        good = good and kept_its_promise(found, given.concurrency)
        for name in (
            "lost journalled_then_billed billed_repeats in_flight_at_kills cut_off announcements "
            "announced_too_few leaks"
        ).split():
            sums[name] += getattr(found, name)
    print(
        f"{kills} kills in {runs} runs of {given.rows} rows, {dict(sums)}, bound {given.concurrency * kills}"
    )
    raise SystemExit(0 if good else 1)


def kept_its_promise(found: Sweep, concurrency: int) -> bool:
    """P1, P2 and P6 for one run."""
    return (
        not found.lost
        and not found.journalled_then_billed
        and found.verified
        and found.billed_repeats <= concurrency * found.kills
        and found.billed_repeats <= found.cut_off
        and not found.announced_too_few
        and not found.leaks
    )


if __name__ == "__main__":
    main()
