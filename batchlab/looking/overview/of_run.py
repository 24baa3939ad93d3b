"""The overview of a run: what a person looks at while it runs and after. No part is read for it.

It is asked for every second: of a run that says how it stands only that is read, beside small files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from batchlab.errors import BatchlabError
from batchlab.job.index import in_keys
from batchlab.looking.money.pilot_forecast import saved_forecast
from batchlab.looking.not_ok import what_to_do
from batchlab.looking.overview.columns import ShownColumn, answer_columns, input_columns
from batchlab.looking.overview.cost import Cost, cost_of
from batchlab.looking.overview.notes import notes_of
from batchlab.looking.overview.sessions import Session, sessions_of
from batchlab.looking.overview.what import What, what_of
from batchlab.looking.stages import Stage
from batchlab.looking.status import Status, said_status, status_of
from batchlab.protocol.redact import printable
from batchlab.run_state import RunState
from batchlab.store.batches import Batch, Step, read_batches
from batchlab.store.history import history_of
from batchlab.store.integrity.losses import Loss, find_losses, loss_text
from batchlab.store.view import RunView
from batchlab.totals import Totals

MOST_BATCHES = 200  # that have ended: the last ones
SHOWN_PROBLEMS = 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """A batch that is not out any more.

    Attributes:
        at: Unix seconds when it was ordered, or meant.
        lasted_s: from its order to its end; None when it never began.
        came: what came of it, in words.
    """

    endpoint: str
    id: str
    lines: int
    at: float | None
    lasted_s: float | None
    came: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows of a run as long as it reads none of its rows.

    Attributes:
        name: of the run in its folder.
        problems: what could not be read, each in a line; the rest is there all the same.
    """

    name: str
    status: Status
    what: What
    cost: Cost
    sessions: Sequence[Session] = ()
    ended_batches: Sequence[EndedBatch] = ()
    inputs: Sequence[ShownColumn] = ()
    results: Sequence[ShownColumn] = ()
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()

    def json(self) -> dict[str, Any]:
        """For the page."""
        status, totals = self.status, self.status.state.totals
        pending = max(0, status.state.pending)
        go_on = {"command": status.go_on, "folder": status.folder} if status.go_on else None
        finished = status.stage is Stage.FINISHED
        advice = what_to_do(totals, status.run_dir, max_tokens=status.max_tokens) if finished else []
        return {
            "place": status.run_dir,
            "name": self.name,
            "stage": status.stage.value,
            "stopped": status.stopped or None,
            "headline": status.doing(),
            "go_on": go_on,
            "rows": status.state.rows,
            "counts": {
                **{
                    word: getattr(totals, word)
                    for word in ("ok", "truncated", "filtered", "invalid", "failed")
                },
                "pending": pending,
                "empty": totals.empty,
            },
            "what": {**self.what.json(), **self._times()},
            "now": self._now(),
            "batches": [dataclasses.asdict(one) for one in status.batches],
            "ended_batches": [dataclasses.asdict(one) for one in self.ended_batches],
            "cost": self.cost.json(),
            "tokens": {
                "prompt": totals.prompt_tokens,
                "completion": totals.completion_tokens,
                "cached": totals.cached_tokens,
                "reasoning": totals.reasoning_tokens,
                "wasted": totals.wasted_prompt_tokens + totals.wasted_completion_tokens,
            },
            "requests": totals.attempts,
            "notes": list(self.notes),
            "advice": [in_keys(line) for line in advice],
            "losses": list(status.losses),
            "problems": list(self.problems),
            "sessions": [one.json() for one in self.sessions],
            "columns": {
                "input": [one.json() for one in self.inputs],
                "result": [one.json() for one in self.results],
            },
        }

    def _times(self) -> dict[str, float | None]:
        if not self.sessions:
            return {"started": None, "ended": None}
        return {"started": self.sessions[0].began, "ended": self.sessions[-1].ended}

    def _now(self) -> dict[str, Any] | None:
        """How it goes, while it runs and says it."""
        if self.status.standing is None:
            return None
        state, rates = self.status.now(), self.status.rates()
        return {
            "at": self.status.standing.at,
            "window": state.window,
            "in_flight": state.in_flight,
            "why": state.why,
            "paused": state.paused,
            "silent_s": state.silent_s,
            "rows_per_s": rates.rows_per_s,
            "tokens_per_min": rates.tokens_per_s * 60,
            "eta_s": rates.eta_s,
            "parts": self.status.pace(),
            "out": dict(state.out),
            "workers": self.status.workers,
        }


def overview_of(run: RunView) -> Overview:
    """How a run is, was and will be, as far as it can be read: what cannot be is among its `problems`."""
    look = _Look()
    status = look.at(lambda: said_status(run), None)
    if status is None:
        totals = _totals(run, look)
        status = look.at(lambda: status_of(run, totals, {}), None) or _without_more(run, totals, look)
    runs = status.stage is Stage.RUNNING
    moments = history_of(run.path)
    batches = look.at(lambda: [*read_batches(run.path).by_key.values()], list[Batch]())
    job, plan, state = run.manifest.job, run.manifest.plan, status.now()
    pilot = look.at(lambda: saved_forecast(run.path, plan.content_hash), None)
    for note in run.damaged_notes():
        look.note(note)
    return Overview(
        name=run.place.rstrip("/").rpartition("/")[2] or run.place,
        status=status,
        what=what_of(run.manifest),
        cost=cost_of(job, state, moments, pilot, has_batches=bool(batches)),
        sessions=sessions_of(moments, run.last_standing(), runs=runs, with_batches=bool(batches)),
        ended_batches=[_ended(one) for one in batches if not one.is_out and one.step in _OVER][
            -MOST_BATCHES:
        ],
        inputs=look.at(lambda: input_columns(run), []),
        results=look.at(lambda: answer_columns(run), []),
        notes=notes_of(
            state.totals, plan.rows, runs=runs, has_history=bool(moments), shares_requests=bool(plan.vectors)
        ),
        problems=look.problems,
    )


class _Look:
    """Looks at one thing after the other, and keeps what could not be read.

    Attributes:
        problems: each in a line, once.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def at(self, read: Callable[[], T], otherwise: T) -> T:
        """What `read` gives, or else `otherwise`."""
        try:
            return read()
        except BatchlabError as error:
            self.note(str(error))
        except OSError as error:
            self.note(f"{error.filename or 'a file'}: {error.strerror}")
        return otherwise

    def note(self, problem: str) -> None:
        """One thing that could not be read."""
        line = printable(problem, 300)
        if line not in self.problems and len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(line)


def _totals(run: RunView, look: _Look) -> Totals:
    """A run's totals; shard by shard, without those that cannot be read, where one of them cannot."""
    before = len(look.problems)
    totals = look.at(run.totals, Totals())
    if len(look.problems) == before:
        return totals
    found = Totals()
    for index in sorted(run.sealed() | run.unsealed()):
        found += look.at(lambda index=index: run.shard_books(index)[0], Totals())  # type: ignore[misc]
    return found


def _without_more(run: RunView, totals: Totals, look: _Look) -> Status:
    """How a run is, by its totals alone, and what it has lost."""
    state, holder = RunState(rows=run.manifest.plan.rows, earlier=totals), run.lock_holder()
    stage = Stage.RUNNING if holder is not None else Stage.STOPPED if state.pending else Stage.FINISHED
    losses = [] if holder is not None else look.at(lambda: find_losses(run), list[Loss]())
    return Status(run.place, state, stage, holder, None, {}, losses=tuple(map(loss_text, losses)))


_OVER = (Step.MERGED, Step.DROPPED)


def _ended(batch: Batch) -> EndedBatch:
    if batch.step is Step.DROPPED:
        came = "never came to be"
    else:
        failed = f", {batch.failed:,} failed" if batch.failed else ""
        came = f"{printable(batch.phase, 40)}: {batch.answered:,} answered{failed}"
    lasted = batch.ended_at - batch.created_at if batch.ended_at and batch.created_at else None
    at = batch.ordered_at or batch.meant_at or None
    return EndedBatch(
        printable(batch.endpoint, 80), printable(batch.id or "", 120), batch.lines, at, lasted, came
    )
