"""Batches that are out, and a job that is not the one that ordered them: refused before run.json has it."""

from __future__ import annotations

from batchlab.counts import agreeing, counted
from batchlab.errors import UsageError
from batchlab.job import Job
from batchlab.protocol.batches.table import dialect_of
from batchlab.shell import command_line
from batchlab.store.batches import read_batches
from batchlab.store.locked import LockedRun


class RowsChanged(UsageError):
    """Batches are out, and the rows that they are of are not to be read any more."""


def refuse_batches_out(store: LockedRun, *, rows_are_there: bool) -> None:
    """Raises UsageError when a changed job is to take the place of one that has batches out.

    Their results are of the requests as they were, row by row of the plan as it was.

    Args:
        rows_are_there: not known to have changed: the run's own job may take them home. Else that raises
            RowsChanged.
    """
    if not store.layout.batches.exists() or not (out := read_batches(store.path).out):
        return
    rows, at = sum(one.lines for one in out), ", ".join(sorted({one.endpoint for one in out}))
    batches, are = counted(len(out), "batch", "batches"), agreeing(len(out), "is", "are")
    home, end = command_line("collect", store.path), command_line("cancel", store.path)
    if rows_are_there:
        raise UsageError(
            f"{store.path}: {batches} with {counted(rows, 'row')} of the job "
            f"as it was {are} out at {at}; a changed job cannot take them up. "
            f"With the job as it was, fetch them first: {home}; or end them, which keeps what they have by "
            f"then: {end}."
        )
    raise RowsChanged(
        f"{store.path}: {batches} with {counted(rows, 'row')} {are} out at {at}, and "
        f"{_rows_of(store.manifest.job)} not what they were when that was ordered, so that its results fit "
        f"none. Put them back as they were, and take it home: {home}. To end it at the service: {end}. "
        "The rows as they are now are another run: "
        "{output.run_dir}."
    )


def _rows_of(job: Job) -> str:
    path = job.input.path
    return "the rows of standard input are" if path == "-" else f"the rows of {path} are"


def refuse_left_alone(job: Job, store: LockedRun) -> None:
    """Raises UsageError when a batch is out at an endpoint that the job does not name any more.

    Asked before run.json has this job: `collect` and `cancel` go on with the one that is there.
    """
    if not store.layout.batches.exists():
        return
    out, sealed = read_batches(store.path).out, store.sealed()
    for batch in (one for one in out if one.shard not in sealed or one.is_retry):
        endpoint = next((one for one in job.endpoint if one.name == batch.endpoint), None)
        if endpoint is None or dialect_of(job, endpoint) is None:
            home, end = command_line("collect", store.place), command_line("cancel", store.place)
            raise UsageError(
                f"{store.place}: a batch of {counted(batch.lines, 'row')} is out at {batch.endpoint}, which "
                f"the job does not name any more. Take it home first: {home}; or end it, which keeps what it "
                f"has by then: {end}."
            )
