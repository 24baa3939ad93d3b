"""How a run ends: why it stops early, and what `batchlab.run` returns and the last lines of a run say."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from batchlab.counts import counted
from batchlab.errors import EXIT_FAILED_ROWS, EXIT_OK, EXIT_STOPPED, BatchlabError
from batchlab.totals import Totals


class StopReason(StrEnum):
    """Why a run stops early: the word in its log, its metrics and its summary."""

    BUDGET = "budget"
    DEADLINE = "deadline"
    KEY = "key"
    QUOTA = "quota"
    OUTAGE = "outage"
    ENDPOINT = "endpoint"  # it refuses every request, or is not there
    SCHEMA = "schema"  # no answer fits it
    DISK = "disk"
    STORAGE = "storage"  # the run's URL
    INPUT = "input"
    OUTPUT = "output"  # the file of `-o`: the rows themselves are all there
    WORKERS = "workers"
    RAY = "ray"
    INTERRUPTED = "interrupted"
    BATCH = "batch"  # one that must not be ordered again, and whose state cannot be told
    DETACHED = "detached"  # batches are out, and nobody was to wait for them
    CANCELLED = "cancelled"  # its batches, as was asked
    PILOT = "pilot"  # only its rows were to be sent


class RunStopped(BatchlabError):
    """The run cannot go on now. Everything that arrived is saved; the same command goes on.

    Attributes:
        summary: how far the run is, where `batchlab.run` or `batchlab.stream` raised it; else None.
    """

    exit_code = EXIT_STOPPED

    def __init__(self, reason: StopReason, message: str, summary: RunSummary | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.summary = summary


def code_of(totals: Totals, fail_on: Collection[str] = ()) -> int:
    """Exit code of a run whose rows are all final; `fail_on` are some of `job.FAIL_ON`."""
    failed = totals.failed or totals.invalid or any(getattr(totals, word) for word in fail_on)
    return EXIT_FAILED_ROWS if failed else EXIT_OK


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        input_rows: rows of the input; `totals.rows` of them have a final result.
        totals: over the whole run, earlier invocations included. What it has cost, if that is known, is
            `totals.spent_usd`.
        sent: requests this invocation sent (attempts, not rows).
        maybe_repaid: requests in flight at an earlier crash, which may be billed twice.
        stopped: why the run stopped early; None if it finished.
        message: one line for a person when `stopped` is set.
        insecure: names of endpoints whose TLS certificates were not verified.
        output, errors_file: what was written beside the run directory, and the file of failed lines.
        left_out: rows without a final result, for which the output's format has no line.
        quoted_cells, nulled_values: of the output, CSV cells that got a ' in front, and numbers that JSON
            has no word for and that are null.
        limited, window: rate limits met by this invocation, and the requests it could have in flight
            when it ended.
        batches_out, rows_out: what services have still to answer; they go on with it, whoever waits.
        came: rows whose result came in this invocation.
        remote: URL of the run directory's copy.
        fail_on: answers, beside failed and invalid ones, that make the exit code of a finished run 1.
    """

    run_dir: str
    input_rows: int
    totals: Totals
    sent: int
    elapsed_s: float
    maybe_repaid: int = 0
    stopped: StopReason | None = None
    message: str = ""
    output: str | None = None
    exit_code: int = 0
    insecure: tuple[str, ...] = ()
    limited: int = 0
    window: int = 0
    errors_file: str | None = None
    left_out: int = 0
    remote: str | None = None
    fail_on: tuple[str, ...] = ()
    quoted_cells: int = 0
    nulled_values: int = 0
    batches_out: int = 0
    rows_out: int = 0
    came: int = 0

    def __repr__(self) -> str:
        totals = self.totals
        words = ("ok", "truncated", "filtered", "invalid", "failed")
        counts = [f"{count:,} {word}" for word in words if (count := getattr(totals, word))]
        counts += [f"{self.pending:,} pending"] if self.pending else []
        spent = "cost unknown" if self.spent_usd is None else f"${self.spent_usd:.6f}"
        end = "done" if self.stopped is None else f"stopped, {self.stopped.value} ({self.message})"
        return (
            f"<RunSummary {end}: {counted(self.input_rows, 'row')} = {' + '.join(counts) or 'none'}; "
            f"{totals.prompt_tokens:,} prompt + {totals.completion_tokens:,} completion tokens; {spent}; "
            f"{self.elapsed_s:.1f} s; {self.run_dir}>"
        )

    @property
    def is_news(self) -> bool:
        """Whether this invocation has found or been given any answer: a start that finds all done has not."""
        return bool(self.sent or self.came or self.totals.reused)

    @property
    def pending(self) -> int:
        """Rows without a final result."""
        return self.input_rows - self.totals.rows

    @property
    def spent_usd(self) -> float | None:
        """US dollars spent over the whole run; None when that is not known."""
        return self.totals.spent_usd

    def stated(self) -> dict[str, Any]:
        """The summary as plain data for a program: money that is not known is None, and never 0."""
        stopped = None if self.stopped is None else self.stopped.value
        return {**dataclasses.asdict(self), "totals": self.totals.stated(), "stopped": stopped}
