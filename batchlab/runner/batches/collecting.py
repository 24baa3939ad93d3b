"""Coming back to a run whose batches are out: taking home what has ended, or calling them off."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path

from batchlab.counts import counted
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.batch_service import BatchService
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.endpoint import Endpoint, access_to
from batchlab.errors import EXIT_OK, EXIT_STOPPED, InputError, UsageError
from batchlab.job import Job
from batchlab.looking.opening import open_run
from batchlab.looking.stages import typed_in
from batchlab.protocol.batches.table import dialect_of
from batchlab.records import is_wanting
from batchlab.remote.presence import live_host
from batchlab.run_end import RunStopped, RunSummary, StopReason
from batchlab.runner.batches.engine import BY_BATCH
from batchlab.runner.batches.left import RowsChanged
from batchlab.runner.endpoints import started_endpoints
from batchlab.runner.execute import execute
from batchlab.runner.own_job import own_job
from batchlab.runner.run_options import RunOptions
from batchlab.shell import command_line, shell_line
from batchlab.store.asking import AskAgain
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Step, read_batches
from batchlab.store.disk.run_lock import refuse_held
from batchlab.store.locked import LockedRun
from batchlab.store.standing import Ended, write_standing
from batchlab.store.view import RunView

CANCEL_WAIT_S = 600.0  # OpenAI takes up to ten minutes to cancel a batch


def collect_run(path: str, options: RunOptions, *, overwrite: bool = False) -> RunSummary:
    """Takes what batches of a run have brought, orders what may be ordered, and leaves; a run that has all
    is brought to its end, with its output file.

    Args:
        overwrite: replace the job's output file though it has changed.

    Raises:
        UsageError: another process is at work on it; or rows are pending, and none of them is for a batch; or
            its batches were cancelled: a cron table must not order them again.
    """
    run = open_run(path)
    _refuse_taken(run)
    job = own_job(run, overwrite=overwrite)
    cancelled = _is_cancelled(run)
    is_left = run.totals().rows < run.manifest.plan.rows and not run.batches_out()
    if cancelled and is_left:
        raise UsageError(f"{run.place}: its batches were cancelled, and no others are ordered{_how(run)}.")
    if is_left and not _by_batch(job):
        raise UsageError(
            f"{run.place}: none of its batches is out, and its other rows are to be asked live{_how(run)}."
        )
    # what was cancelled, by whomever, is not ordered again by a cron table
    takes = dataclasses.replace(options, is_own=True, waits=False, orders=not cancelled)
    if not cancelled:
        takes = dataclasses.replace(takes, on_start=_refuse_cancelled, retry=_retry_left(run))
    return execute(job, dataclasses.replace(takes, command=_command(run)))


def cancel_run(path: str, options: RunOptions, *, wait_s: float = CANCEL_WAIT_S) -> RunSummary:
    """Cancels the batches of a run that are out, and keeps what they had answered by then.

    The exit code is 0 once none is out any more.

    Args:
        wait_s: how long to wait for their end; a service may take minutes.

    Raises:
        UsageError: another process is at work on it, or none is out.
        RunStopped: the rows are not there to take home what they had answered; they are cancelled.
    """
    run = open_run(path)
    _refuse_taken(run)
    if not run.batches_out():
        raise UsageError(f"{run.place}: none of its batches is out; there is nothing to cancel.")
    job = own_job(run)
    _refuse_fixed(job, run)
    cancels = dataclasses.replace(options, is_own=True, cancel_within_s=wait_s, command=_command(run))
    try:
        done = execute(job, cancels)
    except (InputError, RowsChanged) as refused:
        if run.url is not None:
            raise
        told = _called_off(job, run, wait_s)
        raise RunStopped(StopReason.BATCH, f"{refused} {told}") from refused
    if done.stopped is StopReason.CANCELLED and not done.batches_out:
        return dataclasses.replace(done, exit_code=EXIT_OK)
    return done


def _refuse_taken(run: RunView) -> None:
    """Raises UsageError while another process, or machine, is at work on a run: what can be read of it then
    says nothing of what there is when that ends."""
    if run.url is None:
        refuse_held(run.path)
    elif (host := live_host(run.url)) is not None:
        raise UsageError(f"{run.url}: {host} is at work on it. Wait for its end, or stop it there.")


def _is_cancelled(run: RunView) -> bool:
    last = run.last_standing()
    return last is not None and last.ended is not None and last.ended.stopped == StopReason.CANCELLED


def _refuse_cancelled(run: LockedRun) -> None:
    """Raises UsageError when what was looked at without the lock has been cancelled since."""
    if _is_cancelled(run):
        raise UsageError(f"{run.place}: its batches have just been cancelled, and no others are ordered.")


def _called_off(job: Job, run: RunView, patience_s: float) -> str:
    """Has the services end what is out, without its results. What came of it."""
    limits = dataclasses.replace(job.limits, max_outage_s=patience_s)
    job = dataclasses.replace(job, limits=limits)
    with started_endpoints(job) as endpoints, contextlib.closing(LockedRun.open(run.path)) as store:
        log = BatchLog(store.path, store.publisher)
        told = [asyncio.run(_cancelled(job, endpoint, log)) for endpoint in endpoints]
        said = " ".join(one for one in told if one)
        if (last := run.last_standing()) is not None:
            ended = Ended(StopReason.CANCELLED, said, EXIT_STOPPED)
            write_standing(store.path, dataclasses.replace(last, ended=ended))
    return said


async def _cancelled(job: Job, endpoint: Endpoint, log: BatchLog) -> str:
    name, dialect = endpoint.job.name, dialect_of(job, endpoint.job)
    ours = [one for one in log.all.out if one.endpoint == name and one.step is Step.CREATED]
    if dialect is None or not ours:
        return ""
    access, kept = access_to(endpoint, job), []
    async with BatchService(access, dialect, limits=job.limits, stop=StopSignal()) as service:
        for batch in ours:
            log.cancelling(batch)
            try:
                await service.cancel(batch.id or "")
            except ApiError as error:
                kept.append(f"batch {batch.id} could not be cancelled ({error})")
    told = f"{counted(len(ours) - len(kept), 'batch', 'batches')} told to end"
    return f"At {name}: {'; '.join([told, *kept[:3]])}. What was answered stays there."


def _refuse_fixed(job: Job, run: RunView) -> None:
    """Raises UsageError when what is out cannot be called off."""
    at = {one.endpoint for one in run.batches_out()}
    for endpoint in job.endpoint:
        dialect = dialect_of(job, endpoint)
        if endpoint.name in at and dialect is not None and not dialect.cancels:
            raise UsageError(
                f"{endpoint.name}: {dialect.name} cannot cancel a batch. It goes on to its end, and is "
                f"billed: {command_line('collect', run.place)} takes home what it brings."
            )


def _retry_left(run: RunView) -> AskAgain | None:
    """What a retry that nobody waited for has still to order; None when no row is left for it."""
    manifest = run.manifest
    if not run.layout.batches.exists():
        return None
    left = read_batches(run.path).still_to_retry(manifest.generation, manifest.plan.rows)
    if left is None:
        return None
    results = (one for index in sorted(run.shards_to_ask(left)) for one in run.shard_results(index))
    return left if any(is_wanting(one) and left(one) for one in results) else None


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
