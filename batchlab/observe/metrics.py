"""A run's numbers as a Prometheus text file, for node_exporter's textfile collector.

Replaced whole every 10 s and at the end: a reader sees the old file or the new one. Every series
carries the run's path, because the collector refuses two files with the same series.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from batchlab.errors import UsageError
from batchlab.observe.facts import RunFacts
from batchlab.run_end import RunSummary, StopReason
from batchlab.run_state import RunState
from batchlab.store.disk.files import special_kind
from batchlab.totals import Totals
from batchlab.version import __version__

EVERY_S = 10.0
Labels: TypeAlias = tuple[tuple[str, str], ...]

STAGES = ("running", "finished", "stopped", "interrupted", "crashed")
_OURS = b"# HELP batchlab_"  # how a file of ours begins: no other is written over


@dataclass(frozen=True, slots=True)
class Life:
    """The process that works on a run, beside how far the run is.

    Attributes:
        started_at, at: Unix seconds: when it began, and now.
        failures: failed results recorded; a row that is asked again and fails again counts twice. Of
            those that workers record, the rows that are failed now are known.
        stage: one of `STAGES`.
        stopped: the reason, once the run has stopped early.
    """

    started_at: float
    at: float
    failures: int = 0
    stage: str = "running"
    exit_code: int | None = None
    stopped: StopReason | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """One metric and its samples: labels (beside the run's) to value."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Labels, float]]


def metrics_text(facts: RunFacts, state: RunState, life: Life) -> str:
    """The file's text. What is not known, such as a cost without a price, is left out."""
    return "".join(_lines(facts.run, _families(facts, state, life)))


def _families(facts: RunFacts, state: RunState, life: Life) -> Iterator[Family]:
    totals, attempts = state.totals, state.attempts
    by_status = {
        "ok": totals.ok,
        "truncated": totals.truncated,
        "filtered": totals.filtered,
        "invalid": totals.invalid,
    }
    yield Family(
        "batchlab_run_info",
        "gauge",
        "What is run; always 1.",
        [((("model", facts.model), ("version", __version__)), 1.0)],
    )
    yield Family(
        "batchlab_run_state",
        "gauge",
        "1 for the state the run is in, 0 for the others.",
        [((("state", one),), float(one == life.stage)) for one in STAGES],
    )
    if life.stopped is not None:
        yield Family(
            "batchlab_stop_info",
            "gauge",
            "Why the run stopped early; always 1.",
            _by("reason", {life.stopped: 1.0}),
        )
    if life.exit_code is not None:
        yield _one("batchlab_exit_code", "gauge", "Exit code of the run that ended.", life.exit_code)
    yield Family(
        "batchlab_input_rows",
        "gauge",
        "Rows of the input by the state they are in now; their sum is the input.",
        _by("state", {**by_status, "failed": totals.failed, "pending": state.pending}),
    )
    yield Family(
        "batchlab_rows_total",
        "counter",
        "Final results recorded; a row that failed, was asked again and failed counts twice as failed.",
        _by("state", {**by_status, "failed": max(life.failures, totals.failed)}),
    )
    yield Family(
        "batchlab_tokens_total",
        "counter",
        "Tokens the provider reported; wasted ones were paid for and not kept.",
        _by(
            "kind",
            {
                "prompt": totals.prompt_tokens,
                "completion": totals.completion_tokens,
                "wasted_prompt": totals.wasted_prompt_tokens,
                "wasted_completion": totals.wasted_completion_tokens,
            },
        ),
    )
    if (spent := totals.spent_usd) is not None:
        yield _one(
            "batchlab_cost_usd_total", "counter", "US dollars spent, as far as prices are known.", spent
        )
    yield _one(
        "batchlab_rows_without_cost",
        "gauge",
        "Answered rows whose cost is not known.",
        totals.rows_without_cost,
    )
    yield _one(
        "batchlab_waste_without_cost",
        "gauge",
        "Rows with attempts that were paid and not kept, at a cost that is not known.",
        totals.waste_without_cost,
    )
    yield _one("batchlab_empty_rows", "gauge", "Answered rows without content.", totals.empty)
    yield _one(
        "batchlab_unknown_finish_rows",
        "gauge",
        "Rows kept as ok whose finish reason is in no table; the log names the words.",
        totals.unknown_finish.rows,
    )
    for name, text, count in (
        ("requests_sent", "Requests sent by this process.", attempts.sent),
        ("requests_retried", "Requests sent again after a failure or a rate limit.", attempts.retried),
        ("requests_hedged", "Second requests for slow rows.", attempts.hedged),
        ("rate_limited", "Answers that were rate limits.", attempts.limited),
        ("request_errors", "Requests that failed by the provider's trouble.", attempts.errors),
    ):
        yield _one(f"batchlab_{name}_total", "counter", text, count)
    for name, text, value in (
        ("in_flight", "Requests in flight.", state.in_flight),
        ("window", "Requests that may be in flight.", state.window),
        ("batches_out", "Batches that services have, or are about to have, of the run.", len(state.batches)),
        ("rows_out", "Rows of these batches.", state.rows_out),
        ("paused", "1 while a rate limit or an outage holds everything back.", state.paused),
        ("start_timestamp_seconds", "When this process began the run.", life.started_at),
        ("last_update_timestamp_seconds", "When this file was written.", life.at),
    ):
        yield _one(f"batchlab_{name}", "gauge", text, value)


def _one(name: str, kind: str, text: str, value: float) -> Family:
    return Family(name, kind, text, [((), value)])


def _by(label: str, values: Mapping[str, float]) -> list[tuple[Labels, float]]:
    return [(((label, name),), value) for name, value in values.items()]


def _lines(run: str, families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
        for labels, value in family.samples:
            pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in (("run", run), *labels))
            yield f"{family.name}{{{pairs}}} {_number(value)}\n"


def _escaped(text: str) -> str:
    """A label's value: the format knows three escapes, and UTF-8 holds no lone surrogate."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    # other line separators are text to Prometheus, and line ends to some of its readers
    whole = "".join(character if character == "\n" or character.isprintable() else " " for character in whole)
    return whole.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _at_rest(state: RunState) -> RunState:
    return replace(state, in_flight=0, paused=False)


class MetricsFile:
    """Writes the metrics of one run. A disk that refuses is said once; the run goes on.

    Raises:
        UsageError: the file cannot be written, or is one of somebody else.
    """

    def __init__(
        self, path: str, say: Callable[[str], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = Path(path)
        self._say = say
        self._clock = clock
        self._started_at = clock()
        self._next = 0.0
        self._facts: RunFacts | None = None
        self._last = RunState()
        self._said = False
        self._failures = 0
        self._check()

    def started(self, facts: RunFacts) -> None:
        """The run's lock is held: from now on the file is this run's."""
        self._facts = facts
        self._next = self._clock() + EVERY_S
        self._failures = facts.before.earlier.failed
        self._write(facts.before)

    def failure(self) -> None:
        """A failed result was recorded."""
        self._failures += 1

    def update(self, state: RunState) -> None:
        """Writes the file when it is time."""
        self._last = state
        if self._facts is not None and (now := self._clock()) >= self._next:
            self._next = now + EVERY_S
            self._write(state)

    def ended(self, summary: RunSummary) -> None:
        """Writes the run's last numbers."""
        last = replace(
            self._last, rows=summary.input_rows, earlier=summary.totals, added=Totals(), window=summary.window
        )
        ended = {None: "finished", StopReason.PILOT: "finished", StopReason.INTERRUPTED: "interrupted"}
        self._write(
            _at_rest(last),
            stage=ended.get(summary.stopped, "stopped"),
            exit_code=summary.exit_code,
            stopped=summary.stopped,
        )

    def crashed(self, exit_code: int) -> None:
        """The run ended by an error, without a summary."""
        self._write(_at_rest(replace(self._last, window=0)), stage="crashed", exit_code=exit_code)

    def _check(self) -> None:
        """Finds out before anything is paid whether the file can be written."""
        try:
            if (kind := special_kind(self._path)) is not None:
                raise UsageError(f"{self._path}: is {kind}, and no metrics file. Name another file.")
            with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
                begin = file.read(len(_OURS))
                if begin and begin != _OURS:
                    raise UsageError(f"{self._path}: not a metrics file of batchlab. Name another file.")
            self._tmp.write_bytes(b"")
            self._tmp.unlink()
        except OSError as error:
            raise UsageError(
                f"{self._path}: the metrics file cannot be written: {os.strerror(error.errno or 0)}."
            ) from error

    @property
    def _tmp(self) -> Path:
        # the collector reads *.prom only, and two runs may share a directory
        return self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")

    def _write(
        self,
        state: RunState,
        stage: str = "running",
        *,
        exit_code: int | None = None,
        stopped: StopReason | None = None,
    ) -> None:
        self._last = state
        if self._facts is None:
            return
        now = Life(self._started_at, self._clock(), self._failures, stage, exit_code, stopped)
        try:
            # Not synced, and open to all as the umask says: another user's collector reads it, and
            # after a power loss the next run writes it anew.
            self._tmp.write_text(metrics_text(self._facts, state, now), encoding="utf-8", newline="\n")
            self._tmp.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._tmp.unlink(missing_ok=True)
            if not self._said:
                self._said = True
                why = os.strerror(error.errno or 0)
                self._say(f"{self._path}: the metrics file cannot be written ({why}); the run goes on")
