"""Asking again for the rows of a run that failed, or whose answers are not good."""

from __future__ import annotations

import dataclasses

from batchlab.errors import UsageError
from batchlab.job.check import job_problems
from batchlab.job.file import at_url
from batchlab.looking.opening import open_run
from batchlab.run_end import RunSummary
from batchlab.runner.execute import execute
from batchlab.runner.run_options import RunOptions
from batchlab.store.asking import AskAgain, unknown_word
from batchlab.store.layout import MANIFEST


def retry_run(
    path: str,
    options: RunOptions,
    *,
    retry: AskAgain | None = None,
    concurrency: int | None = None,
    overwrite: bool = False,
) -> RunSummary:
    """Runs the job of a run directory again for some of its rows.

    Args:
        retry: which of them; those that failed when None.
        concurrency: instead of the job's own.
        overwrite: replace the job's output file though it has changed.

    Raises:
        UsageError: a word of `retry` names no rows, or its max_tokens is for none of them.
    """
    retry = retry or AskAgain()
    if problem := unknown_word(retry.only):
        raise UsageError(problem)
    run = open_run(path)
    job = run.manifest.job
    if retry.max_tokens is not None and job.request.task == "embeddings":
        raise UsageError("{request.max_tokens}: embeddings have no such tokens; leave it out.")
    if run.url is not None:
        job = at_url(job, run.url)
    else:
        job = dataclasses.replace(job, output=dataclasses.replace(job.output, run_dir=str(run.path)))
    # what there was to take over or copy is there; each failed row is asked for itself
    output = dataclasses.replace(job.output, reuse=(), dedupe=False, overwrite=overwrite)
    job = dataclasses.replace(job, output=output)
    if problems := job_problems(job):
        raise UsageError(f"{path}/{MANIFEST}: {problems[0]}")
    if job.limits.engine == "ray":  # a few rows need no cluster, and it may be gone
        limits = dataclasses.replace(job.limits, engine=None, ray_address=None, processes=None)
        job = dataclasses.replace(job, limits=limits)
    if concurrency is not None:
        job = dataclasses.replace(job, limits=dataclasses.replace(job.limits, concurrency=concurrency))
    return execute(job, dataclasses.replace(options, retry=retry))
