"""Asking again for the failed rows of a run."""

from __future__ import annotations

import dataclasses

from batchlab.job_file import at_url
from batchlab.records import Failure, RunSummary
from batchlab.runner.execute import execute
from batchlab.runner.opening import open_run
from batchlab.runner.prepare import job_of_run
from batchlab.store.open_shard import RetryRule
from batchlab.store.remote_run import RemoteRun


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
    store = open_run(path)
    job = job_of_run(store)
    if isinstance(store, RemoteRun):
        job = at_url(job, store.url)
    else:
        job = dataclasses.replace(job, output=dataclasses.replace(job.output, run_dir=str(store.path)))
    if concurrency is not None:
        job = dataclasses.replace(job, limits=dataclasses.replace(job.limits, concurrency=concurrency))
    return execute(job, retry=retry_rule(only), progress=progress, quiet=quiet, command=command, signals=True)
