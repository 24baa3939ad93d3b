"""The job: one frozen description of a run, from a job file, flags and defaults.

A value given by flag wins over the environment, that over the job file, that over
the default. Everything is checked at once, so that a person fixes a file in one go.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batchlab.errors import UsageError

DEFAULT_BASE_URL = "https://modelslab.com/api/v7/llm"
SELF_STARTED = ("simulator", "local")  # endpoints batchlab starts itself, on loopback

# Which host a well-known key variable belongs to. Such a key is sent nowhere else.
KEY_HOSTS = {"MODELSLAB_API_KEY": "modelslab.com", "OPENAI_API_KEY": "api.openai.com"}

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class InputJob:
    """What is read. `path` is a file, a directory or glob of Parquet files, or `-`.

    Attributes:
        quotes: whether a CSV cell may be quoted; False when quotes are text like any other.
        id: column whose text becomes custom_id; the row's position when None.
        null_as: text that stands for a null in a template; a null is a plan error when None.
        row_params: column with a JSON object merged over the job's request parameters.
        limit: only the first N rows.
        strict: a malformed line refuses the run instead of failing its row.
    """

    path: str = ""
    id: str | None = None
    delimiter: str | None = None
    quotes: bool = True
    null_as: str | None = None
    row_params: str | None = None
    limit: int | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class EndpointJob:
    """Where requests go: a base URL, `simulator`, `local` or `local:FILE.gguf`."""

    base_url: str = DEFAULT_BASE_URL
    api_key_env: str | None = None
    api_key_file: str | None = None
    allow_http: bool = False
    ca_bundle: str | None = None
    trust_env: bool = False


@dataclass(frozen=True, slots=True)
class RequestJob:
    """How a row becomes a request body. `params` are sent as written (max_tokens, temperature, ...)."""

    model: str = ""
    system: str | None = None
    prompt: str | None = None
    prompt_file: str | None = None
    messages_column: str = "messages"
    prompt_column: str = "prompt"
    stream: bool = False
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LimitsJob:
    """How hard the endpoint is used, and when to stop. Durations in seconds.

    Attributes:
        retry_truncated: ask a truncated row once more with this many times the max_tokens.
        retry_empty: ask a row with an empty answer up to this many times more.
        max_pause_s: longest Retry-After that is waited out.
    """

    concurrency: int = 64
    rpm: float | None = None
    tpm: float | None = None
    max_cost: float | None = None
    max_tokens_total: float | None = None
    deadline_s: float | None = None
    max_attempts: int = 6
    retry_truncated: float | None = None
    retry_empty: int = 0
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 120.0
    timeout_s: float = 600.0
    drain_timeout_s: float = 120.0
    max_outage_s: float = 21_600.0
    max_pause_s: float = 21_600.0
    max_response_bytes: int = 16 * MIB


@dataclass(frozen=True, slots=True)
class PriceJob:
    """USD per 1 M tokens; None where the user gave none."""

    input: float | None = None
    output: float | None = None
    cached: float | None = None


@dataclass(frozen=True, slots=True)
class OutputJob:
    """Where results go. `prefix` is put before each result column's name."""

    run_dir: str = ""
    file: str | None = None
    prefix: str = ""
    shard_rows: int = 10_000  # ~8 MB parts at 800 B a row


@dataclass(frozen=True, slots=True)
class Job:
    """One run, whole and checked. Build it with `load_job` or `job_from`."""

    input: InputJob = field(default_factory=InputJob)
    endpoint: EndpointJob = field(default_factory=EndpointJob)
    request: RequestJob = field(default_factory=RequestJob)
    limits: LimitsJob = field(default_factory=LimitsJob)
    price: PriceJob = field(default_factory=PriceJob)
    output: OutputJob = field(default_factory=OutputJob)
    simulator: dict[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Host (and port) that answers; part of every request's identity."""
        return endpoint_host(self.endpoint.base_url)

    def request_settings(self) -> dict[str, Any]:
        """Everything that changes what is asked; two runs mix results only if this is equal.

        Concurrency, limits, retries and prices are not in it: they may change freely.
        """
        request = dataclasses.asdict(self.request)
        request.pop("stream")  # how the answer travels, not what is asked
        if self.request.prompt_file:
            content = Path(self.request.prompt_file).read_bytes()
            request["prompt_file"] = hashlib.blake2b(content, digest_size=16).hexdigest()
        return {
            **{f"request.{key}": value for key, value in request.items()},
            "endpoint.host": self.host,
            "input.row_params": self.input.row_params,
            "input.null_as": self.input.null_as,
        }

    def to_dict(self) -> dict[str, Any]:
        """The job as plain data for `run.json`. It holds names of key variables, never a key."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """The job that `to_dict` described."""
        return cls(**{f.name: _section(f.name, data.get(f.name, {})) for f in fields(cls)})


_SECTIONS: dict[str, Any] = {
    "input": InputJob,
    "endpoint": EndpointJob,
    "request": RequestJob,
    "limits": LimitsJob,
    "price": PriceJob,
    "output": OutputJob,
}
_DURATIONS = {
    "deadline",
    "connect_timeout",
    "idle_timeout",
    "timeout",
    "drain_timeout",
    "max_outage",
    "max_pause",
}


def _section(name: str, data: Mapping[str, Any]) -> Any:
    return dict(data) if name == "simulator" else _SECTIONS[name](**data)


def endpoint_host(base_url: str) -> str:
    """`host[:port]` of a base URL; the word itself for an endpoint batchlab starts."""
    word = base_url.split(":", 1)[0]
    return word if word in SELF_STARTED else urlsplit(base_url).netloc.lower()


def load_job(path: str | Path, flags: Mapping[str, Any] | None = None) -> Job:
    """The job that a TOML file describes, with `flags` laid over it.

    Args:
        path: the job file. Relative paths inside it are relative to the current directory.
        flags: dotted keys (`limits.concurrency`) to values; None means not given.

    Raises:
        UsageError: unreadable file, bad TOML, unknown key (with the nearest known one), bad value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path}: cannot read the job file: {reason}.") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}.") from error
    return job_from(data, flags, where=str(path))


def job_from(data: Mapping[str, Any], flags: Mapping[str, Any] | None = None, *, where: str = "job") -> Job:
    """The job of a nested mapping, with `flags` laid over it; see `load_job`."""
    flags = {key: value for key, value in (flags or {}).items() if value is not None}
    merged = _merged(data, flags, where)
    problems: list[str] = []
    sections = {name: _checked_section(name, values, problems) for name, values in merged.items()}
    if not problems:
        job = Job(**sections)
        problems += _whole_job_problems(job)
    if problems:
        raise UsageError("\n".join(f"{where}: {problem}" for problem in problems))
    if not job.output.run_dir:
        output = dataclasses.replace(job.output, run_dir=default_run_dir(job))
        job = dataclasses.replace(job, output=output)
    return job


def _merged(data: Mapping[str, Any], flags: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    names = [f.name for f in fields(Job)]
    merged: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, values in data.items():
        if name not in merged:
            raise UsageError(f"{where}: unknown section [{name}]{_nearest(name, names)}")
        if not isinstance(values, Mapping):
            raise UsageError(f"{where}: [{name}] must be a table of settings")
        merged[name] = dict(values)
    url = flags.get("endpoint.base_url")
    was = merged["endpoint"].get("base_url", DEFAULT_BASE_URL)
    if url is not None and endpoint_host(str(url)) != endpoint_host(str(was)):
        # a key belongs to the host it was written beside
        merged["endpoint"].pop("api_key_env", None)
        merged["endpoint"].pop("api_key_file", None)
    for dotted, value in flags.items():
        section, _, key = dotted.partition(".")
        if section == "request" and key == "params":
            merged[section].update(value)
        else:
            merged[section][key] = value
    return merged


def _checked_section(name: str, values: dict[str, Any], problems: list[str]) -> Any:
    if name == "simulator":
        return values
    cls = _SECTIONS[name]
    types_of = typing.get_type_hints(cls)
    known = {
        f.name.removesuffix("_s") if f.name.removesuffix("_s") in _DURATIONS else f.name for f in fields(cls)
    }
    known.discard("params")
    taken: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for key, value in values.items():
        if key == "params" and name == "request" and isinstance(value, Mapping):
            params.update(value)
        elif key in known:
            attribute = f"{key}_s" if key in _DURATIONS else key
            try:
                if key == "deadline":
                    value = deadline_s(value)
                taken[attribute] = _coerced(value, types_of[attribute], duration=key in _DURATIONS)
            except ValueError as error:
                problems.append(f"{name}.{key}: {error}")
        elif name == "request" and not _is_typo(key, known):
            params[key] = value
        else:
            problems.append(f"{name}.{key}: unknown key{_nearest(key, sorted(known))}")
    if name == "request":
        taken["params"] = params
    return cls(**taken)


def _is_typo(key: str, known: set[str]) -> bool:
    """Unknown keys of [request] go to the provider, unless they look like one of ours misspelt."""
    return bool(difflib.get_close_matches(key, known, n=1, cutoff=0.8))


def _coerced(value: Any, wanted: Any, *, duration: bool) -> Any:
    if duration:
        return duration_s(value)
    options = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if bool in options:
        if isinstance(value, bool):
            return value
        raise ValueError(f"expected true or false, got {value!r}")
    if isinstance(value, bool):
        raise ValueError(f"expected {_type_name(options)}, got {value!r}")
    if int in options and isinstance(value, int):
        return value
    if float in options and isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if str in options and isinstance(value, str):
        return value
    raise ValueError(f"expected {_type_name(options)}, got {value!r}")


def _type_name(options: tuple[Any, ...]) -> str:
    if int in options:
        return "a whole number"
    return "a number" if float in options else "text"


def deadline_s(value: Any, *, now: datetime | None = None) -> Any:
    """Seconds until a clock time such as `07:30` (the next one); anything else is left as it is."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", str(value).strip())
    if match is None:
        return value
    now = now or datetime.now().astimezone()
    then = now.replace(hour=int(match.group(1)), minute=int(match.group(2)), second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return (then - now).total_seconds()


def duration_s(value: Any) -> float:
    """Seconds of `90`, `"90s"`, `"15m"`, `"8h"`, `"1h30m"` or `"2d"`. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", str(value).strip())
    if not match or not any(match.groups()):
        raise ValueError(f"expected a duration such as 90s, 15m or 8h, got {value!r}")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = days * 86_400 + hours * 3_600 + minutes * 60 + seconds
    if total <= 0:
        raise ValueError("a duration must be longer than 0")
    return total


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def _whole_job_problems(job: Job) -> list[str]:
    problems = []
    if not job.input.path:
        problems.append("no input; pass -i FILE or set [input] path.")
    if not job.request.model:
        problems.append("no model; pass -m MODEL or set [request] model.")
    if job.request.prompt is not None and job.request.prompt_file is not None:
        problems.append("both request.prompt and request.prompt_file are set; keep one.")
    limits, minimum_one = job.limits, ("concurrency", "max_attempts", "max_response_bytes")
    problems += [f"limits.{name}: must be at least 1" for name in minimum_one if getattr(limits, name) < 1]
    if limits.retry_truncated is not None and limits.retry_truncated <= 1:
        problems.append("limits.retry_truncated: must be more than 1, such as 2")
    if limits.retry_empty < 0:
        problems.append("limits.retry_empty: must be 0 or more")
    for name in ("rpm", "tpm", "max_cost", "max_tokens_total"):
        value = getattr(limits, name)
        if value is not None and value <= 0:
            problems.append(f"limits.{name}: must be more than 0")
    problems += [
        f"price.{name}: must not be negative"
        for name in ("input", "output", "cached")
        if (getattr(job.price, name) or 0) < 0
    ]
    if job.output.shard_rows < 1:
        problems.append("output.shard_rows: must be at least 1")
    if job.input.limit is not None and job.input.limit < 1:
        problems.append("input.limit: must be at least 1")
    if job.output.file and Path(job.output.file).suffix.lower() not in {".parquet", ".csv", ".jsonl"}:
        problems.append(f"output.file: {job.output.file!r} must end in .parquet, .csv or .jsonl")
    base_url = job.endpoint.base_url
    if endpoint_host(base_url) not in SELF_STARTED:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            problems.append(f"endpoint.base_url: {base_url!r} is no http(s) URL, 'simulator' or 'local'")
    return problems


def default_run_dir(job: Job) -> str:
    """`runs/NAME` after the input, so that a command with another -o finds the run again."""
    name = "stdin" if job.input.path == "-" else job.input.path.rstrip("/*")
    stem = Path(name).name.split(".")[0] or "run"
    return str(Path("runs") / re.sub(r"[^A-Za-z0-9_-]+", "-", stem))
