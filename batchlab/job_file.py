"""Reading a job: TOML, flags and defaults become one checked `Job`.

A value given by flag wins over the environment, that over the job file, that over
the default. Everything is checked at once, so that a person fixes a file in one go.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from batchlab.errors import UsageError
from batchlab.job import (
    DEFAULT_BASE_URL,
    SECTIONS,
    EndpointJob,
    Job,
    PriceJob,
    default_run_dir,
    endpoint_host,
)
from batchlab.job_validation import job_problems
from batchlab.job_values import coerced, columns, deadline_s, listed_words, messages, nearest
from batchlab.presets import PRESETS
from batchlab.schema_source import schema_of
from batchlab.urls import is_url, local_dir_of

_DURATIONS = {
    "deadline",
    "connect_timeout",
    "idle_timeout",
    "timeout",
    "drain_timeout",
    "journal_flush",
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
        problems += job_problems(job)
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
            raise UsageError(f"{where}: unknown section [{name}]{nearest(name, names)}")
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
            problems.append(f"endpoint.preset: no preset {preset!r}{nearest(str(preset), list(PRESETS))}")
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
                elif key == "fail_on":
                    value = listed_words(value)
                taken[attribute] = coerced(value, types_of[attribute], duration=key in _DURATIONS)
            except ValueError as error:
                problems.append(f"{name}.{key}: {error}")
        elif name == "request" and key in {"expand", "expand_prefix"}:
            problems.append(f"request.{key}: belongs to [output]")
        elif name == "request" and not _is_typo(key, known):
            params[key] = value
        else:
            problems.append(f"{name}.{key}: unknown key{nearest(key, sorted(known))}")
    if name == "request":
        taken["params"] = params
    return cls(**taken)


def _is_typo(key: str, known: set[str]) -> bool:
    """Unknown keys of [request] go to the provider, unless they look like one of ours misspelt."""
    return bool(difflib.get_close_matches(key, known, n=1, cutoff=0.8))


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


# keys of [request] that hold lists
_LISTS: dict[str, Callable[[Any], Any]] = {"image": columns, "audio": columns, "messages": messages}

# keys that hold tables of their own
_NESTED: dict[str, Callable[[Mapping[str, Any], list[str]], Any]] = {
    "price": _price_table,
    "models": _price_tables,
}


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
