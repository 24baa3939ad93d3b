"""Kill, EIO and ENOSPC at every file operation of one run; then one resume, and the books.

    python -m tests.proofs.crash.every_operation --rows 200            # every operation
    python -m tests.proofs.crash.every_operation --rows 200 --every 25 # a sample

Each case is the real command in a forked process whose n-th write, fdatasync, fsync, rename,
unlink or ftruncate inside the run directory goes wrong. Checked: no traceback and no false success in
the case itself; after one resume every row is answered once, `verify` passes, no journalled row
was asked again (P1), and what was billed twice is at most what was in flight (P2).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from batchlab.store.layout import is_run
from batchlab.store.view import RunView
from tests.canary import files_with_key
from tests.conftest import CANARY, SimulatorHandle, simulating_apart
from tests.proofs.arguments import ended, options

OPERATIONS = ("write", "fdatasync", "fsync", "rename", "unlink", "ftruncate", "posix_fallocate")
FAULTS = ("kill", "torn", "EIO", "ENOSPC")
CONCURRENCY = 8
LATENCY_S = 0.004


class Faulty:
    """The operations of `os`, counted, of which the n-th on a file of the run goes wrong."""

    def __init__(self, home: Path, fault: str, at: int) -> None:
        self._home = str(home)
        self._fault = fault
        self._at = at
        self.count = 0
        self.struck = ""
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in OPERATIONS}

    def install(self) -> None:
        """Replaces the operations in this process, for good."""
        for name in OPERATIONS:
            setattr(os, name, self._double(name))

    def _double(self, name: str) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **more: Any) -> Any:
            if self._is_ours(first):
                self.count += 1
                if self.count == self._at:
                    self.struck = name
                    self._strike(name, first, rest)
            return self._real[name](first, *rest, **more)

        return call

    def _is_ours(self, first: Any) -> bool:
        try:
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else os.fspath(first)
        except OSError:
            return False
        return str(path).startswith(self._home)

    def _strike(self, name: str, first: Any, rest: tuple[Any, ...]) -> None:
        if self._fault == "torn" and name == "write":
            self._real["write"](first, bytes(rest[0])[: len(rest[0]) // 2])
        if self._fault in {"kill", "torn"}:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "ENOSPC" and name == "write":
            self._real["write"](first, bytes(rest[0])[: len(rest[0]) // 3])  # as far as there was room
        raise OSError(getattr(errno, self._fault), os.strerror(getattr(errno, self._fault)))


@dataclass
class Ended:
    """How a case's process ended: exit code (negative: signal), what it said, operations it made."""

    code: int
    said: str
    operations: int


def forked_run(home: Path, words: list[str], fault: str = "", at: int = 0) -> Ended:
    """The command with these words in a forked process, its n-th file operation going wrong."""
    report = home / "operations"
    pid = os.fork()
    if pid == 0:
        os.chdir(home)
        os.environ["SIMULATOR_KEY"] = CANARY
        output = os.open(home / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["batchlab", *words]
        faulty = Faulty(home / "runs", fault, at)
        code = 99
        try:
            from batchlab.cli import main

            faulty.install()
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        except BaseException:  # noqa: BLE001 - a traceback is what the sweep looks for
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            report.write_text(str(faulty.count))
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    count = int(report.read_text()) if report.exists() else 0
    report.unlink(missing_ok=True)
    return Ended(os.waitstatus_to_exitcode(status), (home / "said").read_text(), count)


Hurt = Callable[[Path, list[str], str, int], Ended]


class Sweep:
    """The cases of one small run, and what they found."""

    def __init__(self, server: SimulatorHandle, rows: int) -> None:
        self._server = server
        self._rows = rows
        self.cases = 0
        self.struck: Counter[str] = Counter()
        self.exits: Counter[int] = Counter()
        self.billed_twice = 0
        self.problems: list[str] = []
        for module in ("aiohttp", "pandas", "pyarrow.parquet", "uvloop", "tqdm"):
            with contextlib.suppress(ImportError):
                __import__(module)  # once, before the forks

    def words(self) -> list[str]:
        """The command of every case."""
        return (
            f"run -i rows.jsonl -m sim -p {{text}} --base-url {self._server.base_url} --api-key-env SIMULATOR_KEY "
            f"-c {CONCURRENCY} --shard-rows {max(1, self._rows // 4)} --progress none -o out.jsonl"
        ).split()

    def operations(self) -> int:
        """How many file operations a run without faults makes."""
        with self.home() as home:
            ended = forked_run(home, self.words())
            assert ended.code == 0, ended.said
            return ended.operations

    def case(self, fault: str, at: int, hurt: Hurt = forked_run) -> None:
        """One case: the fault, one resume, the books."""
        self.cases += 1
        with self.home() as home:
            self._server.reset()
            hit = hurt(home, self.words(), fault, at)
            self.exits[hit.code] += 1
            where = f"{fault} at operation {at}"
            allowed = {-signal.SIGKILL} if fault in {"kill", "torn"} else {0, 1, 2, 3}
            if hit.code not in allowed and not (hit.code == 0 and hit.operations < at):
                self.problems.append(f"{where}: exit {hit.code}: {hit.said[-800:]}")
            if "Traceback" in hit.said:
                self.problems.append(f"{where}: {hit.said[-1500:]}")
            run = home / "runs" / "rows"
            journalled = len(list(RunView.open(run).all_results())) if is_run(run) else 0
            if hit.code == 0 and journalled != self._rows:
                self.problems.append(f"{where}: exit 0 with {journalled} rows")
            while (ledger := self._server.ledger())[
                "in_flight"
            ]:  # what the killed process left behind is billed too
                time.sleep(0.01)
            before = ledger["billed"]
            again = forked_run(home, self.words())
            if again.code == 1 and "Run the same command again" in again.said:
                again = forked_run(home, self.words())
            if again.code != 0 or f"{self._rows} ok" not in again.said:
                self.problems.append(f"{where}: the resume ended with {again.code}: {again.said[-800:]}")
                return
            ledger = self._server.ledger()
            if ledger["billed"] - before != self._rows - journalled:
                self.problems.append(
                    f"{where}: {ledger['billed'] - before} asked, {journalled} were journalled"
                )
            self.billed_twice += ledger["billed_repeats"]
            if ledger["billed_repeats"] > CONCURRENCY:
                self.problems.append(f"{where}: {ledger['billed_repeats']} billed twice")
            if len((home / "out.jsonl").read_text().splitlines()) != self._rows:
                self.problems.append(f"{where}: the output file is not whole")
            checked = forked_run(home, ["verify", "runs/rows"])
            if checked.code != 0:
                self.problems.append(f"{where}: verify: {checked.said[-800:]}")
            leaks = files_with_key(home)  # among them what each of these commands said
            if leaks or CANARY in hit.said + again.said:
                self.problems.append(f"{where}: the key is in {leaks}")

    @contextlib.contextmanager
    def home(self) -> Iterator[Path]:
        """A directory, in memory, with the input of a case."""
        base = Path("/dev/shm")
        with tempfile.TemporaryDirectory(
            prefix="batchlab-op-", dir=base if base.is_dir() else None
        ) as folder:
            home = Path(folder)
            lines = (json.dumps({"text": f"remark {n}"}) + "\n" for n in range(self._rows))
            (home / "rows.jsonl").write_text("".join(lines))
            yield home

    def report(self, where: str) -> NoReturn:
        """Prints the figures and ends the process: with 1 when a promise was broken."""
        print(
            f"{self.cases} cases at {where}; exits {dict(self.exits)}; "
            f"billed twice {self.billed_twice}; problems {len(self.problems)}"
        )
        ended(self.problems)


def sweep(rows: int, every: int, *, first: int = 1) -> tuple[Sweep, int]:
    """All cases at operations `first`, `first + every`, ...; also how many operations there are."""
    with simulating_apart(LATENCY_S) as server:  # this process forks, and must have no threads
        found = Sweep(server, rows)
        total = found.operations()
        for at in range(first, total + 1, every):
            for fault in FAULTS:
                found.case(fault, at)
    return found, total


def main() -> None:
    """Prints the figures; exits with 1 when a promise was broken."""
    given = options(__doc__, rows=200, every=1)
    found, total = sweep(given.rows, given.every)
    found.report(f"{total} operations of a {given.rows}-row run, every {given.every}")


if __name__ == "__main__":
    main()
