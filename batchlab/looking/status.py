"""How far a run is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from batchlab.looking.opening import open_run
from batchlab.looking.phrases import cost_text, notes, tokens_text
from batchlab.run_state import RunState
from batchlab.store.losses import find_losses, loss_text


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is, and who works on it."""

    run_dir: str
    state: RunState
    running_pid: int | None
    errors: dict[str, int]
    losses: tuple[str, ...] = ()  # what is gone from the run directory, and would be paid again
    workers: dict[str, Any] | None = None  # who works on which shards, when several do; see `engines.roll`

    def lines(self) -> list[str]:
        """For a person."""
        totals, pending = self.state.totals, self.state.pending
        stage = f"running (pid {self.running_pid})" if self.running_pid else "not running"
        if not pending and not self.running_pid:
            stage = "finished"
        rows = f"{totals.answered:,} answered + {totals.failed:,} failed + {pending:,} pending"
        lines = [f"{self.run_dir}: {stage}", f"rows: {self.state.rows:,} = {rows}"]
        states = {name: getattr(totals, name) for name in ("truncated", "filtered", "invalid")}
        if some := [f"{count:,} {name}" for name, count in states.items() if count]:
            lines.append(f"of the answered: {', '.join(some)}")
        lines += notes(totals)
        lines.append(f"tokens: {tokens_text(totals)}")
        lines.append(f"cost: {cost_text(totals)}")
        lines += [f"lost: {text}" for text in self.losses]
        if self.workers is not None:
            lines += _worker_lines(self.workers)
        lines += [f"failed with {name}: {count:,}" for name, count in self.errors.items()]
        return lines

    def json(self) -> str:
        """For a program: money that is not known is null."""
        return json.dumps(
            {
                "run_dir": self.run_dir,
                "input_rows": self.state.rows,
                "totals": self.state.totals.stated(),
                "running_pid": self.running_pid,
                "errors": self.errors,
                "losses": list(self.losses),
                "workers": self.workers,
                "pending": self.state.pending,
            }
        )


def run_status(path: str) -> Status:
    """How far the run at `path` is. Raises UsageError if there is none."""
    run = open_run(path)
    totals = run.totals()
    errors = run.error_counts() if totals.failed else {}
    holder = run.lock_holder()
    state = RunState(rows=run.manifest.plan.rows, earlier=totals)
    losses = tuple(loss_text(loss) for loss in find_losses(run))
    return Status(path, state, holder, errors, losses, run.roll() if holder else None)


def _worker_lines(roll: dict[str, Any]) -> list[str]:
    shards = roll["shards"]
    lines = [f"shards: {shards['sealed']:,} sealed + {shards['open']:,} open + {shards['waiting']:,} waiting"]
    for one in roll["workers"]:
        numbers = ", ".join(map(str, one["shards"])) or "none"
        rate = "" if one["requests_per_s"] is None else f", {one['requests_per_s']:.1f} requests/s"
        heard = "not yet" if one["silent_s"] is None else f"{one['silent_s']:.1f} s before"
        lines.append(
            f"worker {one['name']} ({one['place']}): shards {numbers}; lease of {one['permits']:,} in flight"
            f"{rate}; {one['in_flight']:,} in flight, {one['saved']:,} rows saved; heard {heard}"
        )
    return lines
