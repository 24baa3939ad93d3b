"""How far a run is, and who works on it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from batchlab.counts import counted
from batchlab.finite import strict_json
from batchlab.looking.not_ok import what_to_do
from batchlab.looking.opening import open_run
from batchlab.looking.phrases import answers_text, cost_text, notes, tokens_text
from batchlab.looking.stages import (
    FRESH_S,
    Stage,
    current_standing,
    end_code,
    how_to_take_home,
    shown,
    stage_of,
    typed_in,
)
from batchlab.progress.line import line_fields
from batchlab.progress.out import batches_text, counted_batches, next_look_text
from batchlab.progress.speed import Rates
from batchlab.protocol.redact import printable
from batchlab.records import completion_cap
from batchlab.remote.urls import is_url
from batchlab.run_end import StopReason
from batchlab.run_state import BatchStanding, RunState
from batchlab.store.batches import Step
from batchlab.store.integrity.losses import find_losses, loss_text
from batchlab.store.standing import Standing
from batchlab.store.view import RunView
from batchlab.totals import Totals

SHOWN_BATCHES = 5  # each with a line of its own


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is, and who works on it.

    Attributes:
        run_dir: where it is.
        state: rows and totals; while it runs, as its process said last, also its window.
        host: another machine that works on it, of a run at a URL; rows of its open shards are not counted.
        stopped: what the run said when it stopped early, "" if nothing.
        errors: failed rows by error class.
        workers: who works on which shards, when several do; see `engines.foreman.roll`.
        standing: what its process says of its pace; None when none works, or it has not said yet.
        exit_code: what its end means; 0 while it runs.
        go_on: the command that goes on with it, if rows have no result yet and it is known.
        folder: where that was typed.
        max_tokens: what answers are allowed, if that is the same for all.
        batches: those that are out; `state` has none while no process looks at them.
        losses: what is gone from its directory, and would be paid again; not looked for while it runs.
    """

    run_dir: str
    state: RunState
    stage: Stage
    running_pid: int | None
    host: str | None
    errors: Mapping[str, int]
    workers: dict[str, Any] | None = None
    stopped: str = ""
    standing: Standing | None = None
    exit_code: int = 0
    losses: tuple[str, ...] = ()
    go_on: str = ""
    folder: str = ""
    max_tokens: int | None = None
    batches: tuple[BatchStanding, ...] = ()

    def lines(self) -> list[str]:
        """For a person."""
        totals, pending = self.state.totals, self.state.pending
        rows = f"{totals.answered:,} answered + {totals.failed:,} failed + {pending:,} pending"
        out = min(pending, sum(one.rows for one in self.batches))
        rows += f" ({out:,} of them out in batches)" if out else ""
        lines = [self.headline(), f"rows: {self.state.rows:,} = {rows}"]
        lines += _batch_lines(self.batches, is_looked_at=self.stage is Stage.RUNNING)
        if totals.answered != totals.ok or totals.empty:
            lines.append(f"answers: {answers_text(totals)}")
        lines += notes(totals)
        if self.host is not None:
            lines.append("counted: the shards that are done, as far as they have come there")
        if self.standing is not None:
            lines += [f"now: {pace}" for pace in [" · ".join(self.pace())] if pace]
        lines.append(f"tokens: {tokens_text(totals)}")
        lines.append(f"cost: {cost_text(totals, self.run_dir)}")
        lines += [f"lost: {text}" for text in self.losses]
        if self.workers is not None:
            lines += _worker_lines(self.workers)
        lines += [f"failed with {name}: {count:,}" for name, count in self.errors.items()]
        if self.stage is Stage.FINISHED:
            lines += what_to_do(totals, self.run_dir, max_tokens=self.max_tokens)
        elif self.stage is not Stage.RUNNING:
            if self.stage is Stage.WAITING and self.stopped:
                lines.append(f"why: {self.stopped}")
            if self.batches:
                lines.append(f"to take home what has ended: {how_to_take_home(self.run_dir)}")
            lines.append(self.how_to_go_on())
        return lines

    def how_to_go_on(self) -> str:
        """What to type to go on with a run that has stopped, and where."""
        if not self.go_on:
            where = "" if is_url(self.run_dir) else ", from the same directory"
            return f"to go on: the same batchlab run{where}; it pays for nothing twice"
        return f"to go on{typed_in(self.folder)}: {shown(self.go_on)}"

    def headline(self) -> str:
        """Which run, and what it is doing."""
        return f"{self.run_dir}: {self.doing()}"

    def doing(self) -> str:
        """What it is doing."""
        match self.stage:
            case Stage.RUNNING:
                since = f" since {_clock(self.standing.began)}" if self.standing is not None else ""
                who = f"(pid {self.running_pid})" if self.running_pid is not None else f"on {self.host}"
                return f"running {who}{since}"
            case Stage.WAITING:
                return f"waiting for {counted_batches(len(self.batches))}, and no process looks at them"
            case Stage.STOPPED:
                return f"not running: stopped{f', {self.stopped}' if self.stopped else ''}"
            case Stage.CRASHED:
                return "not running: cut off, its process or its machine went down"
            case _:
                return "finished"

    def pace(self) -> list[str]:
        """What the run's own progress line says, part by part, the counts of rows left out."""
        fields = line_fields(self.now(), self.rates())
        return [field.text for field in fields if not field.counts_rows]

    def now(self) -> RunState:
        """How it stands by its own word, or by what is stored."""
        return self.state if self.standing is None else self.standing.state

    def rates(self) -> Rates:
        """Its pace by its own word; none when it is not known, or too old to be one."""
        if self.standing is None or not self.standing.rates or time.time() - self.standing.at > FRESH_S:
            return Rates(0.0, 0.0, None)
        known = {field.name for field in fields(Rates)}
        return Rates(**{name: value for name, value in self.standing.rates.items() if name in known})

    def json(self) -> str:
        """For a program: money that is not known is null."""
        standing = self.standing
        return strict_json(
            {
                "run_dir": self.run_dir,
                "input_rows": self.state.rows,
                "totals": self.state.totals.stated(),
                "running_pid": self.running_pid,
                "running_on": self.host,
                "errors": dict(self.errors),
                "losses": list(self.losses),
                "batches": [dataclasses.asdict(one) for one in self.batches],
                "workers": self.workers,
                "pending": self.state.pending,
                "stage": self.stage.value,
                "stopped": self.stopped or None,
                "go_on": {"command": self.go_on, "folder": self.folder} if self.go_on else None,
                "now": None
                if standing is None
                else {
                    "at": standing.at,
                    "began": standing.began,
                    "window": standing.state.window,
                    "in_flight": standing.state.in_flight,
                    "why": standing.state.why,
                    "paused": standing.state.paused,
                    **standing.rates,
                },
            }
        )


def run_status(path: str) -> Status:
    """How far the run at `path` is, by what it has stored. Raises UsageError if there is none."""
    run = open_run(path)
    totals = run.totals()
    return status_of(run, totals, run.error_counts() if totals.failed else {})


def status_of(run: RunView, totals: Totals, errors: Mapping[str, int]) -> Status:
    """How far a run is that has come to these totals by what it has stored, and to these errors."""
    return _status(run, RunState(rows=run.manifest.plan.rows, earlier=totals), errors)


def said_status(run: RunView) -> Status | None:
    """How far a run is by its own word; None when it does not run, or has not said yet."""
    standing = current_standing(run, run.lock_holder())
    if standing is None or standing.ended is not None:
        return None
    return _status(run, standing.state, {})


def glance(path: str) -> Status:
    """The same for who looks every second: of a run that says how it stands, only that is read."""
    return said_status(open_run(path)) or run_status(path)


def _status(run: RunView, state: RunState, errors: Mapping[str, int]) -> Status:
    holder = run.lock_holder()
    stage = stage_of(run, holder, state.pending)
    standing = current_standing(run, holder)
    last, job = run.last_standing(), run.manifest.job
    unfinished = last if stage.is_left else None
    return Status(
        run.place,
        state,
        stage,
        holder,
        run.other_host() if stage is Stage.RUNNING and holder is None else None,
        errors,
        workers=run.roll() if holder else None,
        losses=() if holder else tuple(loss_text(loss) for loss in find_losses(run)),
        stopped=_why(stage, last),
        standing=standing if standing is not None and standing.ended is None else None,
        exit_code=0 if stage is Stage.RUNNING else end_code(run, stage, state.totals),
        go_on=unfinished.command if unfinished is not None else "",
        folder=unfinished.folder if unfinished is not None else "",
        max_tokens=completion_cap(job.request.params) if job.input.row_params is None else None,
        batches=standing.state.batches if standing is not None else run.batches_out(),
    )


def _why(stage: Stage, last: Standing | None) -> str:
    """What the run said when it stopped; nothing of one that was only left to its batches."""
    if last is None or last.ended is None or stage not in {Stage.STOPPED, Stage.WAITING}:
        return ""
    is_left = last.ended.stopped in {StopReason.DETACHED, StopReason.INTERRUPTED}
    return "" if stage is Stage.WAITING and is_left else last.ended.message


def _batch_lines(batches: Sequence[BatchStanding], *, is_looked_at: bool) -> Iterator[str]:
    """What is out: how much, where, since when, and when somebody looks next."""
    if not batches:
        return
    places = ", ".join(dict.fromkeys(printable(one.endpoint, 40) for one in batches))
    since = _clock(min(one.since for one in batches))
    look = next_look_text(batches) if is_looked_at else ""
    told = [f"out: {batches_text(batches)} at {places}, since {since}", *([look] if look else [])]
    yield "; ".join(told)
    for one in batches[:SHOWN_BATCHES]:
        done = "" if one.done is None else f", {one.done:,} done there"
        is_unsure = one.word == Step.ORDERING and not one.id
        name = (
            printable(one.id, 80)
            or f"{'ordered, and not answered yet' if is_unsure else 'not ordered yet'} ({one.key})"
        )
        word = f", {printable(one.word, 40)}" if one.word and not is_unsure else ""
        yield f"  {name}: {counted(one.rows, 'row')}{word}{done}, since {_clock(one.since)}"
    if len(batches) > SHOWN_BATCHES:
        yield f"  and {len(batches) - SHOWN_BATCHES:,} more"


def _clock(at: float) -> str:
    """`23:10`, with its day when that is another."""
    form = "%H:%M" if time.strftime("%F", time.localtime(at)) == time.strftime("%F") else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(at))


def _worker_lines(roll: dict[str, Any]) -> list[str]:
    shards = roll["shards"]
    lines = [f"shards: {shards['sealed']:,} sealed + {shards['open']:,} open + {shards['waiting']:,} waiting"]
    for worker in roll["workers"]:
        numbers = ", ".join(map(str, worker["shards"])) or "none"
        rate = "" if worker["requests_per_s"] is None else f", {worker['requests_per_s']:.1f} requests/s"
        heard = "not yet" if worker["silent_s"] is None else f"{worker['silent_s']:.1f} s before"
        lines.append(
            f"worker {worker['name']} ({worker['place']}): shards {numbers}; "
            f"lease of {worker['permits']:,} in flight"
            f"{rate}; {worker['in_flight']:,} in flight, {counted(worker['saved'], 'row')} saved; "
            f"heard {heard}"
        )
    return lines
