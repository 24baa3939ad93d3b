"""How a run ended: what `batchlab.run` returns and the last lines of a run say."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.totals import Totals


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        input_rows: rows of the input; `totals.rows` of them have a final result.
        totals: over the whole run, earlier invocations included.
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
