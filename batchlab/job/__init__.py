"""The job: one frozen description of a run, and the settings it is made of.

`file` reads it from a job file, flags or keywords; `setting` says how a setting is declared, and where
to add one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from batchlab.job.endpoint import DEFAULT_BASE_URL, SELF_STARTED, EndpointJob, endpoint_host
from batchlab.job.index import SECTIONS, settings_of
from batchlab.job.input import INSIDE, MEMORY, ROWS, InputJob
from batchlab.job.lane import LANES
from batchlab.job.limits import ENGINES, START_WINDOW, Caps, EndpointLimits, LimitsJob
from batchlab.job.output import ENDINGS, FAIL_ON, FORMATS, SHARD_ROWS, OutputJob, output_format
from batchlab.job.price import PRICED_WAYS, PriceJob
from batchlab.job.request import SCHEMA_MODES, TASK_PATHS, RequestJob
from batchlab.job.setting import MIB

__all__ = [
    "DEFAULT_BASE_URL",
    "ENDINGS",
    "ENGINES",
    "FAIL_ON",
    "FORMATS",
    "INSIDE",
    "LANES",
    "MEMORY",
    "MIB",
    "PRICED_WAYS",
    "ROWS",
    "SCHEMA_MODES",
    "SECTIONS",
    "SELF_STARTED",
    "SHARD_ROWS",
    "TASK_PATHS",
    "Caps",
    "EndpointJob",
    "EndpointLimits",
    "InputJob",
    "Job",
    "LimitsJob",
    "OutputJob",
    "PriceJob",
    "RequestJob",
    "default_run_dir",
    "directory_name",
    "endpoint_host",
    "output_format",
]

MAX_NAME_CHARS = 80  # of a run's directory: Windows takes 260 for a whole path
# names that open a device on Windows, whatever their case
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{n}" for port in ("COM", "LPT") for n in range(10)}


@dataclass(frozen=True, slots=True)
class Job:
    """One run, whole and checked. Build it with `file.load_job` or `job_from`."""

    input: InputJob = field(default_factory=InputJob)
    endpoint: tuple[EndpointJob, ...] = (EndpointJob(),)
    request: RequestJob = field(default_factory=RequestJob)
    limits: LimitsJob = field(default_factory=LimitsJob)
    price: PriceJob = field(default_factory=PriceJob)
    output: OutputJob = field(default_factory=OutputJob)
    simulator: dict[str, Any] = field(default_factory=dict)

    @property
    def reads_files(self) -> bool:
        """Whether rows name files, which may change while the input does not."""
        return self.input.allow_files_under is not None and bool(self.request.image or self.request.audio)

    @property
    def host(self) -> str:
        """Host (and port) of the first endpoint; part of every request's identity.

        The others take over for it; which one answered is in the `endpoint` column.
        """
        return self.endpoint[0].host

    def limits_at(self, endpoint: EndpointJob) -> EndpointLimits:
        """What is allowed at one of its endpoints."""
        concurrency = endpoint.concurrency or self.limits.concurrency
        return EndpointLimits(
            concurrency,
            rpm=endpoint.rpm or self.limits.rpm,
            tpm=endpoint.tpm or self.limits.tpm,
            start=concurrency if endpoint.service.queues else min(START_WINDOW, concurrency),
            lane=endpoint.lane or self.limits.lane,
        )

    def with_at_most(self, concurrency: int) -> Job:
        """The job with no more than so many requests in flight at each endpoint."""

        def lower(asked: int) -> int:
            return min(concurrency, asked)

        return dataclasses.replace(
            self,
            limits=dataclasses.replace(self.limits, concurrency=lower(self.limits.concurrency)),
            endpoint=tuple(
                dataclasses.replace(
                    endpoint, concurrency=endpoint.concurrency and lower(endpoint.concurrency)
                )
                for endpoint in self.endpoint
            ),
        )

    @property
    def schema_mode(self) -> str:
        """How answers that fit the schema are asked for: one way for all endpoints, because answers to
        different requests never mix."""
        if self.request.schema_mode is not None:
            return self.request.schema_mode
        return max((endpoint.service.schema_mode for endpoint in self.endpoint), key=SCHEMA_MODES.index)

    def request_settings(self) -> dict[str, Any]:
        """Everything that changes what is asked; two runs mix results only if this is equal.

        Each setting declares whether it is part of it. Concurrency, limits, retries and prices are not:
        they may change freely.
        """
        request = self._asked("request")
        if self.request.schema is not None:
            request["request.schema_mode"] = self.schema_mode
        if self.request.prompt_file:
            content = Path(self.request.prompt_file).read_bytes()
            request["request.prompt_file"] = hashlib.blake2b(content, digest_size=16).hexdigest()
        others = [name for name in SECTIONS if name not in ("request", "endpoint")]
        asked = {key: value for name in others for key, value in self._asked(name).items()}
        # of the endpoints only the first one's host counts: see `host`
        return {**request, "endpoint.host": self.host, **asked}

    def _asked(self, section: str) -> dict[str, Any]:
        values = dataclasses.asdict(getattr(self, section))
        return {
            f"{section}.{setting.name}": values[setting.name]
            for setting in settings_of(section)
            if setting.asked(values[setting.name], has_schema=self.request.schema is not None)
        }

    def to_dict(self) -> dict[str, Any]:
        """The job as plain data for `run.json`. It holds names of key variables, never a key."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """The job that `to_dict` described."""
        return cls(**{f.name: _section(f.name, data.get(f.name, {})) for f in fields(cls)})


def _section(name: str, data: Any) -> Any:
    """A section as `Job.to_dict` wrote it."""
    if name == "endpoint":
        return tuple(
            EndpointJob(
                **{
                    **one,
                    "price": _section("price", one["price"]),
                    "env_from": tuple(one.get("env_from", ())),
                    "headers": tuple(one.get("headers", ())),
                }
            )
            for one in data
        )
    if name == "price":
        models = {model: _section("price", price) for model, price in data.get("models", {}).items()}
        ways = {
            way: _section("price", data[way]) for way in PRICED_WAYS if isinstance(data.get(way), Mapping)
        }
        return PriceJob(**{**data, **ways, "models": models})
    if name == "output":
        lists = {name: tuple(data.get(name, ())) for name in ("reuse", "fail_on")}
        return OutputJob(**{**data, **lists})
    return dict(data) if name == "simulator" else SECTIONS[name](**data)


def default_run_dir(job: Job) -> str:
    """`runs/NAME` after the input, so that a command with another -o finds the run again."""
    path = job.input.path.partition(INSIDE)[0]
    name = "stdin" if path == "-" else path.rstrip(f"/*{os.sep}")
    return str(Path("runs") / directory_name(Path(name).name.split(".")[0]))


def directory_name(text: str) -> str:
    """`text` as the name of a directory on every system: no sign, word or length that one refuses."""
    text = unicodedata.normalize("NFC", text)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text) or "run"
    if not text.isascii():  # signs of other scripts are no names on every system, and still tell two apart
        digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()
        name = f"{name.strip('-') or 'run'}-{digest}"
    if name.upper() in _DEVICES:
        name += "-run"
    if len(name) > MAX_NAME_CHARS:
        name = f"{name[:MAX_NAME_CHARS]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
    return name
