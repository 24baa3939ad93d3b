"""`show` and `ls`: the answers of a run, and the runs there are."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from batchlab.cli.completion import run_dirs, statuses
from batchlab.cli.streams import is_heard
from batchlab.errors import EXIT_OK, UsageError
from batchlab.shell import command_line

if TYPE_CHECKING:
    from batchlab.looking.show import ShownRow

PAGE_ROWS = 20
_RANGE = re.compile(r"(\d+)(?:(-)(\d+)?)?")


@click.command()
@click.argument("run", metavar="[RUN]", required=False, type=click.Path(), shell_complete=run_dirs)
@click.argument("rows", metavar="[ROW…]", nargs=-1)
@click.option(
    "--status",
    multiple=True,
    metavar="STATUS",
    shell_complete=statuses,
    help="Only rows of this status: ok, truncated, filtered, invalid, failed, pending; repeatable.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only rows where COLUMN=VALUE, or != < <= > >=, or ~ (has the text, in any case); repeatable, all must hold.",
)
@click.option(
    "-n",
    "--limit",
    "most",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Most rows; 0 for all. [default: {PAGE_ROWS}; all rows that are named, and with --json]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
def show(
    run: str | None,
    rows: tuple[str, ...],
    *,
    status: tuple[str, ...],
    where: tuple[str, ...],
    most: int | None,
    as_json: bool,
) -> int:
    """Show answers of RUN: what was asked, what came, tokens and cost. Without RUN, of the newest under runs/.

    ROW is a number (17, from 0), a range (20-39, or 20- to go on from there) or an id of yours. Works while
    the run runs, and on one at a URL.

    \b
    Example:
        batchlab show
        batchlab show runs/quickstart 17 --json
        batchlab show runs/quickstart --status truncated --where "text~refund"
    """
    from batchlab.looking.opening import open_run
    from batchlab.looking.rows.asked import Asked
    from batchlab.looking.rows.conditions import checked_statuses, condition_of
    from batchlab.looking.show import Wanted, run_schema, shown_rows

    run, rows = _run_and_rows(run, rows)
    opened = open_run(run)
    schema, prefix = run_schema(opened), opened.manifest.prefix
    ranges, ids = _named(rows)
    wanted = Wanted(
        ranges,
        ids,
        checked_statuses(status),
        [condition_of(text, schema, prefix) for text in where],
    )
    beyond = [first for first, _ in ranges if first >= opened.manifest.plan.rows]
    if beyond:
        raise UsageError(f"{run}: no row {beyond[0]:,}: it has {opened.manifest.plan.rows:,}, from 0 on.")
    open_ended = any(last is None for _, last in ranges)
    if most is None and not as_json and (open_ended or not rows):
        most = PAGE_ROWS
    asked = Asked(opened)
    if asked.problem:
        click.echo(f"batchlab: what was asked cannot be shown: {asked.problem}", err=True)
    found = shown_rows(opened, wanted, asked)
    if as_json:
        count = _print_json(itertools.islice(found, most or None))
    else:
        whole = bool(rows) and not open_ended
        count = _print_cards(found, most or None, whole=whole, run=run, filtered=bool(status or where))
    if not count and is_heard(sys.stdout):
        click.echo(_nothing(run, any_filter=bool(rows or status or where)), err=True)
    return EXIT_OK


def _run_and_rows(run: str | None, rows: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Which run, and which rows of it: `show 17` is a row of the newest run, unless a run has that name."""
    from batchlab.cli.newest import newest
    from batchlab.looking.opening import run_at

    if run is None:
        return newest(), rows
    is_rows = all(_RANGE.fullmatch(one) for one in run.split(","))
    return (newest(), (run, *rows)) if is_rows and run_at(run) is None else (run, rows)


def _named(words: Iterable[str]) -> tuple[list[tuple[int, int | None]], frozenset[str]]:
    """Ranges of row_ids, and ids of the user's own."""
    ranges: list[tuple[int, int | None]] = []
    ids = set()
    for word in (one for text in words for one in text.split(",") if one):
        found = _RANGE.fullmatch(word)
        if found is None:
            ids.add(word)
            continue
        first = int(found[1])
        last = first if not found[2] else int(found[3]) if found[3] else None
        if last is not None and last < first:
            raise UsageError(f"{word}: a range goes upwards: {last}-{first}.")
        ranges.append((first, last))
    return ranges, frozenset(ids)


def _nothing(run: str, *, any_filter: bool) -> str:
    if any_filter:
        return f"no row of {run} that has a result fits; {command_line('status', run)} counts them"
    return f"no row of {run} has a result yet; {command_line('status', run)} says how far it is"


def _print_json(rows: Iterable[ShownRow]) -> int:
    """Prints each row as a line of JSON."""
    import json

    import orjson

    # a terminal obeys some signs that JSON does not escape
    escaped = sys.stdout.isatty() or "utf" not in (sys.stdout.encoding or "").lower()
    count = 0
    for row in rows:
        count += 1
        line = orjson.dumps(row.json(), default=_plain, option=orjson.OPT_NON_STR_KEYS)
        click.echo(json.dumps(json.loads(line)) if escaped else line.decode())
        if not is_heard(sys.stdout):
            break
    return count


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _print_cards(rows: Iterator[ShownRow], most: int | None, *, whole: bool, run: str, filtered: bool) -> int:
    """Prints rows as cards, through a pager on a terminal; how many there were."""
    from batchlab.looking.rows.cards import card, plain
    from batchlab.progress.terminal import columns, is_dumb, uses_colour

    on_terminal = sys.stdout.isatty() and not is_dumb()
    room = columns(sys.stdout) if on_terminal else None
    style = _coloured if uses_colour(sys.stdout) else plain
    shown = 0
    more = ""

    def lines() -> Iterator[str]:
        nonlocal shown, more
        for row in rows:
            if most is not None and shown == most:
                number = row.row_id
                more = "more: " + _next_page(run, number, most, filtered=filtered)
                break
            if shown:
                yield ""
            shown += 1
            yield from card(row, room=room, whole=whole, style=style)
        if more and on_terminal:
            yield ""
            yield more

    if on_terminal:
        os.environ.setdefault("LESS", "-FRX")  # as git does: what fits is printed, colours are kept
        click.echo_via_pager(f"{line}\n" for line in lines())
        return shown
    for line in lines():
        click.echo(line)
        if not is_heard(sys.stdout):
            return shown
    if more:
        click.echo(more, err=True)
    return shown


def _next_page(run: str, row: int, most: int, *, filtered: bool) -> str:
    """What to type to see more."""
    from batchlab.shell import shell_line

    if filtered:
        return f"the same command with -n {most * 10}, or -n 0 for all"
    return shell_line(["batchlab", "show", run, f"{row}-"]) + (f" -n {most}" if most != PAGE_ROWS else "")


def _coloured(text: str, what: str) -> str:
    """Weights and red, which are read on dark and on light ground."""
    match what:
        case "bad":
            return click.style(text, fg="red", bold=True)
        case "head":
            return click.style(text, bold=True)
    return click.style(text, dim=True)


@click.command()
@click.argument("folder", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run.")
def ls(folder: str | None, *, as_json: bool) -> int:
    """List the runs under runs/, or in FOLDER: state, rows, cost and when, newest first.

    \b
    Example:
        batchlab ls
    """
    from batchlab.finite import strict_json
    from batchlab.looking.listing import runs_in
    from batchlab.progress.terminal import columns

    found = runs_in(folder)
    if as_json:
        for one in found.runs:
            click.echo(strict_json(one.json()))
        return EXIT_OK
    for line in found.lines(columns(sys.stdout) if sys.stdout.isatty() else None):
        click.echo(line)
    for note in found.notes():
        click.echo(f"batchlab: {note}", err=True)
    return EXIT_OK
