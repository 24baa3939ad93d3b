"""SIGKILL at random moments of a run, then finish it, and compare with the simulator's books.

    python -m tests.proofs.crash.kill_sweep --kills 1000 --rows 5000    # some twenty runs, one after another

Checked after every kill: what was journalled before is still there (P1). Checked at the end:
no journalled row was billed again (P1), repeated bills are at most what was in flight at each
kill (P2) and at most the run's `cut_off`, `verify` passes and every row is answered (P6). Each process
that lives long enough prints how many requests may be billed twice: never less than the rows that the
simulator has billed and the journal does not have. The key is in no file, output or command line (P8).
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.proofs.arguments import ended, options
from tests.proofs.crash.scene import Scene, scene

KILLS_A_RUN = 50


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
    with scene(rows, rng, concurrency=concurrency, shard_rows=shard_rows) as at:
        unsettled = _killed_runs(at, kills, rng, found)
        last = at.start()
        said = at.said_by(last)
        assert last.returncode == 0, said
        _heard(found, said, unsettled)
        at.look()
        found.journalled_then_billed = at.billed_again()
        found.billed_repeats = at.billed_repeats()
        found.cut_off = at.totals().cut_off
        found.lost, found.leaks = at.lost, at.leaks
        found.verified = at.verified()
    return found


def _killed_runs(at: Scene, kills: int, rng: random.Random, found: Sweep) -> int:
    """Starts and kills; returns how many rows are billed and not journalled at the end."""
    unsettled = 0
    while found.kills < kills:
        process = at.start("--progress", "none")
        if found.kills % 2:  # wherever it is by then: often still starting
            time.sleep(rng.uniform(0.2, 1.2))
        else:  # at work, however long a loaded machine takes to get there
            before = at.counted("requests")
            while process.poll() is None and at.counted("requests") == before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.8))
        in_flight = at.counted("in_flight")
        at.kill(process.pid)
        _heard(found, at.said_by(process), unsettled)
        if process.returncode == 0:
            break  # finished before the kill: the sweep is over
        found.kills += 1
        found.in_flight_at_kills += max(in_flight, 0)
        found.most_in_flight = max(found.most_in_flight, in_flight)
        unsettled = at.look()
        found.phases["running" if at.settled else "before the first row"] += 1
    return unsettled


def _heard(found: Sweep, said: str, unsettled: int) -> None:
    """Compares what a process said of the one before it, if it came that far, with the truth."""
    announced = re.search(r"with ([\d,]+) requests? in flight", said)
    if announced or "resuming:" in said:
        found.announcements += 1
        count = int(announced.group(1).replace(",", "")) if announced else 0
        found.announced_too_few += count < unsettled


def main() -> None:
    """Prints one line of figures; exits with 1 when a promise was broken."""
    given = options(__doc__, kills=50, rows=5_000, seed=1, concurrency=16)
    kills, runs, broken = 0, 0, []
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
        broken += (
            [] if kept_its_promise(found, given.concurrency) else [f"run {runs} broke a promise: {found}"]
        )
        for name in (
            "lost journalled_then_billed billed_repeats in_flight_at_kills cut_off announcements "
            "announced_too_few leaks"
        ).split():
            sums[name] += getattr(found, name)
    print(
        f"{kills} kills in {runs} runs of {given.rows} rows, {dict(sums)}, bound {given.concurrency * kills}"
    )
    ended(broken)


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
