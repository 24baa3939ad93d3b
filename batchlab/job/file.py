"""Reading a job: TOML, flags and defaults become one checked `Job`.

A value given by flag wins over the environment, that over the job file, that over
the default. Everything is checked at once, so that a person fixes a file in one go.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from batchlab.errors import UsageError, file_trouble
from batchlab.job import (
    DEFAULT_BASE_URL,
    PRICED_WAYS,
    SECTIONS,
    EndpointJob,
    Job,
    PriceJob,
    default_run_dir,
    endpoint_host,
)
from batchlab.job.check import job_problems, written_over
from batchlab.job.index import NEAR, SIMULATOR, by_key, called, near, sections_of
from batchlab.job.presets import PRESETS
from batchlab.job.request import PARAMETERS
from batchlab.job.schema import is_import_path, schema_of
from batchlab.job.setting import Setting
from batchlab.job.values import beside, coerced, moment, nearest
from batchlab.remote.urls import is_url, local_dir_of

_KEY_NAME = re.compile(r"(.*[_-])?api[_-]?key|authorization", re.IGNORECASE)
# parameters of providers that are called like a setting, and are told from it by their type
_WRITTEN = ("model", "messages", "stream")  # of a request's body: by batchlab, and no parameters
_PARAMETERS_TOO: Mapping[str, type] = {
    "audio": Mapping,  # OpenAI: how a spoken answer is to sound
    "models": list,  # OpenRouter: models to fall back to
}


def load_job(path: str | Path, flags: Mapping[str, Any] | None = None) -> Job:
    """The job that a TOML file describes, with `flags` laid over it.

    Args:
        path: the job file. Relative paths inside it, and the run directory it does not name, belong to its
            directory; those of `flags` to the current one.
        flags: dotted keys (`limits.concurrency`) to values; None means not given.

    Raises:
        UsageError: unreadable file, bad TOML, unknown key (with the nearest known one), bad value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = file_trouble(path, error)
        raise UsageError(f"{path}: cannot read the job file: {reason}.") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}.") from error
    home = Path(path).parent
    job = job_from(_beside(data, home), flags, where=str(path), home=home)
    if problems := written_over(job, {"the job file": str(path)}):
        raise UsageError("\n".join(f"{path}: {problem}" for problem in problems))
    return job


def _beside(data: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """A job file's values, with the relative paths among them relative to its directory."""
    return {section: _paths_beside(section, values, home) for section, values in data.items()}


def _paths_beside(section: str, values: Any, home: Path) -> Any:
    if isinstance(values, list):
        return [_paths_beside(section, one, home) for one in values]
    if not isinstance(values, Mapping) or section not in SECTIONS:
        return values
    known = by_key(section)
    return {
        key: _path_beside(known[key], value, home) if key in known and known[key].is_path else value
        for key, value in values.items()
    }


def _path_beside(setting: Setting, value: Any, home: Path) -> Any:
    if isinstance(value, list):
        return [_path_beside(setting, one, home) for one in value]
    if not isinstance(value, str) or not value:
        return value
    if setting.dotted == "endpoint.base_url":
        word, colon, model = value.partition(":")
        return f"local:{beside(model, home)}" if word == "local" and colon and model else value
    if setting.dotted == "request.schema" and is_import_path(value) and not (home / value).exists():
        return value
    return beside(value, home)


def job_from(
    data: Mapping[str, Any],
    flags: Mapping[str, Any] | None = None,
    *,
    where: str = "job",
    home: Path | None = None,
) -> Job:
    """The job of a nested mapping, with `flags` laid over it; see `load_job`.

    Args:
        home: where its run directory goes when none is named; the current directory when None.
    """
    flags = {key: value for key, value in (flags or {}).items() if value is not None}
    merged = _merged(data, flags, where)
    problems: list[str] = []
    endpoints = _endpoints(merged.pop("endpoint"), problems, _env_files(home or Path()))
    sections = {name: _checked_section(name, values, problems) for name, values in merged.items()}
    if not problems:
        job = _with_whole_prices(Job(endpoint=endpoints, **sections))
        problems += job_problems(job)
    if problems:
        raise UsageError("\n".join(f"{where}: {problem}" for problem in problems))
    if not job.output.run_dir:
        output = dataclasses.replace(job.output, run_dir=beside(default_run_dir(job), home or Path()))
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
            raise UsageError(f"{where}: {_no_section(name, values, names)}")
        if name == "endpoint" and isinstance(values, list):
            merged[name] = [dict(one) for one in values]
            continue
        if not isinstance(values, Mapping):
            raise UsageError(f"{where}: [{name}] must be a table of settings")
        merged[name] = [dict(values)] if name == "endpoint" else dict(values)
    merged["endpoint"] = _endpoints_under(merged["endpoint"], flags)
    for dotted, value in flags.items():
        section, _, key = dotted.partition(".")
        if section not in merged:
            raise UsageError(f"{where}: {dotted}: unknown section [{section}]{nearest(section, names)}")
        if dotted == "request.params" and isinstance(value, Mapping):
            file_params = merged[section].get(key)
            value = {**(file_params if isinstance(file_params, Mapping) else {}), **value}
            # beside one of the same name in the file, the flag's counts
            written = merged[section]
            merged[section] = {k: v for k, v in written.items() if k not in value or k in by_key(section)}
        if section != "endpoint":
            merged[section][key] = value
    return merged


def _no_section(name: str, values: Any, names: list[str]) -> str:
    """What to say of an unknown name at the top of a job, which may be a setting without its section."""
    meant = called(name) or near(name)
    if meant and not isinstance(values, Mapping):
        return f"{name}: stands above all sections; {meant[0].key!r} belongs to {sections_of(meant)}"
    return f"unknown section [{name}]{nearest(name, names)}"


def _endpoints_under(endpoints: list[dict[str, Any]], flags: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The file's endpoints with the flags over them; a flag that names a place leaves that one only."""
    given = {key.partition(".")[2]: value for key, value in flags.items() if key.startswith("endpoint.")}
    if not given.keys() & {"base_url", "preset"}:
        return [endpoint | given for endpoint in endpoints]
    url = given.get("base_url") or _preset_url(given.get("preset"))
    same = [
        endpoint
        for endpoint in endpoints
        if url and endpoint_host(_url_of(endpoint)) == endpoint_host(str(url))
    ]
    # a key belongs to the host it was written beside, and so does all else
    return [{**(same[0] if same else {}), **given}]


def _url_of(endpoint: Mapping[str, Any]) -> str:
    return str(endpoint.get("base_url") or _preset_url(endpoint.get("preset")) or DEFAULT_BASE_URL)


def _preset_url(name: Any) -> str | None:
    preset = PRESETS.get(str(name))
    return preset.base_url if preset else None


def _env_files(home: Path) -> tuple[str, ...]:
    """The `.env` files of the job's directory and of the current one, as far as there are any."""
    return tuple(dict.fromkeys(str(path) for path in (home / ".env", Path(".env")) if path.is_file()))


def _endpoints(
    written: list[dict[str, Any]], problems: list[str], env_files: tuple[str, ...]
) -> tuple[EndpointJob, ...]:
    """The endpoints with their presets' places filled in, a name for each, and where their keys may be."""
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
        env_from = env_files if endpoint.env_file else ()
        endpoints.append(dataclasses.replace(endpoint, name=name, env_from=env_from))
    if not written:
        problems.append("endpoint: the list is empty")
    return tuple(endpoints)


def _checked_section(name: str, values: dict[str, Any], problems: list[str]) -> Any:
    if name == SIMULATOR:
        return values
    known = by_key(name)
    taken: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for key, value in values.items():
        if name == "request" and is_parameter(key, value):
            params[key] = value
        elif key in known:
            try:
                taken.update(_read(known[key], value, problems))
            except ValueError as error:
                problems.append(f"{name}.{key}: {error}")
        else:
            problems.append(f"{name}.{key}: {_unknown(name, key)}")
    if name == "request":
        taken["params"] = {**params, **taken.get("params", {})}
    return SECTIONS[name](**taken)


def is_key_name(name: str) -> bool:
    """Whether providers or their libraries call an API key so; ours is in a header, and in no file."""
    return _KEY_NAME.fullmatch(name) is not None


def is_parameter(key: str, value: Any) -> bool:
    """Whether a key of [request], or a keyword, goes to the provider: only what no setting could mean does."""
    if isinstance(value, _PARAMETERS_TOO.get(key, ())):
        return True
    if any(setting.name == key for setting in PARAMETERS):
        return True
    return not (called(key) or near(key) or is_key_name(key))


def _unknown(section: str, key: str) -> str:
    """What to say of a key that its section does not have."""
    if is_key_name(key):
        return "a key is named, never written here: api_key_env in [endpoint] names its variable"
    known = list(by_key(section))
    meant = called(key) or near(key)
    otherwise = (
        f" For a parameter of the provider write [request.params] {key}." if section == "request" else ""
    )
    if here := [setting.key for setting in meant if setting.section == section]:
        return f"unknown key; did you mean {here[0]!r}?{otherwise}"
    if same := [setting for setting in meant if setting.key == key]:
        return f"belongs to {sections_of(same)}.{otherwise}"
    if meant and not difflib.get_close_matches(key, known, n=1, cutoff=NEAR):
        return f"unknown key; did you mean {meant[0].key!r} in {sections_of(meant)}?{otherwise}"
    return f"unknown key{nearest(key, known)}"


def _read(setting: Setting, value: Any, problems: list[str]) -> dict[str, Any]:
    """What a setting's written value makes of the section's fields. Raises ValueError."""
    if setting.dotted == "request.schema":
        schema, named = schema_of(value)
        return {"schema": schema, "schema_from": named}
    if setting.dotted == "request.params":
        return {"params": _parameters(value)}
    if isinstance(value, Mapping) and setting.type in (PriceJob, dict[str, PriceJob]):
        return {setting.name: (_price_table if setting.type is PriceJob else _price_tables)(value, problems)}
    if isinstance(value, Mapping) and PriceJob in typing.get_args(setting.type):
        return {setting.name: _price_table(value, problems)}
    if setting.dotted == "limits.deadline" and (then := moment(value)) is not None:
        return {"deadline_s": setting.read and setting.read(value), "deadline_at": then.timestamp()}
    if setting.read is not None:
        value = setting.read(value)
        if typing.get_origin(setting.type) is list:
            return {setting.name: value}
    return {setting.name: coerced(value, setting.type, duration=setting.is_duration)}


def _parameters(value: Any) -> dict[str, Any]:
    """The table of parameters that go to the provider as they are. Raises ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a table of parameters, got {type(value).__name__}")
    for name in value:
        if is_key_name(str(name)):
            raise ValueError(
                f"{name}: a key would get into files; api_key_env in [endpoint] names its variable"
            )
        if name in _WRITTEN:
            raise ValueError(f"{name}: batchlab writes it into each request; set [request] {name}")
    return dict(value)


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


def _with_whole_prices(job: Job) -> Job:
    """The job with a price of 0 for completion tokens that embeddings do not have."""
    if job.request.task != "embeddings":
        return job

    def whole(price: PriceJob) -> PriceJob:
        models = {model: whole(one) for model, one in price.models.items()}
        output = 0.0 if price.input is not None and price.output is None else price.output
        ways = {way: getattr(price, way) for way in PRICED_WAYS}
        ways = {way: whole(one) if isinstance(one, PriceJob) else one for way, one in ways.items()}
        return dataclasses.replace(price, output=output, models=models, **ways)

    endpoints = tuple(dataclasses.replace(endpoint, price=whole(endpoint.price)) for endpoint in job.endpoint)
    return dataclasses.replace(job, endpoint=endpoints, price=whole(job.price))
