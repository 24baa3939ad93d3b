"""What a run is doing: it runs, it is done, it waits for batches, it was stopped, or it was cut off."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from batchlab.errors import EXIT_STOPPED
from batchlab.protocol.redact import printable, printable_lines
from batchlab.run_end import code_of
from batchlab.shell import command_line
from batchlab.store.standing import Standing
from batchlab.store.view import RunView
from batchlab.totals import Totals

FRESH_S = 15.0  # a run that has not said for longer how it stands is busy, or waits for its disk


class Stage(StrEnum):
    """The word for it, in tables and in JSON."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    CRASHED = "crashed"
    WAITING = "waiting"  # for batches that services have, and no process looks at

    @property
    def is_left(self) -> bool:
        """Whether somebody is to go on with it."""
        return self in {Stage.STOPPED, Stage.CRASHED, Stage.WAITING}


def stage_of(run: RunView, holder: int | None, pending: int) -> Stage:
    """What a run is doing.

    Args:
        holder: pid of who works on it; see `RunView.lock_holder`.
        pending: rows without a final result.
    """
    if holder is not None:
        return Stage.RUNNING
    if not pending:  # but for rows that are asked again
        return Stage.WAITING if run.other_host() is None and run.batches_out() else Stage.FINISHED
    if run.other_host() is not None:
        return Stage.RUNNING
    if run.batches_out():
        return Stage.WAITING
    return Stage.CRASHED if run.is_left_locked() else Stage.STOPPED


def how_to_take_home(run: str) -> str:
    """What to type for a run that waits for batches."""
    return command_line("collect", run)


def current_standing(run: RunView, holder: int | None) -> Standing | None:
    """What the process that works on a run says of how it stands; None when it has not said yet."""
    standing = run.last_standing()
    return standing if standing is not None and holder is not None and standing.pid == holder else None


def typed_in(folder: str) -> str:
    """Where a command was typed, if that is not here: ` (in /data/night)`."""
    return f" (in {printable(folder)})" if folder and Path(folder) != Path.cwd() else ""


def shown(command: str) -> str:
    """A command that was kept, as a terminal may show it: whole, its prompts' lines too."""
    return "\n".join(printable_lines(command))


def end_code(run: RunView, stage: Stage, totals: Totals) -> int:
    """The exit code that the end of a run means: what its command ended with, as far as that is known."""
    if stage is Stage.FINISHED:
        return code_of(totals, run.manifest.job.output.fail_on)
    standing = run.last_standing()
    if stage in {Stage.STOPPED, Stage.WAITING} and standing is not None and standing.ended is not None:
        return standing.ended.exit_code or EXIT_STOPPED
    return EXIT_STOPPED
