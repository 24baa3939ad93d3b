"""`status`: how far a run is, once or for as long as it runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

import click

from batchlab.cli.completion import run_dirs
from batchlab.cli.spelling import in_flags
from batchlab.cli.streams import is_heard
from batchlab.counts import counted
from batchlab.errors import EXIT_INTERRUPTED, EXIT_OK

if TYPE_CHECKING:
    from batchlab.looking.status import Status

EVERY_S = 1.0
AWAY_EVERY_S = 10.0  # at a URL, where a look takes some requests
LINE_EVERY_S = 30.0  # where lines cannot be written over
BAR_COLUMNS = 40


@click.command()
@click.argument("run_dir", metavar="[RUN]", required=False, type=click.Path(), shell_complete=run_dirs)
@click.option("-w", "--watch", is_flag=True, help="Follow it to its end, and end with its exit code.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; with --watch one every second.")
def status(run_dir: str | None, *, watch: bool, as_json: bool) -> int:
    """How far RUN is: works while it runs, from another terminal. Without RUN, the newest under runs/.

    \b
    Example:
        batchlab status runs/quickstart
        batchlab status --watch
    """
    from batchlab.looking.opening import newest_run
    from batchlab.looking.status import run_status

    run_dir = run_dir or newest_run()
    if watch:
        try:
            return _followed(run_dir, as_json=as_json)
        except KeyboardInterrupt:  # whoever looks may leave; the run goes on
            return EXIT_INTERRUPTED
    report = run_status(run_dir)
    click.echo(report.json() if as_json else _told(report))
    return EXIT_OK


def _followed(run_dir: str, *, as_json: bool) -> int:
    """Shows a run until it ends; its exit code."""
    from batchlab.looking.stages import Stage
    from batchlab.looking.status import glance, run_status
    from batchlab.progress.terminal import is_dumb
    from batchlab.remote.urls import is_url

    on_terminal = sys.stdout.isatty() and not is_dumb() and not as_json
    screen = _Screen(sys.stdout)
    next_line = 0.0
    while True:
        seen = glance(run_dir)
        if seen.stage is not Stage.RUNNING:
            break
        if as_json:
            click.echo(seen.json())
        elif on_terminal:
            screen.draw(seen)
        elif time.monotonic() >= next_line:
            next_line = time.monotonic() + LINE_EVERY_S
            click.echo(
                " · ".join([seen.headline() if not screen.drawn else "", *_line(seen)]).removeprefix(" · ")
            )
            screen.drawn = ["-"]
        if not is_heard(sys.stdout):
            return EXIT_OK
        time.sleep(AWAY_EVERY_S if is_url(seen.run_dir) else EVERY_S)
    screen.clear()
    last = run_status(run_dir)
    click.echo(last.json() if as_json else _told(last))
    return last.exit_code


def _told(report: Status) -> str:
    return in_flags("\n".join(report.lines()))


def _line(seen: Status) -> list[str]:
    from batchlab.progress.line import line_fields

    return [field.text for field in line_fields(seen.now(), seen.rates())]


class _Screen:
    """A few lines at the foot of a terminal that are written anew each time.

    Attributes:
        drawn: the lines that are there now.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.drawn: list[str] = []

    def draw(self, seen: Status) -> None:
        """Shows how the run stands, in as many lines as the terminal's width asks for."""
        from batchlab.progress.terminal import columns, with_trouble_in_red

        room = (columns(self._stream) or 80) - 1
        state = seen.now()
        share = min(1.0, state.saved / max(1, state.rows))
        wide = max(10, min(BAR_COLUMNS, room - 30))
        bar = "█" * int(share * wide) + "·" * (wide - int(share * wide))
        first, *fields = _line(seen)
        lines = [_fitted(seen.headline(), room), _fitted(f"{share:4.0%} {bar} {first}", room)]
        lines += _flowed(fields, room)
        if state.oldest == () and seen.standing is None:
            lines.append(_fitted("it has not said yet how fast it goes", room))
        for worker in (seen.workers or {}).get("workers", ())[:8]:
            in_flight, saved = worker["in_flight"], worker["saved"]
            lines.append(
                _fitted(
                    f"  worker {worker['name']}: {in_flight:,} in flight, {counted(saved, 'row')} saved", room
                )
            )
        self.clear()
        self._stream.write("\n".join(with_trouble_in_red(line, self._stream) for line in lines) + "\n")
        self._stream.flush()
        self.drawn = lines

    def clear(self) -> None:
        """Takes what was drawn away again."""
        from batchlab.progress.terminal import columns, rewraps, width

        if not self.drawn or not self._stream.isatty():
            return
        now = columns(self._stream) or 80
        # a terminal that has become narrower may show a line on several
        rows = sum(max(1, -(-width(line) // now)) if rewraps() else 1 for line in self.drawn)
        self._stream.write(f"\x1b[{rows}A\r\x1b[J")
        self._stream.flush()
        self.drawn = []


def _flowed(fields: list[str], room: int) -> list[str]:
    """Parts of a line on as many lines as they need."""
    from batchlab.progress.terminal import width

    lines: list[str] = []
    for field in fields:
        if lines and width(lines[-1]) + 3 + width(field) <= room:
            lines[-1] += f" · {field}"
        else:
            lines.append(_fitted(f"     {field}", room))
    return lines


def _fitted(line: str, room: int) -> str:
    from batchlab.progress.terminal import width

    while width(line) > room:
        line = line[: -1 - max(1, (width(line) - room) // 2)] + "…"
    return line
