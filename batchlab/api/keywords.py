"""The arguments of `batchlab.run` and its like: a job, rows and keywords become one checked `Job`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from batchlab.errors import UsageError
from batchlab.job import MEMORY, Job
from batchlab.job.file import is_key_name, is_parameter, job_from, load_job
from batchlab.job.index import NEAR, SECTIONS, SIMULATOR, called, keyword_of, near
from batchlab.job.index import keywords as by_keyword
from batchlab.job.request import PARAMETERS

if TYPE_CHECKING:
    import pandas as pd


class ArrowTable(Protocol):
    """A table by Arrow's C stream: a pyarrow Table, a polars frame, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


JobLike: TypeAlias = "str | Path | Mapping[str, Any] | None"
Rows: TypeAlias = "pd.DataFrame | ArrowTable | list[dict[str, Any]] | list[str]"

# what the functions of the API take beside settings
OWN = ("job", "rows", "fresh", "progress", "quiet", "buffer")


def is_rows(value: Any) -> bool:
    """Whether a first argument is rows, and not a job."""
    return not (value is None or isinstance(value, str | os.PathLike | Mapping))


def job_of(job: JobLike, keywords: Mapping[str, Any]) -> Job:
    """The job with the keywords laid over it. Raises UsageError, all problems at once."""
    flags: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for name, value in keywords.items():
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if name in by_keyword() or "__" in name:
            setting = by_keyword().get(name)
            dotted = name.replace("__", ".", 1) if setting is None else setting.dotted
            if dotted in flags:
                raise UsageError(f"batchlab: {dotted} is given twice, once as {name!r}; keep one.")
            flags[dotted] = value
        elif problem := _refused(name, value):
            raise UsageError(f"batchlab: {problem}")
        else:
            params[name] = value
    given = flags.get("request.params")
    if params and (given is None or isinstance(given, Mapping)):
        flags["request.params"] = {**params, **(given or {})}
    if isinstance(job, str | Path):
        if Path(job).suffix != ".toml":
            raise UsageError(
                f"{job}: a job file ends in .toml. To read rows from it, pass input={str(job)!r}."
            )
        return load_job(job, flags)
    return job_from(job or {}, flags, where="batchlab")


def _refused(name: str, value: Any) -> str | None:
    """Why a keyword is neither a setting nor a parameter of the request; None when it is a parameter.

    Only what no setting could mean is one: a cap that is misspelt would be sent along, and cap nothing.
    """
    if is_key_name(name):
        return (
            f"no keyword {name!r}: a key in a call would get into files. "
            "Name its variable by api_key_env, or its file by api_key_file."
        )
    if name in SECTIONS or name == SIMULATOR:
        return f"no keyword {name!r}: the settings of [{name}] are keywords of their own, as {name}__KEY."
    ours = difflib.get_close_matches(name, (*OWN, *by_keyword()), n=1, cutoff=NEAR)
    if is_parameter(name, value) and not (ours and ours[0] in OWN):
        return None
    otherwise = f" A parameter of the provider by that name goes into params={{{name!r}: ...}}."
    settings = called(name) or near(name)
    meant = [setting.name if setting in PARAMETERS else keyword_of(setting.dotted) for setting in settings]
    meant = [word for word in meant if "__" not in word] or meant
    if name in OWN:
        return f"{name!r} is no argument here."
    meant = meant or ours
    return f"no keyword {name!r}; did you mean {' or '.join(map(repr, meant))}?{otherwise}"


def job_of_rows(keywords: Mapping[str, Any]) -> tuple[Job, Path | None]:
    """The job without its input, and the run directory that was asked for."""
    if "input" in keywords or "input__path" in keywords:
        raise UsageError("batchlab: both rows and input= are given; keep one.")
    run_dir = keywords.get("run_dir", keywords.get("output__run_dir"))
    job = job_of(None, {**keywords, "input": MEMORY})
    # of a run directory at a URL, the local one
    return job, Path(job.output.run_dir) if run_dir is not None else None
