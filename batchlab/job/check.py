"""What is wrong with a job as a whole: values out of range, and settings that exclude or need each other.

Every problem is one line that begins with the setting's key; a job without any may run.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from batchlab.job import (
    ENDINGS,
    FAIL_ON,
    INSIDE,
    MEMORY,
    PRICED_WAYS,
    SELF_STARTED,
    TASK_PATHS,
    EndpointJob,
    Job,
    LimitsJob,
    OutputJob,
    PriceJob,
    RequestJob,
    output_format,
)
from batchlab.job.endpoint import url_meant
from batchlab.job.index import settings_of
from batchlab.job.params import param_problems
from batchlab.job.presets import PRESETS
from batchlab.job.values import CHEAP
from batchlab.remote.urls import is_url, url_problem

# what a run writes beside its directory
_WRITTEN_FILES = ("output.file", "output.errors", "output.metrics_file", "output.log_file")
# how services call a key in a URL's query: Gemini `key`, Azure's gateways `subscription-key` and `sig`, ...
_SECRET = re.compile(
    r".*(key|token|secret|password|passwd|credential|signature)|sig|auth|authorization|pwd|code",
    re.IGNORECASE,
)


def job_problems(job: Job) -> list[str]:
    """Every problem of the job; an empty list when there is none."""
    problems = _url_problems(job)
    if problems:
        return problems  # the others would repeat a key that is in a URL
    if not job.input.path:
        problems.append("no input; pass {input.path=FILE} or set [input] path.")
    if not job.request.model and not _lines_may_name_models(job):
        problems.append("no model; pass {request.model=MODEL} or set [request] model.")
    if job.request.prompt is not None and job.request.prompt_file is not None:
        problems.append("both {request.prompt} and {request.prompt_file} are set; keep one.")
    for section in ("input", "request", "limits", "output"):
        problems += _value_problems(section, getattr(job, section))
    problems += _task_problems(job.request)
    problems += _param_problems(job)
    problems += _schema_problems(job)
    problems += _message_problems(job)
    problems += _limits_problems(job.limits)
    problems += _price_problems("price", job.price)
    for endpoint in job.endpoint:
        problems += _price_problems("endpoint.price", endpoint.price)
    problems += _output_problems(job.output)
    problems += _fail_on_problems(job.output)
    problems += _watching_problems(job)
    problems += _lane_problems(job)
    problems += written_over(job)
    for endpoint in job.endpoint:
        problems += _endpoint_problems(endpoint)
    return problems


def _value_problems(section: str, values: Any, where: str | None = None) -> list[str]:
    """What is wrong with single values of a section, as each setting declares it."""
    found = [(setting, setting.problem(getattr(values, setting.name))) for setting in settings_of(section)]
    return [f"{where or section}.{setting.key}: {problem}" for setting, problem in found if problem]


def _price_problems(where: str, price: PriceJob) -> list[str]:
    """What is wrong with a price and those inside it."""
    problems = _value_problems("price", price, where)
    if (price.input is None) != (price.output is None):
        missing = "price.output" if price.output is None else "price.input"
        remedy = f"; pass {{{missing}=USD}} too" if where == "price" else ""
        problems.append(f"{where}: needs both input and output (USD per 1M tokens){remedy}")
    for way in PRICED_WAYS:
        other = getattr(price, way)
        if isinstance(other, PriceJob):
            problems += _price_problems(f"{where}.{way}", other)
            if other.input is None and other.output is None:
                problems.append(f"{where}.{way}: needs both input and output (USD per 1M tokens)")
            if other.models or any(getattr(other, name) is not None for name in PRICED_WAYS):
                problems.append(f"{where}.{way}: may have input, output, cached and cache_write only")
        elif other is not None and not 0 <= other <= 1:
            problems.append(
                f"{where}.{way}: {other:g} is no share of the price (0 to 1); "
                f"for a price of its own write {way} = {{ input = …, output = … }}"
            )
    others = [name for name in ("cached", "cache_write", *PRICED_WAYS) if getattr(price, name) is not None]
    if others and price.input is None and price.output is None:
        both = "{price.input} and {price.output}" if where == "price" else "input and output"
        problems.append(f"{where}.{others[0]}: needs {both} beside it (USD per 1M tokens)")
    for model, one in price.models.items():
        problems += _price_problems(f"{where}.models.{model}", one)
    return problems


def _schema_problems(job: Job) -> list[str]:
    request, problems = job.request, []
    if request.schema is None:
        for name, given in (
            ("request.schema_mode", request.schema_mode is not None),
            ("request.schema_strict", request.schema_strict is not None),
            ("output.expand", job.output.expand),
        ):
            if given:
                problems.append(
                    f"{name}: needs a schema; pass {{request.schema=FILE}} or set [request] schema"
                )
    elif "response_format" in request.params:
        problems.append("request.response_format: the schema makes it; keep one of the two")
    return problems


def _param_problems(job: Job) -> list[str]:
    request = job.request
    return [
        f"request.{name}: {problem}"
        for name, problem in param_problems(request.params, job.endpoint, check=request.check_params)
    ]


def _task_problems(request: RequestJob) -> list[str]:
    if request.task not in TASK_PATHS:
        return []  # its choices say it
    problems = [
        f"request.{name}: {request.task} take a prompt only; leave it out"
        for name in ("system", "messages", "history", "image", "audio", "schema")
        if request.task != "chat" and getattr(request, name) not in (None, [])
    ]
    if request.stream and request.task == "embeddings":
        problems.append("request.stream: embeddings are not streamed; leave it out")
    return problems


def _lines_may_name_models(job: Job) -> bool:
    """Whether the input may be a batch file, whose bodies name their models; its first line will tell."""
    request = job.request
    return (
        job.input.may_be_batch_lines
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
            f"request.{name}: needs a column with images; pass {{request.image=COLUMN}}"
            for name in ("image_detail", "image_max_side")
            if getattr(request, name) is not None
        ]
    if job.input.allow_files_under is not None and not (request.image or request.audio):
        problems.append("input.allow_files_under: no column names files; pass {request.image=COLUMN}")
    return problems


def _output_problems(output: OutputJob) -> list[str]:
    problems = []
    if output.file and output_format(output.file, output.to, batch=False) is None:
        of_excel = output.file.lower().endswith((".xlsx", ".xls"))
        excel = "; Excel opens it as a .csv with {output.csv_encoding=utf-8-sig}" if of_excel else ""
        problems.append(
            f"output.file: {output.file!r} must end in {', '.join(ENDINGS)} or / (a Hugging Face data set), "
            f"or pass {{output.to=FORMAT}}{excel}"
        )
    if output.to is not None and not output.file:
        problems.append("output.to: needs an output file; pass {output.file=FILE}")
    if output.errors is not None and not output.file:
        problems.append("output.errors: needs an output file; pass {output.file=FILE}")
    return problems


def _fail_on_problems(output: OutputJob) -> list[str]:
    problems = []
    for word in dict.fromkeys(output.fail_on):
        if word in {"failed", "invalid"}:
            problems.append(
                f"output.fail_on: {word} rows always make the exit code 1; the words are {', '.join(FAIL_ON)}"
            )
        elif word not in FAIL_ON:
            problems.append(
                f"output.fail_on: no answers are called {word!r}; the words are {', '.join(FAIL_ON)}"
            )
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
        problems.append("output.remote: {output.run_dir} is a URL already; keep one, or give it a local path")
    return problems


def _watching_problems(job: Job) -> list[str]:
    return [
        f"output.{name}: {getattr(job.output, name)!r} is a URL; name a file of this machine"
        for name in ("metrics_file", "log_file")
        if is_url(getattr(job.output, name) or "")
    ]


def written_over(job: Job, others: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Files that the run would write over others of the job: what it reads, or what else it writes.

    Args:
        others: files beside the job's that must stay: what each is, and where.
    """
    read = {
        "the input": "" if job.input.path.startswith(MEMORY) else job.input.path.partition(INSIDE)[0],
        "the prompt file": job.request.prompt_file,
        "the schema": job.request.schema_from,
        **others,
    }
    for endpoint in job.endpoint:
        read |= {"the key's file": endpoint.api_key_file, "the CA bundle": endpoint.ca_bundle}
    there = {what: path for what, path in read.items() if path and path != "-" and not is_url(path)}
    problems: list[str] = []
    for setting in settings_of("output"):
        path = getattr(job.output, setting.name) if setting.dotted in _WRITTEN_FILES else None
        if not path or is_url(path):
            continue
        if first := next((what for what, other in there.items() if _is_within(path, other)), None):
            problems.append(f"{setting.dotted}: {path!r} would be written over {first}; name another file")
        there[setting.dotted] = path
    return problems


def _is_within(path: str, other: str) -> bool:
    """Whether a path is another one by whatever name, lies in it, or is one of a glob."""
    here, there = os.path.realpath(path), os.path.realpath(other)
    if here == there or here.startswith(there + os.sep) or fnmatch.fnmatchcase(here, there):
        return True
    try:
        return Path(here).samefile(there)
    except OSError:
        return False


def _limits_problems(limits: LimitsJob) -> list[str]:
    problems = _engine_problems(limits)
    if limits.start_at not in (None, CHEAP) and limits.deadline_at is not None:
        start = datetime.fromisoformat(str(limits.start_at)).timestamp()
        if start >= limits.deadline_at:
            problems.append("limits.start_at: is after the deadline")
    if limits.hedge and limits.max_tokens_total is not None:
        problems.append(
            "limits.hedge: a second request cannot be held to {limits.max_tokens_total}; keep one"
        )
    return problems


def _lane_problems(job: Job) -> list[str]:
    problems = []
    for endpoint in job.endpoint:
        if job.limits_at(endpoint).lane != "flex":
            continue
        where = "endpoint" if endpoint.lane else "limits"
        if endpoint.flex_tier is None:
            known = ", ".join(preset.name for preset in PRESETS.values() if preset.flex)
            problems.append(
                f"{where}.lane: {endpoint.service.name or endpoint.host} has no flex tier that batchlab knows "
                f"({known} have one); leave it live, or name the service behind it by {{endpoint.preset}}"
            )
        elif job.request.task != "chat":
            problems.append(f"{where}.lane: flex answers chats only, and the task is {job.request.task}")
    return problems


def _engine_problems(limits: LimitsJob) -> list[str]:
    problems, asked = [], limits.processes
    if asked not in (None, "auto") and (isinstance(asked, str) or asked < 1):
        problems.append(f"limits.processes: must be at least 1, or auto, not {asked}")
    if limits.engine == "local" and asked not in (None, 1):
        problems.append(
            f"limits.engine: local is one process, and {{limits.processes={asked}}} is set; keep one of both"
        )
    if limits.ray_address is not None and limits.engine != "ray":
        problems.append("limits.ray_address: is for the engine ray; pass {limits.engine=ray}")
    return problems


def _endpoint_problems(endpoint: EndpointJob) -> list[str]:
    problems = _value_problems("endpoint", endpoint)
    if endpoint.host not in SELF_STARTED:
        parts = urlsplit(endpoint.base_url)
        if secret := next((name for name, _ in parse_qsl(parts.query) if _SECRET.fullmatch(name)), None):
            problems.append(
                f"endpoint.base_url: its {secret}=… would get into files and logs; name the key's variable by "
                "api_key_env"
            )
        elif parts.scheme not in {"http", "https"} or not parts.hostname:
            near = "" if "://" in endpoint.base_url else f"; did you mean {url_meant(endpoint.base_url)}?"
            problems.append(
                f"endpoint.base_url: {endpoint.base_url!r} is no http(s) URL, 'simulator' or 'local'{near}"
            )
        elif parts.username is not None or parts.password is not None:
            problems.append(
                f"endpoint.base_url: the address of {parts.hostname} holds a user name or password, which "
                "would get into files; name the key's variable by api_key_env"
            )
    if endpoint.ca_bundle is not None and (problem := _ca_bundle_problem(endpoint.ca_bundle)):
        problems.append(f"endpoint.ca_bundle: {endpoint.ca_bundle!r} {problem}")
    return problems


def _ca_bundle_problem(path: str) -> str | None:
    """What keeps a file from being trusted for its certificates."""
    import ssl  # 8 ms, for who names one

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "holds no certificates (PEM: -----BEGIN CERTIFICATE-----)"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
