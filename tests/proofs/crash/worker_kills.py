"""SIGKILL to workers of `--processes` at random moments, and compare with the simulator's books.

    python -m tests.proofs.crash.worker_kills --kills 100    # several runs, one after another

The run goes on by itself after each kill: a fresh worker takes over. Checked at the end of each run:
exit code 0, `verify` passes and every row is answered (P6); no row whose answer was in a journal at a
kill was billed again (P1); billed repeats ≤ the run's `cut_off` ≤ what may be in flight × kills (P2);
the numbers said at the kills add up to `cut_off` at least (a request not sent again before the next kill
is said twice); the attempts in the books are the requests that the
simulator received, but for some that were cut off before they left. Every few kills it is the parent: its workers must be gone before the same
command, with one process and with several in turn, goes on. The key is in no file and no command
line (P8).
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.proofs.arguments import ended, options
from tests.proofs.crash.scene import Scene, scene

CONCURRENCY, PROCESSES = 16, 3
PARENT_EVERY = 8
KILLS_A_RUN = 20


@dataclass
class Kills:
    """What was found; see the module's docstring."""

    rows: int = 0
    runs: int = 0
    workers_killed: int = 0
    parents_killed: int = 0
    workers_left_behind: int = 0
    journalled_then_billed: int = 0
    billed_repeats: int = 0
    cut_off: int = 0
    said_in_flight: int = 0
    books_wrong: int = 0
    not_verified: int = 0
    leaks: int = 0

    @property
    def kept_its_promise(self) -> bool:
        """P1, P2, P6 and P8 for all runs."""
        kills = self.workers_killed + self.parents_killed
        return (
            not self.workers_left_behind
            and not self.journalled_then_billed
            and self.billed_repeats <= self.cut_off <= CONCURRENCY * kills
            and self.said_in_flight >= self.cut_off
            and not self.books_wrong
            and not self.not_verified
            and not self.leaks
        )


def one_run(found: Kills, rows: int, kills: int, rng: random.Random, *, parents: bool = True) -> None:
    """Runs so many rows to their end, with at most so many kills."""
    with scene(rows, rng, concurrency=CONCURRENCY, shard_rows=100) as at:
        processes, code = PROCESSES, None
        while code != 0:
            run = at.start("--processes", str(processes), "--progress", "plain")
            while kills and run.poll() is None:
                _until_a_moment(run, at, rng)
                if not (workers := _children(run.pid)):
                    continue  # it is starting, or has just one process
                kills -= 1
                if parents and rng.random() < 1 / PARENT_EVERY:
                    at.kill(run.pid)
                    found.parents_killed += 1
                    found.workers_left_behind += _left(workers)
                    processes = rng.choice([1, PROCESSES])
                else:
                    found.workers_killed += at.kill(rng.choice(workers))
                at.look()
            said = at.said_by(run)
            code = run.returncode
            assert code in {0, 3, -signal.SIGKILL}, said
            found.said_in_flight += sum(map(int, re.findall(r"with (\d+) requests? in flight", said)))
        totals, received = at.totals(), at.counted("requests")
        found.runs += 1
        found.rows += rows
        # a request that was killed between its record and the socket was never received
        found.books_wrong += not received <= totals.attempts <= received + totals.cut_off
        found.journalled_then_billed += at.billed_again()
        found.billed_repeats += at.billed_repeats()
        found.cut_off += totals.cut_off
        found.leaks += at.leaks
        found.not_verified += not at.verified()


def _until_a_moment(run: subprocess.Popen, at: Scene, rng: random.Random) -> None:
    """Returns at a random moment: mostly while answers come, now and then while workers start."""
    if rng.random() < 0.15:
        time.sleep(rng.uniform(0.3, 1.5))
        return
    until = at.counted("requests") + rng.randrange(20, 200)
    while run.poll() is None and at.counted("requests") < until:
        time.sleep(rng.uniform(0.005, 0.03))


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _left(workers: list[int]) -> int:
    """How many of them are still there some time after their parent was killed."""
    end = time.monotonic() + 5
    while (left := sum(_alive(pid) for pid in workers)) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def _alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def main() -> None:
    """Prints a line of figures a run; exits with 1 when a promise was broken."""
    given = options(__doc__, kills=20, rows=3_000, seed=1)
    rng, found = random.Random(given.seed), Kills()
    while (left := given.kills - found.workers_killed - found.parents_killed) > 0:
        one_run(found, given.rows, min(left, KILLS_A_RUN), rng)
        print(asdict(found), flush=True)
    ended([] if found.kept_its_promise else ["a promise was broken"])


if __name__ == "__main__":
    main()
