"""Asking again for the failed rows of a run."""

from __future__ import annotations

import dataclasses

from batchlab.errors import UsageError
from batchlab.job.check import job_problems
from batchlab.job.file import at_url
from batchlab.looking.opening import open_run
from batchlab.run_end import RunSummary
from batchlab.runner.execute import execute
from batchlab.runner.run_options import RunOptions
from batchlab.store.asking import AskAgain
from batchlab.store.layout import MANIFEST


def retry_run(
    path: str, options: RunOptions, *, only: tuple[str, ...] = (), concurrency: int | None = None
) -> RunSummary:
    """Runs the job of a run directory again for its failed rows.

    Args:
        only: see `AskAgain`.
        concurrency: instead of the job's own.
    """
    run = open_run(path)
    job = run.manifest.job
    if run.url is not None:
        job = at_url(job, run.url)
    else:
        job = dataclasses.replace(job, output=dataclasses.replace(job.output, run_dir=str(run.path)))
    # what there was to take over or copy is there; each failed row is asked for itself
    job = dataclasses.replace(job, output=dataclasses.replace(job.output, reuse=(), dedupe=False))
    if problems := job_problems(job):
        raise UsageError(f"{path}/{MANIFEST}: {problems[0]}")
    if job.limits.engine == "ray":  # a few rows need no cluster, and it may be gone
        limits = dataclasses.replace(job.limits, engine=None, ray_address=None, processes=None)
        job = dataclasses.replace(job, limits=limits)
    if concurrency is not None:
        job = dataclasses.replace(job, limits=dataclasses.replace(job.limits, concurrency=concurrency))
    return execute(job, dataclasses.replace(options, retry=AskAgain(only)))
