"""Asking again for the failed rows of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from batchlab.records import Failure, RunSummary
from batchlab.runner.execute import execute
from batchlab.runner.prepare import job_of_run
from batchlab.runner.reading import open_run
from batchlab.store.open_shard import RetryRule


def retry_rule(only: tuple[str, ...]) -> RetryRule:
    """Which failures to ask again: those with an error_class or status in `only`, or all that were sent.

    A malformed input line is not asked again: it would fail the same way.
    """

    def wanted(failure: Failure) -> bool:
        if only:
            return failure.error_class in only or str(failure.error_code) in only
        return failure.error_class != "bad_input"

    return wanted


def retry_run(
    path: str,
    *,
    only: tuple[str, ...] = (),
    concurrency: int | None = None,
    progress: str = "auto",
    quiet: bool = False,
    command: str = "",
) -> RunSummary:
    """Runs the job of a run directory again for its failed rows."""
    job = job_of_run(open_run(path))
    job = dataclasses.replace(job, output=dataclasses.replace(job.output, run_dir=str(Path(path))))
    if concurrency is not None:
        job = dataclasses.replace(job, limits=dataclasses.replace(job.limits, concurrency=concurrency))
    return execute(job, retry=retry_rule(only), progress=progress, quiet=quiet, command=command, signals=True)
