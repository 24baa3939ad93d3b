"""Runs of the lane batch, in this process, against the simulator over sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batchlab.dispatch.http import batch_calls
from batchlab.engines.batch_api import bringing, life, waiting
from batchlab.engines.batch_api.orders import ordering, room
from batchlab.protocol.batches import table
from batchlab.store.batches import read_batches
from tests.conftest import Finished, SimulatorHandle
from tests.scenarios.test_run import job

PRICE = {"input": 1.0, "output": 4.0, "tiers": {"batch": 0.5}}
PRICED = ("--price-in", "1", "--price-out", "4", "--price-batch", "0.5")

SHOWN = ("--progress", "plain", "-o", "out.parquet")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No test waits: batches are looked at ten times a second, and nothing stays unseen for long."""
    monkeypatch.setattr(waiting, "FIRST_LOOK_S", 0.1)
    monkeypatch.setattr(waiting, "LONGEST_S", 0.2)
    monkeypatch.setattr(ordering, "AGAIN_S", 0.1)
    monkeypatch.setattr(ordering, "LOOK_S", 0.1)
    monkeypatch.setattr(life, "UNSEEN_S", 0.1)
    monkeypatch.setattr(room, "NO_ROOM_WAIT_S", 0.3)
    monkeypatch.setattr(bringing, "LACKING_WAIT_S", 0.0)
    monkeypatch.setattr(batch_calls, "LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr(batch_calls, "SECOND_LOOKS_S", (0.1, 0.1))
    spoken = {name: replace(dialect, visible_s=0.5) for name, dialect in table.DIALECTS.items()}
    monkeypatch.setattr(table, "DIALECTS", spoken)
    return spoken


@dataclass(frozen=True)
class Lane:
    """A simulator with a batch API, and runs at it.

    Attributes:
        words: what each run has beside its rows.
    """

    server: SimulatorHandle
    words: tuple[str, ...]
    command: Callable[..., Finished]
    home: Path

    def words_of(self, rows: Path, *more: str) -> list[str]:
        """The words of a run of texts."""
        return job(self.server.base_url, rows, *self.words, *SHOWN, *more)

    def run(self, rows: Path, *more: str) -> Finished:
        return self.command(*self.words_of(rows, *more))

    def rows(self, rows: Path, *more: str) -> Finished:
        """A run of rows that hold all that is asked."""
        to = ("--base-url", self.server.base_url, "--api-key-env", "SIMULATOR_KEY")
        return self.command("run", "-i", str(rows), "-m", "sim", *to, *self.words, *SHOWN, *more)

    def sizes(self) -> list[int]:
        """Lines of the batches that were ordered."""
        return sorted(one["total"] for one in self.server.batches()["batches"])

    def columns(self, *names: str) -> dict[str, list]:
        table = pq.read_table(self.home / "out.parquet", columns=list(names))
        return {name: table[name].to_pylist() for name in names}

    @property
    def directory(self) -> Path:
        return next(path.parent for path in sorted((self.home / "runs").glob("*/run.json")))

    def log(self):
        return read_batches(self.directory)

    def books(self) -> dict:
        """What the run says that it has come to."""
        return json.loads(self.command("status", str(self.directory), "--json").out)["totals"]

    def check(self, *, answered: int | None = None) -> None:
        """The books are the ledger's, nothing was ordered twice, and the proof passes."""
        found = self.columns("status", "lane", "cost_usd", "cost_wasted_usd")
        if answered is not None:
            assert found["status"].count("ok") == answered
        ledger, books = self.server.ledger(), self.server.batches()
        assert books["billed_twice"] == {}
        assert books["submitted_twice"] == {}
        paid = sum(one or 0.0 for one in (*found["cost_usd"], *found["cost_wasted_usd"]))
        assert paid == pytest.approx(ledger["usd"])
        assert not self.log().out
        verified = self.command("verify", str(self.directory))
        assert verified.code == 0, verified.err


@pytest.fixture
def lane(simulator, here, tmp_path) -> Callable[..., Lane]:
    """Starts a simulator with a batch API, and its faults."""

    def start(dialect: str, *faults: dict, words: Sequence[str] = (), **options) -> Lane:
        usual = {"dialect": dialect, "seconds": 0.2, "faults": list(faults)}
        batch = usual | options.pop("batch", {})
        server = simulator(price=PRICE, batch=batch, **options)
        if dialect == "openrouter":
            server = SimulatorHandle(server.base_url.replace("/v1", "/api/v1"))
        return Lane(server, ("--lane", "batch", "--batch-api", dialect, *PRICED, *words), here, tmp_path)

    return start
