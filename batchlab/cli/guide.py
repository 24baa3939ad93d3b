"""`guide`: the manual."""

from __future__ import annotations

import difflib

import click

from batchlab.errors import EXIT_OK, UsageError
from batchlab.guide import page, topics


@click.command()
@click.argument("topic", required=False)
def guide(topic: str | None) -> int:
    """Print a page of the manual; without TOPIC, what there is.

    \b
    Example:
        batchlab guide settings
    """
    if topic is None:
        wide = max(map(len, topics()))
        for name, title in topics().items():
            click.echo(f"{name:{wide}}  {title}")
        return EXIT_OK
    try:
        click.echo(page(topic.removesuffix(".md")), nl=False)  # so do the pages write their links
    except KeyError:
        close = difflib.get_close_matches(topic, topics(), n=1)
        near = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(topics())}."
        raise UsageError(f"guide: no topic {topic!r}; {near}") from None
    return EXIT_OK
