"""One option that stands for a key of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click

Decorator: TypeAlias = Callable[[Any], Any]


def option(key: str, *names: str, **settings: Any) -> tuple[str, Decorator]:
    """The parameter of a job's key (`limits.rpm` is `limits__rpm`), and what adds it to a command.

    Args:
        names, settings: as for `click.option`; the help states the default and the unit.
    """
    parameter = key.replace(".", "__")
    return parameter, click.option(*names, parameter, **settings)
