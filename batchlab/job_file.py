"""Reading a job: TOML, flags and defaults become one checked `Job`.

A value given by flag wins over the environment, that over the job file, that over
the default. Everything is checked at once, so that a person fixes a file in one go.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batchlab.errors import UsageError
from batchlab.job import (
    DEFAULT_BASE_URL,
    ENDINGS,
    FORMATS,
    SCHEMA_MODES,
    SECTIONS,
    SELF_STARTED,
    TASK_PATHS,
    EndpointJob,
    Job,
    LimitsJob,
    OutputJob,
    PriceJob,
    RequestJob,
    default_run_dir,
    endpoint_host,
    output_format,
)
from batchlab.presets import PRESETS
from batchlab.schema_source import schema_of
from batchlab.urls import is_url, local_dir_of, url_problem

MAX_BATCH_ROWS = 2_048  # texts a request, as OpenAI and those that copy its API have it

_DURATIONS = {
    "deadline",
    "connect_timeout",
    "idle_timeout",
    "timeout",
    "drain_timeout",
    "max_outage",
    "max_pause",
    "row_deadline",
}


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
    endpoints = _endpoints(merged.pop("endpoint"), problems)
    sections = {name: _checked_section(name, values, problems) for name, values in merged.items()}
    if not problems:
        job = _with_whole_prices(Job(endpoint=endpoints, **sections))
        problems += _whole_job_problems(job)
    if problems:
        raise UsageError("\n".join(f"{where}: {problem}" for problem in problems))
    if not job.output.run_dir:
        output = dataclasses.replace(job.output, run_dir=default_run_dir(job))
        job = dataclasses.replace(job, output=output)
    if is_url(job.output.run_dir):
        job = at_url(job, job.output.run_dir)
    return job


def at_url(job: Job, url: str) -> Job:
    """The job with its run directory at a URL, and the journal in the local directory that belongs to it."""
    url = url.rstrip("/")
    return dataclasses.replace(
        job, output=dataclasses.replace(job.output, run_dir=local_dir_of(url), remote=url)
    )


def _merged(data: Mapping[str, Any], flags: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Each section's settings, flags over the file's; `endpoint` is a list of them."""
    names = [f.name for f in fields(Job)]
    merged: dict[str, Any] = {name: {} for name in names}
    merged["endpoint"] = [{}]
    for name, values in data.items():
        if name not in merged:
            raise UsageError(f"{where}: unknown section [{name}]{_nearest(name, names)}")
        if name == "endpoint" and isinstance(values, list):
            merged[name] = [dict(one) for one in values]
            continue
        if not isinstance(values, Mapping):
            raise UsageError(f"{where}: [{name}] must be a table of settings")
        merged[name] = [dict(values)] if name == "endpoint" else dict(values)
    merged["endpoint"] = _endpoints_under(merged["endpoint"], flags)
    for dotted, value in flags.items():
        section, _, key = dotted.partition(".")
        if section == "request" and key == "params":
            merged[section].update(value)
        elif section != "endpoint":
            merged[section][key] = value
    return merged


def _endpoints_under(endpoints: list[dict[str, Any]], flags: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The file's endpoints with the flags over them; a flag that names a place leaves that one only."""
    given = {key.partition(".")[2]: value for key, value in flags.items() if key.startswith("endpoint.")}
    if not given.keys() & {"base_url", "preset"}:
        return [endpoint | given for endpoint in endpoints]
    url = given.get("base_url") or _preset_url(given.get("preset"))
    same = [one for one in endpoints if url and endpoint_host(_url_of(one)) == endpoint_host(str(url))]
    # a key belongs to the host it was written beside, and so does all else
    return [{**(same[0] if same else {}), **given}]


def _url_of(endpoint: Mapping[str, Any]) -> str:
    return str(endpoint.get("base_url") or _preset_url(endpoint.get("preset")) or DEFAULT_BASE_URL)


def _preset_url(name: Any) -> str | None:
    preset = PRESETS.get(str(name))
    return preset.base_url if preset else None


def _endpoints(written: list[dict[str, Any]], problems: list[str]) -> tuple[EndpointJob, ...]:
    """The endpoints with their presets' places filled in and a name for each."""
    endpoints: list[EndpointJob] = []
    taken: set[str] = set()
    for values in written:
        preset = values.get("preset")
        if preset is not None and preset not in PRESETS:
            problems.append(f"endpoint.preset: no preset {preset!r}{_nearest(str(preset), list(PRESETS))}")
            continue
        if preset is not None and "base_url" not in values:
            url = _preset_url(preset)
            if url is None:
                problems.append(
                    f"endpoint.base_url: {preset} needs your own, "
                    "such as https://RESOURCE.openai.azure.com/openai/v1"
                )
                continue
            values = {**values, "base_url": url}
        endpoint: EndpointJob = _checked_section("endpoint", values, problems)
        name = endpoint.name or endpoint.preset or endpoint.service.name or endpoint.host
        if name in taken:
            if endpoint.name:
                problems.append(f"endpoint.name: two endpoints are named {name!r}")
            name = next(f"{name}-{n}" for n in itertools.count(2) if f"{name}-{n}" not in taken)
        taken.add(name)
        endpoints.append(dataclasses.replace(endpoint, name=name))
    if not written:
        problems.append("endpoint: the list is empty")
    return tuple(endpoints)


def _checked_section(name: str, values: dict[str, Any], problems: list[str]) -> Any:
    if name == "simulator":
        return values
    cls = SECTIONS[name]
    types_of = typing.get_type_hints(cls)
    known = {
        f.name.removesuffix("_s") if f.name.removesuffix("_s") in _DURATIONS else f.name for f in fields(cls)
    }
    known -= {"params", "schema_from"}
    taken: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for key, value in values.items():
        if name == "request" and _took_of_request(key, value, taken, params, problems):
            continue
        if key in _NESTED and isinstance(value, Mapping) and key in known:
            taken[key] = _NESTED[key](value, problems)
        elif key in known:
            attribute = f"{key}_s" if key in _DURATIONS else key
            try:
                if key == "deadline":
                    value = deadline_s(value)
                taken[attribute] = _coerced(value, types_of[attribute], duration=key in _DURATIONS)
            except ValueError as error:
                problems.append(f"{name}.{key}: {error}")
        elif name == "request" and key in {"expand", "expand_prefix"}:
            problems.append(f"request.{key}: belongs to [output]")
        elif name == "request" and not _is_typo(key, known):
            params[key] = value
        else:
            problems.append(f"{name}.{key}: unknown key{_nearest(key, sorted(known))}")
    if name == "request":
        taken["params"] = params
    return cls(**taken)


def _took_of_request(
    key: str, value: Any, taken: dict[str, Any], params: dict[str, Any], problems: list[str]
) -> bool:
    """Takes what only `[request]` has and no plain value holds; False for any other key."""
    if key == "params" and isinstance(value, Mapping):
        params.update(value)
    elif key == "audio" and isinstance(value, Mapping):
        params[key] = value  # OpenAI's parameter of that name: how a spoken answer is to sound
    elif key == "schema" or key in _LISTS:
        try:
            if key == "schema":
                taken["schema"], taken["schema_from"] = schema_of(value)
            else:
                taken[key] = _LISTS[key](value)
        except ValueError as error:
            problems.append(f"request.{key}: {error}")
    else:
        return False
    return True


def _price_table(value: Mapping[str, Any], problems: list[str]) -> PriceJob:
    price: PriceJob = _checked_section("price", dict(value), problems)
    return price


def _price_tables(value: Mapping[str, Any], problems: list[str]) -> dict[str, PriceJob]:
    tables: dict[str, PriceJob] = {}
    for model, price in value.items():
        if isinstance(price, Mapping):
            tables[model] = _price_table(price, problems)
        else:
            problems.append(f"price.models: {model!r} must be a table with input and output")
    return tables


def _columns(value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and all(isinstance(name, str) and name for name in names):
        return list(names)
    raise ValueError(f"expected a column or a list of columns, got {value!r}")


def _messages(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise ValueError("expected [[request.messages]] with role and content each")
    for number, message in enumerate(value, 1):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise ValueError(f"message {number} needs a role and content")
        if message["role"] not in _ROLES:
            raise ValueError(f"message {number}: no role {message['role']!r}; one of {', '.join(_ROLES)}")
        for name, text in message.items():
            if not isinstance(text, str) or name not in {"role", "content", "name"}:
                raise ValueError(f"message {number}: {name} = {text!r}; role, content and name are text")
    return [dict(message) for message in value]


_ROLES = ("system", "developer", "user", "assistant")

# keys of [request] that hold lists
_LISTS: dict[str, Callable[[Any], Any]] = {"image": _columns, "audio": _columns, "messages": _messages}

# keys that hold tables of their own
_NESTED: dict[str, Callable[[Mapping[str, Any], list[str]], Any]] = {
    "price": _price_table,
    "models": _price_tables,
}


def _is_typo(key: str, known: set[str]) -> bool:
    """Unknown keys of [request] go to the provider, unless they look like one of ours misspelt."""
    return bool(difflib.get_close_matches(key, known, n=1, cutoff=0.8))


def _coerced(value: Any, wanted: Any, *, duration: bool) -> Any:
    if duration:
        return duration_s(value)
    if typing.get_origin(wanted) is tuple:
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, list | tuple) and all(isinstance(one, str) and one for one in listed):
            return tuple(listed)
        raise ValueError(f"expected text or a list of texts, got {value!r}")
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
    problems = _url_problems(job)
    if problems:
        return problems  # the others would repeat a key that is in a URL
    if not job.input.path:
        problems.append("no input; pass -i FILE or set [input] path.")
    if not job.request.model and not _lines_may_name_models(job):
        problems.append("no model; pass -m MODEL or set [request] model.")
    if job.request.prompt is not None and job.request.prompt_file is not None:
        problems.append("both request.prompt and request.prompt_file are set; keep one.")
    problems += _task_problems(job.request)
    problems += _schema_problems(job)
    problems += _message_problems(job)
    problems += _limits_problems(job.limits)
    for price in (job.price, *job.price.models.values(), *(one.price for one in job.endpoint)):
        problems += [
            f"price.{name}: must not be negative"
            for name in ("input", "output", "cached")
            if (getattr(price, name) or 0) < 0
        ]
        if (price.input is None) != (price.output is None):
            problems.append("price: needs both input and output (USD per 1M tokens)")
    if job.output.shard_rows is not None and job.output.shard_rows < 1:
        problems.append("output.shard_rows: must be at least 1")
    if job.input.limit is not None and job.input.limit < 1:
        problems.append("input.limit: must be at least 1")
    problems += _output_problems(job.output)
    problems += _watching_problems(job)
    for endpoint in job.endpoint:
        problems += _endpoint_problems(endpoint)
    return problems


def _schema_problems(job: Job) -> list[str]:
    request, problems = job.request, []
    if request.schema_mode not in {None, *SCHEMA_MODES}:
        near = _nearest(str(request.schema_mode), list(SCHEMA_MODES))
        problems.append(f"request.schema_mode: no mode {request.schema_mode!r}{near}")
    if request.schema_retries < 0:
        problems.append("request.schema_retries: must be 0 or more")
    if request.schema is None:
        for name, given in (
            ("request.schema_mode", request.schema_mode is not None),
            ("request.schema_strict", request.schema_strict is not None),
            ("output.expand", job.output.expand),
        ):
            if given:
                problems.append(f"{name}: needs a schema; pass --schema FILE or set [request] schema")
    elif "response_format" in request.params:
        problems.append("request.response_format: the schema makes it; keep one of the two")
    return problems


def _with_whole_prices(job: Job) -> Job:
    """The job with a price of 0 for completion tokens that embeddings do not have."""
    if job.request.task != "embeddings":
        return job

    def whole(price: PriceJob) -> PriceJob:
        models = {model: whole(one) for model, one in price.models.items()}
        output = 0.0 if price.input is not None and price.output is None else price.output
        return dataclasses.replace(price, output=output, models=models)

    endpoints = tuple(dataclasses.replace(one, price=whole(one.price)) for one in job.endpoint)
    return dataclasses.replace(job, endpoint=endpoints, price=whole(job.price))


def _task_problems(request: RequestJob) -> list[str]:
    if request.task not in TASK_PATHS:
        return [f"request.task: no task {request.task!r}{_nearest(request.task, list(TASK_PATHS))}"]
    problems = [
        f"request.{name}: {request.task} take a prompt only; leave it out"
        for name in ("system", "messages", "history", "image", "audio", "schema")
        if request.task != "chat" and getattr(request, name) not in (None, [])
    ]
    if request.stream and request.task == "embeddings":
        problems.append("request.stream: embeddings are not streamed; leave it out")
    if not 1 <= request.batch_rows <= MAX_BATCH_ROWS:
        problems.append(f"request.batch_rows: must be from 1 to {MAX_BATCH_ROWS:,}")
    if request.batch_tokens < 1:
        problems.append("request.batch_tokens: must be at least 1")
    return problems


def _lines_may_name_models(job: Job) -> bool:
    """Whether the input may be a batch file, whose bodies name their models; its first line will tell."""
    request = job.request
    return (
        job.input.json_lines
        and request.prompt is None
        and request.prompt_file is None
        and not request.messages
    )


def _message_problems(job: Job) -> list[str]:
    request = job.request
    problems = []
    if request.messages:
        problems += [
            f"request.{name}: [[request.messages]] are the whole conversation; keep one of the two."
            for name in ("prompt", "prompt_file", "system")
            if getattr(request, name) is not None
        ]
    if not request.image:
        problems += [
            f"request.{name}: needs a column with images; pass --image-column COLUMN"
            for name in ("image_detail", "image_max_side")
            if getattr(request, name) is not None
        ]
    if job.input.allow_files_under is not None and not (request.image or request.audio):
        problems.append("input.allow_files_under: no column names files; pass --image-column COLUMN")
    numbers = {
        name: getattr(request, name) for name in ("image_max_side", "max_image_bytes", "max_audio_bytes")
    }
    problems += [
        f"request.{name}: must be at least 1" for name, n in numbers.items() if n is not None and n < 1
    ]
    if request.tokens_per_image < 0:
        problems.append("request.tokens_per_image: must be 0 or more")
    return problems


def _output_problems(output: OutputJob) -> list[str]:
    problems = []
    if output.to is not None and output.to not in FORMATS:
        problems.append(f"output.to: no format {output.to!r}{_nearest(output.to, list(FORMATS))}")
    elif output.file and output_format(output.file, output.to, batch=False) is None:
        problems.append(
            f"output.file: {output.file!r} must end in {', '.join(ENDINGS)} or / (a Hugging Face data set), "
            "or pass --to FORMAT"
        )
    if output.to is not None and not output.file:
        problems.append("output.to: needs an output file; pass -o FILE")
    if output.errors is not None:
        if not output.file:
            problems.append("output.errors: needs an output file; pass -o FILE")
        elif Path(output.errors).absolute() == Path(output.file).absolute():
            problems.append("output.errors: is the output file; leave it out to have errors there")
    return problems


def _url_problems(job: Job) -> list[str]:
    places = {
        "input.path": job.input.path,
        "output.run_dir": job.output.run_dir,
        "output.remote": job.output.remote,
        "output.file": job.output.file,
        "output.errors": job.output.errors,
    }
    places |= {f"output.reuse[{number}]": place for number, place in enumerate(job.output.reuse)}
    found = [(name, url_problem(place)) for name, place in places.items() if place and is_url(place)]
    problems = [f"{name}: {problem}" for name, problem in found if problem is not None]
    if job.output.remote is not None and not is_url(job.output.remote):
        problems.append(f"output.remote: {job.output.remote!r} is no URL; a local path goes into run_dir")
    if job.output.remote is not None and is_url(job.output.run_dir):
        problems.append("output.remote: run_dir is a URL already; keep one, or give run_dir a local path")
    return problems


def _watching_problems(job: Job) -> list[str]:
    """A metrics or log file that would be written over another file of the job."""
    output = job.output
    places = {
        "input.path": job.input.path,
        "output.file": output.file,
        "output.errors": output.errors,
        "output.metrics_file": output.metrics_file,
        "output.log_file": output.log_file,
    }
    taken: dict[Path, str] = {}
    problems = [
        f"{name}: {places[name]!r} is a URL; name a file of this machine"
        for name in ("output.metrics_file", "output.log_file")
        if is_url(places[name] or "")
    ]
    for name, place in places.items():
        if place:
            first = taken.setdefault(Path(place).absolute(), name)
            if first != name and name in {"output.metrics_file", "output.log_file"}:
                problems.append(f"{name}: {place!r} is {first} too; name another file")
    return problems


def _limits_problems(limits: LimitsJob) -> list[str]:
    minimum_one = ("concurrency", "max_attempts", "max_response_bytes")
    problems = [f"limits.{name}: must be at least 1" for name in minimum_one if getattr(limits, name) < 1]
    if limits.processes != "auto" and (isinstance(limits.processes, str) or limits.processes < 1):
        problems.append(f"limits.processes: must be at least 1, or auto, not {limits.processes}")
    if limits.retry_truncated is not None and limits.retry_truncated <= 1:
        problems.append("limits.retry_truncated: must be more than 1, such as 2")
    if limits.retry_empty < 0:
        problems.append("limits.retry_empty: must be 0 or more")
    if limits.hedge and limits.max_tokens_total is not None:
        problems.append("limits.hedge: a second request cannot be held to max_tokens_total; keep one")
    for name in ("rpm", "tpm", "max_cost", "max_tokens_total"):
        value = getattr(limits, name)
        if value is not None and value <= 0:
            problems.append(f"limits.{name}: must be more than 0")
    return problems


def _endpoint_problems(endpoint: EndpointJob) -> list[str]:
    problems = []
    if endpoint.host not in SELF_STARTED:
        parts = urlsplit(endpoint.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            problems.append(
                f"endpoint.base_url: {endpoint.base_url!r} is no http(s) URL, 'simulator' or 'local'"
            )
        elif parts.username is not None or parts.password is not None:
            problems.append(
                f"endpoint.base_url: the address of {parts.hostname} holds a user name or password, which "
                "would get into files; name the key's variable by api_key_env"
            )
    if endpoint.ca_bundle is not None and not Path(endpoint.ca_bundle).is_file():
        problems.append(f"endpoint.ca_bundle: {endpoint.ca_bundle!r} is no file")
    for name in ("weight", "concurrency", "rpm", "tpm"):
        value = getattr(endpoint, name)
        if value is not None and value <= 0:
            problems.append(f"endpoint.{name}: must be more than 0")
    return problems
