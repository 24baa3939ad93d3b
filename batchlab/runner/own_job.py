"""The job that a run has in its run.json, to go on with it by nothing but the run."""

from __future__ import annotations

import dataclasses

from batchlab.errors import UsageError
from batchlab.job import Job
from batchlab.job.check import job_problems
from batchlab.job.file import at_url
from batchlab.store.layout import MANIFEST
from batchlab.store.view import RunView


def own_job(run: RunView, *, overwrite: bool = False) -> Job:
    """A run's own job, as it can be run again where the run is.

    Args:
        overwrite: replace the job's output file though it has changed.

    Raises:
        UsageError: it cannot be run any more.
    """
    job = run.manifest.job
    if run.url is not None:
        job = at_url(job, run.url)
    else:
        job = dataclasses.replace(job, output=dataclasses.replace(job.output, run_dir=str(run.path)))
    # what there was to take over is there
    job = dataclasses.replace(job, output=dataclasses.replace(job.output, reuse=(), overwrite=overwrite))
    if problems := job_problems(job):
        raise UsageError(f"{run.place}/{MANIFEST}: {problems[0]}")
    if job.limits.engine == "ray":  # a few rows need no cluster, and it may be gone
        limits = dataclasses.replace(job.limits, engine=None, ray_address=None, processes=None)
        job = dataclasses.replace(job, limits=limits)
    return job
