"""The run that is meant where none is named."""

from __future__ import annotations

import click


def newest() -> str:
    """The run under `runs/` that was worked on last, and says so. Raises UsageError when there is none."""
    from batchlab.looking.opening import newest_run

    run = newest_run()
    click.echo(f"batchlab: {run}, the newest run", err=True)
    return run
