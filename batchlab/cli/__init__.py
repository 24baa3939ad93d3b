"""The command line: parse, call one function, print.

A command's module is imported when the command is asked for: `batchlab --help` loads click, and
of a command only its line in the table below.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, MutableMapping
from typing import NoReturn

import click

from batchlab.cli.streams import outlive_the_terminal
from batchlab.errors import EXIT_STOPPED, EXIT_USAGE, BatchlabError, UsageError
from batchlab.heap import keep_heap_small
from batchlab.version import __version__

EPILOG = """\b
Exit codes:
    0  every row has an answer (cut off, filtered or empty
       ones too, unless --fail-on)
    1  finished; rows failed or are invalid
    2  nothing was sent: the message says why
    3  stopped early; the same command goes on
    129, 130, 143  interrupted; the same command goes on

\b
Example:
    batchlab init          a job to start from
    batchlab plan job.toml
    batchlab run job.toml
"""


# name: its module under batchlab.cli, and the first sentence of its help
_COMMANDS = {
    "run": ("run", "Run a job, or go on with it: the same command resumes."),
    "plan": ("run", "Check a job and estimate tokens, cost and time."),
    "show": ("showing", "Show answers of RUN: what was asked, what came, tokens and cost."),
    "ls": (
        "showing",
        "List the runs under runs/, or in FOLDER: state, rows, cost and when, newest first.",
    ),
    "status": ("watching", "How far RUN is: works while it runs, from another terminal."),
    "view": ("viewing", "Show runs on a page in a browser: live, with every row, until Ctrl-C."),
    "verify": (
        "results",
        "Prove that RUN is whole: every input row has exactly one final state, every checksum holds.",
    ),
    "retry": (
        "run",
        "Ask again for the rows of RUN that failed, or whose answers are truncated, filtered, empty or invalid.",
    ),
    "collect": (
        "run",
        "Take home what batches of RUN have brought, order what may be ordered, and leave: for cron.",
    ),
    "cancel": ("run", "Cancel the batches of RUN at their service, and keep what they had answered by then."),
    "export": ("results", "Write the results of RUN somewhere else: one row per input row, in input order."),
    "cost": (
        "money",
        "Sum up what runs have cost: kept, wasted, paid again after crashes, saved by the cache.",
    ),
    "report": (
        "money",
        "Write the page of RUN as one HTML file: what view shows, with its problem rows and a sample of others.",
    ),
    "init": ("setup", "Write a job file to start from; never over an existing one."),
    "check": (
        "setup",
        "Ask the endpoint for a few tokens, plain and streamed: key, model, usage, limits, latency.",
    ),
    "simulate": (
        "setup",
        "Serve the chat-completions contract on this machine until Ctrl-C: a provider to rehearse with.",
    ),
    "explain-errors": (
        "setup",
        "The outcome table: what each answer of a provider means for a row and for the run.",
    ),
    "guide": ("guide", "Print a page of the manual; without TOPIC, what there is."),
    "completion": (
        "completion",
        "Print the script that lets bash, zsh or fish complete batchlab's commands, options and runs.",
    ),
}


# how the overview groups them
_SECTIONS = {
    "Start": ("run", "plan", "retry", "collect", "cancel"),
    "Look": ("show", "ls", "status", "view", "verify", "export"),
    "Money": ("cost", "report"),
    "Set up": ("init", "check", "simulate", "explain-errors", "guide", "completion"),
}


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name; a command is imported when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module = importlib.import_module(f"batchlab.cli.{_COMMANDS[name][0]}")
            self._loaded[name] = _with_example_last(getattr(module, name.replace("-", "_")))
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**_COMMANDS, **self._loaded})

    def __len__(self) -> int:
        return len({**_COMMANDS, **self._loaded})


def _with_example_last(command: click.Command) -> click.Command:
    """The command, whose help ends in the example of its docstring: below the options, where the eye is."""
    text, found, example = inspect.cleandoc(command.help or "").partition("\b\nExample:")
    if found:
        command.help, command.epilog = text.rstrip(), f"{found}{example}"
    return command


class _Overview(click.Group):
    """The group of all commands; its help is printed without importing one of them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes every command with its whole summary."""
        del ctx
        width = max(map(len, _COMMANDS))
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), _COMMANDS[name][1]) for name in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; a command that there is not by that name is told."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from batchlab.cli.habits import instead_of

            raise UsageError(instead_of(args[0], _COMMANDS))
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Overview,
    commands=_Commands(),
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="batchlab")
def cli() -> None:
    """Run a file of prompts through an OpenAI-compatible endpoint: resumable, with exact books."""


def shortage(error: BaseException) -> str | None:
    """What this machine lacks, when that is what an error says; None when it is something else."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{os.strerror(error.errno or 0)}"
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(
        sign in text for sign in ("can't start new thread", "failed to map segment", "cannot allocate memory")
    ):
        return "this machine has too little memory for the run; a lower --concurrency needs less"
    return None


def main() -> NoReturn:
    """The `batchlab` command. Our errors become one line each and an exit code; never a traceback."""
    keep_heap_small()
    outlive_the_terminal()
    try:
        code = cli.main(prog_name="batchlab", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.UsageError):
            from batchlab.cli.mistakes import remedied

            error = remedied(error)
        error.show()
        code = error.exit_code
    except BatchlabError as error:
        from batchlab.cli.spelling import in_flags

        for line in in_flags(str(error)).splitlines():
            click.echo(f"batchlab: {line}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("batchlab: interrupted; nothing was sent by this command.", err=True)
        code = 130
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        reason = shortage(error)
        if reason is None:
            raise
        click.echo(f"batchlab: {reason}. What had arrived is saved: run the same command to go on.", err=True)
        code = EXIT_USAGE if isinstance(error, ImportError) else EXIT_STOPPED
    sys.exit(code if isinstance(code, int) else 0)
