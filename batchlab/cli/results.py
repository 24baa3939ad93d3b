"""`verify` and `export`: proving a run, and taking its rows elsewhere."""

from __future__ import annotations

import click

from batchlab.cli.completion import run_dirs, statuses
from batchlab.counts import counted
from batchlab.errors import EXIT_OK
from batchlab.job import FORMATS
from batchlab.job.index import by_key

_CSV_RAW, _CSV_DELIMITER, _CSV_ENCODING = (
    by_key("output")[name] for name in ("csv_raw", "csv_delimiter", "csv_encoding")
)
RUN = click.argument("run_dir", metavar="RUN", type=click.Path(), shell_complete=run_dirs)


@click.command()
@RUN
def verify(run_dir: str) -> int:
    """Prove that RUN is whole: every input row has exactly one final state, every checksum holds.

    Exit code 0 when it is finished and whole; 3 when it is whole so far, and rows are pending; 1 when
    something is damaged or lost: each problem is one line.

    \b
    Example:
        batchlab verify runs/quickstart
    """
    from batchlab.looking.verify import verify_run

    report = verify_run(run_dir)
    for line in report.lines:
        click.echo(line)
    for problem in report.problems:
        click.echo(f"batchlab: {problem}", err=True)
    return report.exit_code


@click.command()
@RUN
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(),
    help="A .parquet, .csv or .jsonl file, a directory (DIR/) for a Hugging Face data set, or - for standard output.",
)
@click.option(
    "--to",
    type=click.Choice(FORMATS),
    help="Format of the output. [default: by its ending; openai-batch for the .jsonl of a batch file]",
)
@click.option(
    "--errors",
    metavar="FILE",
    type=click.Path(),
    help="Where openai-batch puts the lines of failed rows. [default: beside the others]",
)
@click.option(*_CSV_RAW.flags.split(), is_flag=True, help=_CSV_RAW.help)
@click.option(
    *_CSV_DELIMITER.flags.split(), type=click.Choice(_CSV_DELIMITER.choices), help=_CSV_DELIMITER.help
)
@click.option(*_CSV_ENCODING.flags.split(), type=click.Choice(_CSV_ENCODING.choices), help=_CSV_ENCODING.help)
@click.option(
    "--status",
    multiple=True,
    metavar="STATUS",
    shell_complete=statuses,
    help="Only rows of this status: ok, truncated, filtered, invalid, failed, pending; repeatable.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that RUN did not write.")
@click.option(
    "--columns", metavar="NAME[,NAME]", default="", help="Only these columns, in this order. [default: all]"
)
def export(
    run_dir: str,
    *,
    output: str,
    to: str | None,
    errors: str | None,
    csv_raw: bool,
    csv_delimiter: str | None,
    csv_encoding: str | None,
    overwrite: bool,
    status: tuple[str, ...],
    columns: str,
) -> int:
    """Write the results of RUN somewhere else: one row per input row, in input order.

    Rows without a final result yet have the status `pending`; openai-batch leaves them out.

    \b
    Example:
        batchlab export runs/quickstart -o answers.csv
        batchlab export runs/quickstart -o - --status ok --columns custom_id,completion
    """
    from batchlab.looking.output import export_run
    from batchlab.looking.phrases import changed_in_output

    names = [name.strip() for name in columns.split(",") if name.strip()]
    try:
        written = export_run(
            run_dir,
            output,
            to=to,
            errors=errors,
            csv_raw=csv_raw,
            csv_delimiter=csv_delimiter,
            csv_encoding=csv_encoding,
            overwrite=overwrite,
            statuses=status,
            columns=names,
        )
    except BrokenPipeError:  # whoever reads it has seen enough
        return EXIT_OK
    if output != "-":
        said = f"{counted(written.rows, 'row')} written to {output}{_errors_text(written.failed, errors)}"
        click.echo(said, err=True)
    for line in changed_in_output(run_dir, output, quoted=written.quoted, nulled=written.nulled):
        click.echo(line, err=True)
    if written.left_out:
        click.echo(f"left out: {counted(written.left_out, 'pending row')} without a result yet", err=True)
    return EXIT_OK


def _errors_text(failed: int, errors: str | None) -> str:
    if errors is not None:
        return f" and {errors}, the {failed} that failed to the latter"
    return f", {failed} of them errors" if failed else ""
