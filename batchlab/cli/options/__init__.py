"""The options that describe a job, shared by `run`, `plan` and `check`, and how they become one.

Each module holds the options of some sections of the job, by the job's keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from batchlab.cli.options.endpoint import ENDPOINT
from batchlab.cli.options.input_output import FILES, RESULTS, ROWS, WATCHING
from batchlab.cli.options.limits import LIMITS, PRICES
from batchlab.cli.options.request import ANSWERS, MESSAGES, PARAMETERS
from batchlab.errors import UsageError
from batchlab.job import Job
from batchlab.job_file import job_from, load_job

F = TypeVar("F", bound=Callable[..., Any])

# as --help lists them
_OPTIONS = {**FILES, **MESSAGES, **ENDPOINT, **LIMITS, **PRICES, **ANSWERS, **ROWS, **RESULTS, **WATCHING}


def job_options(command: F) -> F:
    """Adds the JOB argument and every option that describes a job."""
    command = click.option(
        "--param", multiple=True, metavar="K=JSON", help="Any further request parameter; repeatable."
    )(command)
    for option in reversed([*_OPTIONS.values(), *PARAMETERS.values()]):
        command = option(command)
    return click.argument("job_file", metavar="[JOB.toml | ROWS]", required=False, type=click.Path())(command)


def job_of(
    job_file: str | None, options: Mapping[str, Any], *, extra: Mapping[str, Any] | None = None
) -> Job:
    """The job that a command line describes. Raises UsageError, all problems at once.

    Args:
        job_file: a job file if it ends in .toml, else the input, as -i names it.
    """
    flags: dict[str, Any] = {name.replace("__", "."): options[name] for name in _OPTIONS}
    # a repeatable option that is not there is an empty tuple
    flags = {key: None if value == () else value for key, value in flags.items()}
    params = {name: options[name] for name in PARAMETERS if options[name] is not None}
    for pair in options.get("param", ()):
        name, found, text = pair.partition("=")
        if not found or not name:
            raise UsageError(f"--param {pair}: expected NAME=JSON, for example seed=7.")
        try:
            params[name] = json.loads(text)
        except ValueError:
            params[name] = text  # stop=END reads as a string; quoting for the shell is enough
    flags["request.params"] = params
    flags |= extra or {}
    if job_file is None:
        return job_from({}, flags, where="command line")
    if Path(job_file).suffix != ".toml":
        if flags["input.path"] is not None:
            raise UsageError(
                f"{job_file}: a job file ends in .toml, and the input is {flags['input.path']} already; keep one."
            )
        return job_from({}, flags | {"input.path": job_file}, where="command line")
    return load_job(job_file, flags)
