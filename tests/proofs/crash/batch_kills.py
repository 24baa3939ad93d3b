"""SIGKILL at every step of a batch's life, then resume, and compare with the service's own books.

    python -m tests.proofs.crash.batch_kills --kills 1000             # five services, a tenth of it at a URL
    python -m tests.proofs.crash.batch_kills --kills 20 --only together --seed 7

Each run of some hundred rows is killed again and again: at a step (`batch_steps`), while a call is on its way,
and at any time from outside. A run at a URL loses its whole local directory with each kill. Lines fail, batches
expire, replies to orders get lost, queues are full meanwhile. When the run has ended, the simulator's books
say: no line answered twice, none billed twice, each billed answer in the run at the batch's price; `verify`
passes, each row has its result, and no row that was journalled has been lost. Results may be fetched twice.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchlab.endpoints.simulator.batches.dialects import DIALECTS
from batchlab.store.batches import read_batches
from batchlab.store.integrity.lost import lost_totals
from batchlab.store.layout import Layout, is_run
from batchlab.store.view import RunView
from batchlab.totals import Totals
from tests.canary import files_with_key
from tests.conftest import SimulatorHandle, environment, simulating
from tests.proofs.arguments import Option, ended, one_of, options, table_head, table_row
from tests.proofs.crash.batch_steps import STEPS
from tests.warm import Warm

SERVICES = ("openai", "mistral", "openrouter", "anthropic", "together")
ANY_TIME = "any time"
URL = "basics://shelf/run"
PATIENCE_S = 90.0
LOOK_UPS = ("list begins", "list answered", "absent before", "absent torn", "absent after", "created before")
ON_ITS_WAY_S = 0.03  # longest time between the begin of a call and a death on its way
ROWS_DONE = frozenset({0, 1})
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
]
JOB = """
[input]
path = "rows.jsonl"
[endpoint]
base_url = "{server}"
batch_api = "{service}"
api_key_env = "SIMULATOR_KEY"
[request]
model = "sim"
prompt = "Say it shorter: {{text}}"
max_tokens = 60
[limits]
lane = "batch"
max_attempts = 9
[price]
input = 2.0
output = 8.0
batch = {share}
[output]
run_dir = "{run_dir}"
shard_rows = {shard_rows}
"""


@dataclass(slots=True)
class Line:
    """Of one service and step: kills, and what came of the runs that were killed there last.

    Attributes:
        twice, billed, lost: lines that were answered twice, bills beyond one for each, rows.
    """

    kills: int = 0
    resumed: int = 0
    twice: int = 0
    billed: int = 0
    lost: int = 0
    longest_s: float = 0.0


@dataclass
class Found:
    """Everything that was found at one service.

    Attributes:
        missed: how often a run had ended before a step was reached.
        given_up: runs whose books hold, as paid and not kept, a part that was lost on its way to the URL,
            though its batch's results have come again: that much they say too much. It is left out here.
    """

    label: str
    lines: dict[str, Line] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    rows: int = 0
    batches: int = 0
    given_up: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return sum(line.kills for line in self.lines.values())

    def line(self, step: str) -> Line:
        return self.lines.setdefault(step, Line())


@dataclass
class Night:
    """One run until its end.

    Attributes:
        deaths: where it was killed, in order.
        journalled: rows that were seen with a result here, since the directory was lost.
    """

    found: Found
    rng: random.Random
    home: Path
    server: SimulatorHandle
    warm: Warm
    rows: int
    at_url: bool
    deaths: list[str] = field(default_factory=list)
    journalled: set[int] = field(default_factory=set)
    said: str = ""
    troubles: int = 0

    def to_end(self, kills: int) -> None:
        """Kills it so many times, unless it ends before, and looks at what has come of it."""
        code = -9
        while code == -9 and len(self.deaths) < kills:
            code = self._killed()
        if code == -9:
            code = self._go("", PATIENCE_S)
        self._judge(code)

    def _killed(self) -> int:
        """Starts it, to be killed at a step. Returns the exit code."""
        step = self._next_step()
        if step == ANY_TIME:
            code = self._go("", self.rng.uniform(0.05, 2.5))
        else:
            code = self._go(f"{step}:{self._nth(step)}:{self._after_s(step):.4f}", PATIENCE_S)
        if code != -9:
            self.found.missed[step] += 1
            return code
        self.deaths.append(step)
        self.found.line(step).kills += 1
        self._look()
        if self.at_url:
            shutil.rmtree(self.home / "runs", ignore_errors=True)
            self.journalled.clear()
        return code

    def _next_step(self) -> str:
        """One that few have died at; after a death around an order often one of looking it up."""
        rng, found = self.rng, self.found
        last = self.deaths[-1] if self.deaths else ""
        if last.startswith(("order", "created before", "created torn")) and rng.random() < 0.5:
            return rng.choice(LOOK_UPS)
        left_out = () if self.at_url else ("kept at URL", "unmerged")
        steps = [step for step in (*STEPS, ANY_TIME) if not left_out or not step.startswith(left_out)]
        if DIALECTS[self.found.label.partition(",")[0]].inline:
            steps = [step for step in steps if not step.startswith(("upload", "download"))]
        weight = {step: found.line(step).kills + 0.5 * found.missed[step] + rng.random() for step in steps}
        return min(weight, key=weight.__getitem__)

    def _nth(self, step: str) -> int:
        if step in {"line packed", "result taken"}:
            return self.rng.randrange(1, max(2, self.rows // 2))
        return self.rng.choice((1, 1, 1, 2, 2, 3, 4))

    def _after_s(self, step: str) -> float:
        return self.rng.uniform(0.0, ON_ITS_WAY_S) if step.endswith("begins") else 0.0

    def _go(self, die_at: str, most_s: float) -> int:
        """Runs the command; -9 when it was killed."""
        given = {"WARM_FIRST": "tests.proofs.crash.batch_steps", "SHELF": str(self.home / "shelf")}
        env = environment(**given, **({"DIE_AT": die_at} if die_at else {}))
        began = time.monotonic()
        with (self.home / "said.txt").open("a+b") as said:
            start = said.tell()
            said.write(f"\n{time.time():.3f} dies at: {die_at}\n".encode())
            said.flush()
            try:
                files = [said.fileno()] * 3
                words = ["run", "job.toml", "--progress", "none"]
                code = self.warm.exit_code([words, str(self.home), env], files, most_s)
            except subprocess.TimeoutExpired:
                code = -9
                if most_s == PATIENCE_S:
                    self._problem(f"it does not end within {PATIENCE_S:g} s")
            said.seek(start)
            self.said = said.read().decode()
        lasted = time.monotonic() - began
        if "Traceback" in self.said:
            self._problem(f"a traceback: {self.said[-3000:]}")
        if self.deaths:
            line = self.found.line(self.deaths[-1])
            line.resumed += code in (-9, *ROWS_DONE)
            line.longest_s = max(line.longest_s, lasted)
        return code

    @property
    def _path(self) -> Path:
        return self.home / "runs" / ("basics-shelf-run" if self.at_url else "run")

    def _look(self) -> None:
        """Rows that have a result keep it."""
        if not is_run(self._path):
            return
        now = {result.row_id for result in RunView.open(self._path).all_results()}
        if gone := self.journalled - now:
            self._problem(f"{len(gone)} rows that had a result have none")
            self.found.line(self.deaths[-1]).lost += len(gone)
        self.journalled = now

    def _judge(self, code: int) -> None:
        """Compares the run with the service's books."""
        found, line = self.found, self.found.line(self.deaths[-1] if self.deaths else "none")
        found.runs += 1
        found.rows += self.rows
        books, ledger = self.server.batches(), self.server.ledger()
        found.batches += len(books["batches"])
        if code not in ROWS_DONE:
            self._problem(f"exit code {code}: {self.said[-1500:]}")
        if books["submitted_twice"]:
            line.twice += len(books["submitted_twice"])
            self._problem(f"{len(books['submitted_twice'])} lines were submitted twice")
        if books["billed_twice"]:
            line.billed += len(books["billed_twice"])
            self._problem(f"{len(books['billed_twice'])} lines were billed twice")
        if not is_run(self._path):
            self._problem("there is no run")
            return
        given_up = lost_totals(Layout(self._path))
        found.given_up += given_up != Totals()
        totals = RunView.open(self._path).totals() - given_up
        with tempfile.TemporaryFile() as out:
            words = ["verify", str(self._path)]
            env = environment(WARM_FIRST="tests.proofs.crash.batch_steps", SHELF=str(self.home / "shelf"))
            verified = self.warm.exit_code([words, str(self.home), env], [out.fileno()] * 3, PATIENCE_S)
            out.seek(0)
            if verified != 0:
                line.lost += 1
                self._problem(f"verify fails: {out.read().decode()[-1500:]}")
        if totals.rows != self.rows:
            line.lost += self.rows - totals.rows
            self._problem(f"{totals.rows} of {self.rows} rows have a result")
        known = None if self.at_url else {one.id for one in read_batches(self._path).by_key.values()}
        for what, (ours, theirs) in compared(totals, ledger, books, known=known).items():
            if abs(ours - theirs) > 1e-9 * max(1.0, abs(theirs)):
                self._problem(f"{what}: {ours} in our books, {theirs} in the service's")
        if leaks := files_with_key(self.home):
            self._problem(f"the key is in {leaks[0]}")

    def keep(self, folder: Path) -> None:
        """Keeps what there is of it, to look into: also what it said, and the service's books."""
        (self.home / "books.json").write_text(json.dumps(self.server.batches(), indent=1))
        shutil.copytree(self.home, folder / f"{self.found.label} {self.found.runs}", dirs_exist_ok=True)

    def _problem(self, text: str) -> None:
        self.troubles += 1
        self.found.problems.append(
            f"{self.found.label}, run {self.found.runs + 1}, killed at {self.deaths}: {text}"
        )


def compared(
    totals: Totals,
    ledger: Mapping[str, Any],
    books: Mapping[str, Any],
    *,
    known: Container[str | None] | None,
) -> dict[str, tuple[float, float]]:
    """Our books beside the service's, by what they count.

    Args:
        known: ids of the batches whose lines are attempts: of an order that was lost sight of, and came to
            nothing, nothing is counted. None when attempts do not count: they are lost with a directory.
    """
    sent = sum(
        line["status"] not in {"waiting", "refused"}
        for batch in books["batches"]
        if known is not None and batch["id"] in known
        for line in batch["lines"]
    )
    pairs: dict[str, tuple[float, float]] = {
        "answers": (totals.rows - totals.failed, ledger["billed"]),
        "prompt tokens": (totals.prompt_tokens + totals.wasted_prompt_tokens, ledger["prompt_tokens"]),
        "completion tokens": (
            totals.completion_tokens + totals.wasted_completion_tokens,
            ledger["completion_tokens"],
        ),
        "USD": (totals.cost_usd + totals.cost_wasted_usd, ledger["usd"]),
    }
    return pairs if known is None else {**pairs, "attempts": (totals.attempts, sent)}


@contextmanager
def night(found: Found, service: str, rng: random.Random, warm: Warm, *, at_url: bool) -> Iterator[Night]:
    """A directory with a job for one service, which goes on whatever happens to the command."""
    shards, shard_rows = rng.randint(3, 6), rng.randint(20, 60)
    rows = shards * shard_rows - rng.randrange(shard_rows)
    with tempfile.TemporaryDirectory(prefix="batchlab-batch-kill-") as folder:
        home = Path(folder)
        texts = (f"remark {number} on parcel {rng.randrange(10**9)}" for number in range(rows))
        (home / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        batch = {
            "dialect": service,
            "seconds": "lognormal:median=0.4,p90=1.2",
            "unlisted_s": rng.choice((0.0, 0.4)),
            "file_hidden_s": rng.choice((0.0, 0.0, 0.2)),
            "faults": [fault for fault in FAULTS if rng.random() < 0.6 and _befalls(service, fault)],
        }
        price = {"input": 2.0, "output": 8.0}
        with simulating(seed=rng.randrange(10**6), tokens_median=20.0, price=price, batch=batch) as server:
            job = JOB.format(
                server=server.base_url,
                service=service,
                share=DIALECTS[service].share,
                run_dir=URL if at_url else "runs/run",
                shard_rows=shard_rows,
            )
            (home / "job.toml").write_text(job)
            yield Night(found, rng, home, server, warm, rows, at_url)


def _befalls(service: str, fault: Mapping[str, Any]) -> bool:
    """Whether a fault is the service's: others than OpenAI and its like say of a full queue in words alone."""
    return fault["kind"] != "batch_token_limit" or service not in SERVICES[1:]


def at_service(
    service: str, kills: int, seed: int, *, at_url: bool = False, keep: Path | None = None
) -> Found:
    """Runs at one service, one after another, until so many kills are done; those with a problem are kept."""
    found = Found(f"{service}, URL" if at_url else service)
    rng = random.Random(f"{seed} {found.label}")
    warm = Warm()
    try:
        while found.kills < kills:
            with night(found, service, rng, warm, at_url=at_url) as run:
                run.to_end(min(kills - found.kills, rng.randint(3, 12)))
                if run.troubles and keep is not None:
                    run.keep(keep)
    finally:
        warm.close()
    return found


def report(all_found: list[Found]) -> list[str]:
    """Prints the table. Returns the problems."""
    table_head(
        "service", "step", "kills", "resumed", "ordered twice", "billed twice", "lost", "longest resume"
    )
    whole = Line()
    for found in all_found:
        for step in (*STEPS, ANY_TIME, "none"):
            one = found.lines.get(step)
            if one is None:
                continue
            figures = (one.kills, one.resumed, one.twice, one.billed, one.lost, f"{one.longest_s:.1f} s")
            if one.kills or one.twice or one.billed or one.lost:
                table_row(found.label, step, *figures)
            whole = Line(
                whole.kills + one.kills,
                whole.resumed + one.resumed,
                whole.twice + one.twice,
                whole.billed + one.billed,
                whole.lost + one.lost,
                max(whole.longest_s, one.longest_s),
            )
    table_row(
        "all", "all", whole.kills, whole.resumed, whole.twice, whole.billed, whole.lost,
        f"{whole.longest_s:.1f} s",
    )  # fmt: skip
    counts = {name: sum(getattr(one, name) for one in all_found) for name in ("runs", "rows", "batches")}
    given_up = sum(found.given_up for found in all_found)
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"{said}; parts given up, and come again, in {given_up} runs", flush=True)
    return [problem for found in all_found for problem in found.problems]


KEEP = Option(kind=Path, help="a folder in which runs with a problem are kept")


def main() -> None:
    """Prints the table; exits with 1 when a promise was broken."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # calls of who was killed end without their end
    given = options(__doc__, kills=50, seed=1, only=one_of(DIALECTS), at_once=3, keep=KEEP)
    services = SERVICES if given.only is None else (given.only,)
    remote = given.kills // 10
    began = time.monotonic()
    plan = [
        (service, kills, at_url)
        for at_url, count in ((False, given.kills - remote), (True, remote))
        for number, service in enumerate(services)
        if (kills := count // len(services) + (number < count % len(services)))
    ]
    with ThreadPoolExecutor(given.at_once) as pool:
        found = list(
            pool.map(lambda one: at_service(one[0], one[1], given.seed, at_url=one[2], keep=given.keep), plan)
        )
    problems = report(found)
    print(f"{time.monotonic() - began:.0f} s, seed {given.seed}, {len(problems)} problems", flush=True)
    ended(problems)


if __name__ == "__main__":
    main()
