"""One run of the real command before a server by others: killed once, resumed, and compared with its books.

What the programs of this folder share. Each brings a server and tells, from the server's own ledger,
log or metrics, what it saw; here the run is started, killed with SIGKILL at a random moment, started
again with the same command and verified, and the promises are checked against what the server says.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.request import Request, urlopen

from batchlab.records import Completion, Result
from batchlab.store.layout import is_run
from batchlab.store.view import RunView
from batchlab.totals import Totals
from tests.canary import command_lines_with_key, files_with_key
from tests.conftest import CANARY, command, environment

SCRATCH = Path(tempfile.gettempdir()) / "batchlab-real"
PROMPT = "Say it shorter: {text}"
READY_S = 180.0  # a proxy of several hundred modules, on a machine with other work
RUN_S = 1_800.0


@dataclass(frozen=True)
class Books:
    """What a server says of what it was asked.

    Attributes:
        requests: chat requests that reached it, refused ones too.
        answered: of those, the ones that it answered, and would bill.
        bills: how often it answered each request, by whatever it tells them by; None when it cannot.
        prompt_tokens, completion_tokens: of its answers; None when it does not count them.
        unseen_tokens: of those, in answers whose usage it did not send to their end.
    """

    requests: int
    answered: int
    bills: Counter[str] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    unseen_tokens: int = 0

    def again_since(self, earlier: Books) -> int | None:
        """Answers to requests that it had answered before `earlier`."""
        if self.bills is None or earlier.bills is None:
            return None
        return sum(self.bills[one] - count for one, count in earlier.bills.items())


@dataclass
class Figures:
    """What came of one run.

    Attributes:
        announced: requests in flight at the kill, as the resume says; 0 when it names none.
        lost: rows that were answered before the kill and are not there, or were asked again.
        at_kill: the server's books then.
        wrong: rows that ended otherwise than they should, by what they should have been and were.
        notes: promises that were broken, in words.
    """

    name: str
    rows: int
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    settled: int = 0
    announced: int = 0
    lost: int = 0
    at_kill: Books = Books(0, 0)
    books: Books = Books(0, 0)
    totals: Totals = field(default_factory=Totals)
    verified: str = ""
    seconds: float = 0.0
    wrong: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def repaid(self) -> int | None:
        """Requests that the server had answered before the kill, and answered again."""
        return self.books.again_since(self.at_kill)

    def table(self) -> str:
        """The figures, a line each, as a table of Markdown."""
        books, totals = self.books, self.totals
        theirs = (
            "it counts none"
            if books.prompt_tokens is None
            else f"{books.prompt_tokens:,} + {books.completion_tokens:,}"
        )
        cells = [
            ("rows", f"{self.rows}: {_counts(self.statuses)}"),
            ("failed, by class", _counts(self.errors) or "none"),
            ("answered before the kill", f"{self.settled}; lost or asked again: {self.lost}"),
            (
                "requests, by the server",
                f"{books.requests} ({books.answered} answered); by batchlab: {totals.attempts} ({totals.cut_off} cut off)",
            ),
            (
                "paid again after the kill, by the server",
                f"{'it cannot tell' if self.repaid is None else self.repaid}; batchlab said {self.announced} were in flight",
            ),
            ("tokens, by the server", f"{theirs}, {books.unseen_tokens:,} of them untold"),
            (
                "tokens, by batchlab",
                f"kept {totals.prompt_tokens:,} + {totals.completion_tokens:,}, wasted {totals.wasted_prompt_tokens:,} + {totals.wasted_completion_tokens:,}, {totals.rows_without_usage} answers without usage",
            ),
            ("verify", self.verified),
            ("time", f"{self.seconds:.0f} s"),
            ("promises", "; ".join(self.notes) if self.notes else "kept"),
        ]
        if self.wrong:
            cells.insert(2, ("ended otherwise than they should", _counts(self.wrong)))
        lines = [f"| {self.name} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in cells)]
        return "\n".join(lines) + "\n"


def _counts(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))


@dataclass
class Trial:
    """One run to be killed and resumed.

    Attributes:
        base_url: of the server or proxy that is asked.
        expected: row → what it must end as: statuses or error classes, parted by `|`; `ok` for all others.
        billed_faults: whether an answer that nobody can use is billed too, and so asked and billed again.
        unbilled_tokens: most that faulty answers say they used and the server does not bill.
        idle: waits until the server has let go of what was abandoned, and returns.
        books: what it says in the end.
        words: more of the command line.
        rng: draws the moment of the kill.
    """

    name: str
    base_url: str
    texts: Sequence[str]
    idle: Callable[[], None]
    books: Callable[[], Books]
    rng: random.Random
    expected: Callable[[], Mapping[int, str]] = dict
    billed_faults: bool = False
    unbilled_tokens: int = 0
    words: tuple[str, ...] = ()
    model: str = "sim"
    key: str = CANARY
    prompt: str | None = PROMPT

    def figures(self) -> Figures:
        """Runs, kills, resumes, verifies; and checks what was promised."""
        with tempfile.TemporaryDirectory(prefix="batchlab-real-") as folder:
            return self._in(Path(folder))

    def _in(self, home: Path) -> Figures:
        found = Figures(self.name, len(self.texts))
        lines = ({"id": f"r{number}", "text": text} for number, text in enumerate(self.texts))
        (home / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        began = time.monotonic()
        before = self._killed(home, found)
        resumed = self._start(home)
        said = resumed.communicate(timeout=RUN_S)[1]
        found.seconds = time.monotonic() - began
        self.idle()
        run = home / "runs" / "rows"
        results = {result.row_id: result for result in RunView.open(run).all_results()}
        found.totals, found.books = RunView.open(run).totals(), self.books()
        announced = re.search(r"with ([\d,]+) requests? in flight", said)
        found.announced = int(announced.group(1).replace(",", "")) if announced else 0
        found.lost = sum(_when(results.get(row)) != _when(result) for row, result in before.items())
        expected = self.expected()
        for row in range(found.rows):
            self._count(found, results.get(row), expected.get(row, "ok"))
        self._verify(home, found)
        self._judge(home, found, resumed.returncode, said)
        return found

    def _start(self, home: Path) -> subprocess.Popen[str]:
        words = [
            "run",
            "-i",
            "rows.jsonl",
            "-m",
            self.model,
            "-p",
            self.prompt or "",
            "--base-url",
            self.base_url,
        ]
        words += ["--api-key-env", "SIMULATOR_KEY", "--progress", "none", *self.words]
        return subprocess.Popen(
            command(*words),
            cwd=home,
            env=environment(SIMULATOR_KEY=self.key, NO_PROXY="127.0.0.1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _killed(self, home: Path, found: Figures) -> dict[int, Result]:
        """Kills the run after a random share of its requests; the completions that were there then."""
        process = self._start(home)
        run = home / "runs" / "rows"
        # in the middle: after a fifth to three fifths of the rows, and a moment more
        many = round(found.rows * self.rng.uniform(0.2, 0.6))
        rows, earlier, end = 0, 0, time.monotonic() + RUN_S
        while process.poll() is None and time.monotonic() < end:
            earlier, rows = rows, RunView.open(run).totals().rows if is_run(run) else 0
            if earlier >= many and rows >= earlier + 2:
                break  # it is at work, and not in a pause
            time.sleep(0.1)
        time.sleep(self.rng.uniform(0.0, 0.05))
        if command_lines_with_key():
            found.notes.append("the key stood in a command line")
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        said = process.communicate()[1]
        if process.returncode != -signal.SIGKILL:
            found.notes.append(f"it ended before the kill ({process.returncode}): {said[-400:]}")
        self.idle()
        found.at_kill = self.books()
        results = RunView.open(run).all_results()
        kept = {result.row_id: result for result in results if isinstance(result, Completion)}
        found.settled = len(kept)
        return kept

    def _count(self, found: Figures, result: Result | None, expected: str) -> None:
        status = "missing" if result is None else getattr(result, "status", "failed")
        if isinstance(result, Completion) and result.error_class == "empty":
            status = "empty"
        ended = status
        found.statuses[status] += 1
        if result is not None and not isinstance(result, Completion):
            found.errors[result.error_class] += 1
            ended = result.error_class
        if ended not in expected.split("|"):
            found.wrong[f"{ended} (not {expected})"] += 1

    def _verify(self, home: Path, found: Figures) -> None:
        verify = subprocess.run(
            command("verify", "runs/rows"),
            cwd=home,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        said = (verify.stdout + verify.stderr).strip().splitlines()
        found.verified = f"{'passes' if verify.returncode == 0 else 'fails'}: {said[-1] if said else ''}"
        if verify.returncode:
            found.notes.append("verify fails")

    def _judge(self, home: Path, found: Figures, code: int, said: str) -> None:
        """Adds the promises that were broken."""
        books, totals, notes = found.books, found.totals, found.notes
        if "Traceback" in said:
            notes.append(f"a traceback: {said[-2_000:]}")
        if code != (1 if found.statuses["failed"] else 0):
            notes.append(f"the resume ended with {code}: {said[-600:]}")
        if self.key in said or files_with_key(home):
            notes.append("the key got out")
        if found.lost:
            notes.append(f"{found.lost} answered rows were lost or asked again")
        if found.statuses["missing"]:
            notes.append(f"{found.statuses['missing']} rows have no result")
        if found.wrong:
            notes.append("rows ended otherwise than they should")
        known = found.announced + (
            max(0, totals.attempts - totals.cut_off - found.rows) if self.billed_faults else 0
        )
        if found.repaid is not None and found.repaid > known:
            notes.append(f"{found.repaid} were paid again, more than the {known} that batchlab knows of")
        if totals.attempts < books.requests:
            notes.append(f"the server saw {books.requests} requests, batchlab knows of {totals.attempts}")
        if books.prompt_tokens is not None and books.completion_tokens is not None:
            notes += _token_notes(books, totals, self.unbilled_tokens)


def _token_notes(books: Books, totals: Totals, unbilled: int) -> list[str]:
    """Tokens that the server counts and batchlab does not: only those of answers it never saw."""
    missing = books.prompt_tokens + books.completion_tokens - totals.tokens_used - books.unseen_tokens
    if missing < -unbilled:
        return [f"booked {-missing} tokens more than were billed"]
    if missing > 0 and books.answered:
        # what was cut off, or answered without its usage, at the mean of all answers, twice over
        mean = (books.prompt_tokens + books.completion_tokens) / books.answered
        untold = totals.cut_off + totals.rows_without_usage
        if missing > 2 * mean * untold:
            return [f"{missing} billed tokens are in no book, for {untold} requests cut off or without usage"]
    return []


def _when(result: Result | None) -> tuple[object, ...] | None:
    """What tells one answer to a row from another."""
    if not isinstance(result, Completion):
        return None
    return result.reply.response_id, result.reply.completion


def broken(figures: Sequence[Figures]) -> list[str]:
    """What each run broke of what was promised, a line a run."""
    return [f"{one.name}: {'; '.join(one.notes)}" for one in figures if one.notes]


# -- servers


def scratch_venv(name: str, *packages: str, bare: Sequence[str] = ()) -> Path:
    """The python of a virtual environment with `packages`, and `bare` ones without what they require.

    It is made once, in the folder for temporary files, and kept for the next time.
    """
    place = SCRATCH / name
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        SCRATCH.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        for words in (packages, ("--no-deps", *bare) if bare else ()):
            if words:
                print(f"installing {' '.join(words)} …", file=sys.stderr, flush=True)
                subprocess.run(
                    [python, "-m", "pip", "install", "-q", *words], check=True, stderr=subprocess.DEVNULL
                )
        (place / "ready").touch()
    return python


def scratch_npm(name: str, package: str) -> Path:
    """The folder of an npm package, installed once in the folder for temporary files."""
    place = SCRATCH / name
    if not (place / "node_modules" / package / "package.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        print(f"installing {package} …", file=sys.stderr, flush=True)
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", place, package],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return place / "node_modules" / package


def free_port() -> int:
    """A port of loopback that nobody has; for servers that cannot tell the one they chose."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    words: Sequence[str | Path], *, log: Path, ready: str | None = None, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a process of its own, until the end of the block; it logs to `log`.

    Args:
        ready: a URL that answers 200 once it is up; None when the caller finds out.
    """
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    file: IO[bytes]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**kept, **env},
            start_new_session=True,
        )
        try:
            if ready is not None:
                wait_for(ready, process, log)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own session: it and its children
            process.communicate()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until `url` answers. Raises RuntimeError with the log's end when it does not."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError):
            urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server does not start: {log.read_text(errors='replace')[-2_000:]}")


def get_json(url: str, **headers: str) -> object:
    """What a server says at `url`."""
    with urlopen(Request(url, headers=headers), timeout=30) as reply:
        return json.load(reply)


def settled(number: Callable[[], int], *, still_s: float = 0.5) -> None:
    """Waits until a number has not changed for `still_s`."""
    last, since = number(), time.monotonic()
    while time.monotonic() - since < still_s:
        time.sleep(0.05)
        if (now := number()) != last:
            last, since = now, time.monotonic()
