"""`view`: runs on a page, in a browser."""

from __future__ import annotations

import sys

import click

from batchlab.cli.completion import run_dirs
from batchlab.errors import EXIT_OK


@click.command()
@click.argument("place", metavar="[RUN|DIR|URL]", required=False, type=click.Path(), shell_complete=run_dirs)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="N",
    help="Where to listen; 0 for any that is free. [default: the first free one from 8420 on]",
)
@click.option(
    "--host",
    metavar="NAME",
    default="",
    help="Listen there, for others, too: a name or address of this machine. Then reading needs the token that "
    "is in the printed address. [default: this machine alone]",
)
@click.option("--no-open", is_flag=True, help="Print the address, and open no browser.")
@click.option(
    "--review",
    type=click.IntRange(min=1),
    metavar="N",
    help="Open with a random sample of N rows of the run, to be labelled one after another.",
)
@click.option("--with-run", is_flag=True, hidden=True, help="For a run with --view: end with standard input.")
def view(
    place: str | None, *, port: int | None, host: str, no_open: bool, review: int | None, with_run: bool
) -> int:
    """Show runs on a page in a browser: live, with every row, until Ctrl-C.

    Without RUN, the runs under runs/. The page is for this machine alone; it shows what is there, and what
    it can do, such as a retry, it shows as a command and asks for once.

    \b
    Example:
        batchlab view runs/quickstart
    """
    from batchlab.arrow import keeping_memory, without_pandas

    without_pandas()
    keeping_memory()
    from batchlab.page.address import Wanted, has_display
    from batchlab.page.server import run_beside, run_until_interrupted
    from batchlab.page.shelf import Shelf

    shelf = Shelf(place)
    wanted = Wanted(host, port, shelf.route(review), opens=not no_open and has_display())
    if with_run:
        run_beside(shelf, wanted)
        return EXIT_OK

    def listening(address: str) -> None:
        click.echo(address)
        click.echo(f"batchlab: {shelf.shown} is on that page; Ctrl-C ends it", err=True)
        sys.stdout.flush()

    run_until_interrupted(shelf, wanted, listening)
    return EXIT_OK
