"""The Python API: `batchlab.run`, `batchlab.plan`, `batchlab.load`.

All three work inside a running event loop (a notebook): the run gets a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from batchlab.job import Job
from batchlab.job_file import job_from, load_job
from batchlab.records import RunSummary

if TYPE_CHECKING:
    import pandas as pd

    from batchlab.runner.preview import Preview

T = TypeVar("T")

# keyword → job key, for those that do not say it themselves
_KEYWORDS = {
    "input": "input.path",
    "id": "input.id",
    "model": "request.model",
    "prompt": "request.prompt",
    "system": "request.system",
    "stream": "request.stream",
    "base_url": "endpoint.base_url",
    "api_key_env": "endpoint.api_key_env",
    "concurrency": "limits.concurrency",
    "rpm": "limits.rpm",
    "tpm": "limits.tpm",
    "max_cost": "limits.max_cost",
    "deadline": "limits.deadline",
    "output": "output.file",
    "to": "output.to",
    "errors": "output.errors",
    "run_dir": "output.run_dir",
    "limit": "input.limit",
}


def _job(job: str | Path | Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> Job:
    flags: dict[str, Any] = {"request.params": {}}
    for name, value in keywords.items():
        if name in _KEYWORDS:
            flags[_KEYWORDS[name]] = str(value) if isinstance(value, Path) else value
        elif "__" in name:
            flags[name.replace("__", ".", 1)] = value
        else:
            flags["request.params"][name] = value
    if isinstance(job, str | Path):
        return load_job(job, flags)
    return job_from(job or {}, flags, where="batchlab")


def run(
    job: str | Path | Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
    progress: str = "auto",
    quiet: bool = True,
    **keywords: Any,
) -> RunSummary:
    """Runs a job, or goes on with it, and returns how it ended.

    Args:
        job: a job file's path, or its content as a mapping; None to describe it by keywords.
        keywords: `input`, `model`, `prompt`, `output`, `run_dir`, `concurrency`, ...; any job key as
            `section__key` (`limits__timeout=30`); anything else is a request parameter
            (`max_tokens=64`, `temperature=0`).

    Raises:
        UsageError: nothing was sent.

    Example:
        summary = batchlab.run(input="rows.csv", model="MODEL", prompt="Translate to French: {text}")
    """
    from batchlab.runner.execute import execute

    described = _job(job, keywords)
    return _outside_loop(
        lambda: execute(described, fresh=fresh, progress=progress, quiet=quiet, command="batchlab.run(...)")
    )


def plan(job: str | Path | Mapping[str, Any] | None = None, **keywords: Any) -> Preview:
    """Checks a job and estimates tokens, cost and time; sends nothing. Arguments as for `run`."""
    from batchlab.runner.preview import preview

    return preview(_job(job, keywords))


def load(run_dir: str | Path) -> pd.DataFrame:
    """The rows of a run, finished or not, as a DataFrame with Arrow-backed columns.

    Input columns first, then the result columns; rows without a final result have status `pending`.

    Raises:
        UsageError: `run_dir` is no run.
    """
    from batchlab.runner.reading import load_run

    frame: pd.DataFrame = load_run(run_dir)
    return frame


def _outside_loop(call: Callable[[], T]) -> T:
    """The value of `call()`, in a thread when this one already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    value: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            value.append(call())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=work, name="batchlab-run")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return value[0]
