"""`status`, `verify` and `export`: looking at a run without sending anything."""

from __future__ import annotations

import click

from batchlab.errors import EXIT_FAILED_ROWS, EXIT_OK

RUN = click.argument("run_dir", metavar="RUN", type=click.Path())


@click.command()
@RUN
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(run_dir: str, *, as_json: bool) -> int:
    """How far RUN is: works while it runs, from another terminal.

    \b
    Example:
        batchlab status runs/quickstart
    """
    from batchlab.runner import run_status

    report = run_status(run_dir)
    click.echo(report.json() if as_json else "\n".join(report.lines()))
    return EXIT_OK


@click.command()
@RUN
def verify(run_dir: str) -> int:
    """Prove that RUN is whole: every input row has exactly one final state, every checksum holds.

    Exit code 1 when it is not; each problem is one line.

    \b
    Example:
        batchlab verify runs/quickstart
    """
    from batchlab.runner import verify_run

    report = verify_run(run_dir)
    for line in report.lines:
        click.echo(line)
    for problem in report.problems:
        click.echo(f"batchlab: {problem}", err=True)
    return EXIT_FAILED_ROWS if report.problems else EXIT_OK


@click.command()
@RUN
@click.option("-o", "--output", required=True, metavar="FILE", help="A .parquet, .csv or .jsonl file.")
@click.option(
    "--csv-raw", is_flag=True, help="Do not put ' before CSV cells that a spreadsheet would run as a formula."
)
def export(run_dir: str, *, output: str, csv_raw: bool) -> int:
    """Write the results of RUN to one file: one row per input row, in input order.

    Rows without a final result yet have the status `pending`.

    \b
    Example:
        batchlab export runs/quickstart -o answers.csv
    """
    from batchlab.runner import export_run

    rows = export_run(run_dir, output, csv_raw=csv_raw)
    click.echo(f"{rows} rows written to {output}", err=True)
    return EXIT_OK
