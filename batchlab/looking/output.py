"""The rows of a run in a file: at the end of the run, and whenever it is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache, partial

from batchlab.arrow import pa
from batchlab.errors import EXIT_STOPPED, UsageError
from batchlab.inputs.request_columns import request_mode
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.job import Job, OutputJob, output_format
from batchlab.looking import own_files
from batchlab.looking.export import STANDARD_OUTPUT, Exported, Target, export_tables
from batchlab.looking.export.staging import telling
from batchlab.looking.opening import open_run, unchanged_input
from batchlab.looking.rows.conditions import checked_statuses
from batchlab.looking.rows.picking import picked
from batchlab.looking.rows.tables import run_tables
from batchlab.run_end import RunSummary, StopReason
from batchlab.store.view import RunView


def export_run(
    path: str,
    output: str,
    *,
    to: str | None = None,
    errors: str | None = None,
    csv_raw: bool = False,
    csv_delimiter: str | None = None,
    csv_encoding: str | None = None,
    overwrite: bool = False,
    statuses: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Exported:
    """Writes the rows of a run to a file, a data set directory, or standard output (`-`).

    Args:
        statuses: states of the rows to write, several in a text joined by commas; all without any.
        columns: names of the columns to write, in that order; all without any.
        to: one of `job.FORMATS`; by default what the name of `output` and the run's input say.
        errors: file for the lines of failed rows, with the format `openai-batch`.
        overwrite: replace a file that the run did not write.
        csv_raw: as the setting; that of the run's job counts too.
        csv_delimiter, csv_encoding: as the settings; those of the run's job when None.
    """
    from batchlab.looking.labels.placed import labelled  # with numpy: a run begins without
    from batchlab.looking.labels.store import Labels

    run = open_run(path)
    source = cache(lambda: unchanged_input(run))
    job, plan = run.manifest.job, run.manifest.plan
    said = dataclasses.replace(
        job.output,
        to=to,
        errors=errors,
        csv_raw=csv_raw or job.output.csv_raw,
        csv_delimiter=csv_delimiter or job.output.csv_delimiter,
        csv_encoding=csv_encoding or job.output.csv_encoding,
    )
    target = _target(job, plan, output, said)
    wanted = checked_statuses(statuses)
    if columns and target.format == "openai-batch":
        raise UsageError(
            "columns: openai-batch has fields of its own; name another format, such as jsonl, for columns."
        )
    beside = (None if output == STANDARD_OUTPUT else output, errors)
    own_files.refuse_others(run.path, beside, overwrite=overwrite)

    def tables() -> Iterator[pa.Table]:
        rows = run_tables(run, source)
        if target.format != "openai-batch":  # its lines have fields of their own
            rows = labelled(run, rows, Labels(run).all())
        return picked(rows, statuses=wanted, columns=columns, prefix=target.prefix)

    exported = export_tables(target, tables)
    own_files.note(run.path, beside)
    return exported


def _target(job: Job, plan: InputPlan, output: str, said: OutputJob) -> Target:
    """The target that a job's output says, at another place."""
    batch = request_mode(job.request, plan.columns) == "batch"
    to = said.to
    if output == STANDARD_OUTPUT:
        to = to or "jsonl"
    return Target(
        output,
        output_format(output, to, batch=batch),
        errors=said.errors,
        prefix=job.output.prefix,
        model=job.request.model,
        own_ids=batch and job.input.id in (None, "custom_id"),
        task=None if batch else job.request.task,
        csv_raw=said.csv_raw,
        csv_delimiter=said.csv_delimiter,
        csv_encoding=said.csv_encoding,
    )


def write_output(job: Job, run: RunView, source: Source, summary: RunSummary) -> RunSummary:
    """Writes the output file that the job of this invocation names, if it does, at an orderly end."""
    output = job.output
    if output.file is None or summary.stopped in {StopReason.DISK, StopReason.INPUT}:
        return summary
    if summary.stopped is not None and not summary.totals.answered:
        return summary  # there is nothing to read in it
    try:
        # it may have come while the run went on
        own_files.refuse_others(run.path, (output.file, output.errors), overwrite=output.overwrite)
        with telling(partial(own_files.note_coming, run.path)):
            written = export_tables(
                _target(job, run.manifest.plan, output.file, output),
                lambda: run_tables(run, lambda: source),
            )
    except UsageError as error:  # too late for exit code 2: requests were sent
        if summary.stopped is not None:
            return summary
        return dataclasses.replace(
            summary, stopped=StopReason.OUTPUT, message=str(error), exit_code=EXIT_STOPPED
        )
    own_files.note(run.path, (output.file, output.errors))
    return dataclasses.replace(
        summary,
        output=output.file,
        errors_file=output.errors,
        left_out=written.left_out,
        quoted_cells=written.quoted,
        nulled_values=written.nulled,
    )
