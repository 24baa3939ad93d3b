"""`cost` and `report`: what a run has cost, and the page that shows it."""

from __future__ import annotations

import math
import sys

import click

from batchlab.cli.completion import run_dirs
from batchlab.cli.newest import newest
from batchlab.costs.price import Price
from batchlab.errors import EXIT_OK, UsageError
from batchlab.job.index import COLUMNS


@click.command()
@click.argument("runs", metavar="[RUN…]", nargs=-1, type=click.Path(), shell_complete=run_dirs)
@click.option(
    "--by",
    metavar="COLUMN[,COLUMN]",
    default="",
    help="Group by model, status, endpoint, day, run, error_class, corrections, parsed_note, label, or any input or --expand column.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@click.option(
    COLUMNS.flags,
    metavar=COLUMNS.unit,
    default="",
    help=COLUMNS.help,
)
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="MODEL=IN,OUT[,CACHED[,WRITTEN]]",
    help="What if MODEL (* for any) cost this many USD per 1M tokens; repeatable.",
)
@click.option(
    "--what-if",
    type=click.Choice(["batch-api", "flex"]),
    help="What if it had gone through the batch API, or at the tier flex, at the prices that are stated for it.",
)
def cost(
    runs: tuple[str, ...],
    *,
    by: str,
    format_: str,
    columns: str,
    prices: tuple[str, ...],
    what_if: str | None,
) -> int:
    """Sum up what runs have cost: kept, wasted, paid again after crashes, saved by the cache.

    RUN is a run, or any Parquet file or directory with usage columns; without, the newest run under runs/.
    ? is not known.
    repaid_usd is an upper bound: requests that a crash cut off, at their row's own cost.

    \b
    Example:
        batchlab cost runs/quickstart --by status
    """
    from batchlab.looking.money.books import cost_of
    from batchlab.looking.money.table_text import table_text
    from batchlab.progress.terminal import columns as columns_of

    found = cost_of(
        runs or (newest(),),
        by=_names(by),
        columns=_pairs(columns),
        prices=dict(map(_price, prices)) or None,
        what_if=what_if,
    )
    table = found.table
    match format_:
        case "csv":
            click.echo(table.to_csv(index=False), nl=False)
        case "json":
            click.echo(table.to_json(orient="records", double_precision=12))
        case _:
            room = columns_of(sys.stdout) if sys.stdout.isatty() else None
            for line in table_text(table, room=room, keys=len(_names(by))):
                click.echo(line)
            for line in found.receipt:
                click.echo(line)
    for note in found.notes:
        click.echo(f"batchlab: {note}", err=True)
    return EXIT_OK


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for pair in filter(None, text.split(",")):
        ours, found, theirs = pair.partition("=")
        if not found or not ours.strip() or not theirs.strip():
            raise UsageError(f"--columns {pair}: expected OURS=THEIRS, e.g. prompt_tokens=input_tokens.")
        pairs[ours.strip()] = theirs.strip()
    return pairs


def _price(text: str) -> tuple[str, Price]:
    model, _, numbers = text.rpartition("=")
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        values = []
    if not model or not 2 <= len(values) <= 4 or not all(0 <= one < math.inf for one in values):
        raise UsageError(f"--price {text}: expected MODEL=IN,OUT[,CACHED[,WRITTEN]] in USD per 1M tokens.")
    price_in, out, cached, written, *_ = [*values, None, None]
    assert price_in is not None, "there are at least two"
    assert out is not None, "there are at least two"
    return model, Price(price_in, out, cached, written)


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(), shell_complete=run_dirs)
@click.option(
    "-o",
    "--output",
    metavar="FILE.html",
    type=click.Path(),
    help="Where to write it; - for standard output. [default: RUN/report.html]",
)
@click.option(
    "--by",
    metavar="COLUMN[,COLUMN]",
    default="",
    help="Show cost by these columns too. [default: those with few values]",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that RUN did not write.")
def report(run_dir: str, *, output: str | None, by: str, overwrite: bool) -> int:
    """Write the page of RUN as one HTML file: what view shows, with its problem rows and a sample of others.

    It opens from disk without a network. It holds prompts and answers: share it as you would share them.

    \b
    Example:
        batchlab report runs/quickstart
    """
    from batchlab.looking.export.staging import STANDARD_OUTPUT
    from batchlab.looking.opening import open_run
    from batchlab.page.report import one_file, write_report

    if output == STANDARD_OUTPUT:
        click.echo(one_file(open_run(run_dir), _names(by)).encode("utf-8", "replace"), nl=False)
    else:
        click.echo(write_report(run_dir, output, _names(by), overwrite=overwrite))
    return EXIT_OK
