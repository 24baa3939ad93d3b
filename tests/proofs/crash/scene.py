"""A run that is to be killed: its rows, the simulator that bills it, and what is known of its rows.

What every sweep of kills shares. The simulator's own ledger is the judge: it names each billed
request by the content that it answered, so that bills can be counted by row.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from batchlab.endpoints.simulator.answering import content_of
from batchlab.inputs.requests import RequestBuilder
from batchlab.job.file import job_from
from batchlab.records import Row
from batchlab.store.layout import is_run
from batchlab.store.view import RunView
from batchlab.totals import Totals
from tests.canary import command_lines_with_key, files_with_key
from tests.conftest import CANARY, SimulatorHandle, command, environment, simulating

PROMPT = "Say it shorter: {text}"


@dataclass
class Scene:
    """One run of `rows` rows under kills; `lost` rows were journalled once and are no more.

    Attributes:
        contents: what the simulator tells each row's request by.
        settled: row → its bills when it was first seen journalled.
        leaks: files, command lines and outputs with the key.
    """

    home: Path
    server: SimulatorHandle
    words: list[str]
    contents: list[str]
    settled: dict[int, int] = field(default_factory=dict)
    lost: int = 0
    leaks: int = 0

    @property
    def rows(self) -> int:
        return len(self.contents)

    def start(self, *more: str) -> subprocess.Popen[str]:
        """The run as a process; its standard error is to be read."""
        return subprocess.Popen(
            command(*self.words, *more),
            cwd=self.home,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, pid: int) -> bool:
        """SIGKILL to one of its processes, after a look at the command lines; False if it had ended."""
        self.leaks += len(command_lines_with_key())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def said_by(self, process: subprocess.Popen[str]) -> str:
        """Waits for its end, and for the simulator to finish, and bill, what it abandoned."""
        said = process.communicate()[1]
        self.leaks += CANARY in said
        assert "Traceback" not in said, said
        while self.counted("in_flight"):
            time.sleep(0.01)
        return said

    def look(self) -> int:
        """Notes which rows are journalled; returns how many contents are billed and not journalled."""
        done, bills = self._journalled(), self.bills()
        self.lost += len(self.settled.keys() - done)
        for row in done:
            self.settled.setdefault(row, bills[self.contents[row]])
        self.leaks += len(files_with_key(self.home))
        return len(bills.keys() - {self.contents[row] for row in done})

    def billed_again(self) -> int:
        """Rows that were billed once more after they had been seen journalled."""
        final = self.bills()
        return sum(final[self.contents[row]] > count for row, count in self.settled.items())

    def billed_repeats(self) -> int:
        """Requests billed for a content that had been billed before."""
        bills = self.bills()
        return sum(bills.values()) - len(bills)

    def bills(self) -> Counter[str]:
        """How often each content was billed, by the simulator's ledger."""
        ledger = self.home / "ledger.jsonl"
        if not ledger.exists():
            return Counter()
        return Counter(json.loads(line)["content"] for line in ledger.read_text().splitlines())

    def counted(self, name: str) -> int:
        """A number of the simulator's own books: `requests`, `in_flight`."""
        return int(self.server.ledger()[name])

    def totals(self) -> Totals:
        """The run's own books."""
        return RunView.open(self._path).totals()

    def verified(self) -> bool:
        """Whether `verify` passes and every row is answered."""
        verify = subprocess.run(
            command("verify", self._path), cwd=self.home, env=environment(), capture_output=True, check=False
        )
        return verify.returncode == 0 and self.totals().ok == self.rows

    @property
    def _path(self) -> Path:
        return self.home / "runs" / "rows"

    def _journalled(self) -> set[int]:
        if not is_run(self._path):
            return set()
        return {result.row_id for result in RunView.open(self._path).all_results()}


@contextmanager
def scene(rows: int, rng: random.Random, *, concurrency: int, shard_rows: int) -> Iterator[Scene]:
    """A directory with the rows, and a simulator that serves them for as long as it is open."""
    with tempfile.TemporaryDirectory(prefix="batchlab-kill-") as folder:
        home = Path(folder)
        texts = [f"remark {number} on parcel {rng.randrange(10**6)}" for number in range(rows)]
        (home / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        ledger = str(home / "ledger.jsonl")
        with simulating(latency_median_s=0.08, latency_sigma=0.3, ledger_path=ledger) as server:
            words = ["run", "-i", "rows.jsonl", "-m", "sim", "-p", PROMPT, "--base-url", server.base_url]
            words += ["--api-key-env", "SIMULATOR_KEY"]
            words += ["-c", str(concurrency), "--shard-rows", str(shard_rows)]
            yield Scene(home, server, words, _contents(texts, server.base_url))


def _contents(texts: list[str], base_url: str) -> list[str]:
    job = job_from(
        {
            "input": {"path": "rows.jsonl"},
            "request": {"model": "sim", "prompt": PROMPT},
            "endpoint": {"base_url": base_url},
        }
    )
    builder = RequestBuilder(job, ["text"])
    bodies = (builder.build(Row(number, {"text": text})).body for number, text in enumerate(texts))
    return [content_of(b"", body).hex() for body in bodies]
