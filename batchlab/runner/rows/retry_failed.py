"""Asking again for the rows of a run that failed, or whose answers are not good."""

from __future__ import annotations

import dataclasses

from batchlab.errors import UsageError
from batchlab.looking.opening import open_run
from batchlab.run_end import RunSummary
from batchlab.runner.execute import execute
from batchlab.runner.own_job import own_job
from batchlab.runner.run_options import RunOptions
from batchlab.store.asking import AskAgain, unknown_word


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
        UsageError: a word of `retry` names no rows, its max_tokens is for none of them, or no batch is to be
            left.
    """
    retry = retry or AskAgain()
    if problem := unknown_word(retry.only):
        raise UsageError(problem)
    job = own_job(open_run(path), overwrite=overwrite)
    if not options.waits:
        from batchlab.runner.batches.engine import refuse_to_detach

        refuse_to_detach(job)
    if retry.max_tokens is not None and job.request.task == "embeddings":
        raise UsageError("{request.max_tokens}: embeddings have no such tokens; leave it out.")
    # each failed row is asked for itself
    job = dataclasses.replace(job, output=dataclasses.replace(job.output, dedupe=False))
    if concurrency is not None:
        job = dataclasses.replace(job, limits=dataclasses.replace(job.limits, concurrency=concurrency))
    return execute(job, dataclasses.replace(options, retry=retry, is_own=True))
