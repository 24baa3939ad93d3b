"""Where a run with batches is killed: two machines, a store between them, and a service of batches."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchlab.endpoints.simulator.batches.dialects import DIALECTS
from batchlab.job.file import job_from
from batchlab.store.batches import read_batches
from batchlab.store.layout import is_run
from batchlab.store.view import RunView
from tests.batch_jobs import batch_job
from tests.conftest import SimulatorHandle, environment, simulating
from tests.proofs.crash.batch_books import live_contents
from tests.proofs.crash.batch_ways import Turn, Way
from tests.warm import Warm

SERVICES = ("openai", "mistral", "openrouter", "anthropic", "together")
URL = "basics://shelf/run"
LOCAL = "runs/run"
AT_URL = "runs/basics-shelf-run"
MACHINES = ("here", "there")
FLEX = 0.4  # of the price of a live call
LATE = -1000  # the exit code of a command that had to be ended
PROMPT = "Say it shorter: {text}"
MAX_TOKENS = 60
FAULTS: list[dict[str, Any]] = [
    {"kind": "batch_line_errors", "rate": 0.3, "share": 0.1},
    {"kind": "batch_line_errors", "rate": 0.1, "share": 0.05, "status": 400},
    {"kind": "batch_expires", "rate": 0.2, "share": 0.6},
    {"kind": "batch_token_limit", "rate": 0.1, "most": 2},
    {"kind": "batch_doubled", "rate": 0.1, "count": 3},
    {"kind": "batch_foreign", "rate": 0.1, "count": 3},
    {"kind": "batch_reset_after", "step": "create", "rate": 0.15},
    {"kind": "batch_error_after", "step": "create", "rate": 0.1},
    {"kind": "batch_reset", "step": "create", "rate": 0.1},
    {"kind": "batch_error", "step": "upload", "rate": 0.05},
    {"kind": "batch_reset", "step": "download", "rate": 0.05},
    {"kind": "batch_reset_after", "step": "cancel", "rate": 0.3},
    {"kind": "batch_error", "step": "cancel", "rate": 0.2},
]


@dataclass
class Ground:
    """One run's; what a machine has is in a folder of `home` of its name.

    Attributes:
        contents: by what the service's ledger calls a live call, its row.
        machine: the one that is typed at.
        second: types beside `warm`.
    """

    home: Path
    service: str
    server: SimulatorHandle
    warm: Warm
    second: Warm
    rows: int
    contents: Mapping[str, int]
    at_url: bool
    machine: str = MACHINES[0]

    @property
    def here(self) -> Path:
        """The directory in which this machine works."""
        return self.home / self.machine

    @property
    def path(self) -> Path:
        """The run's directory on this machine."""
        return self.here / (AT_URL if self.at_url else LOCAL)

    @property
    def ledger(self) -> Path:
        """All bills."""
        return self.home / "ledger.jsonl"

    def go_elsewhere(self) -> None:
        """The other machine is typed at from now on."""
        self.machine = MACHINES[self.machine == MACHINES[0]]

    def lose(self) -> None:
        """This machine has lost all that it had."""
        shutil.rmtree(self.here / "runs", ignore_errors=True)

    def name(self, rng: random.Random) -> str:
        """What names the run, on the command line; "" while there is none."""
        if is_run(self.path):
            return rng.choice((LOCAL, "job.toml") if not self.at_url else (URL, "job.toml", AT_URL))
        there = self.at_url and (self.home / "shelf/shelf/run/run.json").exists()
        return rng.choice((URL, "job.toml")) if there else ""

    def typed(
        self,
        turn: Turn,
        die_at: str,
        most_s: float,
        to: Path,
        warm: Warm | None = None,
        machine: str | None = None,
    ) -> int:
        """Types it, here if no machine is named; what it says goes to a file. Returns its exit code, or LATE."""
        words, machine = [*turn.words, "--progress", "none"], machine or self.machine
        with to.open("a+b") as said:
            said.write(f"\n{time.time():.3f} {machine}: {turn} dies at: {die_at}\n".encode())
            said.flush()
            env = {**self._environment, "DIE_AT": die_at or "never", "ANY_CHOICE": turn.chance}
            try:
                return (warm or self.warm).exit_code(
                    [words, str(self.home / machine), env], [said.fileno()] * 3, most_s
                )
            except subprocess.TimeoutExpired:
                return LATE

    @property
    def _environment(self) -> dict[str, str]:
        return environment(
            WARM_FIRST="tests.proofs.crash.batch_steps",
            SHELF=str(self.home / "shelf"),
            XDG_CACHE_HOME=str(self.home / "cache"),
        )

    def verified(self, most_s: float) -> str:
        """What `verify` has to say against the run."""
        with tempfile.TemporaryFile() as out:
            words = ["verify", str(self.path)]
            request = [words, str(self.here), self._environment]
            code = self.warm.exit_code(request, [out.fileno()] * 3, most_s)
            out.seek(0)
            return out.read().decode() if code else ""

    def sign_is_old(self) -> None:
        """Two minutes have passed since a machine was at work."""
        (self.home / "shelf/shelf/run/lease.json").unlink(missing_ok=True)

    def settled(self) -> None:
        """The service has billed what it answered to nobody."""
        while self.server.ledger()["in_flight"]:
            time.sleep(0.01)

    def bills(self) -> list[dict[str, Any]]:
        """All that were charged, in order."""
        return list(map(json.loads, self.ledger.read_text().splitlines())) if self.ledger.exists() else []

    def is_done(self) -> bool:
        """Whether each row has a result on this machine."""
        return is_run(self.path) and RunView.open(self.path).totals().rows == self.rows

    def has_late_orders(self) -> bool:
        """Whether batches are at the service that were ordered once too often, and not settled in the run."""
        known = read_batches(self.path)
        there = {one["id"] for one in self.server.batches()["batches"]}
        settled = {one.id for one in known.strays.values() if one.is_settled}
        return bool(known.strays_left() or (there - settled - {one.id for one in known.by_key.values()}))

    def keep(self, to: Path) -> None:
        """Keeps what there is of it, to look into: also what it said, and the service's books."""
        (self.home / "books.json").write_text(json.dumps(self.server.batches(), indent=1))
        shutil.copytree(self.home, to, dirs_exist_ok=True)


@contextmanager
def ground(
    way: Way, service: str, rng: random.Random, warm: tuple[Warm, Warm], *, at_url: bool
) -> Iterator[Ground]:
    """A directory with a job for one service, which goes on whatever happens to the command."""
    shards, shard_rows = rng.randint(2, 5), rng.randint(15, 50)
    if at_url and rng.random() < 0.5:  # several batches of a shard, some of which come before others
        shards, shard_rows = 2, rng.randint(60, 100)
    rows = shards * shard_rows - rng.randrange(shard_rows)
    with tempfile.TemporaryDirectory(prefix="batchlab-batch-kill-") as folder:
        home = Path(folder)
        texts = [f"remark {number} on parcel {rng.randrange(10**9)}" for number in range(rows)]
        batch = {
            "dialect": service,
            "seconds": "lognormal:median=4,p90=15"
            if way.cancels and not way.in_pairs
            else "lognormal:median=0.4,p90=1.2",
            "unlisted_s": rng.choice((0.0, 0.4)),
            "file_hidden_s": rng.choice((0.0, 0.0, 0.2)),
            "cancel_s": rng.choice((0.0, 0.3, 1.0)),
            "faults": [fault for fault in FAULTS if rng.random() < 0.6 and _befalls(service, fault)],
        }
        options = {
            "seed": rng.randrange(10**6),
            "tokens_median": 20.0,
            "latency_median_s": 0.05,
            "price": {"input": 2.0, "output": 8.0, "tiers": {"flex": FLEX}},
            "ledger_path": str(home / "ledger.jsonl"),
        }
        with simulating(**options, batch=batch) as server:
            job = batch_job(
                server.base_url,
                service,
                prompt=PROMPT,
                max_tokens=MAX_TOKENS,
                share=DIALECTS[service].share,
                endpoint={"preset": service} if way.flex else {},
                limits={"lane": "flex" if way.flex else "batch", "max_attempts": 9, "concurrency": 8},
                price={"flex": FLEX},
                output={"run_dir": URL if at_url else LOCAL, "shard_rows": shard_rows},
            )
            for machine in MACHINES:
                (home / machine).mkdir()
                (home / machine / "job.toml").write_text(job)
                (home / machine / "rows.jsonl").write_text(
                    "".join(json.dumps({"text": text}) + "\n" for text in texts)
                )
            contents = live_contents(job_from(tomllib.loads(job) | {"output": {}}), texts)
            yield Ground(home, service, server, *warm, rows, contents, at_url)


def _befalls(service: str, fault: Mapping[str, Any]) -> bool:
    """Whether a fault is the service's: others than OpenAI and its like say of a full queue in words alone."""
    return fault["kind"] != "batch_token_limit" or service not in SERVICES[1:]
