"""Coming back to a run whose batches are out: taking home what has ended, or calling them off."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from batchlab.errors import EXIT_OK, UsageError
from batchlab.job import Job
from batchlab.looking.opening import open_run
from batchlab.looking.stages import typed_in
from batchlab.protocol.batches.table import dialect_of
from batchlab.run_end import RunSummary, StopReason
from batchlab.runner.batches.engine import BY_BATCH
from batchlab.runner.execute import execute
from batchlab.runner.own_job import own_job
from batchlab.runner.run_options import RunOptions
from batchlab.shell import shell_line
from batchlab.store.view import RunView

CANCEL_WAIT_S = 600.0  # OpenAI takes up to ten minutes to cancel a batch


def collect_run(path: str, options: RunOptions, *, overwrite: bool = False) -> RunSummary:
    """Takes what batches of a run have brought, orders what may be ordered, and leaves; a run that has all
    is brought to its end, with its output file.

    Args:
        overwrite: replace the job's output file though it has changed.

    Raises:
        UsageError: rows are pending, and none of them is for a batch; or its batches were cancelled: a cron
            table must not order them again.
    """
    run = open_run(path)
    job = own_job(run, overwrite=overwrite)
    last = run.last_standing()
    cancelled = last is not None and last.ended is not None and last.ended.stopped == StopReason.CANCELLED
    is_left = run.totals().rows < run.manifest.plan.rows and not run.batches_out()
    if cancelled and is_left:
        raise UsageError(f"{run.place}: its batches were cancelled, and no others are ordered{_how(run)}.")
    if is_left and not _by_batch(job):
        raise UsageError(
            f"{run.place}: none of its batches is out, and its other rows are to be asked live{_how(run)}."
        )
    return execute(job, dataclasses.replace(options, waits=False, command=_command(run)))


def cancel_run(path: str, options: RunOptions, *, wait_s: float = CANCEL_WAIT_S) -> RunSummary:
    """Cancels the batches of a run that are out, and keeps what they had answered by then.

    The exit code is 0 once none is out any more.

    Args:
        wait_s: how long to wait for their end; a service may take minutes.

    Raises:
        UsageError: none is out.
    """
    run = open_run(path)
    if not run.batches_out():
        raise UsageError(f"{run.place}: none of its batches is out; there is nothing to cancel.")
    job = own_job(run)
    _refuse_fixed(job, run)
    done = execute(job, dataclasses.replace(options, cancel_within_s=wait_s, command=_command(run)))
    if done.stopped is StopReason.CANCELLED and not done.batches_out:
        return dataclasses.replace(done, exit_code=EXIT_OK)
    return done


def _refuse_fixed(job: Job, run: RunView) -> None:
    """Raises UsageError when what is out cannot be called off."""
    at = {one.endpoint for one in run.batches_out()}
    for endpoint in job.endpoint:
        dialect = dialect_of(job, endpoint)
        if endpoint.name in at and dialect is not None and not dialect.cancels:
            raise UsageError(
                f"{endpoint.name}: {dialect.name} cannot cancel a batch. It goes on to its end, and is "
                f"billed: batchlab collect {run.place} takes home what it brings."
            )


def _by_batch(job: Job) -> bool:
    return any(job.limits_at(endpoint).lane in BY_BATCH for endpoint in job.endpoint)


def _command(run: RunView) -> str:
    """What goes on with a run: what was typed last, where that was here; else what takes home its batches."""
    last = run.last_standing()
    if last is not None and last.command and last.folder == str(Path.cwd()):
        return last.command
    return shell_line(["batchlab", "collect", run.place])


def _how(run: RunView) -> str:
    """How to go on, where that is known."""
    last = run.last_standing()
    if last is None or not last.command:
        return "; to go on: the same batchlab run"
    return f"; to go on{typed_in(last.folder)}: {last.command}"
