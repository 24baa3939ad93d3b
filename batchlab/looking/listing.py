"""The runs of a folder, newest first, each in a line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchlab.errors import BatchlabError, UsageError
from batchlab.looking.opening import RUNS, open_run, worked_on
from batchlab.looking.phrases import money
from batchlab.looking.stages import Stage, current_standing, how_to_take_home, shown, stage_of, typed_in
from batchlab.progress.out import counted_batches
from batchlab.progress.terminal import width
from batchlab.protocol.redact import printable
from batchlab.remote.remote_run import RemoteRun
from batchlab.remote.storage import StorageError, matching
from batchlab.remote.urls import checked_url, is_url
from batchlab.run_state import RunState
from batchlab.shell import command_line
from batchlab.store.history import history_of
from batchlab.store.layout import MANIFEST, is_run

NARROW = 80  # columns from which on there is room for the year and for failed rows
DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Listed:
    """One run of a folder.

    Attributes:
        stage: a `stages.Stage`, or `damaged`.
        at: Unix seconds when it was last worked on.
        done: rows with a final result; None of a damaged run, as `rows` and `cost_usd` are.
        problem: what is wrong with a damaged run, in one line.
        go_on: the command that goes on with it, if it has stopped or crashed and that is known.
        folder: where that was typed.
        batches: how many are out.
        counts: rows by status, `empty` ones of them, and `pending`; None of a damaged run.
        forecast_usd: what it will come to if the other rows cost what those before them did.
        model: which answers; "" where each row names its own.
    """

    run: str
    stage: str
    at: float
    done: int | None = None
    rows: int | None = None
    failed: int | None = None
    cost_usd: float | None = None
    problem: str = ""
    go_on: str = ""
    folder: str = ""
    batches: int = 0
    counts: Mapping[str, int] | None = None
    forecast_usd: float | None = None
    model: str = ""

    @property
    def is_left(self) -> bool:
        """Whether it waits for somebody to go on with it."""
        return self.stage != DAMAGED and Stage(self.stage).is_left

    def json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "run": self.run,
            "state": self.stage,
            "batches_out": self.batches,
            "at": self.at,
            "done": self.done,
            "rows": self.rows,
            "failed": self.failed,
            "counts": None if self.counts is None else dict(self.counts),
            "cost_usd": self.cost_usd,
            "forecast_usd": self.forecast_usd,
            "model": self.model or None,
            "problem": self.problem or None,
            "go_on": {"command": self.go_on, "folder": self.folder} if self.go_on else None,
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds.

    Attributes:
        foreign: names of its directories that are no runs.
    """

    folder: str
    runs: Sequence[Listed]
    foreign: Sequence[str] = ()

    def lines(self, room: int | None) -> list[str]:
        """A table for a person; `room` columns wide at most, if that is given."""
        short = room is not None and room < NARROW
        rows = [_cells(one, short=short) for one in self.runs]
        if not rows:
            return []
        table = [("RUN", "STATE", "ROWS", "COST", "WHEN"), *rows]
        wide = [max(width(row[column]) for row in table) for column in range(5)]
        if room is not None:
            wide[0] = min(wide[0], max(12, room - sum(wide[1:]) - 2 * 4))
        return [_line(row, wide) for row in table]

    def notes(self) -> list[str]:
        """What is wrong, or no run at all."""
        said = [one.problem for one in self.runs if one.problem]
        if self.foreign:
            names = ", ".join(printable(name, 40) for name in self.foreign[:5])
            more = f" and {len(self.foreign) - 5:,} more" if len(self.foreign) > 5 else ""
            said.append(f"no runs, and left out: {names}{more}")
        if not self.runs:
            said.insert(
                0, f"no run under {self.folder}; batchlab run makes one under {RUNS}/ where it is called"
            )
        left = [one for one in self.runs if one.is_left]
        if len(left) == 1 and left[0].go_on:
            [one] = left
            name = f" with {printable(one.run)}" if len(self.runs) > 1 else ""
            said.append(f"to go on{name}{typed_in(one.folder)}: {shown(one.go_on)}")
        elif left:
            first = printable(left[0].run)
            waits = any(one.stage == Stage.WAITING for one in left)
            kinds = "stopped, crashed or waiting" if waits else "stopped or crashed"
            said.append(f"{kinds}: {len(left):,}; {command_line('status', first)} says how to go on")
        return said


def runs_in(folder: str | None) -> Listing:
    """The runs of a folder; of `runs/` when None. A run itself is listed alone.

    Raises:
        UsageError: there is no such folder, or it cannot be read.
    """
    where = Path(folder if folder is not None else RUNS)
    if folder is not None and is_url(folder):
        return _runs_at(checked_url(folder))
    if is_run(where):
        return Listing(str(where), [listed(where)])
    try:
        inside = sorted(path for path in where.iterdir() if path.is_dir())
    except FileNotFoundError:
        if folder is None:
            return Listing(f"{RUNS}/", [])
        raise UsageError(f"{folder}: there is no such folder.") from None
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error.strerror}.") from error
    found = [listed(path) for path in inside if _may_be_run(path)]
    runs = sorted(found, key=lambda one: (-one.at, one.run))
    foreign = [path.name for path in inside if not _may_be_run(path) and not path.name.startswith(".")]
    return Listing(str(where), runs, foreign)


def _runs_at(url: str) -> Listing:
    """The runs right under a URL, or the one that is there."""
    try:
        there = [url] if RemoteRun.is_at(url) else []
        there = there or [str(file).rpartition("/")[0] for file in matching(f"{url}/*/{MANIFEST}")]
    except StorageError as error:
        raise UsageError(f"{url}: {error.strerror}.") from error
    return Listing(url, sorted(map(listed, there), key=lambda one: (-one.at, one.run)))


def _may_be_run(path: Path) -> bool:
    try:
        return is_run(path)
    except OSError:  # a directory of somebody else
        return False


def listed(path: Path | str) -> Listed:
    """One run as a line of the list; a damaged one says what is wrong with it."""
    at = 0.0
    with contextlib.suppress(OSError):
        at = 0.0 if is_url(str(path)) else worked_on(Path(path))
    try:
        run = open_run(path)
        if run.url is None:
            at = worked_on(run.path)
        elif history := history_of(run.path):  # its files there say when they came here
            at = history[-1].at
        holder = run.lock_holder()
        standing = current_standing(run, holder)
        rows = run.manifest.plan.rows
        state = RunState(rows=rows, earlier=run.totals()) if standing is None else standing.state
        stage, last = stage_of(run, holder, state.pending), run.last_standing()
        left = last if stage.is_left else None
        out = standing.state.batches if standing is not None else run.batches_out()
        command, folder = ("", "") if left is None else (left.command, left.folder)
        if stage is Stage.WAITING:
            command, folder = how_to_take_home(run.place), ""
        return Listed(
            run=str(path),
            stage=stage.value,
            at=at,
            done=state.totals.rows,
            rows=rows,
            failed=state.totals.failed,
            cost_usd=state.totals.spent_usd,
            go_on=command,
            folder=folder,
            batches=len(out),
            counts=_counts(state),
            forecast_usd=state.final_usd if state.pending else state.totals.spent_usd,
            model=printable(run.manifest.job.request.model, 200),
        )
    except (BatchlabError, OSError) as error:
        said = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
        problem = printable(said, 200)
        return Listed(str(path), DAMAGED, at, problem=problem)


def _counts(state: RunState) -> dict[str, int]:
    totals = state.totals
    words = ("ok", "truncated", "filtered", "invalid", "failed", "empty")
    return {**{word: getattr(totals, word) for word in words}, "pending": max(0, state.pending)}


def _cells(one: Listed, *, short: bool) -> tuple[str, str, str, str, str]:
    rows = "" if one.rows is None else f"{one.done:,}/{one.rows:,}"
    if one.failed and not short:
        rows += f", {one.failed:,} failed"
    cost = "" if one.done is None else money(one.cost_usd)
    at = time.strftime("%m-%d %H:%M" if short else "%Y-%m-%d %H:%M", time.localtime(one.at)) if one.at else ""
    stage: str = one.stage
    if one.stage == Stage.WAITING:
        stage = f"waiting for {counted_batches(one.batches)}"
    return printable(one.run), stage, rows, cost, at


def _line(cells: Sequence[str], wide: Sequence[int]) -> str:
    """One line of the table; a name that is too long loses its middle."""
    name = cells[0]
    while width(name) > wide[0]:
        half = (len(name) - 1) // 2
        name = name[: half - 1] + "…" + name[half + 1 :] if "…" not in name else _narrower(name)
    padded = name + " " * (wide[0] - width(name))
    others = [f"{cells[1]:{wide[1]}}", f"{cells[2]:>{wide[2]}}", f"{cells[3]:>{wide[3]}}", cells[4]]
    return "  ".join([padded, *others]).rstrip()


def _narrower(name: str) -> str:
    before, _, after = name.partition("…")
    return f"{before}…{after[1:]}" if len(after) >= len(before) else f"{before[:-1]}…{after}"
