"""One run with batches, killed again and again until its end, and what the service's books say of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from tests.proofs.crash.batch_books import bills_by_row, compared, live_contents, row_found, sent_lines
from tests.proofs.crash.batch_steps import DIED, SLEEPER, WORKER
from tests.proofs.crash.batch_ways import ANY_TIME, SLEEPS, Turn, Way
from tests.warm import Warm

SERVICES = ("openai", "mistral", "openrouter", "anthropic", "together")
URL = "basics://shelf/run"
LOCAL = "runs/run"
AT_URL = "runs/basics-shelf-run"
MACHINES = ("here", "there")
PATIENCE_S = 90.0
LOOK_UPS = ("list begins", "list answered", "absent before", "absent torn", "absent after", "created before")
ON_ITS_WAY_S = 0.03  # longest time between the begin of a call and a death on its way
ENDS = frozenset({0, 1, 3})
ROWS_DONE = frozenset({0, 1})
STEPS_AT_ONCE = 3  # it dies at the one that comes first
MOST_MISSED = 3  # commands that came to their end, before the run is brought to its own
SLEEPING = "asleep"
PROMPT = "Say it shorter: {text}"
MAX_TOKENS = 60
REFUSALS = (  # with exit code 2, of commands that are typed at random
    "none of its batches is out",
    "its batches were cancelled, and no others are ordered",
    "cannot cancel a batch",
    "its run has not begun",
    "no run directory",
    "is not a run directory",
)
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
JOB = """
[input]
path = "rows.jsonl"
[endpoint]
base_url = "{server}"
batch_api = "{service}"
api_key_env = "SIMULATOR_KEY"
[request]
model = "sim"
prompt = "{prompt}"
max_tokens = {max_tokens}
[limits]
lane = "batch"
max_attempts = 9
concurrency = 8
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
    """Of one way and step: kills, and what came of the runs that were killed there last.

    Attributes:
        twice, billed, lost: lines that were answered twice, bills that nothing tells of, rows.
    """

    kills: int = 0
    resumed: int = 0
    twice: int = 0
    billed: int = 0
    lost: int = 0
    longest_s: float = 0.0

    def __add__(self, other: Line) -> Line:
        return Line(
            self.kills + other.kills,
            self.resumed + other.resumed,
            self.twice + other.twice,
            self.billed + other.billed,
            self.lost + other.lost,
            max(self.longest_s, other.longest_s),
        )


@dataclass
class Found:
    """Everything that was found on one way.

    Attributes:
        missed: how often a command had ended before a step was reached.
        counts: of runs, rows, batches, and what else happened to them.
    """

    way: Way
    at_url: bool = False
    lines: dict[str, Line] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.way.name}, URL" if self.at_url else self.way.name

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
        lost_at: how many bills there were when a directory was lost last.
    """

    found: Found
    service: str
    rng: random.Random
    home: Path
    server: SimulatorHandle
    warm: Warm
    rows: int
    contents: Mapping[str, int]
    deaths: list[str] = field(default_factory=list)
    journalled: set[int] = field(default_factory=set)
    lost_at: int = 0
    machine: str = MACHINES[0]
    said: str = ""
    troubles: int = 0

    def to_end(self, kills: int) -> None:
        """Kills it so many times, unless it ends before, and looks at what has come of it."""
        missed = 0
        while len(self.deaths) < kills and missed < MOST_MISSED and not self._is_done():
            if self._at_url and not self.found.way.is_live and self.rng.random() < 0.15:
                self._overtaken()
            else:
                missed += self._killed() != -9
        self._judge(self._ended())

    def _killed(self) -> int:
        """Goes on with it, to be killed at a step. Returns the exit code."""
        turn = self._turn()
        steps = self._next_steps(turn)
        code = self._go(turn, self._at(steps), self._most_s(steps))
        if code != -9:
            self.found.missed.update(steps)
            return code
        self._has_died()
        return code

    def _at(self, steps: Sequence[str]) -> str:
        """Where it is to die, in the words of `batch_steps`."""
        each = [f"{step}:{self._nth(step)}:{self._after_s(step):.4f}" for step in steps if step != ANY_TIME]
        return ",".join(filter(None, (*each, self._of_workers())))

    def _most_s(self, steps: Sequence[str]) -> float:
        return self.rng.uniform(0.05, 2.5) if ANY_TIME in steps else PATIENCE_S

    def _has_died(self) -> None:
        """Looks at what there is after a death; at a URL, the machine may be gone with all it had."""
        died = self._here / DIED
        step = died.read_text() if died.exists() else ANY_TIME
        died.unlink(missing_ok=True)
        self.deaths.append(step)
        self.found.line(step).kills += 1
        self._look()
        if not self._at_url:
            return
        self._sign_is_old()
        fate = self.rng.random()
        if fate < 0.6:
            shutil.rmtree(self._here / "runs", ignore_errors=True)
            self.found.counts["directories lost"] += 1
        elif fate < 0.85:
            self.machine = self._other
            self.found.counts["taken over elsewhere"] += 1
        else:
            return
        self.journalled.clear()
        self._settled()
        self.lost_at = self._bills()

    def _overtaken(self) -> None:
        """This machine falls asleep, another one takes the run over, and then it wakes up."""
        asleep, place = self.rng.choice(SLEEPS), self._here / SLEEPER
        place.unlink(missing_ok=True)
        turn, sleeper, said = self._turn(), self._here, self.home / "sleeper.txt"
        codes: list[int] = []
        second = Warm()
        at = f"sleep {asleep}:{self._nth(asleep)}"
        thread = threading.Thread(target=lambda: codes.append(self._in(second, turn, at, PATIENCE_S, said)))
        thread.start()
        while thread.is_alive() and not place.exists():
            time.sleep(0.02)
        try:
            if not place.exists():
                self.found.missed[SLEEPING] += 1
                thread.join()
                return
            self.found.counts["fell asleep"] += 1
            self.deaths.append(f"{SLEEPING} at {asleep}")
            self._sign_is_old()
            self.machine = self._other
            shutil.rmtree(self._here / "runs", ignore_errors=True)
            self.journalled.clear()
            turn = self._turn()
            steps = self._next_steps(turn)
            code = self._go(turn, self._at(steps), self._most_s(steps))
            os.kill(int(place.read_text()), signal.SIGCONT)
            thread.join()
            if "Traceback" in (text := said.read_text()):
                self._problem(f"a traceback of who woke up: {text[-3000:]}")
            if codes[0] not in ENDS | {2}:
                self._problem(f"exit code {codes[0]} of who woke up: {text[-1500:]}")
            self.found.counts[f"woke up, exit code {codes[0]}"] += 1
            shutil.rmtree(sleeper / "runs", ignore_errors=True)  # as it is told to
            if code == -9:
                self._has_died()
        finally:
            second.close()

    def _next_steps(self, turn: Turn) -> list[str]:
        """Some that few have died at; after a death around an order often one of looking it up."""
        rng, found = self.rng, self.found
        last = self.deaths[-1] if self.deaths else ""
        if last.startswith(("order", "created before", "created torn")) and rng.random() < 0.5:
            return [rng.choice(LOOK_UPS)]
        steps = found.way.steps(self.service, turn, at_url=self._at_url)
        weight = {step: found.line(step).kills + found.missed[step] + rng.random() for step in steps}
        return sorted(steps, key=weight.__getitem__)[:STEPS_AT_ONCE]

    def _nth(self, step: str) -> int:
        if step in {"line packed", "result taken"}:
            return self.rng.randrange(1, max(2, self.rows // 2))
        if step.startswith("live "):
            return self.rng.randrange(1, 40)
        return self.rng.choice((1, 1, 1, 2, 2, 3, 4))

    def _after_s(self, step: str) -> float:
        return self.rng.uniform(0.0, ON_ITS_WAY_S) if step.endswith("begins") else 0.0

    def _of_workers(self) -> str:
        """When a worker is to die, beside the process that has them."""
        if not self.found.way.has_workers or self.rng.random() < 0.3:
            return ""
        return f"{WORKER}:{self.rng.randrange(1, 30)}"

    def _turn(self) -> Turn:
        return self.found.way.turn(self.rng, self._place)

    @property
    def _place(self) -> str:
        """What names the run, on the command line; "" while there is none."""
        if is_run(self._path):
            return self.rng.choice((LOCAL, "job.toml") if not self._at_url else (URL, "job.toml", AT_URL))
        there = self._at_url and (self.home / "shelf/shelf/run/run.json").exists()
        return self.rng.choice((URL, "job.toml")) if there else ""

    def _go(self, turn: Turn, die_at: str, most_s: float) -> int:
        """One command; -9 when it was killed."""
        began = time.monotonic()
        text = self.home / "said.txt"
        start = text.stat().st_size if text.exists() else 0
        while True:
            code = self._in(self.warm, turn, die_at, most_s, text)
            with text.open("rb") as said:
                said.seek(start)
                self.said = said.read().decode()
            if code == 2 and "went on elsewhere" in self.said[-2000:]:
                shutil.rmtree(self._here / "runs")  # as it is told to
                self.found.counts["refused what had gone on elsewhere"] += 1
                turn = Turn(("run", "job.toml"))
            elif code == 2 and "in use by" in self.said and time.monotonic() < began + 10:
                time.sleep(0.2)  # the workers of who was killed have not noticed yet
            else:
                break
            start = text.stat().st_size
        lasted = time.monotonic() - began
        if "Traceback" in self.said:
            self._problem(f"a traceback: {self.said[-3000:]}")
        if code == 2 and not any(one in self.said for one in REFUSALS):
            self._problem(f"{' '.join(turn.words)} is refused: {self.said[-1500:]}")
        elif code not in ENDS | {2, -9}:
            self._problem(f"{' '.join(turn.words)}: exit code {code}: {self.said[-1500:]}")
        if self.deaths:
            line = self.found.line(self.deaths[-1])
            line.resumed += code in {-9, *ENDS}
            line.longest_s = max(line.longest_s, lasted)
        return code

    def _in(self, warm: Warm, turn: Turn, die_at: str, most_s: float, to: Path) -> int:
        """Types it here."""
        given = {
            "WARM_FIRST": "tests.proofs.crash.batch_steps",
            "SHELF": str(self.home / "shelf"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "DIE_AT": die_at or "never",
            "ANY_CHOICE": turn.chance,
        }
        words = [*turn.words, "--progress", "none"]
        with to.open("a+b") as said:
            said.write(f"\n{time.time():.3f} {self.machine}: {turn} dies at: {die_at}\n".encode())
            said.flush()
            try:
                request = [words, str(self._here), environment(**given)]
                return warm.exit_code(request, [said.fileno()] * 3, most_s)
            except subprocess.TimeoutExpired:
                if most_s == PATIENCE_S:
                    self._problem(f"{' '.join(words)} does not end within {PATIENCE_S:g} s")
                return -9

    @property
    def _at_url(self) -> bool:
        return self.found.at_url

    @property
    def _here(self) -> Path:
        """The directory in which this machine works."""
        return self.home / self.machine

    @property
    def _other(self) -> str:
        return MACHINES[self.machine == MACHINES[0]]

    @property
    def _path(self) -> Path:
        return self._here / (AT_URL if self._at_url else LOCAL)

    def _sign_is_old(self) -> None:
        """Two minutes have passed since a machine was at work."""
        (self.home / "shelf/shelf/run/lease.json").unlink(missing_ok=True)

    def _bills(self) -> int:
        ledger = self.home / "ledger.jsonl"
        return ledger.read_bytes().count(b"\n") if ledger.exists() else 0

    def _settled(self) -> None:
        """The service has billed what it answered to nobody."""
        while self.server.ledger()["in_flight"]:
            time.sleep(0.01)

    def _look(self) -> None:
        """Rows that have a result keep it."""
        if not is_run(self._path):
            return
        now = {result.row_id for result in RunView.open(self._path).all_results()}
        if gone := self.journalled - now:
            self._problem(f"{len(gone)} rows that had a result have none")
            self.found.line(self.deaths[-1]).lost += len(gone)
        self.journalled = now

    def _is_done(self) -> bool:
        return is_run(self._path) and RunView.open(self._path).totals().rows == self.rows

    def _ended(self) -> int:
        """Brings it to its end; returns the last exit code."""
        until = time.monotonic() + PATIENCE_S
        while True:
            turn = self.found.way.last(self.rng, self._place)
            code = self._go(turn, "", PATIENCE_S)
            if code in ROWS_DONE or turn.words[0] != "collect" or time.monotonic() > until:
                return code
            time.sleep(0.2)

    def _judge(self, code: int) -> None:
        """Compares the run with the service's books."""
        found, line = self.found, self.found.line(self.deaths[-1] if self.deaths else "none")
        self._settled()
        books, ledger = self.server.batches(), self.server.ledger()
        killed = self._here / "workers.killed"
        found.counts += Counter(
            runs=1,
            rows=self.rows,
            batches=len(books["batches"]),
            cancelled=sum(one["state"] == "cancelled" for one in books["batches"]),
        )
        found.counts["workers killed"] += killed.read_text().count("\n") if killed.exists() else 0
        if code not in ROWS_DONE:
            self._problem(f"exit code {code}: {self.said[-1500:]}")
        if books["submitted_twice"]:
            line.twice += len(books["submitted_twice"])
            self._problem(f"{len(books['submitted_twice'])} lines were submitted twice")
        if not is_run(self._path):
            self._problem("there is no run")
            return
        self._verify(line)
        found.counts["with a loss in their books"] += lost_totals(Layout(self._path)) != Totals()
        totals = RunView.open(self._path).totals()
        if totals.rows != self.rows:
            line.lost += self.rows - totals.rows
            self._problem(f"{totals.rows} of {self.rows} rows have a result")
        self._compare_rows(books, line)
        self._compare_sums(totals, books, ledger)
        if leaks := files_with_key(self.home):
            self._problem(f"the key is in {leaks[0]}")

    def _verify(self, line: Line) -> None:
        with tempfile.TemporaryFile() as out:
            words = ["verify", str(self._path)]
            env = environment(WARM_FIRST="tests.proofs.crash.batch_steps", SHELF=str(self.home / "shelf"))
            verified = self.warm.exit_code([words, str(self._here), env], [out.fileno()] * 3, PATIENCE_S)
            out.seek(0)
            if verified != 0:
                line.lost += 1
                self._problem(f"verify fails: {out.read().decode()[-1500:]}")

    def _compare_rows(self, books: Mapping[str, Any], line: Line) -> None:
        """Each row's bills, whatever lane they are of."""
        bills, strange = bills_by_row(self.home / "ledger.jsonl", books, self.contents)
        if strange:
            self._problem(f"{strange} bills of nothing that was asked")
        for result in RunView.open(self._path).all_results():
            of_row = bills.get(result.row_id, [])
            one = row_found(result, of_row, lost_at=self.lost_at)
            if one.unsaid:
                line.billed += one.unsaid
                self._problem(f"row {result.row_id}: {one.unsaid} bills that nothing tells of: {of_row}")
            if one.problem:
                self._problem(one.problem)
            self.found.counts["bills of live calls"] += sum(one.tier != "batch" for one in of_row)
            self.found.counts["billed twice, as said"] += max(0, len(of_row) - 1)
            self.found.counts["said to be cut off"] += result.cut_off

    def _compare_sums(self, totals: Totals, books: Mapping[str, Any], ledger: Mapping[str, Any]) -> None:
        pairs = {} if self.found.way.is_live else compared(totals, ledger)
        if not self._at_url:
            ours = read_batches(self._path).by_key.values()
            known, back = {one.id for one in ours}, {one.id for one in ours if one.is_cancelled}
            live = sum(
                json.loads(one)["tier"] != "batch"
                for one in (self.home / "ledger.jsonl").read_text().splitlines()
            )
            sent = sent_lines(books, known, back) + live
            most = totals.cut_off if self.found.way.is_live else 0  # of these some never left
            if not sent <= totals.attempts <= sent + most:
                pairs["attempts"] = totals.attempts, sent
        for what, (ours_, theirs) in pairs.items():
            if abs(ours_ - theirs) > 1e-9 * max(1.0, abs(theirs)):
                self._problem(f"{what}: {ours_} in our books, {theirs} in the service's")

    def keep(self, folder: Path) -> None:
        """Keeps what there is of it, to look into: also what it said, and the service's books."""
        (self.home / "books.json").write_text(json.dumps(self.server.batches(), indent=1))
        to = folder / f"{self.found.label} {self.service} {self.found.counts['runs']}"
        shutil.copytree(self.home, to, dirs_exist_ok=True)

    def _problem(self, text: str) -> None:
        self.troubles += 1
        where = f"{self.found.label}, {self.service}, run {self.found.counts['runs']}"
        self.found.problems.append(f"{where}, killed at {self.deaths}: {text}")


@contextmanager
def night(found: Found, service: str, rng: random.Random, warm: Warm) -> Iterator[Night]:
    """A directory with a job for one service, which goes on whatever happens to the command."""
    shards, shard_rows = rng.randint(2, 5), rng.randint(15, 50)
    if found.at_url and rng.random() < 0.5:  # several batches of a shard, some of which come before others
        shards, shard_rows = 2, rng.randint(60, 100)
    rows = shards * shard_rows - rng.randrange(shard_rows)
    with tempfile.TemporaryDirectory(prefix="batchlab-batch-kill-") as folder:
        home = Path(folder)
        texts = [f"remark {number} on parcel {rng.randrange(10**9)}" for number in range(rows)]
        batch = {
            "dialect": service,
            "seconds": "lognormal:median=0.8,p90=3" if found.way.cancels else "lognormal:median=0.4,p90=1.2",
            "unlisted_s": rng.choice((0.0, 0.4)),
            "file_hidden_s": rng.choice((0.0, 0.0, 0.2)),
            "cancel_s": rng.choice((0.0, 0.3, 1.0)),
            "faults": [fault for fault in FAULTS if rng.random() < 0.6 and _befalls(service, fault)],
        }
        options = {
            "seed": rng.randrange(10**6),
            "tokens_median": 20.0,
            "latency_median_s": 0.05,
            "price": {"input": 2.0, "output": 8.0},
            "ledger_path": str(home / "ledger.jsonl"),
        }
        with simulating(**options, batch=batch) as server:
            job = JOB.format(
                server=server.base_url,
                service=service,
                prompt=PROMPT,
                max_tokens=MAX_TOKENS,
                share=DIALECTS[service].share,
                run_dir=URL if found.at_url else LOCAL,
                shard_rows=shard_rows,
            )
            for machine in MACHINES:
                (home / machine).mkdir()
                (home / machine / "job.toml").write_text(job)
                (home / machine / "rows.jsonl").write_text(
                    "".join(json.dumps({"text": text}) + "\n" for text in texts)
                )
            contents = live_contents(texts, PROMPT, server.base_url, MAX_TOKENS)
            yield Night(found, service, rng, home, server, warm, rows, contents)


def _befalls(service: str, fault: Mapping[str, Any]) -> bool:
    """Whether a fault is the service's: others than OpenAI and its like say of a full queue in words alone."""
    return fault["kind"] != "batch_token_limit" or service not in SERVICES[1:]
