"""The arguments of `batchlab.run` and its like: a job, rows and keywords become one checked `Job`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from batchlab.errors import UsageError
from batchlab.job import MEMORY, Job
from batchlab.job_file import job_from, load_job

if TYPE_CHECKING:
    import pandas as pd


class ArrowTable(Protocol):
    """A table by Arrow's C stream: a pyarrow Table, a polars frame, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


JobLike: TypeAlias = "str | Path | Mapping[str, Any] | None"
Rows: TypeAlias = "pd.DataFrame | ArrowTable | list[dict[str, Any]] | list[str]"

# keyword → job key, for those that do not say it themselves
_KEYWORDS = {
    "input": "input.path",
    "id": "input.id",
    "null_as": "input.null_as",
    "limit": "input.limit",
    "strict": "input.strict",
    "row_params": "input.row_params",
    "model": "request.model",
    "prompt": "request.prompt",
    "prompt_file": "request.prompt_file",
    "system": "request.system",
    "schema": "request.schema",
    "schema_mode": "request.schema_mode",
    "schema_retries": "request.schema_retries",
    "expand": "output.expand",
    "messages": "request.messages",
    "history": "request.history",
    "image": "request.image",
    "audio": "request.audio",
    "image_max_side": "request.image_max_side",
    "allow_files_under": "input.allow_files_under",
    "task": "request.task",
    "batch_rows": "request.batch_rows",
    "batch_tokens": "request.batch_tokens",
    "base_url": "endpoint.base_url",
    "preset": "endpoint.preset",
    "api_key_env": "endpoint.api_key_env",
    "api_key_file": "endpoint.api_key_file",
    "api_key_keyring": "endpoint.api_key_keyring",
    "concurrency": "limits.concurrency",
    "processes": "limits.processes",
    "engine": "limits.engine",
    "ray_address": "limits.ray_address",
    "journal_flush": "limits.journal_flush",
    "rpm": "limits.rpm",
    "tpm": "limits.tpm",
    "max_cost": "limits.max_cost",
    "deadline": "limits.deadline",
    "timeout": "limits.timeout",
    "price_in": "price.input",
    "price_out": "price.output",
    "output": "output.file",
    "to": "output.to",
    "errors": "output.errors",
    "run_dir": "output.run_dir",
    "remote": "output.remote",
    "prefix": "output.prefix",
    "reuse": "output.reuse",
    "dedupe": "output.dedupe",
    "fail_on": "output.fail_on",
}


def is_rows(value: Any) -> bool:
    """Whether a first argument is rows, and not a job."""
    return not (value is None or isinstance(value, str | os.PathLike | Mapping))


def job_of(job: JobLike, keywords: Mapping[str, Any]) -> Job:
    """The job with the keywords laid over it. Raises UsageError, all problems at once."""
    flags: dict[str, Any] = {"request.params": {}}
    for name, value in keywords.items():
        if name in _KEYWORDS:
            flags[_KEYWORDS[name]] = str(value) if isinstance(value, Path) else value
        elif name == "stream":
            flags["request.stream"] = value
        elif "__" in name:
            flags[name.replace("__", ".", 1)] = value
        elif close := difflib.get_close_matches(name, _KEYWORDS, n=1, cutoff=0.85):
            raise UsageError(f"batchlab: no keyword {name!r}; did you mean {close[0]!r}?")
        else:
            flags["request.params"][name] = value
    if isinstance(job, str | Path):
        if Path(job).suffix != ".toml":
            raise UsageError(
                f"{job}: a job file ends in .toml. To read rows from it, pass input={str(job)!r}."
            )
        return load_job(job, flags)
    return job_from(job or {}, flags, where="batchlab")


def job_of_rows(keywords: Mapping[str, Any]) -> tuple[Job, Path | None]:
    """The job without its input, and the run directory that was asked for."""
    if "input" in keywords or "input__path" in keywords:
        raise UsageError("batchlab: both rows and input= are given; keep one.")
    run_dir = keywords.get("run_dir", keywords.get("output__run_dir"))
    job = job_of(None, {**keywords, "input": MEMORY})
    # of a run directory at a URL, the local one
    return job, Path(job.output.run_dir) if run_dir is not None else None
