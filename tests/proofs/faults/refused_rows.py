"""Rows that are always refused with 429 among rows that are answered: how late are the others?

    python -m tests.proofs.faults.refused_rows --rounds 5

400 rows, of which 8 at random places are refused each time, against the same 392 alone; the real
dispatch over real sockets, answers after 0.1 to 0.3 s. The others are to end within 1.3 times the time that they take alone, and
the refused ones to have failed, with at most 8 requests each.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path

import batchlab
from tests.conftest import CANARY
from tests.proofs.arguments import ended, options
from tests.proofs.faults.bad_days import BAD, Line, OddServer, Sent, error, js, plain_answer, refused

REFUSAL = Line("always 429", "any service", refused(429, error("Rate limit reached", type="requests")))


class SlowServer(OddServer):
    """Takes its time for good answers."""

    def __init__(self, line: Line, rng: random.Random) -> None:
        super().__init__(line)
        self._rng = rng

    def good(self, stream: bool) -> Sent:
        """See `OddServer.good`."""
        del stream
        body = js(plain_answer())
        return Sent((self._rng.uniform(0.1, 0.3), body))


def others_s(
    rows: int, bad: set[int], *, concurrency: int, seed: int
) -> tuple[float, dict[str, int], list[str]]:
    """Seconds until the last good row was answered, requests by refused row, and the refused rows' states."""
    with tempfile.TemporaryDirectory(prefix="batchlab-refused-") as folder:
        home = Path(folder)
        prompts = [f"row {n}{BAD if n in bad else ''}" for n in range(rows)]
        (home / "rows.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in prompts))
        with SlowServer(REFUSAL, random.Random(seed)).running() as server:
            batchlab.run(
                input=str(home / "rows.jsonl"),
                model="m",
                prompt="{text}",
                base_url=server.base_url,
                api_key_env="SIMULATOR_KEY",
                run_dir=str(home / "run"),
                concurrency=concurrency,
                progress="none",
            )
        frame = batchlab.load(str(home / "run"))
    good = frame[frame["status"] == "ok"]
    assert len(good) == rows - len(bad), frame["status"].value_counts()
    lasted = (good["finished_at"].max() - good["started_at"].min()).total_seconds()
    asked = {one: server.asked[one] for one in prompts if BAD in one}
    states = [f"{one.status} {one.error_class}" for one in frame.itertuples() if BAD in one.text]
    return lasted, asked, states


def main() -> None:
    """Prints a line a round; exits with 1 when a bound is passed."""
    given = options(__doc__, rounds=5, rows=400, bad=8)
    os.environ["SIMULATOR_KEY"] = CANARY
    late: list[str] = []
    for concurrency in (16, 64):
        for seed in range(given.rounds):
            rng = random.Random(seed)
            bad = set(rng.sample(range(given.rows), given.bad))
            alone, _, _ = others_s(given.rows - given.bad, set(), concurrency=concurrency, seed=seed)
            beside, asked, states = others_s(given.rows, bad, concurrency=concurrency, seed=seed)
            ratio, most = beside / alone, max(asked.values())
            good = ratio <= 1.3 and most <= 8 and set(states) == {"failed rate_limit"}
            said = (
                f"concurrency {concurrency}, seed {seed}: the others in "
                f"{beside:.1f} s, alone in {alone:.1f} s: {ratio:.2f} ×; at most {most} requests for a refused row"
            )
            print(said, flush=True)
            late += [] if good else [f"past a bound: {said}"]
    ended(late)


if __name__ == "__main__":
    main()
