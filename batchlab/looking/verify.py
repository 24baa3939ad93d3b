"""Checking a run, as a person is told of it. What is checked is in `store.integrity.verify`."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.counts import agreeing, counted
from batchlab.errors import EXIT_FAILED_ROWS, EXIT_OK, EXIT_STOPPED
from batchlab.looking.money.given_up import given_up_lines
from batchlab.looking.opening import open_run
from batchlab.store.integrity.verify import verify


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` says: lines for a person, every problem found, and the rows without a result."""

    lines: list[str]
    problems: list[str]
    pending: int

    @property
    def exit_code(self) -> int:
        """0 of a run that is finished and whole, so that `verify && upload` ships no half."""
        if self.problems:
            return EXIT_FAILED_ROWS
        return EXIT_STOPPED if self.pending else EXIT_OK


def verify_run(path: str) -> Verification:
    """Checks that every input row has exactly one final state and that all checksums hold."""
    run = open_run(path)
    plan = run.manifest.plan
    report = verify(run, list(plan.shards))
    totals = report.totals
    lines = [
        f"rows in: {plan.rows:,}",
        (
            f"rows out: {totals.ok:,} ok + {totals.truncated:,} truncated + {totals.filtered:,} filtered "
            f"+ {totals.invalid:,} invalid + {totals.failed:,} failed + {report.pending:,} pending"
        ),
        f"tokens: {totals.prompt_tokens:,} prompt + {totals.completion_tokens:,} completion",
    ]
    lines += given_up_lines(run.layout)
    problems = list(report.problems)
    if totals.rows + report.pending != plan.rows:
        problems.append(f"{counted(plan.rows, 'row')} in, but {totals.rows + report.pending:,} accounted for")
    if not problems and report.pending:
        lines.append(
            f"whole so far: {totals.rows:,} of {counted(plan.rows, 'row')} have one state, "
            f"{report.pending:,} {agreeing(report.pending, 'is', 'are')} pending; checksums and totals hold. "
            "The run is not finished: run the same command to go on"
        )
    elif not problems:
        lines.append("verified: every input row has exactly one state; checksums and totals hold")
    return Verification(lines, problems, report.pending)
