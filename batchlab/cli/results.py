"""`status`, `verify` and `export`: looking at a run without sending anything."""

from __future__ import annotations

import click

from batchlab.cli.completion import run_dirs
from batchlab.errors import EXIT_OK
from batchlab.job import FORMATS

RUN = click.argument("run_dir", metavar="RUN", type=click.Path(), shell_complete=run_dirs)


@click.command()
@RUN
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(run_dir: str, *, as_json: bool) -> int:
    """How far RUN is: works while it runs, from another terminal.

    \b
    Example:
        batchlab status runs/quickstart
    """
    from batchlab.looking.status import run_status

    report = run_status(run_dir)
    click.echo(report.json() if as_json else "\n".join(report.lines()))
    return EXIT_OK


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
    help="A .parquet, .csv or .jsonl file, or a directory (DIR/) for a Hugging Face data set.",
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
@click.option(
    "--csv-raw", is_flag=True, help="Do not put ' before CSV cells that a spreadsheet would run as a formula."
)
def export(run_dir: str, *, output: str, to: str | None, errors: str | None, csv_raw: bool) -> int:
    """Write the results of RUN somewhere else: one row per input row, in input order.

    Rows without a final result yet have the status `pending`; openai-batch leaves them out.

    \b
    Example:
        batchlab export runs/quickstart -o answers.csv
    """
    from batchlab.looking.output import export_run

    written = export_run(run_dir, output, to=to, errors=errors, csv_raw=csv_raw)
    click.echo(f"{written.rows} rows written to {output}{_errors_text(written.failed, errors)}", err=True)
    if written.left_out:
        click.echo(f"{written.left_out} pending rows are left out: they have no result yet", err=True)
    return EXIT_OK


def _errors_text(failed: int, errors: str | None) -> str:
    if errors is not None:
        return f" and {errors}, the {failed} that failed to the latter"
    return f", {failed} of them errors" if failed else ""
