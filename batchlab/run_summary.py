"""How a run ended: what `batchlab.run` returns and the last lines of a run say."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from batchlab.errors import EXIT_FAILED_ROWS, EXIT_OK
from batchlab.totals import Totals


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
        stopped: why the run stopped early (`RunStopped.reason`, or `interrupted`); None if it finished.
        message: one line for a person when `stopped` is set.
        insecure: names of endpoints whose TLS certificates were not verified.
        output, errors_file: what was written beside the run directory, and the file of failed lines.
        left_out: rows without a final result, for which the output's format has no line.
        limited, window: rate limits met by this invocation, and the requests it could have in flight
            when it ended.
        remote: URL of the run directory's copy.
        fail_on: answers, beside failed and invalid ones, that make the exit code of a finished run 1.
    """

    run_dir: str
    input_rows: int
    totals: Totals
    sent: int
    elapsed_s: float
    maybe_repaid: int = 0
    stopped: str | None = None
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

    @property
    def spent_usd(self) -> float | None:
        """US dollars spent over the whole run; None when that is not known."""
        return self.totals.spent_usd

    def stated(self) -> dict[str, Any]:
        """The summary as plain data for a program: money that is not known is None, and never 0."""
        return {**dataclasses.asdict(self), "totals": self.totals.stated()}
