"""A job file to start from: made for the columns of a user's rows, or for a small sample that comes along."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from batchlab.errors import InputError, UsageError
from batchlab.inputs.column_names import likely_id, likely_text
from batchlab.inputs.request_columns import request_mode
from batchlab.inputs.sources.opening import open_source
from batchlab.job import DEFAULT_BASE_URL, RequestJob
from batchlab.job.index import as_key, by_key, spelled
from batchlab.job.presets import PRESETS
from batchlab.job.request import PARAMETERS
from batchlab.job.values import nearest
from batchlab.remote.urls import is_url
from batchlab.shell import command_line

SAMPLE = "reviews.jsonl"
LOOKED_AT = 50  # rows
OUTPUT_ENDINGS = (".csv", ".parquet", ".jsonl")
# what a job file shows, and leaves to the user to switch on
_SUGGESTED = {"limits.max_cost": 20.0, "limits.deadline": "8h", "price.input": 0.2, "price.output": 0.6}
_FREE_CONCURRENCY = 8  # of a server on one's own machine


@dataclass(frozen=True, slots=True)
class Columns:
    """What the start of an input tells.

    Attributes:
        mode: what makes a row a request where there is no template, as `request_mode` has it; else None.
        text: the column that a prompt is about.
        id: the column that tells rows apart.
    """

    names: tuple[str, ...]
    mode: str | None
    text: str | None
    id: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user said of the job."""

    model: str | None = None
    base_url: str | None = None
    preset: str | None = None

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing was said of a service: the job is one that runs without a key."""
        return self.model is None and self.base_url is None and self.preset is None


def columns_of(path: str) -> Columns:
    """The columns of an input. Raises InputError when it cannot be read, or has no rows."""
    source = open_source(path)
    plan = source.scan(LOOKED_AT, limit=LOOKED_AT)
    if not plan.rows or not plan.columns:
        raise InputError(path, "has no row that can be read")
    rows = [row.values for row in islice(source.rows(plan.shards[0], plan), LOOKED_AT) if row.problem is None]
    lengths = {
        name: sum(len(value) for row in rows if isinstance(value := row.get(name), str))
        for name in plan.columns
    }
    longest = max(lengths, key=lambda name: lengths[name]) if any(lengths.values()) else None
    own = likely_id(plan.columns)
    if own is not None:
        values = [row.get(own) for row in rows]
        is_told = all(isinstance(value, str | int) for value in values) and len({*map(str, values)}) == len(
            rows
        )
        own = own if is_told else None
    mode = request_mode(RequestJob(), plan.columns)
    return Columns(plan.columns, mode, likely_text(plan.columns) or longest or plan.columns[-1], own)


def job_text(path: str, rows: str, columns: Columns, wanted: Wanted) -> str:
    """The job file: each setting with what its declaration says of it.

    Args:
        path: where it is to be; names its run directory.
        rows: the input, as the job file is to have it.
    """
    commands = [command_line("plan", path), command_line("run", path)]
    lines = [*(f"# {command}" for command in commands), "# every setting: batchlab guide settings"]
    parameters = {setting.key: setting for setting in PARAMETERS}
    for section, values in _settings(path, rows, columns, wanted).items():
        if not values:
            continue
        is_out = all(f"{section}.{key}" in _SUGGESTED for key in values)
        lines += ["", f"{'# ' if is_out else ''}[{section}]"]
        if section == "request" and columns.mode is None:
            lines.append(f"# columns: {', '.join(columns.names)}")
        for key, value in values.items():
            setting = by_key(section).get(key) or parameters[key]
            said = spelled(setting.help, as_key)
            lines += textwrap.wrap(said, 100, initial_indent="# ", subsequent_indent="# ")
            out = "# " if f"{section}.{key}" in _SUGGESTED else ""
            lines.append(f"{out}{key} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _settings(path: str, rows: str, columns: Columns, wanted: Wanted) -> dict[str, dict[str, Any]]:
    stem = Path(path).stem
    endpoint, is_free = _endpoint(wanted)
    request: dict[str, Any] = {}
    if columns.mode != "batch":
        request["model"] = wanted.model or "any-model"
    if columns.mode is None:
        request["prompt"] = f"Summarize in one sentence: {{{columns.text}}}"
    if columns.mode != "batch":
        request["max_tokens"] = 256
    ending = next((one for one in OUTPUT_ENDINGS if one in Path(rows).suffixes), ".csv")
    suggested = {
        key.partition(".")[2]: value for key, value in _SUGGESTED.items() if key.startswith("limits.")
    }
    return {
        "input": {"path": rows, **({"id": columns.id} if columns.id and columns.mode != "batch" else {})},
        "endpoint": endpoint,
        "request": request,
        "limits": {"concurrency": _FREE_CONCURRENCY if is_free else 64, **({} if is_free else suggested)},
        **({} if is_free else {"price": {"input": 0.20, "output": 0.60}}),
        "output": {"run_dir": f"runs/{stem}", "file": f"{stem}-answers{ending}"},
    }


def _endpoint(wanted: Wanted) -> tuple[dict[str, Any], bool]:
    """`[endpoint]`, and whether a call costs nothing."""
    if wanted.is_rehearsal:
        return {"base_url": "simulator"}, False
    if wanted.preset is not None:
        preset = PRESETS.get(wanted.preset)
        if preset is None:
            raise UsageError(f"no preset {wanted.preset!r}{nearest(wanted.preset, list(PRESETS))}")
        place = {} if wanted.base_url is None else {"base_url": wanted.base_url}
        if preset.base_url is None and not place:
            raise UsageError(f"{preset.name} needs your own address: pass {{endpoint.base_url}} too.")
        key = {} if preset.free or not preset.key_env else {"api_key_env": preset.key_env}
        return {"preset": preset.name, **place, **key}, preset.free
    if wanted.base_url is not None:
        return {"base_url": wanted.base_url}, False
    return {"base_url": DEFAULT_BASE_URL, "api_key_env": "MODELSLAB_API_KEY"}, False


def start(path: str, rows: str | None, wanted: Wanted) -> list[str]:
    """Writes a job file, and the sample beside it when no input is named; what to tell of it.

    Raises:
        UsageError: a file is there already, the input cannot be read, or nothing can be written.
    """
    target = Path(path)
    if target.exists():
        raise UsageError(f"{path} exists already. Name another file: batchlab init NAME.toml")
    if target.suffix != ".toml":
        raise UsageError(
            f"{path}: a job file ends in .toml. For a job over those rows pass {{input.path={path}}}."
        )
    lines = []
    if rows is None:
        sample = target.parent / SAMPLE
        content = resources.files("batchlab").joinpath("sample", SAMPLE).read_bytes()
        if not sample.exists():
            _written(sample, content)
            lines.append(f"wrote {sample}: a sample of eight reviews")
        elif sample.read_bytes() != content:
            raise UsageError(
                f"{sample} exists already, and is not the sample. To use it pass {{input.path={sample}}}."
            )
        rows = str(sample)
    columns = columns_of(rows)
    home = target.parent.absolute()
    named = rows if is_url(rows) or Path(rows).is_absolute() else os.path.relpath(rows, home)
    _written(
        target, job_text(path, Path(named).as_posix() if not is_url(rows) else rows, columns, wanted).encode()
    )
    what = {
        None: f"its prompt asks about the column {columns.text}, of {', '.join(columns.names)}",
        "prompt": "each row's column prompt is sent",
        "messages": "each row's column messages is sent",
        "batch": "the lines of the batch file are sent as written",
    }
    lines.append(f"wrote {path}: {what[columns.mode]}")
    if wanted.is_rehearsal:
        lines.append(
            "its answers are made up, by a simulated provider; for real ones name a service under "
            "[endpoint]: batchlab check --list"
        )
    return [
        *lines,
        f"next: {command_line('plan', path)}       what it would do and cost; sends nothing",
        f"then: {command_line('run', path)} -n 5   the first five rows, then the same without -n for all",
    ]


def _written(path: Path, content: bytes) -> None:
    """Writes a file that was not there. Raises UsageError."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}.") from error
