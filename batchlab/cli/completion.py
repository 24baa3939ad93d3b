"""`completion`, and what the shell is offered for arguments that are neither files nor fixed words."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from batchlab.errors import EXIT_OK
from batchlab.job import FAIL_ON, SELF_STARTED
from batchlab.job.presets import PRESETS
from batchlab.store.layout import is_run

SHELLS = ("bash", "zsh", "fish")
MAX_RUNS = 200  # looked at when a TAB asks for runs


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> int:
    """Print the script that lets bash, zsh or fish complete batchlab's commands, options and runs.

    \b
    Example:
        batchlab completion bash > ~/.local/share/bash-completion/completions/batchlab
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows each of SHELLS"
    click.echo(kind(ctx.find_root().command, {}, "batchlab", "_BATCHLAB_COMPLETE").source())
    return EXIT_OK


def preset_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Presets, each with its address."""
    return [
        CompletionItem(name, help=preset.base_url or "your own address")
        for name, preset in PRESETS.items()
        if name.startswith(incomplete)
    ]


def endpoint_words(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The words that may stand for a base URL."""
    return [CompletionItem(word) for word in SELF_STARTED if word.startswith(incomplete)]


def fail_on_words(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The words of `--fail-on`, of which several may be joined by commas."""
    before, comma, begun = incomplete.rpartition(",")
    given = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{word}")
        for word in FAIL_ON
        if word.startswith(begun) and word not in given
    ]


def statuses(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The states that a row may have."""
    from batchlab.looking.rows.conditions import STATUSES

    return [CompletionItem(word) for word in STATUSES if word.startswith(incomplete)]


def run_dirs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Run directories that begin with what is typed, under runs/ when that is nothing; else any directory."""
    typed = Path(incomplete or "runs/")
    where, begin = (
        (typed, "") if (incomplete or "runs/").endswith(("/", os.sep)) else (typed.parent, typed.name)
    )
    try:
        entries = sorted(os.scandir(where), key=lambda entry: -entry.stat().st_mtime)[:MAX_RUNS]
    except OSError:
        entries = []
    found = [
        str(where / entry.name)
        for entry in entries
        if entry.name.startswith(begin) and is_run(where / entry.name)
    ]
    # the shell itself offers job files, and directories on the way to runs that are elsewhere
    return [CompletionItem(name) for name in found] or [CompletionItem(incomplete, type="file")]
